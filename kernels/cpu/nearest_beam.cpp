// Codes of residual stages by a beam search. Partial solutions lie in the lanes that vectors have elsewhere: a block
// holds all those of a few vectors.
#include <algorithm>
#include <limits>

#include "nearest.hpp"
#include "nearest_block.hpp"
#include "parallel.hpp"

namespace siglum::nearest {
namespace {

class Beam {
 public:
  Beam(const Kernels& kernels, const std::vector<const Packed*>& stages, std::size_t width, std::size_t dimension)
      : kernels_(kernels),
        stages_(stages),
        width_(width),
        dimension_(dimension),
        rest_(dimension),
        next_(dimension),
        scores_(width * block),
        found_(width * block),
        parents_(stages.size() * block),
        chosen_(stages.size() * block) {}

  // Codes [count][stages] of `count` vectors, count * width <= block.
  void run(const float* x, std::size_t count, std::int32_t* codes) {
    transpose(x, count, dimension_, rest_.data());
    std::fill(paid_, paid_ + block, 0.0f);
    partials_ = 1;
    measure(count);
    for (std::size_t s = 0; s < stages_.size(); ++s) step(count, s);
    for (std::size_t v = 0; v < count; ++v) {
      const std::size_t first = v * partials_;
      std::size_t lane = first;
      for (std::size_t other = first; other < first + partials_; ++other) {
        if (norm_[other] + paid_[other] < norm_[lane] + paid_[lane]) lane = other;
      }
      for (std::size_t s = stages_.size(); s-- > 0;) {
        codes[v * stages_.size() + s] = chosen_[s * block + lane];
        lane = parents_[s * block + lane];
      }
    }
  }

 private:
  // One code more for every partial solution; the best of all remain.
  void step(std::size_t count, std::size_t stage) {
    const Packed& codebook = *stages_[stage];
    const std::size_t wanted = std::min(width_, codebook.count());
    kernels_.top(rest_.front().at, count * partials_, codebook.view(), wanted, scores_.data(), found_.data());
    const std::size_t kept = std::min(width_, partials_ * wanted);
    std::size_t* parents = parents_.data() + stage * block;
    std::int32_t* chosen = chosen_.data() + stage * block;
    for (std::size_t v = 0; v < count; ++v) {
      std::size_t taken[block] = {};  // of the list of each partial solution, which is in order
      for (std::size_t k = 0; k < kept; ++k) {
        std::size_t best = 0;
        float least = std::numeric_limits<float>::infinity();
        for (std::size_t p = 0; p < partials_; ++p) {
          if (taken[p] == wanted) continue;
          const std::size_t lane = v * partials_ + p;
          const float cost = norm_[lane] + paid_[lane] - 2.0f * scores_[taken[p] * block + lane];
          if (cost < least) {
            least = cost;
            best = p;
          }
        }
        const std::size_t parent = v * partials_ + best, to = v * kept + k;
        parents[to] = parent;
        chosen[to] = found_[std::min(taken[best], wanted - 1) * block + parent];
        ++taken[best];
      }
    }
    float paid[block];
    for (std::size_t lane = 0; lane < count * kept; ++lane) {
      const std::size_t parent = parents[lane];
      const float* c = codebook.codeword(static_cast<std::size_t>(chosen[lane]));
      for (std::size_t d = 0; d < dimension_; ++d) next_[d].at[lane] = rest_[d].at[parent] - c[d];
      paid[lane] = paid_[parent] + codebook.bias(static_cast<std::size_t>(chosen[lane]));
    }
    std::copy_n(paid, count * kept, paid_);
    rest_.swap(next_);
    partials_ = kept;
    measure(count);
  }

  void measure(std::size_t count) {
    std::fill(norm_, norm_ + block, 0.0f);
    for (const Row& row : rest_) {
      for (std::size_t lane = 0; lane < count * partials_; ++lane) norm_[lane] += row.at[lane] * row.at[lane];
    }
  }

  const Kernels& kernels_;
  const std::vector<const Packed*>& stages_;
  const std::size_t width_, dimension_;
  std::size_t partials_ = 1;  // of each vector
  std::vector<Row> rest_, next_;
  float norm_[block], paid_[block];
  std::vector<float> scores_;
  std::vector<std::int32_t> found_;
  std::vector<std::size_t> parents_;  // [stage][lane]
  std::vector<std::int32_t> chosen_;
};

}  // namespace

std::size_t beam(const Kernels& kernels, const Vectors& x, const std::vector<const Packed*>& stages, std::size_t width,
                 std::int32_t* codes, std::size_t threads) {
  std::size_t codewords = 0;
  for (const Packed* stage : stages) codewords += stage->count();
  const std::size_t some = block / width, blocks = (x.count + some - 1) / some;
  const float limit = limit_of(x.dimension);
  First bad;
  Team team(threads_for(threads, x.count * x.dimension * codewords * width));
  team.rows(blocks, [&](std::size_t begin, std::size_t end) {
    Beam work(kernels, stages, width, x.dimension);
    for (std::size_t b = begin; b < end; ++b) {
      const std::size_t first = b * some, count = std::min(some, x.count - first);
      const float* from = x.data + first * x.dimension;
      bool finite = true;
      for (std::size_t i = 0; i < count; ++i) {
        if (kernels.within(from + i * x.dimension, x.dimension, limit)) continue;
        bad.report(first + i);
        finite = false;
      }
      if (finite) work.run(from, count, codes + first * stages.size());
    }
  });
  return bad.value();
}

}  // namespace siglum::nearest

#include "code_prior.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "isa.hpp"
#include "shares.hpp"

namespace siglum::code_prior {
namespace {

constexpr uint32_t kWhole = 1u << kPrecision;
constexpr int kLogitShift = 4;    // from 1/256 bit to the 1/4096 of the exponentials
constexpr int kAverageShift = 8;  // running means have that many bits more
constexpr int16_t kPresent = 127 << kEmbeddingShift;
constexpr size_t kFixed = 3;  // networks before those of the codes

size_t padded_to_lanes(size_t count) { return (count + codebook::kLanes - 1) / codebook::kLanes * codebook::kLanes; }

const integer_network::Kernels& network_kernels(const char* isa) {
  const integer_network::Kernels* found = integer_network::find_kernels(isa);
  if (!found) throw std::invalid_argument("this CPU or this build has no such instructions");
  return *found;
}

void check_sizes(const Sizes& s) {
  const auto within = [](size_t value, size_t most) { return value >= 1 && value <= most; };
  if (!within(s.codes, kMaxCodes) || !within(s.groups, s.codes) || s.codes % s.groups || s.stages() > kMaxStages)
    throw std::invalid_argument("the codes of a frame are stages of groups");
  if (!within(s.words, kMaxWords) || s.words % s.members())
    throw std::invalid_argument("the number of codewords must be a multiple of 16, above 512 of 32, up to 8192");
  if (!within(s.embedding, 256) || !within(s.frame, 4096) || !within(s.context, 4096) || !within(s.taps, 16) ||
      s.averages.size() > 8)
    throw std::invalid_argument("a size is out of range");
  for (int shift : s.averages) {
    if (shift < 1 || shift > 12) throw std::invalid_argument("the shift of a mean is out of range");
  }
  if (s.sees.size() != s.codes) throw std::invalid_argument("every code sees some codes, or none");
  for (size_t i = 0; i < s.codes; ++i) {
    if (s.sees[i].size() > s.codes || std::any_of(s.sees[i].begin(), s.sees[i].end(), [&](size_t j) { return j >= i; }))
      throw std::invalid_argument("a code can see earlier codes only");
  }
}

}  // namespace

CodePrior::CodePrior(const char* isa, Sizes sizes, const int8_t* words, const int32_t* exponentials)
    : sizes_(std::move(sizes)), kernels_(codebook::require_kernels(isa)) {
  check_sizes(sizes_);
  std::copy(exponentials, exponentials + 16, exponentials_.level);
  std::copy(exponentials + 16, exponentials + 32, exponentials_.step);
  words_.resize(sizes_.codes * sizes_.words * sizes_.embedding);
  for (size_t i = 0; i < words_.size(); ++i) words_[i] = static_cast<int16_t>(words[i] * (1 << kEmbeddingShift));
  networks_.assign(kFixed + sizes_.codes, integer_network::Network(network_kernels(isa)));
  biases_.resize(networks_.size());
  for (size_t c = 0; c < sizes_.cells(); ++c) tables_.push_back(static_cast<uint32_t>(c));
}

void CodePrior::add_layer(size_t network, const int8_t* weight, size_t out_channels, size_t in_channels,
                          const int32_t* bias, const int32_t* multiplier, int shift, int32_t low, int32_t high) {
  if (network >= networks_.size()) throw std::invalid_argument("there is no such network");
  if (in_channels > kMaxChannels || out_channels > kMaxChannels) throw std::invalid_argument("a layer is too wide");
  networks_[network].add_pointwise(weight, out_channels, in_channels, multiplier, shift, low, high);
  biases_[network].insert(biases_[network].end(), bias, bias + out_channels);
}

void CodePrior::check() const {
  const auto fits = [&](size_t network, size_t in, size_t out) {
    if (biases_[network].empty() || networks_[network].output_size({1, 1, in}).channels != out)
      throw std::invalid_argument("a network has the wrong outputs");
  };
  fits(0, sizes_.frame_inputs(), sizes_.frame);
  fits(1, sizes_.past(), sizes_.stages() + 1);
  fits(2, sizes_.past() + sizes_.stages() + 1, sizes_.context);
  for (size_t i = 0; i < sizes_.codes; ++i)
    fits(kFixed + i, sizes_.context + sizes_.sees[i].size() * sizes_.embedding, sizes_.words);
}

// What one chunk works in.
struct CodePrior::Scratch {
  explicit Scratch(const Sizes& sizes)
      : distances(std::max(sizes.words, padded_to_lanes(kMaxStages + 1))),
        sums(padded_to_lanes(std::max(sizes.cells(), kMaxStages + 2)), 0),
        frequencies(sums.size()) {}
  std::vector<int32_t> distances, sums;
  std::vector<uint32_t> frequencies;
};

// The frames before, the latest ones and running means of all; and how many stages the present one uses.
class CodePrior::Past {
 public:
  explicit Past(const Sizes& sizes)
      : sizes_(sizes),
        values_(sizes.past() + sizes.stages() + 1, 0),
        means_(sizes.frame * sizes.averages.size(), 0),
        newest_(sizes.frame, 0) {}

  const int16_t* values() const { return values_.data(); }
  int16_t* newest() { return newest_.data(); }

  void set_count(size_t count) {
    int16_t* const present = values_.data() + sizes_.past();
    std::fill(present, present + sizes_.stages() + 1, int16_t{0});
    present[count] = kPresent;
  }

  // Takes the frame that was written to `newest`.
  void push() {
    const size_t width = sizes_.frame;
    std::memmove(values_.data() + width, values_.data(), (sizes_.taps - 1) * width * sizeof(int16_t));
    std::copy(newest_.begin(), newest_.end(), values_.begin());
    for (size_t a = 0; a < sizes_.averages.size(); ++a) {
      int32_t* const mean = means_.data() + a * width;
      int16_t* const out = values_.data() + (sizes_.taps + a) * width;
      for (size_t i = 0; i < width; ++i) {
        mean[i] += (newest_[i] * (1 << kAverageShift) - mean[i]) >> sizes_.averages[a];
        out[i] = static_cast<int16_t>((mean[i] + (1 << (kAverageShift - 1))) >> kAverageShift);
      }
    }
  }

 private:
  const Sizes& sizes_;
  std::vector<int16_t> values_;
  std::vector<int32_t> means_;
  std::vector<int16_t> newest_;
};

namespace {

constexpr size_t kStop = SIZE_MAX;

uint32_t start_of(const uint32_t* frequencies, size_t number) {
  uint32_t start = 0;
  for (size_t i = 0; i < number; ++i) start += frequencies[i];
  return start;
}

}  // namespace

void CodePrior::share(const int32_t* weights, size_t count, size_t padded, uint64_t total, Scratch& scratch) const {
  uint32_t* frequencies = scratch.frequencies.data();
  const uint32_t sum = kernels_.shares(weights, padded, share_factor(count, total, kPrecision), frequencies);
  const uint32_t padding = static_cast<uint32_t>(padded - count);  // each of these has a frequency of 1
  frequencies[kernels_.first_largest(weights, padded)] += kWhole - (sum - padding);
}

// Of the cells, each with the weights of all its members.
void CodePrior::cell_frequencies(const int16_t* logits, Scratch& scratch) const {
  const size_t words = sizes_.words, cells = sizes_.cells();
  int32_t* const distances = scratch.distances.data();
  int16_t most = INT16_MIN;
  for (size_t k = 0; k < words; ++k) most = std::max(most, logits[k]);
  for (size_t k = 0; k < words; ++k) distances[k] = -(logits[k] * (1 << kLogitShift));
  std::fill(scratch.sums.begin(), scratch.sums.end(), 0);
  const uint64_t total = kernels_.weights(distances, sizes_.members(), tables_.data(), cells,
                                          -(most * (1 << kLogitShift)), exponentials_, scratch.sums.data());
  share(scratch.sums.data(), cells, padded_to_lanes(cells), total, scratch);
}

// Of the members of one cell, or of the counts.
void CodePrior::few_frequencies(const int16_t* logits, size_t count, Scratch& scratch) const {
  const size_t padded = padded_to_lanes(count);
  int32_t* const distances = scratch.distances.data();
  int16_t most = INT16_MIN;
  for (size_t k = 0; k < count; ++k) {
    most = std::max(most, logits[k]);
    distances[k] = -(logits[k] * (1 << kLogitShift));
  }
  std::fill(distances + count, distances + padded, 1 << 30);  // a weight of zero
  const uint64_t total = kernels_.weights(distances, padded, tables_.data(), 1, -(most * (1 << kLogitShift)),
                                          exponentials_, scratch.sums.data());
  share(distances, count, padded, total, scratch);
}

// Goes through a chunk: next(frequencies, number) codes the number, or says it where codes and counts are to be found
// and are zeros before; kStop ends it. see(logits, t, i, code) is shown what a code is predicted from, and may set it.
template <class Next, class See>
void CodePrior::walk(size_t frames, int32_t* counts, int32_t* codes, const Next& next, const See& see) const {
  if (!frames) return;
  const size_t width = sizes_.embedding, bytes = width * sizeof(int16_t), members = sizes_.members();
  std::vector<integer_network::Runner> runners;
  for (size_t i = 0; i < networks_.size(); ++i) runners.emplace_back(networks_[i], biases_[i].data(), 1);
  Past past(sizes_);
  Scratch scratch(sizes_);
  const uint32_t* const frequencies = scratch.frequencies.data();
  std::vector<int16_t> frame(sizes_.frame_inputs()), logits(std::max(sizes_.words, kMaxStages + 1), 0);
  std::vector<int16_t> in(sizes_.context + sizes_.codes * width);

  const bool same = std::all_of(counts, counts + frames, [&](int32_t c) { return c == counts[0]; });
  few_frequencies(logits.data(), sizes_.stages() + 2, scratch);  // of equal logits
  const size_t mode = next(frequencies, same ? static_cast<size_t>(counts[0]) : sizes_.stages() + 1);
  if (mode == kStop) return;
  for (size_t t = 0; t < frames; ++t) {
    size_t stages = mode;
    if (mode > sizes_.stages()) {
      runners[1].run(past.values(), 1, logits.data());
      few_frequencies(logits.data(), sizes_.stages() + 1, scratch);
      stages = next(frequencies, static_cast<size_t>(counts[t]));
      if (stages == kStop) return;
    }
    counts[t] = static_cast<int32_t>(stages);
    std::fill(frame.begin(), frame.end(), int16_t{0});
    if (stages) {
      past.set_count(stages);
      runners[2].run(past.values(), 1, in.data());
    }
    for (size_t i = 0; i < stages * sizes_.groups; ++i) {
      int16_t* to = in.data() + sizes_.context;
      for (size_t j : sizes_.sees[i]) {
        std::memcpy(to, frame.data() + j * width, bytes);
        to += width;
      }
      runners[kFixed + i].run(in.data(), 1, logits.data());
      int32_t& code = codes[t * sizes_.codes + i];
      see(logits.data(), t, i, code);
      cell_frequencies(logits.data(), scratch);
      const size_t cell = next(frequencies, static_cast<size_t>(code) / members);
      if (cell == kStop) return;
      few_frequencies(logits.data() + cell * members, members, scratch);
      const size_t member = next(frequencies, static_cast<size_t>(code) % members);
      if (member == kStop) return;
      code = static_cast<int32_t>(cell * members + member);
      std::memcpy(frame.data() + i * width, words_.data() + (i * sizes_.words + static_cast<size_t>(code)) * width,
                  bytes);
    }
    if (t + 1 == frames) break;
    frame[sizes_.codes * width + stages] = kPresent;
    runners[0].run(frame.data(), 1, past.newest());
    past.push();
  }
}

template <class Next>
void CodePrior::walk(size_t frames, int32_t* counts, int32_t* codes, const Next& next) const {
  walk(frames, counts, codes, next, [](const int16_t*, size_t, size_t, int32_t) {});
}

std::vector<uint8_t> CodePrior::encode(const Frames& frames) const {
  std::vector<int32_t> counts(frames.counts, frames.counts + frames.count);
  std::vector<int32_t> codes(frames.codes, frames.codes + frames.count * sizes_.codes);
  std::vector<uint32_t> starts, sizes;
  walk(frames.count, counts.data(), codes.data(), [&](const uint32_t* frequencies, size_t number) {
    starts.push_back(start_of(frequencies, number));
    sizes.push_back(frequencies[number]);
    return number;
  });
  rans::Encoder encoder(1);
  if (!starts.empty()) encoder.append_direct(starts.data(), sizes.data(), starts.size(), kPrecision);
  return encoder.finish();
}

rans::Status CodePrior::decode(const uint8_t* data, size_t size, size_t frames, int32_t* codes,
                               int32_t* counts) const {
  rans::Decoder decoder;
  if (decoder.open(data, size) != rans::Status::ok) return decoder.status();
  decoder.begin_step();
  std::fill(counts, counts + frames, 0);
  std::fill(codes, codes + frames * sizes_.codes, 0);
  walk(frames, counts, codes, [&](const uint32_t* frequencies, size_t) {
    uint32_t slot, start = 0;
    size_t number = 0;
    decoder.peek(1, kPrecision, &slot);
    while (start + frequencies[number] <= slot) start += frequencies[number++];  // they sum to more than any slot
    return decoder.advance(&start, frequencies + number, 1, kPrecision) == rans::Status::ok ? number : kStop;
  });
  return decoder.status() == rans::Status::ok ? decoder.finish() : decoder.status();
}

void CodePrior::frequencies(const Frames& frames, uint16_t* of_codes, uint16_t* of_counts) const {
  std::vector<int32_t> counts(frames.counts, frames.counts + frames.count);
  std::vector<int32_t> codes(frames.codes, frames.codes + frames.count * sizes_.codes);
  std::vector<uint16_t> found;
  walk(frames.count, counts.data(), codes.data(), [&](const uint32_t* frequencies, size_t number) {
    found.push_back(static_cast<uint16_t>(frequencies[number]));
    return number;
  });
  std::fill(of_counts, of_counts + frames.count + 1, static_cast<uint16_t>(kWhole));
  if (found.empty()) return;
  const uint16_t* from = found.data();
  size_t symbols = 0;
  for (size_t t = 0; t < frames.count; ++t) symbols += 2 * sizes_.groups * static_cast<size_t>(counts[t]);
  const bool varying = found.size() > 1 + symbols;
  of_counts[0] = *from++;
  for (size_t t = 0; t < frames.count; ++t) {
    if (varying) of_counts[1 + t] = *from++;
    const size_t own = 2 * sizes_.groups * static_cast<size_t>(counts[t]);
    std::copy(from, from + own, of_codes + t * sizes_.codes * 2);
    from += own;
  }
}

void CodePrior::choose(const Latents& latents, const int32_t* given, float weight, int32_t* codes) const {
  constexpr size_t kTile = 16;  // divides the number of words
  const size_t words = sizes_.words, width = latents.width, groups = sizes_.groups;
  std::vector<int32_t> counts(given, given + latents.count);
  std::vector<float> rest(groups * width), distances(words), norms(sizes_.codes * words, 0.0f);
  for (size_t i = 0; i < sizes_.codes; ++i) {
    for (size_t d = 0; d < width; ++d) {
      const float* const row = latents.books + (i * width + d) * words;
      for (size_t k = 0; k < words; ++k) norms[i * words + k] += row[k] * row[k];
    }
  }
  std::fill(codes, codes + latents.count * sizes_.codes, 0);
  const auto see = [&](const int16_t* logits, size_t t, size_t i, int32_t& code) {
    if (i == 0) std::copy_n(latents.values + t * groups * width, groups * width, rest.begin());
    float* const own = rest.data() + static_cast<size_t>(latents.layout[i]) * width;
    const float* const book = latents.books + i * width * words;
    float size = 0.0f;
    for (size_t d = 0; d < width; ++d) size += own[d] * own[d];
    float least = std::numeric_limits<float>::infinity();
    for (size_t k = 0; k < words; k += kTile) {
      float sums[kTile] = {};
      for (size_t d = 0; d < width; ++d) {
        for (size_t j = 0; j < kTile; ++j) sums[j] += own[d] * book[d * words + k + j];
      }
      for (size_t j = 0; j < kTile; ++j) {
        distances[k + j] = size + norms[i * words + k + j] - 2.0f * sums[j];
        least = std::min(least, distances[k + j]);
      }
    }
    const float price = weight * std::max(least, 0.0f) / 256.0f;  // of a unit of the logits
    float best = std::numeric_limits<float>::infinity();
    for (size_t k = 0; k < words; ++k) {
      const float score = distances[k] - price * static_cast<float>(logits[k]);
      if (score < best) {
        best = score;
        code = static_cast<int32_t>(k);
      }
    }
    for (size_t d = 0; d < width; ++d) own[d] -= book[d * words + static_cast<size_t>(code)];
  };
  walk(latents.count, counts.data(), codes, [](const uint32_t*, size_t number) { return number; }, see);
}

void CodePrior::logits(const Frames& frames, int16_t* out) const {
  std::vector<int32_t> counts(frames.counts, frames.counts + frames.count);
  std::vector<int32_t> codes(frames.codes, frames.codes + frames.count * sizes_.codes);
  walk(
      frames.count, counts.data(), codes.data(), [](const uint32_t*, size_t number) { return number; },
      [&](const int16_t* logits, size_t t, size_t i, int32_t) {
        std::copy(logits, logits + sizes_.words, out + (t * sizes_.codes + i) * sizes_.words);
      });
}

}  // namespace siglum::code_prior

// One pass of a float network: what each thread does with the rows of a layer.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "float_network.hpp"
#include "parallel.hpp"

namespace siglum::float_network {
namespace {

constexpr std::size_t macs_per_thread = 1 << 22;  // below this, waking a thread costs more than it saves
constexpr std::size_t band_floats = 24 * 1024;    // of the widest activations that pass through a block together
constexpr std::size_t shares = 3;                 // parts of a layer a thread, so that a slow one does fewer

}  // namespace

class Network::Run {
 public:
  Run(const Network& network, const Source& in, const float* gains, const Target& out, std::size_t top,
      std::size_t left, std::size_t threads)
      : network_(network), kernels_(*network.kernels_), in_(in), gains_(gains), out_(out), top_(top), left_(left),
        team_(threads) {}

  // Activations pass between two parts of the memory; a third one holds what is kept aside.
  void operator()(Size size) {
    std::size_t largest = elements(size), largest_aside = 0;
    Size next = size;
    for (const Layer& layer : network_.layers_) {
      const Size result = after(layer, next);
      std::size_t& part = layer.branch == Branch::aside || ends_aside(layer) ? largest_aside : largest;
      part = std::max(part, elements(result));
      if (layer.branch != Branch::aside) next = result;
    }
    Buffer memory = network_.store_.take(2 * largest + largest_aside);
    float *current = memory.data(), *other = current + largest, *const aside = other + largest;

    rows(size.height, [&](std::size_t begin, std::size_t end) { read(size, current, begin, end); });
    if (network_.input_ == Input::scaled) gains_ += network_.in_channels_;
    for (const Layer& layer : network_.layers_) {
      const bool keep = layer.branch == Branch::aside;
      next = after(layer, size);
      float* const result = keep || ends_aside(layer) ? aside : other;
      run(layer, size, current, next, aside, result);
      if (layer.gained) gains_ += layer.out_channels;
      if (keep) continue;
      other = current;
      current = result;
      size = next;
    }
    rows(out_rows(), [&](std::size_t begin, std::size_t end) { write(size, current, begin, end); });
    network_.store_.give(std::move(memory));
  }

 private:
  // The last layer adds its result to what was kept aside where that lies.
  bool ends_aside(const Layer& layer) const {
    return layer.branch == Branch::add && &layer == &network_.layers_.back();
  }

  static std::size_t elements(Size size) { return size.height * size.width * stride_of(size.channels); }

  // Splits [0, count) into parts that the threads take as they get free.
  template <class F>
  void rows(std::size_t count, const F& function) {
    const std::size_t parts = team_.size() == 1 ? 1 : std::min(count, shares * team_.size());
    std::atomic<std::size_t> next{0};
    team_.rows(team_.size(), [&](std::size_t, std::size_t) {
      for (std::size_t part = next++; part < parts; part = next++) {
        function(count * part / parts, count * (part + 1) / parts);
      }
    });
  }

  void run(const Layer& layer, Size size, const float* in, Size next, const float* aside, float* out) {
    if (layer.kind == Kind::block) {
      rows(size.height, [&](std::size_t begin, std::size_t end) { block(layer, size, in, out, begin, end); });
      return;
    }
    if (layer.kind == Kind::depthwise) {
      const std::vector<float> outside(size.width * stride_of(size.channels), 0.0f);
      rows(size.height, [&](std::size_t begin, std::size_t end) {
        const std::size_t row = outside.size();
        for (std::size_t y = begin; y < end; ++y) {
          const float* centre = in + y * row;
          depthwise(layer, size, y > 0 ? centre - row : outside.data(), centre,
                    y + 1 < size.height ? centre + row : outside.data(), out + y * row);
        }
      });
      return;
    }
    std::vector<float> gain;
    if (layer.gained) gain = padded_gain(layer);
    const Weights& weights = layer.matrices[0];
    const std::size_t step = layer.grid == Grid::down ? 2 : 1;
    rows(size.height / step, [&](std::size_t begin, std::size_t end) {
      for (std::size_t y = begin; y < end; ++y) {
        pointwise_row(weights, layer, size, in, y, layer.gained ? gain.data() : nullptr, next, aside, out);
      }
    });
  }

  // Row y of a layer on its own: of its output, or of its input where a position becomes a cell.
  void pointwise_row(const Weights& weights, const Layer& layer, Size size, const float* in, std::size_t y,
                     const float* gain, Size next, const float* aside, float* out) {
    const bool down = layer.grid == Grid::down, up = layer.grid == Grid::up;
    const std::size_t row = size.width * weights.in_stride;
    const Operand operand = {in + (down ? 2 * y : y) * row, weights.in_stride * (down ? 2 : 1), weights.segments, row,
                             weights.depth};
    const std::size_t columns = weights.out_stride * (up ? 2 : 1), out_row = next.width * weights.out_stride;
    for (std::size_t half = 0; half < weights.halves; ++half) {
      const std::size_t offset = (weights.halves * y + half) * out_row, first = half * columns;
      const Epilogue epilogue = {weights.bias.data() + first, gain ? gain + first : nullptr,
                                 layer.branch == Branch::add ? aside + offset : nullptr, columns, layer.activation};
      product(weights, first, operand, epilogue, out + offset, columns, down ? size.width / 2 : size.width);
    }
  }

  std::vector<float> padded_gain(const Layer& layer) const {
    const std::size_t cells = layer.grid == Grid::up ? 4 : 1, cell = layer.out_channels / cells;
    const std::size_t stride = stride_of(cell);
    std::vector<float> gain(cells * stride, 0.0f);
    for (std::size_t i = 0; i < cells; ++i) std::copy_n(gains_ + i * cell, cell, gain.data() + i * stride);
    return gain;
  }

  void depthwise(const Layer& layer, Size size, const float* above, const float* centre, const float* below,
                 float* out) const {
    const std::size_t stride = stride_of(size.channels);
    kernels_.depthwise(above, centre, below, size.width, stride, layer.taps.data(), layer.tap_bias.data(),
                       stride / kernels_.width, out);
  }

  void multiply(const Weights& weights, const float* in, const float* residual, bool activation, float* out,
                std::size_t positions) const {
    const Epilogue epilogue = {weights.bias.data(), nullptr, residual, weights.out_stride, activation};
    product(weights, 0, {in, weights.in_stride, 1, 0, weights.depth}, epilogue, out, weights.out_stride, positions);
  }

  // The layer's output channels from `first` on.
  void product(const Weights& weights, std::size_t first, const Operand& in, const Epilogue& epilogue, float* out,
               std::size_t out_stride, std::size_t positions) const {
    const std::size_t skipped = first * weights.rows;
    if (weights.rounded.empty()) {
      kernels_.pointwise(in, weights.weight.data() + skipped, weights.blocks, epilogue, out, out_stride, positions);
    } else {
      network_.rounded_(in, weights.rounded.data() + skipped, weights.blocks, epilogue, out, out_stride, positions);
    }
  }

  // Rows [begin, end) of a block, a band at a time, so that all between its input and its output stays in cache.
  // `entered` holds the rows of act(enter(x)) that the band's 3x3 layer sees.
  void block(const Layer& layer, Size size, const float* in, float* out, std::size_t begin, std::size_t end) const {
    const Weights &enter = layer.matrices[0], &leave = layer.matrices[1], &widen = layer.matrices[2],
                  &narrow = layer.matrices[3];
    const std::size_t row = size.width * enter.in_stride, wide = size.width * widen.out_stride;
    const std::size_t band = std::min(end - begin, std::max<std::size_t>(1, band_floats / wide));
    const Buffer entered((band + 2) * row), mixed(band * row), widened(band * wide);
    std::size_t ready = begin > 0 ? begin - 1 : 0;  // rows before this one are entered
    for (std::size_t first = begin; first < end; first += band) {
      const std::size_t last = std::min(first + band, end), needed = std::min(last + 1, size.height);
      const std::size_t oldest = first > 0 ? first - 1 : 0;  // the row that lies at entered + row, or + 0 before it
      float* const origin = entered.data() + (first > 0 ? 0 : row);
      if (first == 0) std::fill_n(entered.data(), row, 0.0f);
      if (first > begin) std::memmove(entered.data(), entered.data() + band * row, 2 * row * sizeof(float));
      multiply(enter, in + ready * row, nullptr, true, origin + (ready - oldest) * row, (needed - ready) * size.width);
      ready = needed;
      if (last == size.height) std::fill_n(entered.data() + (last - first + 1) * row, row, 0.0f);
      for (std::size_t y = first; y < last; ++y) {
        const float* above = entered.data() + (y - first) * row;
        depthwise(layer, size, above, above + row, above + 2 * row, mixed.data() + (y - first) * row);
      }
      const std::size_t positions = (last - first) * size.width;
      float* to = out + first * row;
      multiply(leave, mixed.data(), in + first * row, false, to, positions);
      multiply(widen, to, nullptr, true, widened.data(), positions);
      multiply(narrow, widened.data(), to, false, to, positions);
    }
  }

  // Rows of the first activations; positions beyond the input repeat its edge.
  void read(Size size, float* out, std::size_t begin, std::size_t end) const {
    const std::size_t channels = size.channels, stride = stride_of(channels);
    for (std::size_t y = begin; y < end; ++y) {
      for (std::size_t x = 0; x < size.width; ++x) {
        float* to = out + (y * size.width + x) * stride;
        if (network_.input_ == Input::samples) {
          read_patch(y * patch, x * patch, to);
        } else {
          const Plane<const float>& plane = in_.floats;
          const float* from = at(plane, std::min(y, plane.height - 1), std::min(x, plane.width - 1));
          if (network_.input_ == Input::asinh) {
            kernels_.asinh(from, to, channels);
          } else if (network_.input_ == Input::scaled) {
            for (std::size_t c = 0; c < channels; ++c) to[c] = from[c] * gains_[c];
          } else {
            std::copy_n(from, channels, to);
          }
        }
        std::fill(to + channels, to + stride, 0.0f);
      }
    }
  }

  void read_patch(std::size_t y, std::size_t x, float* to) const {
    const Plane<const std::uint8_t>& plane = in_.samples;
    const bool inside = x + patch <= plane.width && plane.pixel == 3;
    for (std::size_t i = 0; i < patch; ++i, to += 3 * patch) {
      const std::size_t row = std::min(y + i, plane.height - 1);
      std::uint8_t edge[3 * patch];
      const std::uint8_t* from = edge;
      if (inside) {
        from = at(plane, row, x);
      } else {
        for (std::size_t j = 0; j < patch; ++j) std::copy_n(at(plane, row, std::min(x + j, plane.width - 1)), 3, edge + 3 * j);
      }
      kernels_.samples_in(from, to, 3 * patch);
    }
  }

  // Rows that the output needs: of samples, those of patches that it touches.
  std::size_t out_rows() const {
    if (network_.output_ == Output::floats) return out_.floats.height;
    return (top_ + out_.samples.height + patch - 1) / patch - top_ / patch;
  }

  void write(Size size, const float* in, std::size_t begin, std::size_t end) const {
    const std::size_t channels = size.channels, stride = stride_of(channels);
    if (network_.output_ == Output::floats) {
      for (std::size_t y = begin; y < end; ++y) {
        for (std::size_t x = 0; x < out_.floats.width; ++x) {
          std::copy_n(in + ((top_ + y) * size.width + left_ + x) * stride, channels, at(out_.floats, y, x));
        }
      }
      return;
    }
    for (std::size_t y = top_ / patch + begin; y < top_ / patch + end; ++y) {
      for (std::size_t x = left_ / patch; x * patch < left_ + out_.samples.width; ++x) {
        write_patch(in + (y * size.width + x) * stride, y * patch, x * patch);
      }
    }
  }

  // The part of a patch that lies in the output; y and x are those of its first pixel in the whole result.
  void write_patch(const float* in, std::size_t y, std::size_t x) const {
    const Plane<std::uint8_t>& plane = out_.samples;
    std::uint8_t samples[patch_channels];
    kernels_.samples_out(in, samples, patch_channels);
    const std::size_t first_row = std::max(y, top_), last_row = std::min(y + patch, top_ + plane.height);
    const std::size_t first = std::max(x, left_), last = std::min(x + patch, left_ + plane.width);
    for (std::size_t row = first_row; row < last_row; ++row) {
      const std::uint8_t* from = samples + ((row - y) * patch + first - x) * 3;
      if (plane.pixel == 3) {
        std::memcpy(at(plane, row - top_, first - left_), from, 3 * (last - first));
      } else {
        for (std::size_t i = first; i < last; ++i, from += 3) std::copy_n(from, 3, at(plane, row - top_, i - left_));
      }
    }
  }

  template <class T>
  static T* at(const Plane<T>& plane, std::size_t y, std::size_t x) {
    return plane.data + static_cast<std::ptrdiff_t>(y) * plane.row + static_cast<std::ptrdiff_t>(x) * plane.pixel;
  }

  const Network& network_;
  const Kernels& kernels_;
  const Source& in_;
  const float* gains_;
  const Target& out_;
  const std::size_t top_, left_;
  Team team_;
};

void Network::run(const Source& in, const float* gains, const Target& out, std::size_t top, std::size_t left,
                  std::size_t threads) const {
  const bool samples = input_ == Input::samples;
  const std::size_t height = samples ? in.samples.height : in.floats.height;
  const std::size_t width = samples ? in.samples.width : in.floats.width;
  const Size whole = output_size(height, width);
  const bool pixels = output_ == Output::samples;
  const std::size_t rows = pixels ? out.samples.height : out.floats.height;
  const std::size_t columns = pixels ? out.samples.width : out.floats.width;
  if (!rows || !columns || top > whole.height || rows > whole.height - top || left > whole.width ||
      columns > whole.width - left) {
    throw std::invalid_argument("the output is no part of the result");
  }
  Size size = grid_of(height, width);
  const Size first = size;
  std::size_t macs = 0;
  for (const Layer& layer : layers_) {
    const Size next = after(layer, size);
    const std::size_t positions = layer.grid == Grid::down ? next.height * next.width : size.height * size.width;
    for (const Weights& weights : layer.matrices) macs += positions * weights.rows * weights.bias.size();
    if (layer.branch != Branch::aside) size = next;
  }
  Run(*this, in, gains, out, top, left, std::max<std::size_t>(1, std::min(threads, 1 + macs / macs_per_thread)))(first);
}

}  // namespace siglum::float_network

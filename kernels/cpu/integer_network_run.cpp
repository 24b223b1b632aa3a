// Running an integer network: its layers over images and over single positions.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "integer_network.hpp"

namespace siglum::integer_network {
namespace {

constexpr std::size_t run_elements = 1 << 16;  // of the activations of a run of positions: they stay in the cache
constexpr std::size_t macs_per_thread = 1 << 22;  // below this, waking a thread costs more than it saves
constexpr std::size_t shares = 8;                 // parts of a layer a thread, so that a slow one does fewer

void copy_positions(const std::int16_t* in, std::size_t in_stride, std::int16_t* out, std::size_t out_stride,
                    std::size_t channels, std::size_t positions) {
  for (std::size_t p = 0; p < positions; ++p) {
    std::memcpy(out + p * out_stride, in + p * in_stride, channels * sizeof(std::int16_t));
  }
}

// As `copy_positions`, to padded positions.
void copy_padded(const std::int16_t* in, std::size_t in_stride, std::int16_t* out, std::size_t channels,
                 std::size_t positions) {
  const std::size_t stride = stride_of(channels);
  copy_positions(in, in_stride, out, stride, channels, positions);
  for (std::size_t p = 0; p < positions; ++p) std::fill(out + p * stride + channels, out + (p + 1) * stride, std::int16_t{0});
}

// out[2h + i, 2w + j, c] = in[h, w, 4c + 2i + j], or, by part, in[h, w, (2i + j) * channels / 4 + c]
void pixel_shuffle(const std::int16_t* in, Size size, bool by_part, std::int16_t* out, std::size_t begin,
                   std::size_t end) {
  const std::size_t channels = size.channels / 4, in_stride = stride_of(size.channels), out_stride = stride_of(channels);
  for (std::size_t y = begin; y < end; ++y) {
    for (std::size_t x = 0; x < size.width; ++x) {
      const std::int16_t* from = in + (y * size.width + x) * in_stride;
      for (std::size_t part = 0; part < 4; ++part) {
        const std::size_t row = 2 * y + part / 2, column = 2 * x + part % 2;
        std::int16_t* to = out + (row * 2 * size.width + column) * out_stride;
        if (by_part) {
          std::memcpy(to, from + part * channels, channels * sizeof(std::int16_t));
        } else {
          for (std::size_t c = 0; c < channels; ++c) to[c] = from[4 * c + part];
        }
        std::fill(to + channels, to + out_stride, std::int16_t{0});
      }
    }
  }
}

}  // namespace

Biased::Biased(const Network& network, const std::int32_t* biases) : network_(&network) {
  const std::vector<Network::Layer>& layers = network.layers_;
  if (layers.empty()) throw std::invalid_argument("a network needs layers");
  widest_ = stride_of(layers.front().in_channels);
  for (const Network::Layer& layer : layers) {
    const std::size_t count = layer.out_channels;
    padded_.emplace_back(layer.blocks * network.kernels_->width, 0);
    for (std::size_t o = 0; o < count; ++o) padded_.back()[layer.by_part ? shuffled(o, count) : o] = biases[o];
    biases += count;
    requantisations_.push_back({padded_.back().data(), layer.multiplier.data(), layer.shift, layer.low, layer.high});
    widest_ = std::max(widest_, stride_of(count));
  }
}

void Biased::run_positions(const std::int16_t* in, std::size_t in_stride, std::size_t count, Buffers& buffers,
                           std::int16_t* out, std::size_t out_stride) const {
  const std::vector<Network::Layer>& layers = network_->layers_;
  const std::int16_t* from = in;
  std::size_t stride = in_stride;
  if (in_stride == layers.front().in_channels && in_stride % 2) {  // whole pairs are read
    std::int16_t* const copy = buffers.besides(nullptr);
    copy_padded(in, in_stride, copy, in_stride, count);
    from = copy;
    stride = stride_of(in_stride);
  }
  for (std::size_t index = 0; index < layers.size(); ++index) {
    const Network::Layer& layer = layers[index];
    const std::size_t padded = stride_of(layer.out_channels);
    const bool last = index + 1 == layers.size() && out_stride >= padded;
    std::int16_t* const to = last ? out : buffers.besides(from);
    const std::size_t to_stride = last ? out_stride : padded;
    network_->kernels_->pointwise(from, stride, (layer.in_channels + 1) / 2, layer.weight.data(), layer.blocks,
                                  requantisations_[index], to, to_stride, count);
    from = to;
    stride = to_stride;
  }
  if (from != out) copy_positions(from, stride, out, out_stride, layers.back().out_channels, count);
}

void Biased::run_image(const std::int16_t* in, std::size_t in_stride, Size size, std::int16_t* out,
                       std::size_t out_stride, Team& team) const {
  const std::vector<Network::Layer>& layers = network_->layers_;
  const Kernels& kernels = *network_->kernels_;
  std::size_t largest = size.height * size.width * stride_of(size.channels);
  Size next = size;
  for (const Network::Layer& layer : layers) {
    next = layer.kind == Kind::pixel_shuffle ? Size{next.height * 2, next.width * 2, next.channels / 4}
                                             : Size{next.height, next.width, layer.out_channels};
    largest = std::max(largest, next.height * next.width * stride_of(next.channels));
  }
  Buffers buffers(largest);
  const std::int16_t* from = in;
  if (stride_of(size.channels) != in_stride) {
    std::int16_t* const copy = buffers.besides(nullptr);
    copy_padded(in, in_stride, copy, size.channels, size.height * size.width);
    from = copy;
  }
  bool by_part = false;
  for (std::size_t index = 0; index < layers.size(); ++index) {
    const Network::Layer& layer = layers[index];
    const Requantisation& requantisation = requantisations_[index];
    const std::size_t stride = stride_of(size.channels);
    next = layer.kind == Kind::pixel_shuffle ? Size{size.height * 2, size.width * 2, size.channels / 4}
                                             : Size{size.height, size.width, layer.out_channels};
    const std::size_t to_stride = stride_of(next.channels);
    std::int16_t* const to = index + 1 == layers.size() && out_stride == to_stride ? out : buffers.besides(from);
    const std::size_t length = team.size() == 1 ? size.height : (size.height - 1) / (shares * team.size()) + 1;
    team.parts(size.height, length, [&](std::size_t begin, std::size_t end) {
      switch (layer.kind) {
        case Kind::pointwise:
          kernels.pointwise(from + begin * size.width * stride, stride, (layer.in_channels + 1) / 2,
                            layer.weight.data(), layer.blocks, requantisation, to + begin * size.width * to_stride,
                            to_stride, (end - begin) * size.width);
          break;
        case Kind::depthwise:
          kernels.depthwise(from, stride, size.height, size.width, layer.weight.data(), layer.blocks, requantisation,
                            to, begin, end);
          break;
        case Kind::pixel_shuffle:
          pixel_shuffle(from, size, by_part, to, begin, end);
      }
    });
    by_part = layer.by_part;
    size = next;
    from = to;
  }
  if (from != out) {
    copy_positions(from, stride_of(size.channels), out, out_stride, size.channels, size.height * size.width);
  }
}

void Network::run(const std::int16_t* in, std::size_t images, Size input, const std::int32_t* biases,
                  std::int16_t* out, std::size_t threads) const {
  const Size output = output_size(input);
  const Biased biased(*this, biases);
  std::size_t macs = 0;
  Size size = input;
  for (const Layer& layer : layers_) {
    if (layer.kind == Kind::pixel_shuffle) size = {size.height * 2, size.width * 2, 0};
    macs += size.height * size.width * layer.weight.size() / 2;
  }
  Team team(std::max<std::size_t>(1, std::min({threads, input.height, 1 + macs / macs_per_thread})));
  if (is_local()) {  // run after run of positions through all layers, so that they stay in the cache
    const std::size_t run = 1 + run_elements / biased.widest();
    team.rows(images * input.height * input.width, [&](std::size_t begin, std::size_t end) {
      Buffers buffers(std::min(run, end - begin) * biased.widest());
      for (; begin < end; begin += run) {
        biased.run_positions(in + begin * input.channels, input.channels, std::min(run, end - begin), buffers,
                             out + begin * output.channels, output.channels);
      }
    });
    return;
  }
  const std::size_t in_elements = input.height * input.width * input.channels;
  const std::size_t out_elements = output.height * output.width * output.channels;
  for (std::size_t image = 0; image < images; ++image, in += in_elements, out += out_elements) {
    biased.run_image(in, input.channels, input, out, output.channels, team);
  }
}

Runner::Runner(const Network& network, const std::int32_t* biases, std::size_t most_positions)
    : biased_(network, biases), inputs_(network.inputs()), outputs_(network.outputs()),
      buffers_(most_positions * biased_.widest()) {
  if (!network.is_local()) throw std::invalid_argument("only pointwise layers run position by position");
}

void Runner::run(const std::int16_t* in, std::size_t count, std::int16_t* out) {
  biased_.run_positions(in, inputs_, count, buffers_, out, outputs_);
}

}  // namespace siglum::integer_network

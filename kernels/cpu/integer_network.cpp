#include "integer_network.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "isa.hpp"

namespace siglum::integer_network {
namespace {

constexpr std::size_t max_elements = std::size_t{1}
                                     << 40;       // of one layer's activations; far above any memory

std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

void check_elements(Size size) {
  const std::size_t stride = stride_of(size.channels);
  if (size.width > max_elements / stride || size.height > max_elements / stride / size.width) {
    throw std::invalid_argument("the activations are too large");
  }
}

}  // namespace

const Kernels* find_kernels(const char* isa) {
  if (!cpu_has(isa)) return nullptr;
  if (!std::strcmp(isa, "avx2")) return avx2_kernels();
  if (!std::strcmp(isa, "avx512")) return avx512_kernels();
  return scalar_kernels();  // of NEON too: compilers vectorise it for that
}

void Network::add(Layer layer, const std::int32_t* multiplier) {
  if (layer.shift < 1 || layer.shift > 46) throw std::invalid_argument("the shift must be 1 to 46");
  if (layer.low > layer.high || layer.low < -32768 || layer.high > 32767) {
    throw std::invalid_argument("low and high must be an interval of int16");
  }
  layer.multiplier.assign(layer.blocks * kernels_->width, 0);
  for (std::size_t c = 0; c < layer.out_channels; ++c) {
    if (multiplier[c] < 0) throw std::invalid_argument("a multiplier must not be negative");
    layer.multiplier[c] = multiplier[c];
  }
  bias_count_ += layer.out_channels;
  layers_.push_back(std::move(layer));
}

void Network::add_pointwise(const std::int8_t* weight, std::size_t out_channels, std::size_t in_channels,
                            const std::int32_t* multiplier, int shift, std::int32_t low, std::int32_t high) {
  if (!out_channels || !in_channels) throw std::invalid_argument("a layer needs channels");
  const std::size_t width = kernels_->width, blocks = ceil_div(out_channels, width),
                    pairs = ceil_div(in_channels, 2);
  std::vector<std::int16_t> packed(blocks * pairs * width * 2, 0);
  for (std::size_t o = 0; o < out_channels; ++o) {
    for (std::size_t i = 0; i < in_channels; ++i) {
      packed[((o / width * pairs + i / 2) * width + o % width) * 2 + i % 2] = weight[o * in_channels + i];
    }
  }
  add({Kind::pointwise, in_channels, out_channels, blocks, std::move(packed), {}, shift, low, high},
      multiplier);
}

void Network::add_depthwise(const std::int8_t* weight, std::size_t channels, const std::int32_t* multiplier,
                            int shift, std::int32_t low, std::int32_t high) {
  if (!channels) throw std::invalid_argument("a layer needs channels");
  const std::size_t width = kernels_->width, blocks = ceil_div(channels, width);
  std::vector<std::int16_t> packed(blocks * 9 * width * 2, 0);
  for (std::size_t tap = 0; tap < 9; ++tap) {
    for (std::size_t c = 0; c < channels; ++c) {
      packed[((c / width * 9 + tap) * width + c % width) * 2] = weight[tap * channels + c];
    }
  }
  add({Kind::depthwise, channels, channels, blocks, std::move(packed), {}, shift, low, high}, multiplier);
}

// The layer before a pixel shuffle gives its channels in the order (part, channel) instead of (channel, part): what is
// shuffled then are whole runs of channels.
void Network::add_pixel_shuffle() {
  if (!layers_.empty() && layers_.back().kind == Kind::pointwise && layers_.back().out_channels % 4 == 0) {
    Layer& layer = layers_.back();
    const std::size_t width = kernels_->width, pairs = ceil_div(layer.in_channels, 2), count = layer.out_channels;
    std::vector<std::int16_t> weight(layer.weight.size(), 0);
    std::vector<std::int32_t> multiplier(layer.multiplier.size(), 0);
    for (std::size_t o = 0; o < count; ++o) {
      const std::size_t to = shuffled(o, count);
      multiplier[to] = layer.multiplier[o];
      for (std::size_t k = 0; k < pairs; ++k) {
        std::copy_n(&layer.weight[((o / width * pairs + k) * width + o % width) * 2], 2,
                    &weight[((to / width * pairs + k) * width + to % width) * 2]);
      }
    }
    layer.weight = std::move(weight);
    layer.multiplier = std::move(multiplier);
    layer.by_part = true;
  }
  layers_.push_back({Kind::pixel_shuffle, 0, 0, 0, {}, {}, 1, 0, 0});
}

Size Network::output_size(Size size) const {
  if (!size.height || !size.width || !size.channels) throw std::invalid_argument("an image without pixels");
  check_elements(size);
  for (const Layer& layer : layers_) {
    if (layer.kind == Kind::pixel_shuffle) {
      if (size.channels % 4) throw std::invalid_argument("a pixel shuffle needs a multiple of 4 channels");
      size = {size.height * 2, size.width * 2, size.channels / 4};
    } else {
      if (layer.in_channels != size.channels)
        throw std::invalid_argument("a layer gets the wrong number of channels");
      size.channels = layer.out_channels;
    }
    check_elements(size);
  }
  return size;
}

bool Network::is_local() const {
  return std::all_of(layers_.begin(), layers_.end(), [](const Layer& layer) { return layer.kind == Kind::pointwise; });
}

}  // namespace siglum::integer_network

#include "integer_network.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>

#include "isa.hpp"

namespace siglum::integer_network {
namespace {

constexpr std::size_t max_elements = std::size_t{1}
                                     << 40;       // of one layer's activations; far above any memory
constexpr std::size_t run_elements = 1 << 16;  // of the activations of a run of positions: they stay in the cache
constexpr std::size_t macs_per_thread = 1 << 24;  // below this, waking a thread costs more than it saves

// Channels between two positions in a buffer: whole vectors of every variant. What lies in the padding meets
// weights of zero only.
std::size_t stride_of(std::size_t channels) { return (channels + 15) / 16 * 16; }

std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

void check_elements(Size size) {
  const std::size_t stride = stride_of(size.channels);
  if (size.width > max_elements / stride || size.height > max_elements / stride / size.width) {
    throw std::invalid_argument("the activations are too large");
  }
}

void copy_channels(const std::int16_t* in, std::size_t in_stride, std::int16_t* out, std::size_t out_stride,
                   std::size_t channels, std::size_t positions) {
  for (std::size_t p = 0; p < positions; ++p) {
    std::memcpy(out + p * out_stride, in + p * in_stride, channels * sizeof(std::int16_t));
    std::fill(out + p * out_stride + channels, out + (p + 1) * out_stride, std::int16_t{0});
  }
}

void copy_out(const std::int16_t* in, std::size_t stride, std::int16_t* out, std::size_t channels,
              std::size_t positions) {
  if (stride == channels) {
    std::memcpy(out, in, positions * channels * sizeof(std::int16_t));
    return;
  }
  for (std::size_t p = 0; p < positions; ++p) {
    std::memcpy(out + p * channels, in + p * stride, channels * sizeof(std::int16_t));
  }
}

// out[2h + i, 2w + j, c] = in[h, w, 4c + 2i + j]
void pixel_shuffle(const std::int16_t* in, Size size, std::int16_t* out, std::size_t begin, std::size_t end) {
  const std::size_t in_stride = stride_of(size.channels), out_stride = stride_of(size.channels / 4);
  for (std::size_t y = begin; y < end; ++y) {
    for (std::size_t x = 0; x < size.width; ++x) {
      const std::int16_t* from = in + (y * size.width + x) * in_stride;
      for (std::size_t part = 0; part < 4; ++part) {
        const std::size_t row = 2 * y + part / 2, column = 2 * x + part % 2;
        std::int16_t* to = out + (row * 2 * size.width + column) * out_stride;
        for (std::size_t c = 0; c < size.channels / 4; ++c) to[c] = from[4 * c + part];
        std::fill(to + size.channels / 4, to + out_stride, std::int16_t{0});
      }
    }
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

void Network::add_pixel_shuffle() { layers_.push_back({Kind::pixel_shuffle, 0, 0, 0, {}, {}, 1, 0, 0}); }

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

// Activations between two layers. Not cleared: whoever fills them also fills what is read of their padding.
class Network::Buffers {
 public:
  explicit Buffers(std::size_t elements) : one_(new std::int16_t[elements]), other_(new std::int16_t[elements]) {}

  // The buffer that `used` is not in.
  std::int16_t* besides(const std::int16_t* used) { return used == one_.get() ? other_.get() : one_.get(); }

 private:
  std::unique_ptr<std::int16_t[]> one_, other_;
};

void Network::run(const std::int16_t* in, std::size_t images, Size input, const std::int32_t* biases,
                  std::int16_t* out, std::size_t threads) const {
  const Size output = output_size(input);
  const std::size_t in_elements = input.height * input.width * input.channels;
  const std::size_t out_elements = output.height * output.width * output.channels;

  std::size_t widest = stride_of(input.channels), largest = input.height * input.width * widest, macs = 0;
  bool local = true;
  std::vector<Requantisation> requantisations;
  std::vector<std::vector<std::int32_t>> padded;
  Size size = input;
  for (const Layer& layer : layers_) {
    local = local && layer.kind == Kind::pointwise;
    if (layer.kind == Kind::pixel_shuffle) {
      size = {size.height * 2, size.width * 2, size.channels / 4};
      padded.emplace_back();
    } else {
      macs += size.height * size.width * layer.weight.size() / 2;
      size.channels = layer.out_channels;
      padded.emplace_back(layer.blocks * kernels_->width, 0);
      std::copy(biases, biases + layer.out_channels, padded.back().begin());
      biases += layer.out_channels;
    }
    requantisations.push_back({padded.back().data(), layer.multiplier.data(), layer.shift, layer.low, layer.high});
    widest = std::max(widest, stride_of(size.channels));
    largest = std::max(largest, size.height * size.width * stride_of(size.channels));
  }

  Team team(std::max<std::size_t>(1, std::min({threads, input.height, 1 + macs / macs_per_thread})));
  if (local) {  // run after run of positions through all layers, so that they stay in the cache
    const std::size_t run = 1 + run_elements / widest;
    team.rows(images * input.height * input.width, [&](std::size_t begin, std::size_t end) {
      Buffers buffers(run * widest);
      for (; begin < end; begin += run) {
        const std::size_t count = std::min(run, end - begin);
        run_positions(in + begin * input.channels, count, requantisations, buffers, out + begin * output.channels);
      }
    });
    return;
  }
  Buffers buffers(largest);
  for (std::size_t image = 0; image < images; ++image, in += in_elements, out += out_elements) {
    run_image(in, input, requantisations, buffers, out, team);
  }
}

// Kernels write whole blocks: straight to the result only where a position has nothing besides.
bool Network::writes_nothing_else(const Layer& layer) const {
  return layer.kind != Kind::pixel_shuffle && layer.blocks * kernels_->width == layer.out_channels &&
         stride_of(layer.out_channels) == layer.out_channels;
}

void Network::run_positions(const std::int16_t* in, std::size_t count,
                            const std::vector<Requantisation>& requantisations, Buffers& buffers,
                            std::int16_t* out) const {
  std::size_t channels = layers_.front().in_channels, stride = stride_of(channels);
  const std::int16_t* from = in;
  if (stride != channels) {
    std::int16_t* const copy = buffers.besides(nullptr);
    copy_channels(in, channels, copy, stride, channels, count);
    from = copy;
  }
  for (std::size_t index = 0; index < layers_.size(); ++index) {
    const Layer& layer = layers_[index];
    const std::size_t out_stride = stride_of(layer.out_channels);
    std::int16_t* const to =
        index + 1 == layers_.size() && writes_nothing_else(layer) ? out : buffers.besides(from);
    kernels_->pointwise(from, stride, (layer.in_channels + 1) / 2, layer.weight.data(), layer.blocks,
                        requantisations[index], to, out_stride, count);
    from = to;
    stride = out_stride;
    channels = layer.out_channels;
  }
  if (from != out) copy_out(from, stride, out, channels, count);
}

Runner::Runner(const Network& network, const std::int32_t* biases, std::size_t most_positions) : network_(&network) {
  if (network.layers_.empty()) throw std::invalid_argument("a network needs layers");
  std::size_t widest = stride_of(network.layers_.front().in_channels);
  for (const Network::Layer& layer : network.layers_) {
    if (layer.kind != Kind::pointwise) throw std::invalid_argument("only pointwise layers run position by position");
    padded_.emplace_back(layer.blocks * network.kernels_->width, 0);
    std::copy(biases, biases + layer.out_channels, padded_.back().begin());
    biases += layer.out_channels;
    requantisations_.push_back(
        {padded_.back().data(), layer.multiplier.data(), layer.shift, layer.low, layer.high});
    widest = std::max(widest, stride_of(layer.out_channels));
  }
  buffers_ = std::make_unique<Network::Buffers>(most_positions * widest);
}

Runner::~Runner() = default;
Runner::Runner(Runner&&) noexcept = default;

void Runner::run(const std::int16_t* in, std::size_t count, std::int16_t* out) {
  network_->run_positions(in, count, requantisations_, *buffers_, out);
}

void Network::run_image(const std::int16_t* in, Size size, const std::vector<Requantisation>& requantisations,
                        Buffers& buffers, std::int16_t* out, Team& team) const {
  const std::int16_t* from = in;
  if (stride_of(size.channels) != size.channels) {
    std::int16_t* const copy = buffers.besides(nullptr);
    copy_channels(in, size.channels, copy, stride_of(size.channels), size.channels, size.height * size.width);
    from = copy;
  }
  for (std::size_t index = 0; index < layers_.size(); ++index) {
    const Layer& layer = layers_[index];
    const Requantisation& requantisation = requantisations[index];
    const std::size_t stride = stride_of(size.channels);
    std::int16_t* const to =
        index + 1 == layers_.size() && writes_nothing_else(layer) ? out : buffers.besides(from);
    team.rows(size.height, [&](std::size_t begin, std::size_t end) {
      switch (layer.kind) {
        case Kind::pointwise: {
          const std::size_t out_stride = stride_of(layer.out_channels);
          kernels_->pointwise(from + begin * size.width * stride, stride, (layer.in_channels + 1) / 2,
                              layer.weight.data(), layer.blocks, requantisation,
                              to + begin * size.width * out_stride, out_stride, (end - begin) * size.width);
          break;
        }
        case Kind::depthwise:
          kernels_->depthwise(from, stride, size.height, size.width, layer.weight.data(), layer.blocks,
                              requantisation, to, begin, end);
          break;
        case Kind::pixel_shuffle:
          pixel_shuffle(from, size, to, begin, end);
      }
    });
    if (layer.kind == Kind::pixel_shuffle) {
      size = {size.height * 2, size.width * 2, size.channels / 4};
    } else {
      size.channels = layer.out_channels;
    }
    from = to;
  }
  if (from != out) copy_out(from, stride_of(size.channels), out, size.channels, size.height * size.width);
}

}  // namespace siglum::integer_network

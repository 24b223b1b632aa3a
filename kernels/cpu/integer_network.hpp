// An integer network: layers over int16 activations (height, width, channels), run in one call on a team of
// threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "integer_network_kernels.hpp"
#include "parallel.hpp"

namespace siglum::integer_network {

// The variant of that name ("scalar", "avx2", "avx512"), or nullptr where the CPU or the build lacks it.
const Kernels* find_kernels(const char* isa);

enum class Kind { pointwise, depthwise, pixel_shuffle };

struct Size {
  std::size_t height, width, channels;
};

// Where a pixel shuffle of `count` channels finds channel c if they stand part by part.
constexpr std::size_t shuffled(std::size_t c, std::size_t count) { return c % 4 * (count / 4) + c / 4; }

// Immutable once its layers are added: any number of threads may run it at the same time.
// Throws std::invalid_argument. The caller has checked the static bound of the accumulators.
class Network {
 public:
  explicit Network(const Kernels& kernels) : kernels_(&kernels) {}

  void add_pointwise(const std::int8_t* weight, std::size_t out_channels, std::size_t in_channels,
                     const std::int32_t* multiplier, int shift, std::int32_t low, std::int32_t high);
  void add_depthwise(const std::int8_t* weight, std::size_t channels, const std::int32_t* multiplier,
                     int shift, std::int32_t low, std::int32_t high);
  void add_pixel_shuffle();

  // Size of the output for an input of that size; throws where it does not fit the network or the memory.
  Size output_size(Size input) const;

  // Sum of the output channels of all pointwise and depthwise layers: the length of `biases` below.
  std::size_t bias_count() const { return bias_count_; }

  // Channels of the first and the last layer.
  std::size_t inputs() const { return layers_.empty() ? 0 : layers_.front().in_channels; }
  std::size_t outputs() const { return layers_.empty() ? 0 : layers_.back().out_channels; }

  // Whether a position's output depends on that position alone.
  bool is_local() const;

  // in: images x input; out: images x output_size(input). biases: those of all layers, one after the other.
  void run(const std::int16_t* in, std::size_t images, Size input, const std::int32_t* biases,
           std::int16_t* out, std::size_t threads) const;

 private:
  friend class Biased;
  struct Layer {
    Kind kind;
    std::size_t in_channels, out_channels;  // 0 for a pixel shuffle
    std::size_t blocks;
    std::vector<std::int16_t> weight;      // packed as Kernels says
    std::vector<std::int32_t> multiplier;  // padded to whole blocks
    int shift;
    std::int32_t low, high;
    bool by_part = false;  // output channels stand in the order in which the pixel shuffle after it wants them
  };

  void add(Layer layer, const std::int32_t* multiplier);

  const Kernels* kernels_;
  std::vector<Layer> layers_;
  std::size_t bias_count_ = 0;
};

// Channels between two positions in a buffer: whole vectors of every variant. What lies in the padding meets
// weights of zero only.
constexpr std::size_t stride_of(std::size_t channels) { return (channels + 15) / 16 * 16; }

// Activations between two layers. Not cleared: whoever fills them also fills what is read of their padding.
class Buffers {
 public:
  explicit Buffers(std::size_t elements) : one_(new std::int16_t[elements]), other_(new std::int16_t[elements]) {}

  // The buffer that `used` is not in.
  std::int16_t* besides(const std::int16_t* used) { return used == one_.get() ? other_.get() : one_.get(); }

 private:
  std::unique_ptr<std::int16_t[]> one_, other_;
};

// A network with the biases of its layers: immutable, as it is. The network must outlive it.
class Biased {
 public:
  Biased(const Network& network, const std::int32_t* biases);

  const Network& network() const { return *network_; }

  // The widest of its activations, padded.
  std::size_t widest() const { return widest_; }

  // Of a network that is local, over some positions that lie apart by the strides. `in` is read up to a whole pair of
  // channels, and where out_stride is stride_of(outputs) padding is written. The buffers hold count * widest().
  void run_positions(const std::int16_t* in, std::size_t in_stride, std::size_t count, Buffers& buffers,
                     std::int16_t* out, std::size_t out_stride) const;

  // Over one image whose positions lie apart by the strides, at least as many as their channels.
  void run_image(const std::int16_t* in, std::size_t in_stride, Size size, std::int16_t* out, std::size_t out_stride,
                 Team& team) const;

 private:
  const Network* network_;
  std::vector<std::vector<std::int32_t>> padded_;
  std::vector<Requantisation> requantisations_;
  std::size_t widest_;
};

// Runs a network of pointwise layers alone over a few positions, again and again: biases and buffers are kept, so that
// a single position costs its products and nothing else. For one thread; the network must outlive it.
class Runner {
 public:
  // Throws std::invalid_argument if the network has other layers, or none.
  Runner(const Network& network, const std::int32_t* biases, std::size_t most_positions);

  // count <= most_positions: (count, inputs) -> (count, outputs).
  void run(const std::int16_t* in, std::size_t count, std::int16_t* out);

 private:
  Biased biased_;
  std::size_t inputs_, outputs_;
  Buffers buffers_;
};

}  // namespace siglum::integer_network

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

  // in: images x input; out: images x output_size(input). biases: those of all layers, one after the other.
  void run(const std::int16_t* in, std::size_t images, Size input, const std::int32_t* biases,
           std::int16_t* out, std::size_t threads) const;

 private:
  friend class Runner;
  struct Layer {
    Kind kind;
    std::size_t in_channels, out_channels;  // 0 for a pixel shuffle
    std::size_t blocks;
    std::vector<std::int16_t> weight;      // packed as Kernels says
    std::vector<std::int32_t> multiplier;  // padded to whole blocks
    int shift;
    std::int32_t low, high;
  };

  class Buffers;

  void add(Layer layer, const std::int32_t* multiplier);
  bool writes_nothing_else(const Layer& layer) const;
  // A network of pointwise layers only, over some positions.
  void run_positions(const std::int16_t* in, std::size_t count, const std::vector<Requantisation>& requantisations,
                     Buffers& buffers, std::int16_t* out) const;
  void run_image(const std::int16_t* in, Size size, const std::vector<Requantisation>& requantisations,
                 Buffers& buffers, std::int16_t* out, Team& team) const;

  const Kernels* kernels_;
  std::vector<Layer> layers_;
  std::size_t bias_count_ = 0;
};

// Runs a network of pointwise layers alone over a few positions, again and again: biases and buffers are kept, so that
// a single position costs its products and nothing else. For one thread; the network must outlive it.
class Runner {
 public:
  // Throws std::invalid_argument if the network has other layers, or none.
  Runner(const Network& network, const std::int32_t* biases, std::size_t most_positions);
  ~Runner();
  Runner(Runner&&) noexcept;

  // count <= most_positions: (count, inputs) -> (count, outputs).
  void run(const std::int16_t* in, std::size_t count, std::int16_t* out);

 private:
  const Network* network_;
  std::vector<std::vector<std::int32_t>> padded_;
  std::vector<Requantisation> requantisations_;
  std::unique_ptr<Network::Buffers> buffers_;
};

}  // namespace siglum::integer_network

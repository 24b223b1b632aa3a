// A float network: layers over float32 activations (height, width, channels), run in one call on a team of
// threads. Sums are added in another order by every instruction set: results agree to rounding, not exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "float_network_kernels.hpp"

namespace siglum::float_network {

// The variant of that name ("scalar", "neon", "avx2", "avx512"), or nullptr where the CPU or the build lacks it.
const Kernels* find_kernels(const char* isa);
// Products of bfloat16 where that variant, the CPU and the build have them, or nullptr.
RoundedProducts find_rounded(const char* isa);

// Floats at the start of a cache line, or of a large page; not initialised.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size);
  float* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    std::align_val_t alignment;
    void operator()(float* p) const { ::operator delete(p, alignment); }
  };
  std::size_t size_ = 0;
  std::unique_ptr<float, Free> data_;
};

// Keeps the memory of one run for the next, at most 128 MiB: fresh pages cost a tenth of the time.
class Store {
 public:
  Buffer take(std::size_t size);
  void give(Buffer buffer);

 private:
  std::mutex mutex_;
  Buffer kept_;
};

enum class Kind { pointwise, depthwise, block };
enum class Grid { same, down, up };           // a 2 x 2 cell of positions becomes one, or one becomes a cell
enum class Branch { replace, aside, add };    // of a layer's result: go on with it, keep it, add what was kept
enum class Input { floats, scaled, asinh, samples };
enum class Output { floats, samples };

constexpr std::size_t patch = 8;                          // pixels on a side that one position of samples holds
constexpr std::size_t patch_channels = patch * patch * 3;  // (row, column, colour)

// Floats between two positions: whole vectors of every variant.
std::size_t stride_of(std::size_t channels);

struct Size {
  std::size_t height, width, channels;
};

// Elements of a picture or of latents; the last axis is contiguous.
template <class T>
struct Plane {
  T* data;
  std::size_t height, width;
  std::ptrdiff_t row;    // elements between rows
  std::ptrdiff_t pixel;  // elements between positions
};

// What a run reads or writes: floats, or samples of pictures.
template <class F, class S>
struct Either {
  Plane<F> floats{};
  Plane<S> samples{};
};
using Source = Either<const float, const std::uint8_t>;
using Target = Either<float, std::uint8_t>;

struct Matrix {
  const float* weight;  // (out, in), row-major
  const float* bias;    // (out,)
  std::size_t out, in;
};

// Immutable once its layers are added: any number of threads may run it at the same time.
// Throws std::invalid_argument.
class Network {
 public:
  // channels: of the input, patch_channels for samples. multiple: sides of the input's grid are continued to
  // multiples of it by repeating the edge.
  // Layers that may be rounded use `rounded`, if it is given.
  Network(const Kernels& kernels, RoundedProducts rounded, Input input, std::size_t channels, std::size_t multiple, Output output);

  // Channels of a cell are ordered (row, column, channel). gained: a run gives a factor for each output channel.
  void add_pointwise(const Matrix& matrix, bool activation, Grid grid, Branch branch, bool gained, bool may_round);
  // weight: (3, 3, channels).
  void add_depthwise(const float* weight, const float* bias, std::size_t channels);
  // x += leave(depthwise(act(enter(x)))); x += narrow(act(widen(x))).
  void add_block(const Matrix& enter, const float* weight, const float* bias, const Matrix& leave,
                 const Matrix& widen, const Matrix& narrow, bool may_round);

  Input input() const { return input_; }
  Output output() const { return output_; }
  std::size_t in_channels() const { return in_channels_; }
  std::size_t out_channels() const { return channels_; }
  std::size_t gain_count() const { return gain_count_; }
  // Of an input of height x width pixels or positions; throws where it does not fit the network or the memory.
  Size output_size(std::size_t height, std::size_t width) const;

  // gains: those of the input, then of the layers that take some, one after the other. The output is the part
  // of the result that begins at row `top`, column `left`.
  void run(const Source& in, const float* gains, const Target& out, std::size_t top, std::size_t left,
           std::size_t threads) const;

 private:
  struct Weights {
    std::size_t in_stride, out_stride;      // floats between two positions
    std::size_t segments, depth;            // see Operand
    std::size_t rows;                       // packed input channels
    std::size_t halves, blocks;             // runs of output channels (two for Grid::up), and blocks of each
    std::vector<float> weight, bias;
    std::vector<std::uint16_t> rounded;     // instead of `weight`
  };
  struct Layer {
    Kind kind;
    std::size_t in_channels, out_channels;
    bool activation, gained;
    Grid grid;
    Branch branch;
    std::vector<Weights> matrices;
    std::vector<float> taps, tap_bias;
  };
  class Run;

  Weights pack(const Matrix& matrix, Grid grid, bool may_round) const;
  void pack_taps(const float* weight, const float* bias, Layer& layer) const;
  Size grid_of(std::size_t height, std::size_t width) const;
  static Size after(const Layer& layer, Size size);

  const Kernels* kernels_;
  RoundedProducts rounded_;
  Input input_;
  Output output_;
  std::size_t in_channels_, channels_, multiple_;
  std::size_t aside_ = 0;  // channels of what is kept aside
  std::size_t gain_count_ = 0;
  std::vector<Layer> layers_;
  mutable Store store_;
};

}  // namespace siglum::float_network

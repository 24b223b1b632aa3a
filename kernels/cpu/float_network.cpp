#include "float_network.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstring>
#include <stdexcept>
#include <utility>

#include "isa.hpp"

#include "isa.hpp"

namespace siglum::float_network {
namespace {

constexpr std::size_t max_elements = std::size_t{1} << 40;  // of one layer's activations; far above any memory
constexpr std::size_t large_page = std::size_t{1} << 21;
constexpr std::size_t max_kept = std::size_t{1} << 25;  // floats: enough for the windows of a large picture
constexpr std::size_t max_channels = std::size_t{1} << 16;

// To nearest, ties to even; of numbers, not of what is none.
std::uint16_t round_to_bf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

}  // namespace

std::size_t stride_of(std::size_t channels) { return (channels + 15) / 16 * 16; }

Buffer::Buffer(std::size_t size) : size_(size), data_(nullptr, Free{std::align_val_t{64}}) {
  const std::size_t bytes = size * sizeof(float);
  if (bytes >= large_page) data_.get_deleter().alignment = std::align_val_t{large_page};
  data_.reset(static_cast<float*>(::operator new(bytes, data_.get_deleter().alignment)));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes >= large_page) madvise(data_.get(), bytes / large_page * large_page, MADV_HUGEPAGE);  // only a wish
#endif
}

Buffer Store::take(std::size_t size) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (kept_.size() >= size) return std::exchange(kept_, Buffer());
  }
  return Buffer(size);
}

void Store::give(Buffer buffer) {
  if (buffer.size() > max_kept) return;
  std::lock_guard<std::mutex> lock(mutex_);
  if (buffer.size() > kept_.size()) kept_ = std::move(buffer);
}

const Kernels* find_kernels(const char* isa) {
  if (!cpu_has(isa)) return nullptr;
  if (!std::strcmp(isa, "neon")) return neon_kernels();
  if (!std::strcmp(isa, "avx2")) return avx2_kernels();
  if (!std::strcmp(isa, "avx512")) return avx512_kernels();
  return scalar_kernels();
}

RoundedProducts find_rounded(const char* isa) {
#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
  if (!std::strcmp(isa, "avx512") && find_kernels(isa) && __builtin_cpu_supports("avx512bf16")) return bf16_products();
#else
  static_cast<void>(isa);
#endif
  return nullptr;
}

Network::Network(const Kernels& kernels, RoundedProducts rounded, Input input, std::size_t channels,
                 std::size_t multiple, Output output)
    : kernels_(&kernels), rounded_(rounded), input_(input), output_(output), in_channels_(channels), channels_(channels),
      multiple_(multiple) {
  require(channels >= 1 && channels <= max_channels, "the input needs 1 to 65536 channels");
  require(input != Input::samples || channels == patch_channels, "patches of samples have 192 channels");
  require(multiple >= 1 && multiple <= 64, "the multiple must be 1 to 64");
  if (input == Input::scaled) gain_count_ = channels;
}

Network::Weights Network::pack(const Matrix& matrix, Grid grid, bool may_round) const {
  const std::size_t width = kernels_->width;
  require(matrix.in && matrix.out && matrix.in <= max_channels && matrix.out <= max_channels,
          "a layer needs 1 to 65536 channels");
  require((grid != Grid::down || matrix.in % 4 == 0) && (grid != Grid::up || matrix.out % 4 == 0),
          "a cell has a multiple of 4 channels");
  // Each of the cell's four positions is padded to whole vectors, as it lies in memory.
  const std::size_t in_cell = grid == Grid::down ? matrix.in / 4 : matrix.in;
  const std::size_t out_cell = grid == Grid::up ? matrix.out / 4 : matrix.out;
  Weights result;
  result.in_stride = stride_of(in_cell);
  result.out_stride = stride_of(out_cell);
  result.segments = grid == Grid::down ? 2 : 1;
  result.depth = grid == Grid::down ? 2 * result.in_stride : matrix.in;
  result.halves = grid == Grid::up ? 2 : 1;
  const std::size_t columns = result.out_stride * (grid == Grid::up ? 4 : 1);
  const std::size_t padded_rows = result.segments * stride_of(result.depth);
  const bool rounded = may_round && rounded_ && padded_rows <= max_rounded_rows;
  result.rows = rounded ? padded_rows : result.segments * result.depth;
  result.blocks = columns / width / result.halves;
  result.bias.assign(columns, 0.0f);
  if (rounded) {
    result.rounded.assign(columns * result.rows, 0);
  } else {
    result.weight.assign(columns * result.rows, 0.0f);
  }
  for (std::size_t o = 0; o < matrix.out; ++o) {
    const std::size_t column = o / out_cell * result.out_stride + o % out_cell;
    const std::size_t block = column / width * result.rows * width, lane = column % width;
    result.bias[column] = matrix.bias[o];
    for (std::size_t i = 0; i < matrix.in; ++i) {
      const std::size_t row = i / in_cell * result.in_stride + i % in_cell;
      const float value = matrix.weight[o * matrix.in + i];
      if (rounded) {
        result.rounded[block + row / 2 * 2 * width + 2 * lane + row % 2] = round_to_bf16(value);
      } else {
        result.weight[block + row * width + lane] = value;
      }
    }
  }
  return result;
}

void Network::pack_taps(const float* weight, const float* bias, Layer& layer) const {
  const std::size_t width = kernels_->width, stride = stride_of(channels_);
  layer.taps.assign(9 * stride, 0.0f);
  layer.tap_bias.assign(stride, 0.0f);
  for (std::size_t c = 0; c < channels_; ++c) {
    layer.tap_bias[c] = bias[c];
    for (std::size_t tap = 0; tap < 9; ++tap) {
      layer.taps[(c / width * 9 + tap) * width + c % width] = weight[tap * channels_ + c];
    }
  }
}

void Network::add_pointwise(const Matrix& matrix, bool activation, Grid grid, Branch branch, bool gained,
                            bool may_round) {
  require(matrix.in == (grid == Grid::down ? 4 * channels_ : channels_), "a layer gets the wrong number of channels");
  Layer layer = {Kind::pointwise, matrix.in, matrix.out, activation, gained, grid, branch, {}, {}, {}};
  layer.matrices.push_back(pack(matrix, grid, may_round));
  const std::size_t channels = grid == Grid::up ? matrix.out / 4 : matrix.out;
  if (branch == Branch::aside) {
    require(!aside_, "only one result can be kept aside");
    aside_ = channels;
  } else {
    require(branch == Branch::replace || aside_ == channels, "what was kept aside does not fit");
    if (branch == Branch::add) aside_ = 0;
    channels_ = channels;
  }
  if (gained) gain_count_ += matrix.out;
  layers_.push_back(std::move(layer));
}

void Network::add_depthwise(const float* weight, const float* bias, std::size_t channels) {
  require(channels == channels_, "a layer gets the wrong number of channels");
  Layer layer = {Kind::depthwise, channels_, channels_, false, false, Grid::same, Branch::replace, {}, {}, {}};
  pack_taps(weight, bias, layer);
  layers_.push_back(std::move(layer));
}

void Network::add_block(const Matrix& enter, const float* weight, const float* bias, const Matrix& leave,
                        const Matrix& widen, const Matrix& narrow, bool may_round) {
  const std::size_t c = channels_;
  require(enter.in == c && enter.out == c && leave.in == c && leave.out == c && widen.in == c && narrow.out == c &&
              narrow.in == widen.out,
          "the layers of a block do not fit each other");
  Layer layer = {Kind::block, c, c, true, false, Grid::same, Branch::replace, {}, {}, {}};
  for (const Matrix* matrix : {&enter, &leave, &widen, &narrow}) {
    layer.matrices.push_back(pack(*matrix, Grid::same, may_round));
  }
  pack_taps(weight, bias, layer);
  layers_.push_back(std::move(layer));
}

Size Network::grid_of(std::size_t height, std::size_t width) const {
  require(height && width, "an input without pixels");
  require(height <= max_elements && width <= max_elements, "the input is too large");
  const auto whole = [this](std::size_t side) {
    if (input_ == Input::samples) side = (side + patch - 1) / patch;
    return (side + multiple_ - 1) / multiple_ * multiple_;
  };
  return {whole(height), whole(width), in_channels_};
}

Size Network::after(const Layer& layer, Size size) {
  const std::size_t channels = layer.grid == Grid::up ? layer.out_channels / 4 : layer.out_channels;
  if (layer.grid == Grid::down) {
    require(size.height % 2 == 0 && size.width % 2 == 0, "a cell of 2 x 2 positions is cut");
    size = {size.height / 2, size.width / 2, channels};
  } else if (layer.grid == Grid::up) {
    size = {size.height * 2, size.width * 2, channels};
  }
  size.channels = channels;
  const std::size_t stride = stride_of(channels);
  require(size.width <= max_elements / stride && size.height <= max_elements / stride / size.width,
          "the activations are too large");
  return size;
}

Size Network::output_size(std::size_t height, std::size_t width) const {
  Size size = grid_of(height, width), aside{};
  require(size.width <= max_elements / stride_of(in_channels_) / size.height, "the activations are too large");
  for (const Layer& layer : layers_) {
    const Size next = after(layer, size);
    if (layer.branch == Branch::aside) {
      aside = next;
      continue;
    }
    require(layer.branch == Branch::replace || (next.height == aside.height && next.width == aside.width),
            "what was kept aside does not fit");
    size = next;
  }
  if (output_ == Output::floats) return size;
  require(size.channels == patch_channels, "patches of samples have 192 channels");
  return {size.height * patch, size.width * patch, 3};
}

}  // namespace siglum::float_network

// Float networks without Python: every instruction set of the machine against plain C++. Prints their names.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "float_network.hpp"

using namespace siglum::float_network;

namespace {

std::mt19937 generator(1);

std::vector<float> normal(std::size_t count, float scale) {
  std::normal_distribution<float> distribution(0.0f, scale);
  std::vector<float> values(count);
  for (float& value : values) value = distribution(generator);
  return values;
}

struct Layer {
  Layer(std::size_t out, std::size_t in) : weight(normal(out * in, 1 / std::sqrt(float(in)))), bias(normal(out, 0.1f)),
                                           out(out), in(in) {}
  operator Matrix() const { return {weight.data(), bias.data(), out, in}; }
  std::vector<float> weight, bias;
  std::size_t out, in;
};

}  // namespace

int main() {
  constexpr std::size_t height = 53, width = 71, latent = 24;
  double worst = 0;
  for (const std::size_t channels : {5, 16, 40, 96}) {
    const Layer linear(latent, 4 * patch_channels), first(channels, patch_channels), enter(channels, channels),
        leave(channels, channels), widen(2 * channels, channels), narrow(channels, 2 * channels),
        down(latent, 4 * channels);
    const auto taps = normal(9 * channels, 0.3f), tap_bias = normal(channels, 0.1f), gains = normal(2 * latent, 1);
    std::vector<std::uint8_t> samples(height * width * 3);
    for (std::uint8_t& sample : samples) sample = static_cast<std::uint8_t>(generator());
    std::vector<float> expected;
    for (const char* isa : {"scalar", "neon", "avx2", "avx512"}) {
      const Kernels* kernels = find_kernels(isa);
      if (!kernels) continue;
      std::printf("%s ", isa);
      Network network(*kernels, nullptr, Input::samples, patch_channels, 2, Output::floats);
      network.add_pointwise(linear, false, Grid::down, Branch::aside, true, false);
      network.add_pointwise(first, false, Grid::same, Branch::replace, false, false);
      network.add_block(enter, taps.data(), tap_bias.data(), leave, widen, narrow, false);
      network.add_pointwise(down, true, Grid::down, Branch::add, true, false);
      const Size size = network.output_size(height, width);
      std::vector<float> out(size.height * size.width * size.channels);
      Source source;
      source.samples = {samples.data(), height, width, 3 * width, 3};
      Target target;
      const auto row = static_cast<std::ptrdiff_t>(size.width * size.channels);
      target.floats = {out.data(), size.height, size.width, row, static_cast<std::ptrdiff_t>(size.channels)};
      network.run(source, gains.data(), target, 0, 0, 2);
      if (expected.empty()) expected = out;
      for (std::size_t i = 0; i < out.size(); ++i) worst = std::max(worst, double(std::fabs(out[i] - expected[i])));
    }
  }
  std::printf("worst difference %g\n", worst);
  return worst < 1e-4 ? 0 : 1;
}

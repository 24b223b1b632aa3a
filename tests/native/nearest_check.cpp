// The search for the nearest codeword without Python: every instruction set of the machine against plain C++, which
// must give the same bits. Prints their names.
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "nearest.hpp"

using namespace siglum::nearest;

namespace {

std::mt19937 generator(1);

std::vector<float> values(std::size_t count, bool whole) {
  std::normal_distribution<float> normal(0.0f, whole ? 2.0f : 1.0f);
  std::vector<float> result(count);
  for (float& value : result) value = whole ? static_cast<float>(static_cast<int>(normal(generator))) : normal(generator);
  return result;
}

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && !std::memcmp(a.data(), b.data(), a.size() * sizeof(T));
}

struct Results {
  std::vector<std::int32_t> nearest, list, codes, beams;
  std::vector<float> distances, list_distances, left;
  bool operator==(const Results& other) const {
    return same(nearest, other.nearest) && same(list, other.list) && same(codes, other.codes) && same(beams, other.beams) &&
           same(distances, other.distances) && same(list_distances, other.list_distances) && same(left, other.left);
  }
};

Results run(const Kernels& kernels, const Vectors& x, const Packed& codebook, std::size_t wanted) {
  Results results;
  results.nearest.resize(x.count);
  results.distances.resize(x.count);
  results.list.resize(x.count * wanted);
  results.list_distances.resize(x.count * wanted);
  results.codes.resize(x.count * 2);
  results.left.resize(x.count * x.dimension);
  search(kernels, x, codebook, results.nearest.data(), results.distances.data(), 2);
  top(kernels, x, codebook, wanted, results.list.data(), results.list_distances.data(), 1);
  residual(kernels, x, {&codebook, &codebook}, results.codes.data(), results.left.data(), 1);
  results.beams.resize(x.count * 3);
  beam(kernels, x, {&codebook, &codebook, &codebook}, wanted, results.beams.data(), 2);
  return results;
}

}  // namespace

int main() {
  int different = 0;
  for (const char* isa : {"scalar", "neon", "avx2", "avx512"}) {
    const Kernels* kernels = find_kernels(isa);
    if (!kernels) continue;
    std::printf("%s ", isa);
    generator.seed(1);
    for (int round = 0; round < 60; ++round) {
      const std::size_t count = 1 + generator() % 150, dimension = 1 + generator() % 40, codewords = 1 + generator() % 70;
      const bool whole = round % 2;
      const std::vector<float> data = values(count * dimension, whole), book = values(codewords * dimension, whole);
      const std::vector<float> bias = values(codewords, whole);
      const Packed packed(book.data(), codewords, dimension, round % 3 ? bias.data() : nullptr);
      const std::size_t wanted = 1 + generator() % (codewords < 9 ? codewords : 9);
      const Vectors x = {data.data(), count, dimension};
      different += !(run(*kernels, x, packed, wanted) == run(*scalar_kernels(), x, packed, wanted));
    }
  }
  std::printf("different %d\n", different);
  return different ? 1 : 0;
}

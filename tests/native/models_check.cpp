// The models' kernels without Python: random and extreme input, every instruction set against the plain one.
// models_build.sh OUTPUT c++ -fsanitize=address,undefined builds it; OUTPUT [rounds] runs it.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "codebook.hpp"
#include "isa.hpp"
#include "mixture.hpp"
#include "multivariate.hpp"

namespace {

std::mt19937_64 source(7);

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(source); }

template <class T>
std::vector<T> values(size_t count, int64_t low, int64_t high) {
  std::vector<T> result(count);
  for (T& value : result) value = static_cast<T>(between(0, 9) ? between(low, high) : between(0, 1) ? low : high);
  return result;
}

void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

const char* const isas[] = {"scalar", "avx2", "avx512"};

void codebook_round() {
  namespace cb = siglum::codebook;
  const size_t d = static_cast<size_t>(between(1, 64)), cells = static_cast<size_t>(between(1, 40)), n = 5;
  const std::vector<int32_t> counts = values<int32_t>(cells, 1, between(1, 256));
  size_t total = 0;
  for (int32_t count : counts) total += static_cast<size_t>(count);
  const int64_t reach = between(0, 1) ? 32767 : 16000;
  const auto points = values<int16_t>(total * d, -reach - 1, reach), centres = values<int16_t>(cells * d, -reach, reach);
  const auto bias = values<int32_t>(total, -(1 << 20), 1 << 20), centre_bias = values<int32_t>(cells, -(1 << 20), 1 << 20);
  const auto centre_rates = values<int16_t>(d * 64, 0, 32767), rates = values<int16_t>(64, 0, 32767);
  const auto norms = values<int32_t>(d * 64, 0, 1 << 20);
  std::vector<int32_t> powers(32);
  for (int i = 0; i < 16; ++i) {
    powers[static_cast<size_t>(i)] = (1 << 24) - i * (1 << 19);
    powers[static_cast<size_t>(16 + i)] = 1 << 11;
  }
  const int32_t refine = static_cast<int32_t>(between(0, 2) ? between(-1, 1 << 16) : 0);
  const auto mean = values<int16_t>(n * d, -32768, 32767);
  const auto scale = values<uint8_t>(n * d, 0, 63);
  const auto chosen = values<int32_t>(n, 0, static_cast<int64_t>(cells) - 1);
  const cb::Vectors vectors = {mean.data(), scale.data(), n};
  std::vector<uint16_t> expected_cells, expected_members;
  for (const char* isa : isas) {
    if (!siglum::cpu_has(isa)) continue;
    const cb::Codebook book(cb::require_kernels(isa), d, points.data(), bias.data(), counts.data(), cells, centres.data(),
                            centre_bias.data(), centre_rates.data(), norms.data(), rates.data(), powers.data(), refine);
    std::vector<uint16_t> rows(n * (cells + 1)), members(n * (book.members() + 1)), starts(n), frequencies(n);
    book.cell_rows(vectors, rows.data(), 2);
    book.member_rows(vectors, chosen.data(), members.data(), 1);
    book.cell_entries(vectors, chosen.data(), starts.data(), frequencies.data(), 1);
    for (size_t v = 0; v < n; ++v) {
      const uint16_t* row = rows.data() + v * (cells + 1);
      for (size_t c = 0; c < cells; ++c) check(row[c] < row[c + 1], "a cell has no slot");
      check(row[cells] == 1 << 15, "cells do not fill their slots");
      const size_t c = static_cast<size_t>(chosen[v]);
      check(starts[v] == row[c] && starts[v] + frequencies[v] == row[c + 1], "an entry is not the row's");
      check(members[(v + 1) * (book.members() + 1) - 1] == 1 << 15, "members do not fill their slots");
    }
    if (isa == isas[0]) {
      expected_cells = rows;
      expected_members = members;
    }
    check(rows == expected_cells && members == expected_members, "codebook: instruction sets differ");
  }
}

void multivariate_round() {
  namespace mv = siglum::multivariate;
  const size_t d = static_cast<size_t>(between(1, 16)), n = static_cast<size_t>(between(0, 1100));
  const bool same = between(0, 1);
  const int64_t reach = between(0, 1) ? INT32_MAX : 1 << 17;
  const auto mean = values<int32_t>(d * (same ? 1 : n), -reach, reach);
  const auto factors = values<int32_t>(d * (d - 1) / 2 * (same ? 1 : n), -reach, reach);
  const auto y = values<int32_t>(d * n, INT32_MIN, INT32_MAX);
  std::vector<int32_t> expected;
  std::vector<int64_t> expected_values;
  for (const char* isa : isas) {
    const mv::Kernels* kernels = isa[0] == 's' ? mv::scalar_kernels() : isa[3] == '2' ? mv::avx2_kernels() : mv::avx512_kernels();
    if (!siglum::cpu_has(isa) || !kernels) continue;
    const mv::Prior prior = {kernels, d, n, {mean.data(), same}, {factors.data(), same}};
    std::vector<int32_t> coded(d * n), residuals(d * n), decoded(d * n), shifts(n);
    std::vector<int8_t> fractions(d * n), part(n);
    std::vector<int64_t> real(d * n);
    mv::residuals_integer(prior, y.data(), coded.data(), fractions.data(), 2);
    for (size_t i = 0; i < d; ++i) {
      mv::predict_integer(prior, i, residuals.data(), shifts.data(), part.data(), 1);
      mv::settle_integer(prior, i, residuals.data(), shifts.data(), coded.data() + i * n, decoded.data() + i * n, 1);
    }
    check(decoded == y, "integers do not come back");
    mv::reconstruct(prior, y.data(), real.data(), 2);
    if (isa == isas[0]) {
      expected = coded;
      expected_values = real;
    }
    check(coded == expected && real == expected_values, "multivariate: instruction sets differ");
    std::vector<double> wild(d * n);
    for (double& value : wild) value = between(0, 3) ? static_cast<double>(between(-100000, 100000)) / 7 : 1e300;
    if (n) wild[0] = __builtin_nan("");
    check(mv::residuals(prior, wild.data(), coded.data(), 1) == (n == 0), "a NaN went through");
  }
}

void check_mixture(const siglum::mixture::Mixture& mixture, const siglum::mixture::Components& components,
                   std::vector<uint16_t>& expected) {
  namespace mx = siglum::mixture;
  const size_t n = components.count;
  std::vector<int32_t> bases(n), widths(n), entries(n);
  mixture.windows(components, bases.data(), widths.data());
  std::vector<uint16_t> rows(n * (mx::kWindow + 2)), starts(n), shares(n);
  mixture.rows(components, bases.data(), widths.data(), mx::kWindow + 1, rows.data(), 2);
  for (size_t v = 0; v < n; ++v) entries[v] = static_cast<int32_t>(between(0, widths[v]));
  mixture.entries(components, bases.data(), widths.data(), entries.data(), starts.data(), shares.data(), 1);
  for (size_t v = 0; v < n; ++v) {
    const uint16_t* row = rows.data() + v * (mx::kWindow + 2);
    const size_t last = static_cast<size_t>(widths[v]) + 1, entry = static_cast<size_t>(entries[v]);
    for (size_t k = 0; k < last; ++k) check(row[k] < row[k + 1], "a symbol has no slot");
    check(row[last] == 1 << 15 && row[mx::kWindow + 1] == 1 << 15, "symbols do not fill their slots");
    check(starts[v] == row[entry] && starts[v] + shares[v] == row[entry + 1], "an entry is not the row's");
  }
  if (expected.empty()) expected = rows;
  check(rows == expected, "mixture: instruction sets differ");
}

void mixture_round() {
  namespace mx = siglum::mixture;
  const size_t tables = static_cast<size_t>(between(1, 20)), n = 4, number = static_cast<size_t>(between(1, 6));
  std::vector<uint32_t> frequencies, sizes;
  for (size_t t = 0; t < tables; ++t) {
    sizes.push_back(static_cast<uint32_t>(between(2, 256)));
    frequencies.push_back(4096 - (sizes.back() - 1));
    frequencies.insert(frequencies.end(), sizes.back() - 1, 1);
  }
  const auto offsets = values<int32_t>(tables, -127, 0);
  const int64_t reach = between(0, 1) ? mx::kMaxShift : 300;
  const auto weights = values<int32_t>(n * number, 0, mx::kMaxWeight / static_cast<int64_t>(number));
  const auto shifts = values<int32_t>(n * number, -reach, reach);
  const auto which = values<uint16_t>(n * number, 0, static_cast<int64_t>(tables) - 1);
  const mx::Components components = {n, number, weights.data(), shifts.data(), which.data()};
  std::vector<uint16_t> expected;
  for (const char* isa : isas) {
    if (!siglum::cpu_has(isa)) continue;
    const mx::Mixture mixture(siglum::codebook::require_kernels(isa), frequencies.data(), sizes.data(), offsets.data(),
                              tables);
    if (!mixture.valid(components)) return;
    check_mixture(mixture, components, expected);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 300;
  for (long round = 0; round < rounds; ++round) {
    codebook_round();
    multivariate_round();
    mixture_round();
  }
  std::printf("%ld rounds\n", rounds);
}

// What the fuzzers of the decoders share: random numbers, damage, and the tally.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace fuzz {

using Bytes = std::vector<uint8_t>;

// splitmix64 (Steele et al. 2014): the same inputs from the same seed everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t n) { return next() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  template <class T>
  const T& pick(const std::vector<T>& values) {
    return values[below(values.size())];
  }
  // Often few, sometimes many.
  size_t size(size_t most) {
    const size_t scale = one_in(40) ? most : one_in(4) ? most / 8 : most / 64;
    return below(scale + 1);
  }

 private:
  uint64_t state_;
};

// Memory of exactly this size, so that the sanitizer sees the first byte beyond it.
template <class T>
class Exact {
 public:
  explicit Exact(size_t count) : data_(static_cast<T*>(std::malloc(count * sizeof(T) + (count == 0)))), size_(count) {}
  explicit Exact(const std::vector<T>& values) : Exact(values.size()) {
    if (size_) std::memcpy(data_, values.data(), size_ * sizeof(T));
  }
  Exact(Exact&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
  Exact(const Exact&) = delete;
  Exact& operator=(const Exact&) = delete;
  ~Exact() { std::free(data_); }
  T* data() { return data_; }
  size_t size() const { return size_; }

 private:
  T* data_;
  size_t size_;
};

enum class Damage { none, random, cut, flip, splice, overwrite, longer, count };
constexpr const char* kDamageNames[] = {"intact", "random", "truncated", "bit-flipped", "spliced", "overwritten", "longer"};

inline Bytes random_bytes(Random& random, size_t size) {
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next());
  return bytes;
}

inline Bytes damaged(Random& random, const Bytes& good, const Bytes& other, Damage damage) {
  Bytes bytes = good;
  switch (damage) {
    case Damage::random:
      bytes = random_bytes(random, random.size(2000));
      if (!bytes.empty() && random.one_in(2)) bytes[0] &= 0x0f;  // a head that opens more often
      break;
    case Damage::cut: bytes.resize(random.below(good.size() + 1)); break;
    case Damage::flip:
      for (uint64_t k = 1 + random.below(4); k-- > 0 && !bytes.empty();) {
        const size_t within = random.one_in(2) ? std::min<size_t>(bytes.size(), 24) : bytes.size();
        bytes[random.below(within)] ^= static_cast<uint8_t>(1u << random.below(8));
      }
      break;
    case Damage::splice: {
      const size_t at = random.below(good.size() + 1), from = random.below(other.size() + 1);
      bytes.resize(at);
      bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      break;
    }
    case Damage::overwrite:
      for (uint64_t k = 1 + random.below(12); k-- > 0 && !bytes.empty();) {
        static const uint8_t kOdd[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
        bytes[random.below(bytes.size())] = random.one_in(2) ? kOdd[random.below(6)] : static_cast<uint8_t>(random.next());
      }
      break;
    case Damage::longer: {
      const Bytes more = random_bytes(random, 1 + random.below(9));
      bytes.insert(bytes.end(), more.begin(), more.end());
      break;
    }
    default: break;
  }
  return bytes;
}

// Frequencies of `entries` entries that sum to 2^precision, some far larger than others.
inline std::vector<uint32_t> frequencies(Random& random, size_t entries, uint32_t precision) {
  std::vector<uint32_t> result(entries, 1);
  uint64_t left = (uint64_t{1} << precision) - entries;
  for (uint64_t round = 0; left && round < 4 * entries; ++round) {
    const uint64_t part = random.one_in(3) ? random.below(left + 1) : random.below(std::min<uint64_t>(left, 64) + 1);
    result[random.below(entries)] += static_cast<uint32_t>(part);
    left -= part;
  }
  result[random.below(entries)] += static_cast<uint32_t>(left);
  return result;
}

// Rows of cumulative frequencies from 0 to 2^precision, with empty entries among them.
template <class T>
std::vector<T> cumulative_rows(Random& random, size_t count, size_t columns, uint32_t precision) {
  std::vector<T> rows;
  for (size_t i = 0; i < count; ++i) {
    std::vector<T> row(columns);
    for (T& value : row) value = static_cast<T>(random.below((uint64_t{1} << precision) + 1));
    row.front() = 0;
    row.back() = static_cast<T>(1u << precision);
    std::sort(row.begin(), row.end());
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  std::abort();
}

inline void expect(bool fine, const std::string& what) {
  if (!fine) fail(what);
}

inline double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Inputs by family, damage and outcome, and the slowest one.
class Tally {
 public:
  void add(const std::string& family, Damage damage, const std::string& outcome, double seconds) {
    ++families_[family];
    ++damages_[kDamageNames[static_cast<int>(damage)]];
    ++outcomes_[outcome];
    ++inputs_;
    slowest_ = std::max(slowest_, seconds);
    expect(seconds < 2, "an input took more than 2 s of CPU time");
  }
  void note(const std::string& what) { ++notes_[what]; }
  uint64_t inputs() const { return inputs_; }
  void print() const {
    std::printf("%llu inputs, slowest %.1f ms of CPU time\n", static_cast<unsigned long long>(inputs_), 1e3 * slowest_);
    for (const auto& [title, counts] : {std::pair{"decoder", &families_}, {"input", &damages_}, {"outcome", &outcomes_},
                                        {"besides", &notes_}}) {
      std::printf("%-8s", title);
      for (const auto& [name, count] : *counts) std::printf(" | %s %llu", name.c_str(), static_cast<unsigned long long>(count));
      std::printf("\n");
    }
  }

 private:
  std::map<std::string, uint64_t> families_, damages_, outcomes_, notes_;
  uint64_t inputs_ = 0;
  double slowest_ = 0;
};

// One round: `inputs` inputs from fresh tables and payloads.
void table_coder(Random& random, Tally& tally, uint64_t inputs);
void precise_coder(Random& random, Tally& tally, uint64_t inputs);

}  // namespace fuzz

// Teams of several callers at once: every element is seen once a call, exceptions arrive. For sanitizers.
#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

#include "parallel.hpp"

using siglum::Team;

namespace {

// Whether a team of so many did what it should.
bool check(std::size_t threads) {
  Team team(threads);
  std::vector<int> seen(1000, 0);
  const auto add = [&](int what) {
    return [&seen, what](std::size_t begin, std::size_t end) {
      for (; begin < end; ++begin) seen[begin] += what;
    };
  };
  bool good = true;
  for (int turn = 0; turn < 5; ++turn) {
    team.rows(seen.size(), add(1));
    team.parts(seen.size(), 37, add(2));
    int first = 0;
    team.parts_besides([&] { ++first; }, seen.size(), 11, add(3));
    good = good && first == 1;
  }
  for (const int times : seen) good = good && times == 30;
  try {
    team.parts(100, 1, [](std::size_t begin, std::size_t) {
      if (begin == 50) throw std::runtime_error("wanted");
    });
    return false;
  } catch (const std::runtime_error&) {
  }
  team.rows(0, [&](std::size_t, std::size_t) { good = false; });
  return good;
}

}  // namespace

int main() {
  std::atomic<int> failures{0};
  std::vector<std::thread> callers;
  for (std::size_t caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&failures, caller] {
      for (std::size_t turn = 0; turn < 300; ++turn) failures += !check(1 + (turn + caller) % 4);
    });
  }
  for (std::thread& caller : callers) caller.join();
  std::printf("%d failures\n", failures.load());
  return failures != 0;
}

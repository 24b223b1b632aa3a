// Damaged payloads into every decoder of the entropy coders, without Python. Built with the sanitizers by run.sh:
//
//     fuzz [inputs] [seed]
//
// Each input goes to all instruction sets of this CPU, whose outcomes must agree; intact ones must decode; every outcome
// is a status; none may take long. Anything else aborts.
#include "fuzz.hpp"
#include "rans_kernels.hpp"

int main(int argc, char** argv) {
  const uint64_t inputs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000000;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::printf("instruction sets:");
  for (const char* name : {"scalar", "neon", "avx2", "avx512"})
    if (siglum::rans::kernels_named(name)) std::printf(" %s", name);
  std::printf("\n");
  fuzz::Tally tally;
  for (uint64_t round = 0; tally.inputs() < inputs; ++round) {
    fuzz::Random random(seed * 1000003 + round);
    const uint64_t left = std::min<uint64_t>(2000, inputs - tally.inputs());
    if (round % 3 == 2)
      fuzz::precise_coder(random, tally, left);
    else
      fuzz::table_coder(random, tally, left);
    if (round % 50 == 49) std::fprintf(stderr, "%llu\n", static_cast<unsigned long long>(tally.inputs()));
  }
  tally.print();
  return 0;
}

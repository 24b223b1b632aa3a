// Whole pixels guessed from colours that stood in the same neighbourhood before: text, line art, screenshots.
//
// Two tables, hashed over six and over two neighbours, remember the last two colours of each neighbourhood and how
// often the first one held. Up to four different guesses are put to the coder as binary decisions, each with an
// adaptive probability. Only a pixel that none of them fits goes to the channels' predictors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "lossless.hpp"
#include "lossless_channel.hpp"

namespace siglum::lossless {
namespace {

struct Chance {
  uint16_t miss = 32768;
  uint16_t count = 0;
  void learn(bool missed) {
    const int32_t target = missed ? 65535 : 0;
    miss = static_cast<uint16_t>(
        miss + shift_right(int64_t{target - miss} * kConstants.rate[count], 16));
    if (count < kMeanLimit) ++count;
  }
};

class Matcher {
 public:
  Matcher(size_t width, size_t pixels) {
    while (bits_ < 16 && (size_t{1} << bits_) < pixels) ++bits_;
    wide_ = Buffer<Slot>(size_t{1} << bits_);
    narrow_ = Buffer<Slot>(size_t{1} << bits_);
    for (auto& row : rows_) row = Buffer<Pixel>(width + 2 * kBorder);
  }

  void end_row() {
    std::swap(rows_[1], rows_[2]);
    std::swap(rows_[0], rows_[1]);
  }

  // True if a guess fits; `colour` is then set. Call learn() with the colour in any case.
  template <class Coder>
  bool code(Coder& coder, size_t x, uint32_t& colour) {
    const Pixel* const here = &rows_[0][kBorder + x];
    const Pixel* const above = &rows_[1][kBorder + x];
    const uint32_t w = here[-1].colour, n = above[0].colour, nw = above[-1].colour, ne = above[1].colour;
    const uint32_t pair = mix(mix(0, w), n);
    wide_slot_ = &wide_[slot(mix(mix(mix(mix(pair, nw), ne), here[-2].colour), rows_[2][kBorder + x].colour))];
    narrow_slot_ = &narrow_[slot(pair)];
    const uint32_t missed = here[-1].missed + above[0].missed;

    const uint32_t guesses[8] = {wide_slot_->colours[0], wide_slot_->colours[1], narrow_slot_->colours[0],
                                 narrow_slot_->colours[1], w, n, ne, nw};
    const uint32_t wide_run = level<0>(wide_slot_->run, 7), narrow_run = level<0>(narrow_slot_->run, 7);
    uint32_t tried[kMaxGuesses] = {}, tries = 0;
    for (uint32_t kind = 0; kind < 8 && tries < kMaxGuesses; ++kind) {
      if (kind < 2 ? kind >= wide_slot_->used : kind < 4 && kind - 2 >= narrow_slot_->used) continue;
      const uint32_t guess = guesses[kind];
      bool known = false;
      for (uint32_t i = 0; i < tries; ++i) known |= tried[i] == guess;
      if (known) continue;
      const uint32_t run = kind < 2 ? wide_run : kind < 4 ? narrow_run : 0;
      const uint32_t agree = (guess == w ? 1u : 0u) | (guess == n ? 2u : 0u);
      Chance& chance = chances_[(((tries * 8 + kind) * 8 + run) * 4 + agree) * 3 + missed];
      tried[tries++] = guess;
      const int32_t bit = coder.code(kScales + kConstants.miss_level[chance.miss >> 4], guess == colour ? 0 : 1);
      chance.learn(bit != 0);
      if (bit == 0) {
        colour = guess;
        return true;
      }
    }
    return false;
  }

  void learn(size_t x, uint32_t colour, bool hit) {
    rows_[0][kBorder + x] = {colour, hit ? 0u : 1u};
    wide_slot_->learn(colour);
    narrow_slot_->learn(colour);
  }

 private:
  struct Pixel {
    uint32_t colour = 0;
    uint32_t missed = 0;
  };
  struct Slot {
    uint32_t colours[2] = {0, 0};
    uint16_t run = 0;
    uint16_t used = 0;
    void learn(uint32_t colour) {
      if (used != 0 && colours[0] == colour) {
        if (run < 255) ++run;
        return;
      }
      if (run >= 4) {
        colours[1] = colour;
        run >>= 1;
        used = 2;
      } else {
        colours[1] = colours[0];
        colours[0] = colour;
        run = 0;
        if (used < 2) ++used;
      }
    }
  };

  static uint32_t mix(uint32_t hash, uint32_t colour) { return (hash ^ colour) * 0x9E3779B1u ^ (hash >> 15); }
  size_t slot(uint32_t hash) const { return (hash * 0x85EBCA6Bu) >> (32 - bits_); }

  int bits_ = 8;
  Buffer<Slot> wide_, narrow_;
  std::array<Buffer<Pixel>, 3> rows_;
  Buffer<Chance> chances_ = Buffer<Chance>(kMaxGuesses * 8 * 8 * 4 * 3);
  Slot* wide_slot_ = nullptr;
  Slot* narrow_slot_ = nullptr;
};

}  // namespace
}  // namespace siglum::lossless

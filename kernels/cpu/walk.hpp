// The walk through a tile of latents whose prior learns from what is coded already: groups of channels, in each of them
// four phases of positions. Networks predict tables and means of a group from the hyperlatents and the groups before
// it; inside a group means, but not tables, lean on the phases before. So a whole group is entropy decoded at once, and
// the factors that phases lean with are computed meanwhile. All integers but for the means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "integer_network.hpp"
#include "latents_rows.hpp"
#include "parallel.hpp"
#include "rans.hpp"

namespace siglum::walk {

using integer_network::Biased;

// The networks of a prior at one quality level; see codecs/image/prior.py for their shapes. Immutable.
struct Prior {
  Biased hyper;
  std::vector<Biased> mix, leave, factors;
  std::vector<std::size_t> bounds;   // where groups of channels begin, and where the last one ends
  std::vector<std::int32_t> gain;    // of all channels that are context
  std::int32_t limit;                // where contexts saturate

  // Throws std::invalid_argument if the parts do not fit each other.
  void check() const;

  std::size_t channels() const { return bounds.back(); }
  std::size_t groups() const { return leave.size(); }
  std::size_t size_of(std::size_t group) const { return bounds[group + 1] - bounds[group]; }
};

// Latents of a tile, (rows, columns, channels), and what the prior says of them.
struct Tile {
  std::size_t rows, columns;
  const std::int16_t* z;  // (ceil(rows / 4), ceil(columns / 4), hyper), or more of either
  std::size_t z_rows, z_columns;
  const float* unit;  // of each channel: what an integer of a mean is in steps
  int skip;           // latents whose table is below this are zero
  float* mean;        // in steps
  std::uint8_t* index;
  std::int32_t* symbols;
};

// Symbols from an opened decoder; stops after an error.
rans::Status decode(const Prior& prior, const Tile& tile, rans::Decoder& decoder, const rans::Tables& tables,
                    std::size_t threads, const latents::Rows& row_functions);

// Symbols of latents, (rows, columns, channels) in steps, rounded as latents::choose does it.
void choose(const Prior& prior, const Tile& tile, const float* latent, const float* weight, const float* bits,
            std::size_t threads, const latents::Rows& row_functions);

}  // namespace siglum::walk

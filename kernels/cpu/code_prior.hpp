// Codes of a residual vector quantizer, frame after frame, each under a softmax that integer networks predict from the
// frames before and from the earlier codes of its own frame. docs/format.md has the arithmetic.
//
// A frame has up to `codes` codes, stage by stage. How many stages it uses is coded before them, unless all frames of
// the chunk use as many. A chunk begins without any past.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codebook_kernels.hpp"
#include "integer_network.hpp"
#include "rans.hpp"

namespace siglum::code_prior {

constexpr unsigned kPrecision = 15;
constexpr size_t kMaxCodes = 128;
constexpr size_t kMaxStages = 64;
constexpr size_t kMaxWords = 8192;
constexpr size_t kMaxChannels = 1 << 14;
constexpr int kEmbeddingShift = 4;  // networks see 16 times the stored integers

struct Sizes {
  size_t codes, groups, words, embedding;
  size_t frame;    // outputs of the frame network
  size_t context;  // outputs of the context network
  size_t taps;     // frames that the context network sees
  std::vector<int> averages;               // shifts of the running means that it sees besides
  std::vector<std::vector<size_t>> sees;   // of each code: the earlier codes of the frame that its network sees

  size_t stages() const { return codes / groups; }
  size_t frame_inputs() const { return codes * embedding + stages() + 1; }
  size_t past() const { return frame * (taps + averages.size()); }
  size_t members() const { return words <= 512 ? 16 : 32; }
  size_t cells() const { return words / members(); }
};

struct Frames {
  const int32_t* codes;   // (count, codes), each below `words`; those that a frame does not use are not read
  const int32_t* counts;  // (count,), 0 to stages
  size_t count;
};

struct Latents {
  const float* values;  // (count, groups, width)
  const float* books;   // (codes, width, words)
  size_t count, width;
  const int32_t* layout;  // (codes,), the group of each
};

// Immutable once its layers are added; shared between threads.
class CodePrior {
 public:
  // words: (codes, words, embedding). Throws std::invalid_argument if sizes do not fit each other.
  CodePrior(const char* isa, Sizes sizes, const int8_t* words, const int32_t* exponentials);

  // Network 0 sees a frame, 1 predicts a count from the past, 2 sees the past and the count, 3 + i predicts code i.
  // Throws std::invalid_argument.
  void add_layer(size_t network, const int8_t* weight, size_t out_channels, size_t in_channels, const int32_t* bias,
                 const int32_t* multiplier, int shift, int32_t low, int32_t high);
  // Throws std::invalid_argument unless every network has the inputs and outputs that the sizes ask for.
  void check() const;

  const Sizes& sizes() const { return sizes_; }

  std::vector<uint8_t> encode(const Frames& frames) const;
  // Codes that a frame does not use become 0. The arrays are filled up to the first error.
  rans::Status decode(const uint8_t* data, size_t size, size_t frames, int32_t* codes, int32_t* counts) const;

  // Frequencies of cell and member of every code, (count, codes, 2), untouched where there is none; and of the counts:
  // that of the mode, then one a frame, 2^15 where the mode says it all.
  void frequencies(const Frames& frames, uint16_t* of_codes, uint16_t* of_counts) const;
  // Fills in codes for latents: each in turn the one with the least distance to what is left, plus `weight` times the
  // least distance for every bit.
  void choose(const Latents& latents, const int32_t* counts, float weight, int32_t* codes) const;
  // Logits of every code that is there, (count, codes, words), in 1/256 bit.
  void logits(const Frames& frames, int16_t* out) const;

 private:
  class Past;
  struct Scratch;
  template <class Next, class See>
  void walk(size_t frames, int32_t* counts, int32_t* codes, const Next& next, const See& see) const;
  template <class Next>
  void walk(size_t frames, int32_t* counts, int32_t* codes, const Next& next) const;
  void cell_frequencies(const int16_t* logits, Scratch& scratch) const;
  void few_frequencies(const int16_t* logits, size_t count, Scratch& scratch) const;
  void share(const int32_t* weights, size_t count, size_t padded, uint64_t total, Scratch& scratch) const;

  Sizes sizes_;
  const codebook::Kernels& kernels_;
  codebook::Exponentials exponentials_;
  std::vector<int16_t> words_;  // (codes, words, embedding), shifted
  std::vector<integer_network::Network> networks_;
  std::vector<std::vector<int32_t>> biases_;
  std::vector<uint32_t> tables_;  // 0, 1, 2, ...: all cells
};

}  // namespace siglum::code_prior

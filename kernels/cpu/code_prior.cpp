#include "code_prior.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "isa.hpp"
#include "shares.hpp"

namespace siglum::code_prior {
namespace {

constexpr uint32_t kWhole = 1u << kPrecision;
constexpr int kLogitShift = 2;    // from 1/1024 bit to the 1/4096 of the exponentials
constexpr int kAverageShift = 8;  // running means have that many bits more
constexpr int16_t kPresent = 127 << kEmbeddingShift;
constexpr int32_t kSame = 16, kNear = 4, kIncrement = 16, kMostWeight = 4096;  // of counts that vary
constexpr int32_t kCountUnit = 1 << 14;

size_t padded_to_lanes(size_t count) { return (count + codebook::kLanes - 1) / codebook::kLanes * codebook::kLanes; }

const integer_network::Kernels& network_kernels(const char* isa) {
  const integer_network::Kernels* found = integer_network::find_kernels(isa);
  if (!found) throw std::invalid_argument("this CPU or this build has no such instructions");
  return *found;
}

void check_sizes(const Sizes& s) {
  const auto within = [](size_t value, size_t most) { return value >= 1 && value <= most; };
  if (!within(s.codes, kMaxCodes) || !within(s.groups, s.codes) || s.codes % s.groups || s.stages() > kMaxStages)
    throw std::invalid_argument("the codes of a frame are stages of groups");
  if (!within(s.words, kMaxWords) || s.words % s.members())
    throw std::invalid_argument("the number of codewords must be a multiple of 16, above 512 of 32, up to 8192");
  if (!within(s.embedding, 256) || !within(s.frame, 4096) || !within(s.context, 4096) || !within(s.taps, 16) ||
      s.averages.size() > 8)
    throw std::invalid_argument("a size is out of range");
  for (int shift : s.averages) {
    if (shift < 1 || shift > 12) throw std::invalid_argument("the shift of a mean is out of range");
  }
  if (s.sees.size() != s.codes) throw std::invalid_argument("every code sees some codes, or none");
  for (size_t i = 0; i < s.codes; ++i) {
    if (s.sees[i].size() > s.codes || std::any_of(s.sees[i].begin(), s.sees[i].end(), [&](size_t j) { return j >= i; }))
      throw std::invalid_argument("a code can see earlier codes only");
  }
}

}  // namespace

CodePrior::CodePrior(const char* isa, Sizes sizes, const int8_t* words, const int32_t* exponentials)
    : sizes_(std::move(sizes)), kernels_(codebook::require_kernels(isa)) {
  check_sizes(sizes_);
  std::copy(exponentials, exponentials + 16, exponentials_.level);
  std::copy(exponentials + 16, exponentials + 32, exponentials_.step);
  words_.resize(sizes_.codes * sizes_.words * sizes_.embedding);
  for (size_t i = 0; i < words_.size(); ++i) words_[i] = static_cast<int16_t>(words[i] * (1 << kEmbeddingShift));
  networks_.assign(2 + sizes_.codes, integer_network::Network(network_kernels(isa)));
  biases_.resize(networks_.size());
  for (size_t c = 0; c < sizes_.cells(); ++c) tables_.push_back(static_cast<uint32_t>(c));
}

void CodePrior::add_layer(size_t network, const int8_t* weight, size_t out_channels, size_t in_channels,
                          const int32_t* bias, const int32_t* multiplier, int shift, int32_t low, int32_t high) {
  if (network >= networks_.size()) throw std::invalid_argument("there is no such network");
  if (in_channels > kMaxChannels || out_channels > kMaxChannels) throw std::invalid_argument("a layer is too wide");
  networks_[network].add_pointwise(weight, out_channels, in_channels, multiplier, shift, low, high);
  biases_[network].insert(biases_[network].end(), bias, bias + out_channels);
}

void CodePrior::check() const {
  const auto fits = [&](size_t network, size_t in, size_t out) {
    if (biases_[network].empty() || networks_[network].output_size({1, 1, in}).channels != out)
      throw std::invalid_argument("a network has the wrong outputs");
  };
  fits(0, sizes_.frame_inputs(), sizes_.frame);
  fits(1, sizes_.context_inputs(), sizes_.context);
  for (size_t i = 0; i < sizes_.codes; ++i)
    fits(2 + i, sizes_.context + sizes_.sees[i].size() * sizes_.embedding, sizes_.words);
}

// What one chunk works in.
struct CodePrior::Scratch {
  explicit Scratch(const Sizes& sizes)
      : distances(sizes.words),
        sums(padded_to_lanes(std::max<size_t>({sizes.cells(), sizes.members(), sizes.stages() + 2})), 0),
        frequencies(sums.size()) {}
  std::vector<int32_t> distances, sums;
  std::vector<uint32_t> frequencies;
};

// The frames before: the latest ones, and running means of all.
class CodePrior::Past {
 public:
  explicit Past(const Sizes& sizes)
      : sizes_(sizes), values_(sizes.context_inputs(), 0), means_(sizes.frame * sizes.averages.size(), 0) {}

  const int16_t* values() const { return values_.data(); }
  int16_t* newest() { return newest_.data(); }

  // Takes the frame that was written to `newest`.
  void push() {
    const size_t width = sizes_.frame;
    std::memmove(values_.data() + width, values_.data(), (sizes_.taps - 1) * width * sizeof(int16_t));
    std::copy(newest_.begin(), newest_.end(), values_.begin());
    for (size_t a = 0; a < sizes_.averages.size(); ++a) {
      int32_t* mean = means_.data() + a * width;
      int16_t* out = values_.data() + (sizes_.taps + a) * width;
      for (size_t i = 0; i < width; ++i) {
        mean[i] += (newest_[i] * (1 << kAverageShift) - mean[i]) >> sizes_.averages[a];
        out[i] = static_cast<int16_t>((mean[i] + (1 << (kAverageShift - 1))) >> kAverageShift);
      }
    }
  }

 private:
  const Sizes& sizes_;
  std::vector<int16_t> values_;
  std::vector<int32_t> means_;
  std::vector<int16_t> newest_ = std::vector<int16_t>(sizes_.frame, 0);
};

// Adaptive tables of the counts: a count after each count, and at first after none.
class CodePrior::Counts {
 public:
  explicit Counts(size_t stages) : symbols_(stages + 1), weights_((stages + 2) * symbols_, 1), sums_(stages + 2, 0) {
    for (size_t before = 0; before < symbols_; ++before) {
      for (size_t now = 0; now < symbols_; ++now) {
        const size_t apart = before < now ? now - before : before - now;
        weights_[before * symbols_ + now] = apart == 0 ? kSame : apart == 1 ? kNear : 1;
      }
    }
    for (size_t row = 0; row < sums_.size(); ++row) sum(row);
  }
  size_t none() const { return symbols_; }
  size_t symbols() const { return symbols_; }
  const int32_t* weights(size_t before) const { return weights_.data() + before * symbols_; }
  uint64_t total(size_t before) const { return static_cast<uint64_t>(sums_[before]); }

  void learn(size_t before, size_t now) {
    int32_t* row = weights_.data() + before * symbols_;
    row[now] += kIncrement;
    if (sums_[before] + kIncrement > kMostWeight) {
      for (size_t i = 0; i < symbols_; ++i) row[i] = (row[i] + 1) / 2;
    }
    sum(before);
  }

 private:
  void sum(size_t row) {
    sums_[row] = 0;
    for (size_t i = 0; i < symbols_; ++i) sums_[row] += weights_[row * symbols_ + i];
  }
  size_t symbols_;
  std::vector<int32_t> weights_;
  std::vector<int32_t> sums_;
};

namespace {

struct Entry {
  uint32_t number, start, frequency;
};

Entry entry_of(const uint32_t* frequencies, size_t number) {
  uint32_t start = 0;
  for (size_t i = 0; i < number; ++i) start += frequencies[i];
  return {static_cast<uint32_t>(number), start, frequencies[number]};
}

Entry entry_at(const uint32_t* frequencies, uint32_t slot) {  // the frequencies sum to more than the slot
  uint32_t start = 0, number = 0;
  while (start + frequencies[number] <= slot) start += frequencies[number++];
  return {number, start, frequencies[number]};
}

// Symbols whose entries are known, in the order of decoding.
class Writer {
 public:
  size_t next(const uint32_t* frequencies, size_t number) {
    const Entry entry = entry_of(frequencies, number);
    starts_.push_back(entry.start);
    sizes_.push_back(entry.frequency);
    return number;
  }
  std::vector<uint8_t> finish() {
    rans::Encoder encoder(1);
    encoder.append_direct(starts_.data(), sizes_.data(), starts_.size(), kPrecision);
    return encoder.finish();
  }

 private:
  std::vector<uint32_t> starts_, sizes_;
};

class Reader {
 public:
  explicit Reader(rans::Decoder& decoder) : decoder_(decoder) {}
  size_t next(const uint32_t* frequencies, size_t) {
    uint32_t slot;
    decoder_.peek(1, kPrecision, &slot);
    const Entry entry = entry_at(frequencies, slot);
    decoder_.advance(&entry.start, &entry.frequency, 1, kPrecision);
    return entry.number;
  }
  bool good() const { return decoder_.status() == rans::Status::ok; }

 private:
  rans::Decoder& decoder_;
};

// Counts of a chunk through anything with `next`: the mode, then each one unless all are the same.
template <class Counts, class Share, class Next>
void code_counts(size_t stages, size_t frames, int32_t* counts, const Share& share, const Next& next) {
  if (!frames) return;
  const bool constant = std::all_of(counts, counts + frames, [&](int32_t c) { return c == counts[0]; });
  const std::vector<int32_t> modes(stages + 2, 1);
  const size_t mode = next(share(modes.data(), modes.size(), modes.size()),
                           constant ? static_cast<size_t>(counts[0]) : stages + 1);
  if (mode <= stages) {
    std::fill(counts, counts + frames, static_cast<int32_t>(mode));
    return;
  }
  Counts tables(stages);
  size_t before = tables.none();
  for (size_t t = 0; t < frames; ++t) {
    const size_t now = next(share(tables.weights(before), tables.symbols(), tables.total(before)),
                            static_cast<size_t>(counts[t]));
    counts[t] = static_cast<int32_t>(now);
    tables.learn(before, now);
    before = now;
  }
}

}  // namespace

void CodePrior::share(const int32_t* weights, size_t count, size_t padded, uint64_t total, Scratch& scratch) const {
  uint32_t* frequencies = scratch.frequencies.data();
  const uint32_t sum = kernels_.shares(weights, padded, share_factor(count, total, kPrecision), frequencies);
  const uint32_t padding = static_cast<uint32_t>(padded - count);  // each of these has a frequency of 1
  frequencies[kernels_.first_largest(weights, padded)] += kWhole - (sum - padding);
}

// The same of weights without padding that may be small: shares need a sum of 2^15 at least.
const uint32_t* CodePrior::share_few(const int32_t* weights, size_t count, uint64_t total, Scratch& scratch) const {
  std::fill(scratch.sums.begin(), scratch.sums.end(), 0);
  for (size_t i = 0; i < count; ++i) scratch.sums[i] = weights[i] * kCountUnit;
  share(scratch.sums.data(), count, padded_to_lanes(count), total * kCountUnit, scratch);
  return scratch.frequencies.data();
}

void CodePrior::cell_frequencies(const int16_t* logits, Scratch& scratch) const {
  const size_t words = sizes_.words, cells = sizes_.cells();
  int32_t* distances = scratch.distances.data();
  int16_t most = INT16_MIN;
  for (size_t k = 0; k < words; ++k) most = std::max(most, logits[k]);
  for (size_t k = 0; k < words; ++k) distances[k] = -(logits[k] * (1 << kLogitShift));
  std::fill(scratch.sums.begin(), scratch.sums.end(), 0);
  const uint64_t total = kernels_.weights(distances, sizes_.members(), tables_.data(), cells,
                                          -(most * (1 << kLogitShift)), exponentials_, scratch.sums.data());
  share(scratch.sums.data(), cells, padded_to_lanes(cells), total, scratch);
}

void CodePrior::member_frequencies(const int16_t* logits, size_t cell, Scratch& scratch) const {
  const size_t members = sizes_.members();
  const int16_t* own = logits + cell * members;
  int32_t* distances = scratch.distances.data();
  int16_t most = INT16_MIN;
  for (size_t k = 0; k < members; ++k) {
    most = std::max(most, own[k]);
    distances[k] = -(own[k] * (1 << kLogitShift));
  }
  const uint64_t total = kernels_.weights(distances, members, tables_.data(), 1, -(most * (1 << kLogitShift)),
                                          exponentials_, scratch.sums.data());
  share(distances, members, members, total, scratch);
}

// Goes through the codes in their order: code_of(logits, t, i) says what code i of frame t is, or -1 to stop.
template <class Function>
void CodePrior::walk(size_t frames, const int32_t* counts, int32_t* codes, const Function& code_of) const {
  const size_t width = sizes_.embedding, bytes = width * sizeof(int16_t);
  std::vector<integer_network::Runner> runners;
  for (size_t i = 0; i < networks_.size(); ++i) runners.emplace_back(networks_[i], biases_[i].data(), 1);
  Past past(sizes_);
  std::vector<int16_t> frame(sizes_.frame_inputs()), logits(sizes_.words);
  std::vector<int16_t> in(sizes_.context + sizes_.codes * width);
  for (size_t t = 0; t < frames; ++t) {
    const size_t stages = static_cast<size_t>(counts[t]), used = stages * sizes_.groups;
    std::fill(frame.begin(), frame.end(), int16_t{0});
    if (used) runners[1].run(past.values(), 1, in.data());
    for (size_t i = 0; i < used; ++i) {
      int16_t* to = in.data() + sizes_.context;
      for (size_t j : sizes_.sees[i]) {
        std::memcpy(to, frame.data() + j * width, bytes);
        to += width;
      }
      runners[2 + i].run(in.data(), 1, logits.data());
      const int32_t code = code_of(logits.data(), t, i);
      if (code < 0) return;
      codes[t * sizes_.codes + i] = code;
      std::memcpy(frame.data() + i * width, words_.data() + (i * sizes_.words + static_cast<size_t>(code)) * width,
                  bytes);
    }
    if (t + 1 == frames) break;
    frame[sizes_.codes * width + stages] = kPresent;
    runners[0].run(frame.data(), 1, past.newest());
    past.push();
  }
}

std::vector<uint8_t> CodePrior::encode(const Frames& frames) const {
  Scratch scratch(sizes_);
  Writer writer;
  std::vector<int32_t> counts(frames.counts, frames.counts + frames.count);
  std::vector<int32_t> codes(frames.codes, frames.codes + frames.count * sizes_.codes);
  code_counts<Counts>(
      sizes_.stages(), frames.count, counts.data(),
      [&](const int32_t* weights, size_t count, uint64_t total) { return share_few(weights, count, total, scratch); },
      [&](const uint32_t* frequencies, size_t number) { return writer.next(frequencies, number); });
  const size_t members = sizes_.members();
  walk(frames.count, counts.data(), codes.data(), [&](const int16_t* logits, size_t t, size_t i) {
    const int32_t code = codes[t * sizes_.codes + i];
    const size_t cell = static_cast<size_t>(code) / members;
    cell_frequencies(logits, scratch);
    writer.next(scratch.frequencies.data(), cell);
    member_frequencies(logits, cell, scratch);
    writer.next(scratch.frequencies.data(), static_cast<size_t>(code) % members);
    return code;
  });
  return writer.finish();
}

rans::Status CodePrior::decode(const uint8_t* data, size_t size, size_t frames, int32_t* codes,
                               int32_t* counts) const {
  rans::Decoder decoder;
  if (decoder.open(data, size) != rans::Status::ok) return decoder.status();
  decoder.begin_step();
  Scratch scratch(sizes_);
  Reader reader(decoder);
  std::fill(counts, counts + frames, 0);
  std::fill(codes, codes + frames * sizes_.codes, 0);
  code_counts<Counts>(
      sizes_.stages(), frames, counts,
      [&](const int32_t* weights, size_t count, uint64_t total) { return share_few(weights, count, total, scratch); },
      [&](const uint32_t* frequencies, size_t number) { return reader.next(frequencies, number); });
  if (!reader.good()) return decoder.status();
  const size_t members = sizes_.members();
  walk(frames, counts, codes, [&](const int16_t* logits, size_t, size_t) {
    cell_frequencies(logits, scratch);
    const size_t cell = reader.next(scratch.frequencies.data(), 0);
    member_frequencies(logits, cell, scratch);
    const size_t member = reader.next(scratch.frequencies.data(), 0);
    return reader.good() ? static_cast<int32_t>(cell * members + member) : -1;
  });
  return decoder.status() == rans::Status::ok ? decoder.finish() : decoder.status();
}

void CodePrior::frequencies(const Frames& frames, uint16_t* of_codes, uint16_t* of_counts) const {
  Scratch scratch(sizes_);
  std::vector<int32_t> counts(frames.counts, frames.counts + frames.count);
  std::vector<int32_t> codes(frames.codes, frames.codes + frames.count * sizes_.codes);
  std::fill(of_counts, of_counts + frames.count + 1, static_cast<uint16_t>(kWhole));
  code_counts<Counts>(
      sizes_.stages(), frames.count, counts.data(),
      [&](const int32_t* weights, size_t count, uint64_t total) { return share_few(weights, count, total, scratch); },
      [&](const uint32_t* shares, size_t number) {
        *of_counts++ = static_cast<uint16_t>(shares[number]);
        return number;
      });
  const size_t members = sizes_.members();
  walk(frames.count, counts.data(), codes.data(), [&](const int16_t* logits, size_t t, size_t i) {
    const int32_t code = codes[t * sizes_.codes + i];
    const size_t cell = static_cast<size_t>(code) / members;
    uint16_t* out = of_codes + (t * sizes_.codes + i) * 2;
    cell_frequencies(logits, scratch);
    out[0] = static_cast<uint16_t>(scratch.frequencies[cell]);
    member_frequencies(logits, cell, scratch);
    out[1] = static_cast<uint16_t>(scratch.frequencies[static_cast<size_t>(code) % members]);
    return code;
  });
}

void CodePrior::logits(const Frames& frames, int16_t* out) const {
  std::vector<int32_t> codes(frames.codes, frames.codes + frames.count * sizes_.codes);
  walk(frames.count, frames.counts, codes.data(), [&](const int16_t* logits, size_t t, size_t i) {
    std::copy(logits, logits + sizes_.words, out + (t * sizes_.codes + i) * sizes_.words);
    return codes[t * sizes_.codes + i];
  });
}

}  // namespace siglum::code_prior

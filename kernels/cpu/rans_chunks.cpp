#include "rans_chunks.hpp"

#include <algorithm>
#include <cstring>

#include "checksum.hpp"
#include "parallel.hpp"

namespace siglum::rans {
namespace {

void put_varint(std::vector<uint8_t>& bytes, uint64_t value) {
  for (; value >= 128; value >>= 7) bytes.push_back(static_cast<uint8_t>(value | 128));
  bytes.push_back(static_cast<uint8_t>(value));
}

void put_u32(std::vector<uint8_t>& bytes, uint32_t value) {
  for (int k = 0; k < 4; ++k) bytes.push_back(static_cast<uint8_t>(value >> (8 * k)));
}

// Reads what put_* wrote. After the end, or after a number in more bytes than it needs, everything is 0 and `status` says why.
struct Reader {
  const uint8_t* data;
  size_t size;
  size_t position = 0;
  FrameStatus status = FrameStatus::ok;

  uint8_t byte() {
    if (position < size) return data[position++];
    if (status == FrameStatus::ok) status = FrameStatus::truncated;
    return 0;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
      const uint8_t next = byte();
      value |= uint64_t{next & 127u} << shift;
      if (next < 128) {
        if (shift && next == 0 && status == FrameStatus::ok) status = FrameStatus::malformed;
        return status == FrameStatus::ok ? value : 0;
      }
    }
    if (status == FrameStatus::ok) status = FrameStatus::malformed;
    return 0;
  }
  uint32_t u32() {
    uint32_t value = 0;
    for (int k = 0; k < 4; ++k) value |= uint32_t{byte()} << (8 * k);
    return value;
  }
};

// A chunk being decoded, as far as it is asked for: into its place, or through a buffer where its start is not wanted.
struct Part {
  Decoder decoder;
  FrameStatus status = FrameStatus::ok;
  size_t start = 0, count = 0;  // of the symbols to decode
  MutableSymbols into = {};
  size_t skipped = 0;
  bool whole = false;
  void* target = nullptr;
  std::vector<uint8_t> buffer;

  void open(const uint8_t* data, const Frame& frame, size_t c, size_t first, size_t wanted, MutableSymbols symbols,
            const Kernels* kernels) {
    const uint8_t* const payload = data + frame.starts[c];
    const size_t size = frame.starts[c + 1] - frame.starts[c];
    start = c * frame.chunk;
    const size_t stop = std::min<size_t>(start + frame.chunk, frame.count);
    const size_t from = std::max(first, start), to = std::min(first + wanted, stop);
    count = to - start;
    skipped = from - start;
    whole = to == stop;
    into = symbols + (from - first);
    if (skipped) {
      target = into.data;
      buffer.resize(count * symbol_size(symbols.kind));
      into.data = buffer.data();
    }
    if (crc32c(payload, size) != frame.checksums[c]) {
      status = FrameStatus::checksum;
      count = 0;
      return;
    }
    decoder = Decoder(kernels);
    decoder.open(payload, size);
  }

  FrameStatus close() {
    if (status != FrameStatus::ok) return status;
    if (target) std::memcpy(target, buffer.data() + skipped * symbol_size(into.kind), buffer.size() - skipped * symbol_size(into.kind));
    return static_cast<FrameStatus>(whole ? decoder.finish() : decoder.status());
  }
};

}  // namespace

std::vector<std::vector<uint8_t>> compress(const Tables& tables, Symbols symbols, size_t count, Indexes indexes,
                                           size_t chunk, uint32_t lanes, size_t threads, const Kernels* kernels) {
  const size_t chunks = (count + chunk - 1) / chunk;
  Team team(std::min(threads, std::max<size_t>(chunks, 1)));
  const size_t members = std::min(team.size(), std::max<size_t>(chunks, 1));
  std::vector<std::vector<uint8_t>> parts(1 + members);  // the head, then payloads of a member's chunks in a row
  std::vector<size_t> sizes(chunks);
  std::vector<uint32_t> checksums(chunks);
  team.rows(members, [&](size_t first_member, size_t last_member) {
    for (size_t member = first_member; member < last_member; ++member) {
      Encoder encoder(lanes, kernels);
      std::vector<uint8_t>& part = parts[1 + member];
      const size_t begin = member * chunks / members, end = (member + 1) * chunks / members;
      part.reserve(std::min(count - std::min(count, begin * chunk), (end - begin) * chunk) * 3 / 2);  // rarely more
      for (size_t c = begin; c < end; ++c) {
        const size_t before = part.size();
        encoder.append(tables, symbols + c * chunk, std::min(chunk, count - c * chunk), indexes + c * chunk);
        encoder.finish(part);
        sizes[c] = part.size() - before;
        checksums[c] = crc32c(part.data() + before, sizes[c]);
      }
    }
  });
  std::vector<uint8_t>& head = parts[0];
  put_varint(head, count);
  put_varint(head, chunk);
  put_u32(head, tables.fingerprint);
  for (size_t c = 0; c < chunks; ++c) {
    put_varint(head, sizes[c]);
    put_u32(head, checksums[c]);
  }
  put_u32(head, crc32c(head.data(), head.size()));
  return parts;
}

FrameStatus parse(const uint8_t* data, size_t size, Frame& frame) {
  Reader reader{data, size};
  frame.count = reader.varint();
  frame.chunk = reader.varint();
  frame.fingerprint = reader.u32();
  if (reader.status != FrameStatus::ok) return reader.status;
  if (frame.chunk == 0) return FrameStatus::malformed;
  const uint64_t chunks = frame.count / frame.chunk + (frame.count % frame.chunk != 0);
  if (chunks > size / 5) return FrameStatus::truncated;  // each has five bytes in the header, so memory stays in bounds
  std::vector<uint64_t> sizes;
  for (uint64_t c = 0; c < chunks; ++c) {
    sizes.push_back(reader.varint());
    frame.checksums.push_back(reader.u32());
  }
  if (reader.status != FrameStatus::ok) return reader.status;
  const uint32_t expected = crc32c(data, reader.position);
  if (reader.u32() != expected) return reader.status == FrameStatus::ok ? FrameStatus::checksum : reader.status;
  size_t position = reader.position;
  for (const uint64_t bytes : sizes) {
    frame.starts.push_back(position);
    if (bytes > size - position) return FrameStatus::truncated;
    position += bytes;
  }
  frame.starts.push_back(position);
  return position == size ? FrameStatus::ok : FrameStatus::corrupt;
}

FrameStatus decompress(const Tables& tables, const uint8_t* data, const Frame& frame, size_t first, size_t count,
                       Indexes indexes, MutableSymbols symbols, size_t threads, const Kernels* kernels) {
  if (frame.fingerprint != tables.fingerprint) return FrameStatus::other_tables;
  if (count == 0) return FrameStatus::ok;
  const size_t chunk = frame.chunk, begin = first / chunk, end = (first + count - 1) / chunk + 1;
  const size_t chunks = end - begin;
  Team team(std::min(threads, chunks));
  const size_t groups = std::max(team.size(), (chunks + kMostInFlight - 1) / kMostInFlight);
  std::vector<FrameStatus> statuses(groups, FrameStatus::ok);
  team.rows(groups, [&](size_t first_group, size_t last_group) {
    for (size_t group = first_group; group < last_group; ++group) {
      const size_t from = begin + group * chunks / groups, to = begin + (group + 1) * chunks / groups;
      Part parts[kMostInFlight];
      Decoder::Task tasks[kMostInFlight];
      for (size_t c = from; c < to; ++c) {
        Part& part = parts[c - from];
        part.open(data, frame, c, first, count, symbols, kernels);
        tasks[c - from] = {&part.decoder, indexes + part.start, part.count, part.into};
      }
      Decoder::decode_together(tables, tasks, to - from);
      for (size_t c = from; c < to; ++c) {
        const FrameStatus status = parts[c - from].close();
        if (statuses[group] == FrameStatus::ok) statuses[group] = status;
      }
    }
  });
  for (const FrameStatus status : statuses) {
    if (status != FrameStatus::ok) return status;
  }
  return FrameStatus::ok;
}

}  // namespace siglum::rans

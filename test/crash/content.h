// What the load writes: every block of every write is unlike any other, and says which operation wrote it.
#pragma once

#include <cstring>
#include <vector>

#include "base/buffer.h"
#include "base/checksum.h"
#include "test/crash/ledger.h"
#include "test/sim/random.h"

namespace holdfast::crash {

// Fills one block. Every 512-byte sector differs from every other one, so that a torn block matches nothing.
inline void stamp_block(std::byte* block, OpId op, std::uint64_t index) {
  std::uint64_t words[kBlockBytes / 8];
  words[0] = op;
  const std::uint64_t base = sim::mix(std::uint64_t{op} << 32 ^ index);
  for (std::size_t i = 1; i < kBlockBytes / 8; ++i) words[i] = base + i * 0x9e3779b97f4a7c15ULL;
  std::memcpy(block, words, kBlockBytes);
}

inline std::vector<std::uint64_t> hashes_of(Bytes data) {
  std::vector<std::uint64_t> hashes(data.size() / kBlockBytes);
  for (std::size_t i = 0; i < hashes.size(); ++i) hashes[i] = xxh3(data.subspan(i * kBlockBytes, kBlockBytes));
  return hashes;
}

// The operation that a block claims to be of; for the story of a violation only.
inline std::vector<OpId> stamps_of(Bytes data) {
  std::vector<OpId> stamps(data.size() / kBlockBytes);
  for (std::size_t i = 0; i < stamps.size(); ++i) stamps[i] = static_cast<OpId>(load_le<std::uint64_t>(data.data() + i * kBlockBytes));
  return stamps;
}

}  // namespace holdfast::crash

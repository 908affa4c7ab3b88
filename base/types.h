// The units of the house. Index, count, size and id are different types, so that one is never passed for another.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace holdfast {

template <class Tag>
struct Unit {
  std::uint64_t value = 0;
  constexpr Unit() = default;
  explicit constexpr Unit(std::uint64_t v) : value(v) {}
  friend constexpr auto operator<=>(Unit, Unit) = default;
  constexpr Unit next() const { return Unit(value + 1); }
};

using Lba = Unit<struct LbaTag>;                // Index of a 4 KiB block of a volume.
using BlockCount = Unit<struct BlockCountTag>;  // Number of 4 KiB blocks.
using Lsn = Unit<struct LsnTag>;                // Log sequence number; the first record has 1, zero means none.
using Epoch = Unit<struct EpochTag>;            // Reign of one primary; zero means none.
using VolumeId = Unit<struct VolumeIdTag>;      // Index of a volume in its group's catalogue, never reused.
using ChunkIndex = Unit<struct ChunkIndexTag>;  // Index of a 64 KiB chunk of a volume.
using ChunkLocation = Unit<struct ChunkLocTag>; // Index of a 64 KiB chunk of a store's data area; see kNowhere.
using NodeId = Unit<struct NodeIdTag>;

// Nanoseconds of BOOTTIME: it goes on in suspend and never jumps.
struct BootNs {
  std::int64_t value = 0;
  friend constexpr auto operator<=>(BootNs, BootNs) = default;
};
struct DurationNs {
  std::int64_t value = 0;
  friend constexpr auto operator<=>(DurationNs, DurationNs) = default;
};
constexpr BootNs operator+(BootNs t, DurationNs d) { return BootNs{t.value + d.value}; }
constexpr DurationNs operator-(BootNs a, BootNs b) { return DurationNs{a.value - b.value}; }
constexpr DurationNs milliseconds(std::int64_t ms) { return DurationNs{ms * 1'000'000}; }
constexpr DurationNs microseconds(std::int64_t us) { return DurationNs{us * 1'000}; }

using Uuid = std::array<std::uint8_t, 16>;

inline constexpr std::size_t kBlockBytes = 4096;   // The logical block of every volume and the sector of every store.
inline constexpr std::size_t kChunkBlocks = 16;
inline constexpr std::size_t kChunkBytes = kBlockBytes * kChunkBlocks;

struct BlockRange {
  Lba first;
  BlockCount count;
  constexpr Lba end() const { return Lba(first.value + count.value); }
};

// A range check that a hostile CDB cannot wrap.
constexpr bool range_fits(BlockRange range, BlockCount capacity) {
  if (range.count > capacity) return false;
  return range.first.value <= capacity.value - range.count.value;
}

constexpr bool ranges_overlap(BlockRange a, BlockRange b) { return a.first < b.end() && b.first < a.end(); }

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }
constexpr std::uint64_t divide_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit; }

struct UnitHash {
  template <class Tag>
  std::size_t operator()(Unit<Tag> u) const { return std::hash<std::uint64_t>()(u.value * 0x9e3779b97f4a7c15ULL); }
};

}  // namespace holdfast

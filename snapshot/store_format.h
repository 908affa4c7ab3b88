// The store on disk; the grammar is in docs/formats.md.
//   store      = superblock A (chunk 0) superblock B (chunk 1) log data
//   data       = chunk*, each 64 KiB: a data chunk, or 16 map pages
//   page       = PageHeader entries
// Locations: a chunk is named by its byte offset / 64 KiB, a page by its byte offset / 4 KiB. Zero names neither: it means
// "not mapped". Pages are never overwritten in place: a checkpoint writes new ones and then the superblocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/types.h"

namespace holdfast::snapshot {

inline constexpr std::uint64_t kStoreMagic = 0x5453414644484c48ULL;  // "HLHDFAST" read as bytes.
inline constexpr std::uint32_t kStoreVersion = 1;
inline constexpr std::uint64_t kSuperblockOffsets[2] = {0, kChunkBytes};
inline constexpr std::uint64_t kLogOffset = 2 * kChunkBytes;
inline constexpr std::uint32_t kFlagClean = 1;       // Stopped in order: nothing follows durable_lsn in the log.
inline constexpr std::uint32_t kFlagUnfit = 2;       // What is here lacks data that was acknowledged: never promotable (22).
inline constexpr std::uint32_t kFlagLogLost = 4;     // The log starts anew at applied_lsn, without the chain: only a rebuild goes on from there.

inline constexpr std::uint32_t kFlagMapsLost = 8;    // Some page of the trees is unreadable: all is compared with another copy, and until then such pages are empty.

// A child page as its parent knows it. page = 0: a hole; modified_lsn then still tells when it became one.
struct PageRef {
  std::uint64_t page;
  std::uint64_t xxh3;          // Of all 4096 bytes.
  std::uint64_t modified_lsn;  // Newest change anywhere below: delta rebuild skips what is older than its base.
  std::uint64_t reserved;
};
static_assert(sizeof(PageRef) == 32);

enum class TreeKind : std::uint16_t { catalogue = 1, space = 2, blobs = 3, map = 4 };

struct PageHeader {
  std::uint32_t magic;
  std::uint16_t level;         // 0: leaf.
  std::uint16_t kind;          // TreeKind
  std::uint64_t tree_id;       // VolumeId of a map, else zero.
  std::uint64_t index;         // Of the page within its level: a misdirected read is noticed.
  std::uint64_t generation;    // Of the superblock that first refers to it.
  std::uint64_t reserved0;
  std::uint8_t store_id[16];
  std::uint64_t reserved1;
};
static_assert(sizeof(PageHeader) == 64);
static_assert(std::has_unique_object_representations_v<PageHeader>);
inline constexpr std::uint32_t kPageMagic = 0x47504648;  // "HFPG"

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kPageBody = kPageBytes - sizeof(PageHeader);
inline constexpr std::size_t kPagesPerChunk = kChunkBytes / kPageBytes;
inline constexpr std::size_t kFanout = kPageBody / sizeof(PageRef);
static_assert(kFanout == 126);

// One chunk of a volume.
struct MapEntry {
  std::uint64_t location;      // Zero: no chunk; everything reads as zeros.
  std::uint64_t modified_lsn;  // All records up to it are in this entry; kept when the chunk goes.
  std::uint64_t birth_lsn;     // When this location was first used: decides what a snapshot shares.
  std::uint16_t valid_mask;    // Bit i: block i has data; clear: it reads as zeros.
  std::uint8_t reserved0[6];
  std::uint64_t checksums[kChunkBlocks];  // XXH3 a block, meaningful where the mask has a bit.
  std::uint64_t reserved1;
};
static_assert(sizeof(MapEntry) == 168);
static_assert(std::has_unique_object_representations_v<MapEntry>);
inline constexpr std::size_t kLeafChunks = kPageBody / sizeof(MapEntry);
static_assert(kLeafChunks == 24);

// Space: 16 bits a chunk, one a page; a data chunk has all set, a free one none.
inline constexpr std::size_t kLeafMasks = kPageBody / 2;

inline constexpr std::size_t kNameBytesMax = 63;
enum class EntryKind : std::uint16_t { free = 0, volume = 1, snapshot = 2 };
inline constexpr std::uint16_t kEntryDeleting = 1;

struct CatalogueEntry {
  std::uint64_t volume_id;
  std::uint16_t kind;              // EntryKind
  std::uint16_t flags;
  std::uint32_t map_depth;
  std::uint64_t block_count;
  std::uint64_t created_lsn;
  std::uint64_t modified_lsn;      // Of the newest record that changed this entry.
  std::uint64_t mapped_chunks;
  std::uint64_t reservation_bytes; // Length of the state in the blobs tree.
  std::uint64_t origin_id;         // Of a snapshot or clone.
  PageRef root;
  std::uint8_t uuid[16];
  char name[64];                   // Padded with zeros.
  std::uint8_t reserved[64];
};
static_assert(sizeof(CatalogueEntry) == 240);
static_assert(std::has_unique_object_representations_v<CatalogueEntry>);
inline constexpr std::size_t kLeafEntries = kPageBody / sizeof(CatalogueEntry);
static_assert(kLeafEntries == 16);

inline constexpr std::size_t kBlobPages = 4;  // Of one volume's reservations.
inline constexpr std::size_t kBlobBytesMax = kBlobPages * kPageBody;

// What a volume_create record carries in its payload block.
struct VolumeDescription {
  std::uint64_t block_count;
  std::uint8_t uuid[16];
  char name[64];
};
static_assert(sizeof(VolumeDescription) == 88);

// A named reader of the log.
struct StoredConsumer {
  char name[64];                    // Padded with zeros.
  std::uint64_t confirmed_lsn;      // It has everything up to this record.
  std::uint64_t confirmed_blocks;   // Written by the records up to it (wal/log.h), or kBlocksUnknown.
};
static_assert(sizeof(StoredConsumer) == 80);
static_assert(std::has_unique_object_representations_v<StoredConsumer>);
inline constexpr std::uint64_t kBlocksUnknown = ~std::uint64_t{0};
inline constexpr std::size_t kConsumersMax = 16;

// What a consumer record carries in its payload block: where the consumer is from now on, or that it is gone.
struct ConsumerChange {
  StoredConsumer consumer;
  std::uint64_t removed;            // 0 or 1.
};
static_assert(sizeof(ConsumerChange) == 88);
static_assert(std::has_unique_object_representations_v<ConsumerChange>);

struct EpochStart {
  std::uint64_t epoch;
  std::uint64_t first_lsn;
};
static_assert(sizeof(EpochStart) == 16);
inline constexpr std::size_t kEpochsKept = 128;

struct Superblock {
  std::uint64_t magic;
  std::uint64_t xxh3;              // Covers [16, 4096).
  std::uint32_t format_version;
  std::uint32_t flags;
  std::uint64_t generation;        // The valid copy with the higher one counts.
  std::uint8_t store_id[16];       // The incarnation: fresh for every formatted store.
  std::uint64_t capacity_chunks;   // Of the whole file or device.
  std::uint64_t log_blocks;
  std::uint64_t log_generation;
  std::uint64_t durable_lsn;       // Known durable when this was written.
  std::uint64_t applied_lsn;       // Everything up to it is in the maps below.
  std::uint64_t tail_position;     // Where recovery starts to read the log, and the chain there.
  std::uint64_t tail_first_lsn;
  std::uint64_t tail_previous_xxh3;
  std::uint64_t tail_chain_xxh3;
  std::uint64_t bound_epoch;
  std::uint64_t bound_claim;
  std::uint64_t bound_as_primary;
  std::uint64_t next_volume_id;
  std::uint64_t pages_live;
  PageRef catalogue;
  PageRef space;
  PageRef blobs;
  std::uint64_t epoch_count;
  EpochStart epochs[kEpochsKept];  // Newest last.
  std::uint8_t group[16];          // The same for all copies of a group.
  std::uint64_t seq_seen;          // Of the group's register: an older one is not believed.
  std::uint64_t cut_lsn;           // First LSN of this log generation: what older generations have from here on was cut.
  std::uint64_t durable_position;  // Where the log ended in the ring when durable_lsn was written.
  std::uint8_t coordinator[16];    // Of the cluster's id; zeros: none was seen yet.
  std::uint64_t tail_written_blocks;  // By the records before the tail (wal/log.h).
  std::uint64_t retained_position;  // What the ring has from before the tail begins here, unless it was overwritten since.
  std::uint64_t consumers_lsn;      // The consumers are as this record left them.
  StoredConsumer consumers[kConsumersMax];  // Free places have no name.
  std::uint64_t changes_since_lsn;  // The maps tell all that changed since any LSN from this one on; not since older ones.
  std::uint64_t commit_lsn;         // Known committed when the maps were frozen: they may have records up to it.
  EpochStart forgotten;             // What the log had before the oldest of these epochs: the last one, and where it ended (wal/history.h).
  std::uint8_t reserved[392];
};
static_assert(sizeof(Superblock) == 4096);
static_assert(std::has_unique_object_representations_v<Superblock>);

// Interior levels: fixed for the group's trees, by size for a volume's map.
inline constexpr unsigned kCatalogueDepth = 2;
inline constexpr unsigned kBlobsDepth = 3;
inline constexpr unsigned kSpaceDepth = 3;
constexpr unsigned map_depth_for(std::uint64_t chunks) {
  std::uint64_t leaves = divide_up(chunks, kLeafChunks);
  unsigned depth = 1;
  for (std::uint64_t reach = kFanout; reach < leaves; reach *= kFanout) ++depth;
  return depth;
}
// Pages of the space tree of a store of so many chunks when all of them exist, interior ones included.
constexpr std::uint64_t space_tree_pages(std::uint64_t chunks) {
  std::uint64_t level = divide_up(chunks, kLeafMasks), pages = level;
  for (unsigned i = 0; i < kSpaceDepth; ++i) pages += level = divide_up(level, kFanout);
  return pages;
}
inline constexpr std::uint64_t kStoreChunksMax = std::uint64_t{kFanout} * kFanout * kFanout * kLeafMasks;

}  // namespace holdfast::snapshot

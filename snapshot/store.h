// The store of one replica: superblock, space, catalogue and the volumes' block maps. The log lies in it but belongs to wal.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/disk.h"
#include "base/random.h"
#include "base/result.h"
#include "base/scope.h"
#include "base/sync.h"
#include "base/task.h"
#include "snapshot/consumer_table.h"
#include "snapshot/page_tree.h"
#include "snapshot/space.h"
#include "snapshot/superblock.h"
#include "wal/history.h"
#include "wal/log.h"

namespace holdfast::snapshot {

// An open volume's (or, later, snapshot's) side of the store.
struct StoredVolume {
  std::uint64_t slot = 0;                  // In the catalogue.
  CatalogueEntry entry{};                  // root, map_depth and mapped_chunks are brought up to date by checkpoints.
  std::unique_ptr<PageTree> map;
  std::uint64_t mapped_chunks = 0;         // As of now.
  bool entry_changed = false;
  std::vector<std::byte> reservations;     // As of now.
  Frame* blobs[kBlobPages] = {};           // Pinned once they exist.

  VolumeId id() const { return VolumeId(entry.volume_id); }
  std::string name() const { return std::string(entry.name); }
  bool deleting() const { return entry.flags & kEntryDeleting; }
  std::uint64_t chunk_count() const { return divide_up(entry.block_count, kChunkBlocks); }
  std::uint64_t leaf_count() const { return divide_up(chunk_count(), kLeafChunks); }
};

// What a checkpoint writes into the superblock; taken at the freeze.
struct CheckpointPoint {
  Lsn applied;
  Lsn committed;  // The maps may have what lies between.
  Lsn durable;
  std::uint64_t durable_position = 0;
  wal::LogCursor tail;
  std::uint64_t retained_position = 0;  // Of the oldest batch that the ring still has.
  bool clean = false;
  bool rewind = false;  // The log starts anew at the tail: what was durable beyond it does not count.
};

class Store {
 public:
  Store(Disk& disk, BufferPool& buffers, std::uint64_t cache_bytes);
  ~Store();

  struct FormatInput {
    std::uint64_t log_bytes;
    bool overwrite;
    Uuid group{};  // Zeros: a fresh one.
  };
  static Task<Result<void>> format(Disk& disk, BufferPool& buffers, Random& random, FormatInput input);

  // Superblocks, space tree, catalogue. The log is the caller's to scan from log_tail() on. An unreadable space tree is counted
  // anew from the maps. What else is unreadable is refused, or taken as empty: then nothing may be written before
  // accept_loss(), and what was lost comes from another copy. Errors: corrupt and those of read_superblocks().
  enum class Loss : std::uint8_t { refused, taken };
  Task<Result<void>> open(Loss loss);
  // By open(): what is in memory is not what was there.
  bool catalogue_lost() const { return catalogue_lost_; }
  void accept_loss() { catalogue_lost_ = false; }
  // After the log was scanned: room for the next checkpoints.
  Task<Result<void>> establish();

  const Superblock& superblock() const { return superblock_; }
  const Uuid& store_id() const { return store_id_; }
  wal::LogGeometry log_geometry() const { return {kLogOffset, superblock_.log_blocks}; }
  wal::LogCursor log_tail() const;
  bool superblock_copy_lost() const { return lost_superblock_.has_value(); }
  Space& space() { return space_; }
  PageDamage& damage() { return damage_; }
  PageCache& cache() { return cache_; }
  Disk& disk() { return *disk_; }
  BufferPool& buffers() { return *buffers_; }

  // Changes the newest superblock and writes both copies; callers take turns, so no change is lost.
  Task<Result<void>> update_superblock(std::function<void(Superblock&)> change);

  // An epoch began; kept in the superblock from the next write on.
  void note_epoch(Epoch epoch, Lsn first);
  // Of what is applied up to the LSN.
  wal::EpochHistory history(Lsn applied) const;

  // Kept in the superblock from the next write on.
  ConsumerTable& consumers() { return consumers_; }

  std::vector<std::unique_ptr<StoredVolume>>& volumes() { return volumes_; }
  StoredVolume* find(VolumeId id);
  // Makes room in the catalogue for one more volume; add_volume() then cannot fail. Errors: no_space, overloaded.
  Task<Result<void>> prepare_volume();
  StoredVolume* add_volume(VolumeId id, const VolumeDescription& description, Lsn by);
  void note_next_volume(VolumeId id) { superblock_.next_volume_id = std::max(superblock_.next_volume_id, id.value); }
  // What was emptied up to the LSN left no trace in the maps. Kept in the superblock from the next write on.
  void changes_are_known_since(Lsn lsn) { superblock_.changes_since_lsn = std::max(superblock_.changes_since_lsn, lsn.value); }
  Lsn changes_known_since() const { return Lsn(superblock_.changes_since_lsn); }
  // All of it: the log of another copy is followed from here on.
  void replace_history(const wal::EpochHistory& history);
  // Makes room for the volume's reservation state; set_reservations() then cannot fail.
  Task<Result<void>> prepare_reservations(StoredVolume* volume);
  void set_reservations(StoredVolume* volume, std::vector<std::byte> state, Lsn by);
  void mark_deleting(StoredVolume* volume, Lsn by);
  // Everything of it is unmapped and checkpointed: the entry goes.
  void remove_volume(StoredVolume* volume);

  // Comes before checkpoint(): the pages above those that changed are in memory when it returns, and whatever cannot be read is
  // known before anything was taken. Nothing suspends between the two. Errors: corrupt, io_error.
  Task<Result<void>> prepare_checkpoint();
  // One at a time. Frees what the new roots no longer need; the caller frees the log before point.tail afterwards.
  Task<Result<void>> checkpoint(CheckpointPoint point);

  // Reads the pages of the catalogue, the reservations and the space tree from the disk. What is bad there is right in memory, and
  // the next checkpoint writes it anew. In the turn of checkpoints.
  struct Checked {
    std::uint64_t good = 0, bad = 0;
  };
  Task<Result<Checked>> check_group_pages();
  // Reads every map page there is, and frees what none of them names: what is below a page that was taken as empty. In the turn
  // of checkpoints, after one, when nothing is on its way into the maps. Returns how many chunks that concerns. Errors: busy (a
  // page was taken as empty meanwhile: another checkpoint has to come first).
  Task<Result<std::uint64_t>> free_unnamed(Lsn applied);

  // The group has failed. A sync that succeeds from now on proves nothing about what a failed one dropped: no new root.
  void take_out_of_service() { failed_ = true; }
  // Waits for background work.
  Task<void> stop() { co_await background_.join(); }

  static constexpr std::uint64_t kVolumesMax = 256;

 private:
  friend class Checkpoint;
  // What the trees name: a bit a page, by chunk; of the space tree nothing.
  struct Named {
    std::uint64_t mapped = 0;                          // Chunks that maps name …
    std::map<std::uint64_t, std::uint64_t> mapped_of;  // … by volume id.
    std::vector<std::uint16_t> masks;
    std::uint64_t pages = 0;
  };
  Task<Result<void>> load_space();
  Task<Result<void>> load_trees(Loss loss);
  Task<Result<void>> count_space_anew();
  Task<Result<Named>> find_named();
  Task<Result<void>> name_tree(PageTree* tree, std::uint64_t leaves, Named* named);
  Task<Result<void>> name_chunks(PageTree* map, std::uint64_t index, Named* named);
  Task<Result<void>> hold_path(PageTree* map, std::uint64_t index);
  void let_go_of_paths();
  std::uint64_t first_data_chunk() const { return 2 + divide_up(superblock_.log_blocks, kChunkBlocks); }
  Task<Result<void>> load_catalogue();
  Task<Result<void>> load_reservations(StoredVolume* volume);
  Task<void> punch(std::vector<std::uint64_t> chunks);
  TreePorts tree_ports() { return TreePorts{*disk_, cache_, store_id_, &damage_}; }
  std::uint32_t free_tree_number();
  StoredVolume* adopt(std::uint64_t slot, const CatalogueEntry& entry);

  Disk* disk_;
  BufferPool* buffers_;
  Superblock superblock_{};
  Uuid store_id_{};
  std::optional<std::size_t> lost_superblock_;  // Which copy could not be read; until it is rewritten.
  bool failed_ = false;
  bool space_lost_ = false;                 // Only while opening.
  bool catalogue_lost_ = false;
  PageDamage damage_;
  std::vector<Frame*> held_;                // Pinned, above what is dirty; some more than once.
  ConsumerTable consumers_;
  PageCache cache_;
  Space space_;
  PageTree space_tree_;
  PageTree catalogue_;
  PageTree blobs_;
  std::uint64_t space_pages_loaded_ = 0;    // That exist, of all levels.
  static constexpr std::uint32_t kTreeNumberMax = 0xffff;
  std::uint32_t next_tree_number_ = kTreeNumberMax;  // Used last.
  std::vector<std::unique_ptr<StoredVolume>> volumes_;
  std::vector<std::uint64_t> freed_slots_;  // Emptied since the last checkpoint: to be zeroed in the catalogue.
  std::vector<std::unique_ptr<PageTree>> graveyard_;
  Semaphore superblock_turn_;
  Buffer page_buffer_;                      // The checkpoint's own, so that a full pool cannot stop it,
  Buffer superblock_buffer_;                // … nor the superblock's writer.
  Scope background_;
};

}  // namespace holdfast::snapshot

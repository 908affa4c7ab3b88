// The copy that is being rebuilt: fetches what differs, compares before it fetches, and never overwrites what it has in place.
// An image is not of one instant: each chunk is as of when it was read, and the log from the image's point on, which follows,
// makes them meet. Until the log has reached what the newest of them includes, the copy is unfit (rule 22).
#pragma once

#include <optional>

#include "base/clock.h"
#include "base/sync.h"
#include "rebuild/exchange.h"
#include "snapshot/store.h"

namespace holdfast::rebuild {

// Who answers; the connection may end at any time.
class Peer {
 public:
  // Errors: closed, protocol, and what the answer's code says.
  virtual Task<Result<Answer>> ask(Question question) = 0;

 protected:
  ~Peer() = default;
};

class TargetOwner {
 public:
  // Everything fetched so far becomes durable, and what it replaced becomes free.
  virtual Task<Result<void>> keep() = 0;
  virtual bool gives_up() const = 0;
  virtual void volume_added(snapshot::StoredVolume* volume) = 0;
  // The volume is not in the image: it goes, with all it has.
  virtual Task<Result<void>> drop_volume(snapshot::StoredVolume* volume) = 0;
  virtual Lsn applied() const = 0;
  // No copy could give the block: here, too, reads of it fail until it is overwritten, or somebody has it after all.
  virtual void block_lost(snapshot::StoredVolume* volume, std::uint64_t block) = 0;

 protected:
  ~TargetOwner() = default;
};

struct Progress {
  std::uint64_t chunks_compared = 0;
  std::uint64_t chunks_fetched = 0;
  std::uint64_t bytes_fetched = 0;
  std::uint64_t bytes_done = 0, bytes_total = 0;  // Of the volumes, holes included; of the last run.
};

class Target {
 public:
  // What was fetched is made durable after every `keep_chunks` of them.
  Target(snapshot::Store& store, Peer& peer, TargetOwner& owner, Clock& clock, Progress& progress, std::uint32_t keep_chunks)
      : store_(&store), peer_(&peer), owner_(&owner), clock_(&clock), progress_(&progress), keep_chunks_(keep_chunks),
        window_(clock.executor(), kFetchesMax) {}

  struct Done {
    Image image;
    Lsn reach;  // The copy is fit again when its log ends there or later.
  };
  // base: up to there both logs, and all that was made of them, are the same; zero: nothing is known to be.
  Task<Result<Done>> run(Lsn base);

 private:
  static constexpr std::uint64_t kFetchesMax = 8;
  static constexpr std::int64_t kBusyPauseMs = 20;

  Task<Result<Answer>> ask(Question question);
  Task<Result<void>> match_catalogue();
  Task<Result<void>> match_volume(snapshot::StoredVolume* volume, const snapshot::CatalogueEntry& theirs);
  Task<Result<void>> match_leaf(snapshot::StoredVolume* volume, std::uint64_t index, Buffer theirs);
  Task<Result<void>> empty_leaves(snapshot::StoredVolume* volume, std::uint64_t from, std::uint64_t end);
  Task<void> confirm(snapshot::StoredVolume* volume, snapshot::Frame* leaf, std::uint64_t chunk, std::uint64_t modified_lsn);
  void note_same(snapshot::StoredVolume* volume, snapshot::Frame* leaf, std::uint64_t chunk, std::uint64_t modified_lsn);
  Task<bool> is_on_disk(snapshot::MapEntry entry);
  Task<void> fetch(snapshot::StoredVolume* volume, std::uint64_t chunk);
  Task<bool> take_turn();
  Task<Result<void>> fetch_chunk(snapshot::StoredVolume* volume, std::uint64_t chunk);
  Task<Result<void>> install(snapshot::StoredVolume* volume, std::uint64_t chunk, Answer* content);
  Task<Result<snapshot::Frame*>> leaf_to_change(snapshot::StoredVolume* volume, std::uint64_t index);
  void set_entry(snapshot::StoredVolume* volume, snapshot::Frame* leaf, std::uint64_t chunk, const snapshot::MapEntry& entry);
  Task<Result<void>> match_reservations(snapshot::StoredVolume* volume, Lsn image_modified);

  snapshot::Store* store_;
  Peer* peer_;
  TargetOwner* owner_;
  Clock* clock_;
  Progress* progress_;
  std::uint32_t keep_chunks_;
  Image image_;
  Lsn base_;
  bool delta_ = false;          // There was a base: what both logs have is the same.
  Lsn reach_;
  Semaphore window_;
  std::uint64_t fetched_since_kept_ = 0;
  std::optional<Error> error_;  // Of a fetch.
};

}  // namespace holdfast::rebuild

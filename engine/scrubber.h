// Looks at everything now and then, in the background, so that what rots is found while another copy still has it.
//   - Each copy looks at its own: every page of its trees on the disk, and every block of data against its checksum. Bad blocks
//     come from another copy (mender.h); a page that is right in memory is written anew; one that is not is group_damage.cpp's.
//   - The primary compares with the other copies, map page by map page: what each block holds, by its checksum, as of one LSN. A
//     block that changed meanwhile is skipped. Who differs from two others, or cannot read what it says it has, is rebuilt.
// A pass holds up nobody: it reads at a rate, and takes the checkpoints' turn for the pages above one leaf at a time.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/scope.h"
#include "engine/group.h"
#include "engine/volume_impl.h"
#include "rebuild/exchange.h"

namespace holdfast::engine {

class Scrubber {
 public:
  explicit Scrubber(GroupImpl& group);

  // With an interval: a pass begins that long after the one before.
  void start();
  // Begins a pass now, unless one is under way.
  void begin();
  void stop();
  Task<void> join() { co_await scope_.join(); }
  const ScrubStatus& status() const { return status_; }

 private:
  // What a map page's blocks hold, in order; a hole is zeros.
  using Contents = std::array<std::uint64_t, rebuild::kLeafContents>;
  struct Other {
    NodeId node;
    Contents contents{};
  };

  Task<void> run();
  Task<void> pass();
  Task<bool> scrub_group_pages();
  Task<bool> scrub_volume(VolumeId id);
  Task<bool> scrub_leaf(VolumeImpl* volume, std::uint64_t leaf);
  Task<void> scrub_pages(VolumeImpl* volume, std::uint64_t leaf);
  Task<void> scrub_chunk(VolumeImpl* volume, std::uint64_t chunk);
  Task<void> compare_holes(VolumeImpl* volume, std::uint64_t from, std::uint64_t end);
  Task<void> compare_leaf(VolumeImpl* volume, std::uint64_t leaf);
  Task<std::vector<Other>> ask_contents(VolumeImpl* volume, std::uint64_t leaf, Lsn at_least);
  Task<void> judge(VolumeImpl* volume, std::uint64_t block, std::uint64_t mine, std::vector<std::pair<NodeId, std::uint64_t>> others);
  Task<std::optional<bool>> has_what_it_says(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum, NodeId other);
  Task<void> pace(std::uint64_t bytes);
  // A copy that is being rebuilt is looked at afterwards.
  bool gives_up() const;
  VolumeImpl* open_volume(VolumeId id) const;

  GroupImpl* group_;
  ScrubStatus status_;
  Timer timer_;
  Timer pause_;
  BootNs next_read_{};
  bool stopping_ = false;
  bool loops_ = false;
  bool wanted_ = false;
  std::vector<NodeId> blamed_;   // In this pass: each is rebuilt once.
  Scope scope_;
};

}  // namespace holdfast::engine

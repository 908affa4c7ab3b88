// What a disk holds, apart from time: a durable image, and the writes that a power loss may still undo.
//   - A cached write is visible once it completed, and volatile until a sync that was submitted afterwards completes.
//   - A durable write is durable once it completed. Before that it is in flight, and anything of it may be there.
//   - After a power loss each unsettled write is lost, kept, or torn at 512 bytes, in any order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/disk.h"
#include "test/sim/image.h"

namespace holdfast::sim {

// What a power loss leaves of one write.
enum class Tear : std::uint8_t { lost, kept, first_sector, all_but_last_sector, alternate_sectors, prefix, any_sectors };

struct Fate {
  std::size_t write;      // Index into Media::unsettled().
  Tear tear;
  std::uint64_t seed = 0; // For prefix and any_sectors.
};

struct UnsettledWrite {
  std::uint64_t id;
  std::uint64_t first_block;
  std::vector<PageRef> pages;
  std::vector<bool> superseded;  // Blocks that a later durable write has replaced for good. Empty: none.
  Durability durability;
  std::uint64_t completed = 0;   // Position among the completions; zero while in flight.
};

class Media {
 public:
  Media() = default;
  explicit Media(Image image) : durable_(image), visible_(std::move(image)) {}

  void begin_write(std::uint64_t id, std::uint64_t first_block, std::vector<PageRef> pages, Durability durability);
  void complete_write(std::uint64_t id);
  // The process died after the write and before its flush: visible, and volatile until a sync.
  void abandon_write(std::uint64_t id);
  // An error: the write's sectors may be there or not, and it stays volatile until a sync.
  void fail_write(std::uint64_t id, std::uint64_t seed);
  // What a sync submitted now will cover.
  std::uint64_t sync_horizon() const { return completions_; }
  void complete_sync(std::uint64_t horizon);
  // A failed sync has forgotten some of what it covered, and a later one does not bring it back.
  void fail_sync(std::uint64_t horizon, std::uint64_t seed);

  const PageRef& visible(std::uint64_t block) const { return visible_.at(block); }
  // What a read overlapping writes in flight may see: per sector the old or the new.
  PageRef read(std::uint64_t block, std::uint64_t seed) const;
  std::span<const UnsettledWrite> unsettled() const { return unsettled_; }

  // The image after a power loss: the fates are applied in their order; a write without one is lost.
  Image after_power_loss(std::span<const Fate> fates) const;
  // Changes the bytes behind everybody's back.
  void corrupt(std::uint64_t block, PageRef page);
  const Image& durable() const { return durable_; }

 private:
  UnsettledWrite& find(std::uint64_t id);
  void erase(std::uint64_t id);
  static void apply(Image& image, const UnsettledWrite& write, Tear tear, std::uint64_t seed);
  void supersede(const UnsettledWrite& by);

  Image durable_;
  Image visible_;
  std::vector<UnsettledWrite> unsettled_;  // In order of submission.
  std::uint64_t completions_ = 0;
  std::size_t in_flight_ = 0;
};

}  // namespace holdfast::sim

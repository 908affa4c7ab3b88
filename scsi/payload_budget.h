// Payload memory of commands: one account a thread for each direction, over all connections of all its targets (PayloadBudgets, at the end).
//
// A volume has a share of it, and a connection a share of its volume's: initiators who announce and stay silent, and a volume that
// stands still, slow down themselves and nobody else. Three quarters are in shares. The last quarter is for volumes that have less than the
// largest command takes, their floor: those that come while others stand with what they had when there were fewer.
//
// Commands that find no room wait in the line of their connection and never overtake each other there: an ordered one would wait for memory
// which those behind it hold while they wait for it. Lines are served in turn.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstdint>

#include "base/buffer.h"
#include "base/intrusive_list.h"
#include "scsi/command.h"

namespace holdfast::scsi {

class PayloadBudget {
 public:
  class ConnectionShare;

  // What one command holds; in line while linked. Outlives the wait for it.
  struct Claim : ListNode<Claim> {
    std::uint64_t bytes = 0;              // Held; zero while it is waited for.

   private:
    friend class PayloadBudget;
    ConnectionShare* connection = nullptr;  // Valid while it holds something or waits.
    std::uint64_t wanted = 0;             // Valid while linked.
    std::coroutine_handle<> waiter;       // Valid while linked; null until somebody waits.
  };

  class VolumeShare {
   public:
    explicit VolumeShare(PayloadBudget& budget) : budget_(&budget) {
      ++budget.volumes_;
      budget.unused_floors_ += unused_floor();
    }
    VolumeShare(const VolumeShare&) = delete;
    VolumeShare& operator=(const VolumeShare&) = delete;
    ~VolumeShare() {
      --budget_->volumes_;
      budget_->unused_floors_ -= unused_floor();
    }

   private:
    friend class PayloadBudget;
    std::uint64_t unused_floor() const { return held_ < kTransferBytesMax ? kTransferBytesMax - held_ : 0; }
    PayloadBudget* budget_;
    std::uint64_t held_ = 0;
    std::uint64_t connections_ = 0;
    std::uint64_t short_in_round_ = 0;    // The round of serving in which somebody waited for room in this share.
    // Who could not wait, and was refused: newcomers leave room for its next try, until it does not come though there is room.
    const ConnectionShare* refused_ = nullptr;
    std::uint64_t refused_bytes_ = 0;     // Valid with it, like the patience.
    unsigned refused_patience_ = 0;
  };

  // In the budget's list while somebody waits in its line.
  class ConnectionShare : public ListNode<ConnectionShare> {
   public:
    explicit ConnectionShare(VolumeShare& volume) : volume_(&volume) { ++volume.connections_; }
    ~ConnectionShare() {
      --volume_->connections_;
      if (volume_->refused_ == this) volume_->refused_ = nullptr;
    }
    std::uint64_t held_bytes() const { return held_; }

   private:
    friend class PayloadBudget;
    VolumeShare* volume_;
    std::uint64_t held_ = 0;
    IntrusiveList<Claim> line_;
  };

  // At least the largest command: it would wait for ever.
  PayloadBudget(Executor& executor, std::uint64_t bytes_max)
      : executor_(&executor), bytes_max_(std::max<std::uint64_t>(bytes_max, kTransferBytesMax)) {}

  // What each of so many may have of a whole.
  static constexpr std::uint64_t part(std::uint64_t whole, std::uint64_t holders) {
    return std::max<std::uint64_t>(whole / 4 * 3 / std::max<std::uint64_t>(holders, 1), kTransferBytesMax);
  }

  // A command that waits for nobody may take what those in the line of its connection leave; any other one stands behind them.
  enum class Line : std::uint8_t { behind, beside };
  bool try_take(ConnectionShare& connection, Claim& claim, std::uint64_t bytes, Line line);
  // It needed its place at once, found none and is told to come again.
  void refuse(const ConnectionShare& connection, std::uint64_t bytes);
  // Takes it, or its place in the line: at once, since whoever comes next must not overtake.
  void stand_in_line(ConnectionShare& connection, Claim& claim, std::uint64_t bytes);
  // co_await: holds the claim afterwards, unless it was given up.
  struct Awaiter {
    Claim* claim;
    bool await_ready() const { return !claim->linked(); }
    void await_suspend(std::coroutine_handle<> h) const { claim->waiter = h; }
    void await_resume() const noexcept {}
  };
  static Awaiter turn_of(Claim& claim) { return Awaiter{&claim}; }
  // Ends a wait; nothing happens when there is none.
  void give_up(Claim& claim);
  // What is held, if anything, goes to those who wait.
  void release(Claim& claim);

  std::uint64_t bytes_max() const { return bytes_max_; }
  std::uint64_t held_bytes() const { return held_; }

 private:
  std::uint64_t volume_max() const { return part(bytes_max_, volumes_); }
  std::uint64_t connection_max(const VolumeShare& volume) const { return part(volume_max(), volume.connections_); }
  bool has_room(const VolumeShare& volume, std::uint64_t bytes) const;
  static constexpr unsigned kRefusedPatience = 256;
  void hold(ConnectionShare& connection, Claim& claim, std::uint64_t bytes);
  void set_held(VolumeShare& volume, std::uint64_t bytes);
  void leave_line(Claim& claim);
  bool serve_first(ConnectionShare& connection);
  void serve();

  Executor* executor_;
  const std::uint64_t bytes_max_;
  std::uint64_t held_ = 0;
  std::uint64_t volumes_ = 0;
  std::uint64_t unused_floors_ = 0;       // Of all volumes together.
  std::uint64_t round_ = 1;               // Of serving.
  bool short_ = false;                    // In the last round somebody waited for room in the whole.
  IntrusiveList<ConnectionShare> waiting_;
};

// Of a thread. A write counts from when it gets memory, to wait for its data, for its turn and at the volume, until it is answered; a read, and
// what any command takes for its own work, from when its turn has come until the answer, and the data, has left. They do not share: a read may
// have to wait for a write before it, which waits for memory.
struct PayloadBudgets {
  PayloadBudgets(Executor& executor, const BufferPool& pool)
      : data_out(executor, pool.memory().size() / 2), data_in(executor, pool.memory().size() / 8 * 3) {}

  PayloadBudget data_out;
  PayloadBudget data_in;           // The rest of the memory is the volumes' own.
};

}  // namespace holdfast::scsi

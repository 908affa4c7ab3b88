// The coordinator of the simulated world: a linearizable register on machines of its own, and a port to it for each process.
// What it can do to its users: answer late, not at all, or only to some; leave a compare-and-swap in the dark, which then took
// effect, did not, or does so seconds later; forget to tell of a change; come back emptied or from a backup.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/coordinator.h"
#include "test/sim/world.h"

namespace holdfast::sim {

struct CoordinatorOptions {
  DurationNs latency_min = microseconds(200);     // One way, with the register's own work.
  DurationNs latency_max = milliseconds(2);
  DurationNs request_timeout = milliseconds(300);
  DurationNs watch_timeout = milliseconds(1'000);
  DurationNs late_max = milliseconds(3'000);      // A swap that its caller has given up may still arrive within this.
};

struct CoordinatorFaults {
  bool stopped = false;                   // Nobody is answered.
  DurationNs slow{};                      // On top of each way, up to so much more.
  std::uint32_t unknown_swap_ppm = 0;
  std::uint32_t lost_notice_ppm = 0;      // A change that a watch does not tell.
  // The node's next swap takes so long, and the node never hears of it.
  struct LateSwap {
    NodeId node;
    DurationNs delay;
  };
  std::optional<LateSwap> late_swap;
};

struct CoordinatorCounters {
  std::uint64_t reads = 0, swaps_applied = 0, swaps_refused = 0, unanswered = 0, turned_away = 0;
  std::uint64_t unknown_applied = 0, unknown_lost = 0, unknown_late = 0, notices_lost = 0, refused_as_foreign = 0;
};

class SimCoordinator {
 public:
  struct State {
    std::string cluster_id;
    std::uint64_t revision = 0;           // Of the newest change of any key.
    std::map<std::string, CoordinatorEntry> entries;
  };
  using SameValue = std::function<bool(const std::string& a, const std::string& b)>;

  SimCoordinator(SimWorld& world, CoordinatorOptions options);
  SimCoordinator(const SimCoordinator&) = delete;
  SimCoordinator& operator=(const SimCoordinator&) = delete;

  // A port for one life of the node's process.
  std::unique_ptr<Coordinator> open_port(NodeId node, SimHost& host);

  // The truth, as nobody in the simulation sees it.
  const CoordinatorEntry& peek(const std::string& key) { return state_.entries[key]; }
  // Written before anybody looks, or by an operator.
  void put(const std::string& key, std::string value);
  // Told of each change, as it happens.
  std::function<void(const std::string& key, const CoordinatorEntry& now)> observer;
  // What a planted bug takes for an unchanged value.
  SameValue same_value;

  // Faults.
  CoordinatorFaults faults;
  void set_reachable(NodeId node, bool reachable) { unreachable_[node] = !reachable; }
  // The node is turned away at once, as by a reset; what it waits for breaks off, too.
  void set_turned_away(NodeId node, bool turned_away);
  bool reachable(NodeId node) const;
  // Is a swap of the node's on its way, whether or not anybody still waits for it?
  bool swap_under_way(NodeId node) const;
  const State& state() const { return state_; }
  void restore(State backup) { state_ = std::move(backup); }
  void empty_out();                       // Started anew, on an empty disk.

  const CoordinatorCounters& counters() const { return counters_; }
  CoordinatorOptions& options() { return options_; }

 private:
  friend class SimCoordinatorPort;
  struct Call;
  using Shared = std::shared_ptr<Call>;

  void request(const Shared& call);
  void arrive(const Shared& call);
  void answer(const Shared& call);
  void swap(Call& call);
  void swap_in_the_dark(const Shared& call);
  void changed(const std::string& key);
  void notify(const Shared& watch);
  DurationNs draw_latency();
  DurationNs draw_up_to(DurationNs most);
  void later(DurationNs delay, std::move_only_function<void()> action) { world_->after(delay, host_, std::move(action)); }

  SimWorld* world_;
  SimHost host_;                          // Its machines: never crash as a whole.
  CoordinatorOptions options_;
  CoordinatorCounters counters_;
  State state_;
  std::map<std::uint64_t, std::string> past_;  // Values by revision; only a planted bug looks at them.
  std::map<NodeId, bool> unreachable_;
  std::set<NodeId> turned_away_;
  std::vector<Shared> watches_;
  std::vector<std::weak_ptr<Call>> swaps_;  // Those that are on their way, and some that were.
  std::uint64_t clusters_ = 0;
};

}  // namespace holdfast::sim

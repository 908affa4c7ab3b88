// Scripted scenarios: the rows of docs/scenarios.md that are marked S, told as stories of a cluster.
// A story breaks off at the first thing that is not as it should be; what it calls after that does nothing.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "test/cluster/call.h"
#include "test/cluster/cluster.h"
#include "test/cluster/copy_content.h"

namespace holdfast::cluster {

// Lease 600 ms, gap 120 ms, the replica time-out and the take-over itself, with room for drifting clocks.
inline constexpr std::int64_t kSilentTakeOverMs = 2'500;
// A process that dies, or a store that fails, is noticed at once; then the promises run out.
inline constexpr std::int64_t kKilledTakeOverMs = 1'500;
// The pause of a change of the primary that was asked for.
inline constexpr double kPlannedPauseMs = 60;
// A write may wait for a dead member: until it is silent for long enough, and the register says so.
inline constexpr double kMemberLossMs = 650 + 50 + 20;

class Story {
 public:
  explicit Story(Plan plan) : cluster_(std::move(plan)) {}

  Cluster& cluster() { return cluster_; }
  bool goes_on() const { return !cluster_.violation(); }

  // What happens next, for the reader.
  void tell(std::string text);
  void run_for(std::int64_t ms);
  // Until it is so; breaks off when it takes longer. How long it took, in milliseconds.
  double until(std::int64_t ms_max, std::string what, const std::function<bool()>& condition);
  void expect(bool holds, std::string what);
  // A scenario that did not do its harm proves nothing.
  void fault_happened(bool proof, std::string what) { expect(proof, "the fault happened: " + what); }

  // Sets the cluster up and lets clients write and read.
  void begin();
  void clients_rest();
  // Clients rest, and everybody is in sync.
  void rest();
  void work_again() { if (goes_on()) cluster_.clients().start(); }
  // Rest; the copies are the same, and what clients saw is one history.
  void end();

  NodeId primary();
  // The n-th node that does not serve, from 0 on.
  NodeId standby(std::size_t n = 0);
  bool serves_elsewhere(NodeId than) const;
  bool in_sync(NodeId id) const;  // With the disk that it has.
  // In sync, and the primary is told so by itself: it could take the lead.
  bool in_step(NodeId id);
  // As the primary tells whoever asks it for its status.
  ReplicaStatus::Member shown(NodeId id);
  // As a node that is down has it: nothing.
  ReplicaStatus replica(NodeId id) { return cluster_.node(id).is_open() ? cluster_.node(id).group()->replica_status() : ReplicaStatus{}; }
  Epoch bound_epoch(NodeId id) { return cluster_.node(id).is_open() ? cluster_.node(id).group()->status().epoch : Epoch{}; }
  std::uint64_t revision() { return cluster_.coordinator().peek(cluster_.register_key()).revision; }
  Epoch epoch() const { return cluster_.truth().epoch; }
  std::size_t answers() const { return cluster_.acknowledgements().size(); }
  GroupStatus status(NodeId id) { return cluster_.node(id).is_open() ? cluster_.node(id).group()->status() : GroupStatus{}; }
  sim::SimDisk& disk(NodeId id) { return cluster_.node(id).disk(); }
  // What clients were not given, or not told, so far.
  std::uint64_t failures() {
    const ClientCounters& counters = cluster_.clients().counters();
    return counters.refused + counters.unknown - counters.miscompares;  // Somebody else was first: an answer like any other.
  }
  std::string first_failure_since(BootNs then);
  CopyContent content(NodeId id);
  // One operation of a client of its own: what became of it; zero: well.
  Errc operate(OpKind kind, std::uint32_t volume, BlockRange range);
  // Reads all that the node's map refers to and holds it against its checksums: what the first thing that is wrong was; zero: nothing.
  Errc verify(NodeId id);
  void checkpoint(NodeId id);   // Until what was committed is in its map.
  // The longest time without an answer to anybody since then, in milliseconds.
  double longest_pause_since(BootNs then) const;
  BootNs now() const { return cluster_.now(); }

  // Faults in the words of the catalogue.
  void cut_from_peers(NodeId id);
  void mend_to_peers(NodeId id);
  void set_paths_of(NodeId id, std::int64_t delay_ms, std::int64_t jitter_ms);
  void data_port(NodeId id, bool open);
  void coordinator_of(NodeId id, bool reachable) { cluster_.coordinator().set_reachable(id, reachable); }
  // The same as a filter that answers with resets: who is behind it is told at once.
  void data_port_rejects(NodeId id);
  void control_port_rejects(NodeId id, bool rejects) { cluster_.coordinator().set_turned_away(id, rejects); }
  void stop_in_order(NodeId id);
  double hand_over(NodeId to);  // Until it is done; how long it took, in milliseconds.

 private:
  Cluster cluster_;
  int told_ = 0;
};

struct Scenario {
  std::string_view id;
  std::string_view title;
  void (*play)(Story& story);
  void (*shape)(Plan& plan) = nullptr;  // What differs from three nodes with default times.
};

std::span<const Scenario> failure_stories();
std::span<const Scenario> consistency_stories();
std::span<const Scenario> storage_stories();
std::span<const Scenario> rebuild_stories();
std::span<const Scenario> role_stories();
std::span<const Scenario> log_stories();
std::span<const Scenario> moment_stories();
std::span<const Scenario> forced_stories();
std::span<const Scenario> unreadable_stories();
std::vector<Scenario> all_stories();

struct StoryReport {
  bool ok = true;
  std::string failure;
  std::vector<std::string> notes;
  std::int64_t lived_ms = 0;
};
StoryReport play(const Scenario& scenario, std::uint64_t seed, bool narrate);

}  // namespace holdfast::cluster

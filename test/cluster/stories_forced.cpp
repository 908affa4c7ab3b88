// K11, K12: copies whose chunks are from later than their logs, and an operator who forces them to lead.
#include "engine/operator_changes.h"
#include "test/cluster/story.h"
#include "test/sim/text.h"
#include "wal/log_format.h"

namespace holdfast::cluster {
namespace {

void written_everywhere(Plan& plan) {
  plan.log_bytes = wal::kLogBlocksMin * kBlockBytes;  // What is written is soon in the maps.
  plan.clients.volumes = 1;
  plan.clients.volume_blocks = 256 * kChunkBlocks;
  plan.clients.hot_percent = 0;
  plan.clients.clients = 8;
  plan.clients.think_max = milliseconds(2);
  plan.clients.large_one_in = 1'000'000;  // Whole chunks would not go through the log.
  plan.clients.write_bytes_max = 1ULL << 40;
}

// Its chunks are written over as a whole, so that the log tells only where they were.
void chunks_written_over(Plan& plan) {
  plan.log_bytes = 16ULL << 20;
  plan.clients.volumes = 1;
  plan.clients.volume_blocks = 16 * kChunkBlocks;
  plan.clients.large_one_in = 1;
  plan.clients.unmap = plan.clients.write_same = plan.clients.compare_and_write = 0;
  plan.clients.write_bytes_max = 1ULL << 40;
}

void force(Story& s, NodeId candidate, std::uint64_t nonce) {
  if (!s.goes_on()) return;
  Cluster& c = s.cluster();
  engine::Register value = c.truth();
  engine::ForcedFailOver order;
  order.candidate = engine::Copy{candidate, c.node(candidate).incarnation()};
  order.accepts_data_loss = order.others_are_fenced = true;
  order.nonce = nonce;
  s.expect(engine::force_fail_over(value, order).has_value(), sim::format("the operator forces node {}", candidate.value));
  ++value.seq;
  c.coordinator().put(c.register_key(), engine::encode_register(value));
}

// Nobody but the copy is left, and the operator gives up the rest. It has one half of a later instant: better no copy than such a one.
void forced_is_refused(Story& s, NodeId lacking) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.cut_from_peers(lacking);
  s.fault_happened(!s.replica(lacking).promotable, s.replica(lacking).unfit_because);
  s.clients_rest();
  if (!s.goes_on()) return;
  for (const auto& each : c.nodes())
    if (each->id() != lacking) c.die(each->id(), Death::power_loss);
  force(s, lacking, 71);
  s.run_for(3'000);
  s.expect(!c.serving() && !s.replica(lacking).promotable, "it does not lead, and says why");
  s.tell("The operator takes that back");
  force(s, old, 72);
  if (!s.goes_on()) return;
  s.mend_to_peers(lacking);
  for (const auto& each : c.nodes())
    if (each->id() != lacking) c.start(each->id());
  s.until(20'000, "the old primary serves, and all are in sync", [&] { return c.serving() == old && s.in_step(lacking); });
  s.end();
}

// The image that a rebuild is compared with lasts for an instant; chunks that were fetched later are newer.
void before_the_log_has_met_the_chunks(Story& s) {
  const NodeId lacking = s.standby();
  s.tell("Much is written, everywhere, and goes on");
  s.run_for(1'500);
  s.tell("A standby's disk is replaced. It has what it fetched, and nothing yet of the log that follows");
  if (!s.goes_on()) return;
  s.cluster().wipe(lacking);
  s.until(5'000, "it is being rebuilt", [&] { return s.replica(lacking).rebuilding && s.replica(lacking).rebuilt_bytes > 0; });
  s.set_paths_of(lacking, 10, 1);
  s.until(20'000, "all is fetched", [&] { return !s.replica(lacking).rebuilding; });
  forced_is_refused(s, lacking);
}

// The log does not hold whole chunks, but where they were written. When they are written over, what they were is gone.
void before_what_follows_what_is_gone(Story& s) {
  constexpr std::uint64_t kMissed = 60, kTimes = 6;
  Cluster& c = s.cluster();
  const NodeId lacking = s.standby();
  s.run_for(300);
  s.tell("A standby is away while chunks are written over and over");
  if (!s.goes_on()) return;
  c.die(lacking, Death::killed);
  s.until(2'000, "it has left the set", [&] { return !s.in_sync(lacking); });
  const Lsn missed = c.invariants().committed();
  for (std::uint64_t i = 1; i <= kTimes; ++i) {
    s.until(20'000, "they are", [&] { return c.invariants().committed().value > missed.value + i * kMissed; });
    s.checkpoint(s.primary());  // What was written over may be used again.
  }
  s.tell("It comes back, on a slow path, and has got a few of them");
  if (!s.goes_on()) return;
  s.set_paths_of(lacking, 20, 1);
  c.start(lacking);
  s.until(5'000, "they are in its log", [&] { return s.replica(lacking).durable.value > missed.value + 2; });
  s.expect(s.replica(lacking).durable.value < missed.value + kTimes * kMissed / 2 && s.replica(lacking).rebuilt_chunks == 0, "a few");
  s.set_paths_of(lacking, 0, 1);
  forced_is_refused(s, lacking);
}

constexpr Scenario kForcedStories[] = {
    {"K11", "a copy is forced to lead before its log has met the chunks that it fetched", before_the_log_has_met_the_chunks, written_everywhere},
    {"K12", "a copy is forced to lead before it has what follows chunks that are gone", before_what_follows_what_is_gone, chunks_written_over},
};

}  // namespace

std::span<const Scenario> forced_stories() { return kForcedStories; }

}  // namespace holdfast::cluster

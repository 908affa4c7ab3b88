#include "test/cluster/swarm.h"

#include <cmath>

#include "engine/operator_changes.h"
#include "snapshot/store_format.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

constexpr std::int64_t kTurnMs = 10;
constexpr std::uint64_t kPlenty = ~std::uint64_t{0} >> 1;

bool lies(Fault fault) { return fault == Fault::bad_sector || fault == Fault::bit_rot || fault == Fault::lost_write || fault == Fault::misdirected_write; }
constexpr std::size_t index(Fault fault) { return static_cast<std::size_t>(fault); }

}  // namespace

Swarm::Enabled Swarm::as_the_table_says() {
  Enabled enabled{};
  for (std::size_t i = 0; i < kFaults; ++i) enabled[i] = kFaultKinds[i].on;
  return enabled;
}

Swarm::Swarm(Cluster& cluster, const Enabled& enabled) : cluster_(&cluster), host_(cluster.world()), enabled_(enabled), bad_disk_(any_node()) {
  for (std::size_t i = 0; i < kFirstFaults; ++i) draw_chance(i, random());
  sim::SimRandom late(sim::mix(cluster.plan().seed ^ 0x6c617465ULL));
  more_ = late.coin();
  for (std::size_t i = kFirstFaults; i < kFaults && more_; ++i) draw_chance(i, late);
  if (one_in_[index(Fault::volume_deleted)] != 0 && one_in_[index(Fault::volume_made)] == 0) one_in_[index(Fault::volume_made)] = 20;
  const auto may = [&](Fault fault) { return enabled_[index(fault)]; };
  cluster.tolerance.failed_stores = may(Fault::read_error) || may(Fault::write_error) || may(Fault::sync_error) || may(Fault::bit_rot) || may(Fault::bad_sector) ||
                                    may(Fault::lost_write) || may(Fault::misdirected_write);
  cluster.invariants().copies_agree = !may(Fault::lost_write) && !may(Fault::misdirected_write);
  cluster.tolerance.rot = may(Fault::bit_rot) || may(Fault::bad_sector) || may(Fault::lost_write) || may(Fault::misdirected_write);
  cluster.tolerance.no_space = may(Fault::disk_full);
  // A store backs much more than these volumes need, as long as it can: such disks would never be full.
  if (one_in_[index(Fault::disk_full)] != 0) cluster.tight_chunks = random().between(24, 90);
}

// A seed that meets everything meets nothing for long: most kinds stay away. What only another copy can mend needs one.
void Swarm::draw_chance(std::size_t kind, sim::SimRandom& random) {
  if (lies(static_cast<Fault>(kind)) && cluster_->size() == 1) return;
  if (!enabled_[kind] || random.below(5) < 3) return;
  one_in_[kind] = static_cast<std::uint32_t>(random.between(kFaultKinds[kind].gap_ms_min, kFaultKinds[kind].gap_ms_max) / kTurnMs);
}

void Swarm::start() {
  cluster_->world().after(milliseconds(kTurnMs), host_, [this] {
    if (calm_) return;
    turn();
    start();
  });
}

bool Swarm::strikes(Fault fault) {
  if (one_in_[index(fault)] == 0 || !random().one_in(one_in_[index(fault)])) return false;
  ++counts_[index(fault)];
  return true;
}

void Swarm::turn() {
  strike_nodes();
  strike_network();
  strike_coordinator();
  strike_disks();
  tell_operators();
  change_the_register();
}

void Swarm::tell_operators() {
  if (strikes(Fault::volume_made)) cluster_->operators().make_volume();
  if (strikes(Fault::volume_deleted)) cluster_->operators().delete_volume();
  if (strikes(Fault::log_read)) cluster_->operators().read_log();
}

void Swarm::change_the_register() {
  if (strikes(Fault::member_removed)) remove_a_member();
  if (strikes(Fault::lease_changed)) {
    const auto lease = static_cast<std::uint64_t>(cluster_->plan().timing.lease_ms);
    const auto ms = static_cast<std::uint32_t>(std::max<std::uint64_t>(100, random().between(lease / 2, lease * 2)));
    (void)cluster_->change_register(sim::format("a lease of {} ms", ms), [ms](engine::Register& r) { return engine::set_lease(r, ms); });
  }
  if (strikes(Fault::min_in_sync_changed)) {
    const auto count = static_cast<std::uint32_t>(random().between(1, cluster_->size()));
    (void)cluster_->change_register(sim::format("min_in_sync {}", count), [count](engine::Register& r) { return engine::set_min_in_sync(r, count); });
    mend_later([this] { cluster_->restore_register(); });
  }
}

void Swarm::remove_a_member() {
  const NodeId id = any_node();
  // The bad disk's copy must not be the last one that may lead.
  const bool possible = cluster_->others_have_everything(id) &&
                        cluster_->change_register(sim::format("without node {}", id.value), [id](engine::Register& r) { return engine::remove_member(r, id); });
  if (!possible) {
    --counts_[index(Fault::member_removed)];
    return;
  }
  mend_later([this] { cluster_->restore_register(); });
}

void Swarm::mend_later(std::function<void()> mend) {
  const std::int64_t ms = static_cast<std::int64_t>(random().one_in(3) ? random().between(500, 3'000) : random().between(5, 500));
  cluster_->world().after(milliseconds(ms), host_, [this, era = era_, mend = std::move(mend)] {
    if (era == era_) mend();
  });
}

NodeId Swarm::interesting_node() {
  const auto serving = cluster_->invariants().serving();
  return serving && random().coin() ? *serving : any_node();
}

void Swarm::die_and_return(NodeId id, Death how, std::int64_t away_ms_max) {
  cluster_->die(id, how);
  cluster_->restart_after(id, milliseconds(static_cast<std::int64_t>(random().below(static_cast<std::uint64_t>(away_ms_max)))));
}

void Swarm::strike_nodes() {
  const auto away = [this] { return static_cast<std::int64_t>(random().one_in(3) ? 3'000 : 100); };
  if (strikes(Fault::kill)) die_and_return(interesting_node(), Death::killed, away());
  if (strikes(Fault::power_loss)) die_and_return(interesting_node(), Death::power_loss, away());
  if (strikes(Fault::power_loss_all))
    for (const auto& n : cluster_->nodes()) die_and_return(n->id(), Death::power_loss, 1'000);
  if (strikes(Fault::pause)) {
    const NodeId id = interesting_node();
    cluster_->pause(id);
    mend_later([this, id] { cluster_->resume(id); });
  }
  if (strikes(Fault::switchover))
    if (const auto primary = cluster_->invariants().serving()) cluster_->switchover(*primary, any_node());
  if (strikes(Fault::checkpoint)) cluster_->checkpoint(any_node());
  if (strikes(Fault::data_port)) {
    const NodeId id = interesting_node();
    cluster_->set_data_port(id, false);
    isolate(id, 1);
    mend_later([this, id] { cluster_->set_data_port(id, true); });
    const auto after = milliseconds(static_cast<std::int64_t>(random().below(1'000)));
    if (random().one_in(2)) cluster_->world().after(after, host_, [this, id] { cluster_->break_sessions(id); });
  }
  if (strikes(Fault::wipe)) replace_disk(any_node());
}

void Swarm::cut_for_a_while(NodeId from, NodeId to) {
  cluster_->network().cut(from, to);
  mend_later([this, from, to] { cluster_->network().mend(from, to); });
}

void Swarm::isolate(NodeId id, std::uint32_t one_in) {
  cluster_->note(sim::format("node {}: cut off from peers", id.value));
  for (const auto& n : cluster_->nodes()) {
    if (n->id() == id || !random().one_in(one_in)) continue;
    cut_for_a_while(id, n->id());
    cut_for_a_while(n->id(), id);
  }
}

// The primary loses the register and some of the others, and does not learn that it is deposed.
void Swarm::depose() {
  const auto primary = cluster_->invariants().serving();
  if (!primary) return;
  isolate(*primary, 2);
  cluster_->coordinator().set_reachable(*primary, false);
  mend_later([this, id = *primary] { cluster_->coordinator().set_reachable(id, true); });
}

void Swarm::slow_for_a_while(Fault fault, std::int64_t delay_ms, std::int64_t jitter_ms) {
  if (!strikes(fault)) return;
  const NodeId a = any_node();
  cluster_->note(sim::format("node {}: its paths are slow by {} ms, up to {} ms more", a.value, delay_ms, jitter_ms));
  const auto set = [this, a](DurationNs delay, DurationNs jitter) {
    for (const auto& n : cluster_->nodes()) {
      if (n->id() == a) continue;
      for (const bool out : {true, false}) {
        const NodeId from = out ? a : n->id(), to = out ? n->id() : a;
        sim::NetworkPath path = cluster_->network().path(from, to);
        path.delay = delay;
        path.jitter = jitter;
        cluster_->network().set_path(from, to, path);
      }
    }
  };
  set(milliseconds(delay_ms), milliseconds(jitter_ms));
  mend_later([set] { set(DurationNs{}, DurationNs{}); });
}

void Swarm::strike_network() {
  if (cluster_->size() == 1) return;
  NodeId a = any_node(), b = any_node();
  while (b == a) b = any_node();
  if (strikes(Fault::link_reset)) cluster_->network().reset(a, b);
  if (strikes(Fault::partition)) {
    cluster_->note(sim::format("partition of {} and {}", a.value, b.value));
    cut_for_a_while(a, b);
    cut_for_a_while(b, a);
  }
  if (strikes(Fault::one_way)) {
    cluster_->note(sim::format("nothing comes from {} to {}", a.value, b.value));
    cut_for_a_while(a, b);
  }
  if (strikes(Fault::isolate)) isolate(interesting_node(), 1);
  if (strikes(Fault::deposed)) depose();
  slow_for_a_while(Fault::slow_200_ms, 200, 0);
  slow_for_a_while(Fault::slow_2_s, 2'000, 0);
  slow_for_a_while(Fault::jitter, 0, 100);
}

void Swarm::strike_coordinator() {
  sim::SimCoordinator& coordinator = cluster_->coordinator();
  if (strikes(Fault::cut_from_coordinator)) {
    const NodeId id = interesting_node();
    cluster_->note(sim::format("node {}: does not reach the coordinator", id.value));
    coordinator.set_reachable(id, false);
    mend_later([&coordinator, id] { coordinator.set_reachable(id, true); });
  }
  if (strikes(Fault::coordinator_outage)) {
    cluster_->note("the coordinator is out");
    coordinator.faults.stopped = true;
    mend_later([&coordinator] { coordinator.faults.stopped = false; });
  }
  if (strikes(Fault::coordinator_slow)) {
    coordinator.faults.slow = milliseconds(static_cast<std::int64_t>(random().between(20, 400)));
    mend_later([&coordinator] { coordinator.faults.slow = DurationNs{}; });
  }
  if (strikes(Fault::unknown_swaps)) {
    coordinator.faults.unknown_swap_ppm = static_cast<std::uint32_t>(random().between(100'000, 800'000));
    mend_later([&coordinator] { coordinator.faults.unknown_swap_ppm = 0; });
  }
  if (strikes(Fault::lost_notices)) {
    coordinator.faults.lost_notice_ppm = 700'000;
    mend_later([&coordinator] { coordinator.faults.lost_notice_ppm = 0; });
  }
}

void Swarm::fail_disk_once(Fault fault, bool sim::DiskFaults::*next) {
  if (!strikes(fault)) return;
  cluster_->note(sim::format("node {}: {}", bad_disk_.value, kFaultKinds[index(fault)].name));
  cluster_->node(bad_disk_).disk().faults.*next = true;
}

void Swarm::strike_disks() {
  if (strikes(Fault::disk_slow)) {
    const NodeId id = any_node();
    sim::SimDisk& disk = cluster_->node(id).disk();
    const auto us = static_cast<std::uint32_t>(random().between(20, 600) * 1'000);
    cluster_->note(sim::format("node {}: the disk takes {} ms", id.value, us / 1'000));
    disk.latency.durable_us = disk.latency.sync_us = us;
    if (more_ && random().coin()) disk.latency.write_us = us;  // What is applied, and checkpoints: then logs fill up.
    disk.faults.slow_ppm = 0;  // A hundred times this would outlast the healing.
    mend_later([this, &disk] {
      disk.latency = cluster_->plan().disk_latency;
      disk.faults.slow_ppm = cluster_->plan().disk_slow_ppm;
    });
  }
  if (strikes(Fault::disk_full)) {
    const NodeId id = any_node();
    sim::SimDisk& disk = cluster_->node(id).disk();
    cluster_->note(sim::format("node {}: the disk is full", id.value));
    disk.set_capacity(disk.backed_bytes() + random().below(32) * kChunkBytes / 4);
    mend_later([&disk, more = random().below(64)] { disk.set_capacity(disk.backed_bytes() + more * kChunkBytes); });
  }
  fail_disk_once(Fault::read_error, &sim::DiskFaults::fail_next_read);
  fail_disk_once(Fault::write_error, &sim::DiskFaults::fail_next_write);
  fail_disk_once(Fault::sync_error, &sim::DiskFaults::fail_next_sync);
  if (cluster_->others_have_everything(bad_disk_) && strikes(Fault::bit_rot)) {
    cluster_->disk_is_bad(bad_disk_);
    rot();
  }
  if (cluster_->others_have_everything(bad_disk_) && strikes(Fault::bad_sector)) {
    cluster_->disk_is_bad(bad_disk_);
    spoil();
  }
  sim::SimDisk& bad = cluster_->node(bad_disk_).disk();
  const bool may_lie = cluster_->others_have_everything(bad_disk_);
  if (!may_lie) bad.faults.lost_write_ppm = bad.faults.misdirected_ppm = 0;
  if (may_lie && strikes(Fault::lost_write)) {
    cluster_->disk_is_bad(bad_disk_);
    cluster_->note(sim::format("node {}: writes are lost", bad_disk_.value));
    bad.faults.lost_write_ppm = 50'000;
    mend_later([&bad] { bad.faults.lost_write_ppm = 0; });
  }
  if (may_lie && strikes(Fault::misdirected_write)) {
    cluster_->disk_is_bad(bad_disk_);
    cluster_->note(sim::format("node {}: writes go astray", bad_disk_.value));
    bad.faults.misdirected_ppm = 50'000;
    mend_later([&bad] { bad.faults.misdirected_ppm = 0; });
  }
}

void Swarm::rot() {
  sim::SimDisk& disk = cluster_->node(bad_disk_).disk();
  const std::uint64_t blocks = disk.size_bytes() / kBlockBytes;
  for (int tries = 0; tries < 200 && blocks > 0; ++tries) {
    const std::uint64_t block = random().below(blocks);
    if (disk.media().visible(block).is_zero()) continue;
    cluster_->note(sim::format("node {}: a bit flips in block {}", bad_disk_.value, block));
    disk.flip_bit(block * kBlockBytes + random().below(kBlockBytes), static_cast<unsigned>(random().below(8)));
    return;
  }
}

// Every other one in the log, and often so that the next start meets it.
void Swarm::spoil() {
  sim::SimDisk& disk = cluster_->node(bad_disk_).disk();
  const bool in_log = random().coin();
  const std::uint64_t first = in_log ? snapshot::kLogOffset / kBlockBytes : 0;
  const std::uint64_t end = std::min(disk.size_bytes(), in_log ? snapshot::kLogOffset + cluster_->plan().log_bytes_of(bad_disk_) : disk.size_bytes()) / kBlockBytes;
  for (int tries = 0; tries < 200 && first < end; ++tries) {
    const std::uint64_t block = first + random().below(end - first);
    if (disk.media().visible(block).is_zero()) continue;
    cluster_->note(sim::format("node {}: block {} cannot be read", bad_disk_.value, block));
    disk.spoil(block * kBlockBytes);
    break;
  }
  if (in_log && random().coin()) die_and_return(bad_disk_, random().coin() ? Death::power_loss : Death::killed, 100);
}

// Never the last intact copy of what is acknowledged.
void Swarm::replace_disk(NodeId id) {
  // A claim that lands later would make the disk that is gone the only one in sync.
  if (!cluster_->others_have_everything(id) || cluster_->coordinator().swap_under_way(id)) {
    --counts_[index(Fault::wipe)];
    return;
  }
  cluster_->wipe(id);
}

void Swarm::heal() {
  calm_ = true;
  ++era_;
  cluster_->note("calm");
  sim::SimCoordinator& coordinator = cluster_->coordinator();
  coordinator.faults = sim::CoordinatorFaults{};
  for (const auto& n : cluster_->nodes()) {
    coordinator.set_reachable(n->id(), true);
    for (const auto& other : cluster_->nodes())
      if (other != n) cluster_->network().set_path(n->id(), other->id(), sim::NetworkPath{});
    cluster_->set_data_port(n->id(), true);
    cluster_->resume(n->id());
    n->disk().faults = sim::DiskFaults{};
    n->disk().faults.slow_ppm = cluster_->plan().disk_slow_ppm;
    n->disk().latency = cluster_->plan().disk_latency;
    n->disk().set_capacity(kPlenty);
    cluster_->start(n->id());
  }
  cluster_->restore_register();
  // A store that is out of service stays so until somebody starts it again; an error may still be on its way.
  cluster_->operator_is_there = cluster_->tolerance.failed_stores;
}

}  // namespace holdfast::cluster

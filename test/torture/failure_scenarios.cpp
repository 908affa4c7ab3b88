// F: what breaks. Rows and what they must show: docs/scenarios.md.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/buffer.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/lab.h"
#include "test/torture/scenario_groups.h"
#include "test/torture/times.h"

namespace holdfast::torture {
namespace {

void f1(Stage& stage) {
  LabOptions options;
  options.environment["HOLDFAST_POWER_LOSS"] = std::to_string(stage.seed());
  Lab lab(stage, options);
  Load& load = lab.start_loaded();
  const unsigned old = lab.await_serving();
  stage.prove("node whose unsynced data dies with it", lab.node(old).log_lines("unsynced data dies"));
  const BootNs lost = now();
  lab.node(old).kill();
  stage.bound("pause", load.pause_since(lost), kKilledPause);
  load.run_for(300);
  lab.node(old).start();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

// Full on one node: what is allocated is overwritten and read, nothing new is, nobody leaves; then there is space again.
void full_disk(Stage& stage, bool on_the_primary) {
  LabOptions options;
  options.disk_bytes = 256 << 20;
  Lab lab(stage, options);
  LoadOptions narrow;
  narrow.blocks = 512;
  narrow.unmap = 0;
  narrow.hot_blocks = 512;
  Load& first = lab.start_loaded(narrow);
  first.run_for(2'000);
  const unsigned primary = lab.await_serving();
  Node& full = lab.node(on_the_primary ? primary : lab.another(primary));
  stage.prove("bytes taken from the file system", full.fill_disk());
  LoadOptions wide;
  wide.first_block = 4'096;
  wide.blocks = 128'000;
  wide.hot_blocks = 128'000;
  wide.large_one_in = 1;
  wide.large_blocks = 256;
  wide.unmap = 0;
  {
    MultipathHost& host = lab.host();
    Ledger ledger;
    Load greedy(host, ledger, wide);
    require(eventually(milliseconds(60'000), [&] { return greedy.counters().no_space > 10; }), "new blocks are written though the disk is full");
    require(greedy.counters().errors == 0, "a command failed for another reason: " + greedy.counters().first_error);
    greedy.stop();
  }
  stage.prove("writes that found no space", 10);
  const std::uint64_t before = first.counters().operations;
  first.run_for(300);  // Overwrites and reads.
  require(first.counters().no_space == 0 && first.counters().operations > before, "overwrites were refused");
  lab.await_all_in_sync(milliseconds(5'000));
  full.empty_disk();
  const BootNs freed = now();
  Ledger ledger;
  Load again(lab.host(), ledger, wide);
  stage.bound("writes again", again.until_write_after(freed), milliseconds(5'000));
  again.stop();
  lab.verify();
}
void f2a(Stage& stage) { full_disk(stage, false); }
void f2b(Stage& stage) { full_disk(stage, true); }

// Overwrites part of a file with what nobody wrote. Returns the blocks that differ now.
std::uint64_t spoil(const std::string& path, std::uint64_t from, std::uint64_t end, std::uint64_t every, std::uint64_t seed) {
  const io::UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  require_call(file.get() >= 0, path);
  sim::SimRandom random(seed);
  std::uint64_t spoilt = 0;
  std::vector<char> block(kBlockBytes);
  for (std::uint64_t at = from; at < end; at += every * kBlockBytes) {
    if (::pread(file.get(), block.data(), block.size(), static_cast<off_t>(at)) != static_cast<ssize_t>(block.size())) break;
    if (std::all_of(block.begin(), block.end(), [](char c) { return c == 0; })) continue;  // Nothing was there.
    block[random.below(kBlockBytes)] ^= static_cast<char>(1 << random.below(8));
    require_call(::pwrite(file.get(), block.data(), block.size(), static_cast<off_t>(at)) == static_cast<ssize_t>(block.size()), path);
    ++spoilt;
  }
  require_call(::fsync(file.get()) == 0, path);
  return spoilt;
}

// A standby's file is spoilt while it is down.
void spoilt_while_down(Stage& stage, std::uint64_t from, std::uint64_t end, std::uint64_t every) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  load.run_for(1'000);
  const unsigned standby = lab.another(lab.await_serving());
  lab.node(standby).kill();
  load.run_for(200);
  stage.prove("blocks spoilt", spoil(lab.node(standby).store_of(Lab::kVolume), from, end, every, stage.seed()));
  lab.node(standby).start();
  load.run_for(500);
  lab.await_all_in_sync();
  lab.verify_everywhere();
}
void f3_first_superblock(Stage& stage) { spoilt_while_down(stage, 0, kBlockBytes, 1); }
void f3_second_superblock(Stage& stage) { spoilt_while_down(stage, kChunkBytes, kChunkBytes + kBlockBytes, 1); }
void f3_log(Stage& stage) { spoilt_while_down(stage, 2 * kChunkBytes, 16 << 20, 7); }

void f4(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned standby = lab.another(lab.await_serving());
  const BootNs killed = now();
  lab.node(standby).kill();
  stage.prove("standby killed", 1);
  lab.await_out_of_sync(standby);
  stage.bound("pause", load.longest_pause(killed, now()).length, kMemberPause);
  load.run_for(300);
  lab.node(standby).start();
  lab.await_in_sync(standby);
  require(lab.copy(standby).fetched_bytes == 0, "the standby was rebuilt");
  lab.verify_everywhere();
}

void f5(Stage& stage) {
  LabOptions options;
  options.cables = CableKind::long_one;
  Lab lab(stage, options);
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving(), standby = lab.another(primary);
  Cable& cable = lab.node(standby).machine().cable();
  const std::uint64_t epoch = lab.epoch_of(primary);
  const auto lengthen = [&](DurationNs delay) {
    for (unsigned number = 1; number <= lab.node_count(); ++number)
      if (number != standby) cable.lengthen(lab.node(number).address(), delay);
  };
  lengthen(milliseconds(100));  // Each way.
  const BootNs slow = now();
  while (now() < slow + milliseconds(5'000)) {
    load.run_for(4);
    require(lab.is_in_sync(standby), "a slow member was dropped");
  }
  stage.prove("frames held back", cable.held());
  stage.figure("pause at 200 ms", to_ms(load.longest_pause(slow, now()).length));
  cable.shorten();
  lengthen(milliseconds(1'000));
  const BootNs very_slow = now();
  lab.await_out_of_sync(standby);
  stage.figure("dropped after", to_ms(now() - very_slow));
  load.run_for(300);
  cable.shorten();
  lab.await_in_sync(standby);
  require(lab.copy(lab.await_serving()).epoch == epoch, "the lead changed");
  lab.verify_everywhere();
}

// The primary is cut off from somebody. What must come of it differs.
enum class Becomes : std::uint8_t { another_leads, it_stays };
void partition(Stage& stage, CutWay way, bool peers, bool host, bool coordinator, Becomes becomes) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving();
  Cut cut{CutHow::drop, way, {}, {}};
  for (unsigned number = 1; peers && number <= lab.node_count(); ++number)
    if (number != primary) cut.peers.push_back(lab.node(number).address());
  if (host) cut.peers.push_back(lab.host_machine().address());
  for (std::size_t i = 0; coordinator && i < lab.etcd().size(); ++i) cut.peers.push_back(lab.etcd().member(i).machine().address());
  Firewall& firewall = lab.node(primary).machine().firewall();
  const BootNs cut_at = now();
  const std::size_t number = firewall.cut(cut);
  if (becomes == Becomes::another_leads) {
    const unsigned next = lab.await_other_serving(primary);
    load.run_for(300);
    stage.bound("pause", load.longest_pause(cut_at, now()).length, kSilentPause);
    require(!lab.copy(primary).serving, "two nodes say that they serve");
    stage.say("node " + std::to_string(next) + " leads now");
  } else {
    stage.bound("pause", load.until_write_after(cut_at + milliseconds(3'000)), kSilentPause);
    stage.figure("longest pause", to_ms(load.longest_pause(cut_at, now()).length));
    require(lab.copy(primary).serving, "the primary gave way");
  }
  load.run_for(300);
  stage.prove("packets dropped", firewall.hits(number));
  firewall.heal();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}
void f6_all(Stage& s) { partition(s, CutWay::both, true, true, true, Becomes::another_leads); }
void f6_in(Stage& s) { partition(s, CutWay::incoming, true, true, true, Becomes::another_leads); }
void f6_out(Stage& s) { partition(s, CutWay::outgoing, true, true, true, Becomes::another_leads); }
// Two of three copies are needed: alone it would admit nothing.
void f6_peers(Stage& s) { partition(s, CutWay::both, true, false, false, Becomes::another_leads); }
void f6_coordinator(Stage& s) { partition(s, CutWay::both, false, false, true, Becomes::it_stays); }

// The coordinator is away in some manner: nothing is felt.
void coordinator_away(Stage& stage, unsigned members, const std::function<void(Lab&)>& take_away, const std::function<void(Lab&)>& bring_back, DurationNs how_long) {
  LabOptions options;
  options.etcd_members = members;
  Lab lab(stage, options);
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving();
  const std::uint64_t epoch = lab.epoch_of(primary);
  const BootNs away = now();
  take_away(lab);
  pause_for(how_long);
  load.run_for(300);
  stage.bound("pause", load.longest_pause(away, now()).length, kUnfeltPause);
  require(lab.copy(primary).epoch == epoch && lab.copy(primary).in_sync.size() == lab.node_count(), "the lead or the set changed");
  bring_back(lab);
  // It works again: a member that dies can leave.
  const unsigned standby = lab.another(primary);
  lab.node(standby).kill();
  lab.await_out_of_sync(standby, milliseconds(15'000));
  lab.node(standby).start();
  lab.await_all_in_sync();
  lab.verify();
}
void f8_stopped(Stage& stage) {
  coordinator_away(
      stage, 1, [](Lab& lab) { lab.etcd().stop(); }, [](Lab& lab) { lab.etcd().start(); }, milliseconds(8'000));
  stage.prove("etcd killed", 1);
}
void f8_slow(Stage& stage) {
  coordinator_away(
      stage, 1, [](Lab& lab) { lab.etcd().member(0).process().freeze(); }, [](Lab& lab) { lab.etcd().member(0).process().thaw(); }, milliseconds(8'000));
  stage.prove("etcd frozen", 1);
}
void f8_leader(Stage& stage) {
  std::size_t leader = 0;
  coordinator_away(
      stage, 3,
      [&](Lab& lab) {
        leader = lab.etcd().leader();
        lab.etcd().member(leader).kill();
      },
      [&](Lab& lab) { require(lab.etcd().leader() != leader, "nobody else leads the etcd"); }, milliseconds(5'000));
  stage.prove("leader of the etcd killed", 1);
}
// Ten minutes without a coordinator are not felt. A member that dies then cannot be taken out: reads and writes wait for it, or for
// the coordinator, and no host is told that anything failed.
void f8_ten_minutes(Stage& stage) {
  constexpr DurationNs kAway = milliseconds(600'000), kHeld = milliseconds(5'000), kBack = milliseconds(2'000);
  Lab lab(stage, {});
  LoadOptions options;
  options.think = milliseconds(5);
  Load& load = lab.start_loaded(options);
  const unsigned primary = lab.await_serving(), standby = lab.another(primary);
  const std::uint64_t epoch = lab.epoch_of(primary);
  const BootNs away = now();
  lab.etcd().stop();
  pause_for(kAway);
  load.run_for(300);
  stage.bound("pause", load.longest_pause(away, now()).length, kUnfeltPause);
  require(lab.copy(primary).epoch == epoch && lab.copy(primary).in_sync.size() == lab.node_count(), "the lead or the set changed");
  const auto hold = [&] {
    lab.node(standby).kill();
    pause_for(milliseconds(1'000));
    const std::uint64_t held = load.counters().operations;
    pause_for(kHeld);
    require(load.counters().operations == held, "something was answered though a member is gone and cannot leave");
  };
  hold();
  stage.prove("members that died while the coordinator was away", 1);
  BootNs back = now();
  lab.node(standby).start();
  stage.bound("goes on after the member is back", load.until_write_after(back), kBack);
  load.run_for(300);
  hold();
  back = now();
  lab.etcd().start();
  stage.bound("goes on after the coordinator is back", load.until_write_after(back), kBack);
  lab.node(standby).start();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}
void f8_empty(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving(), standby = lab.another(primary);
  lab.etcd().stop();
  lab.etcd().member(0).wipe();
  lab.etcd().start();
  stage.prove("etcd that is empty", 1);
  const BootNs emptied = now();
  load.run_for(500);
  stage.bound("pause", load.longest_pause(emptied, now()).length, kUnfeltPause);
  require(eventually(milliseconds(15'000), [&] { return lab.node(primary).log_lines("lost the data of cluster") > 0; }), "nobody says that the coordinator is empty");
  const Ran keys = run({"etcdctl", "--endpoints", lab.etcd().endpoints()[0], "get", "--prefix", "--keys-only", "/"}, &lab.etcd().member(0).machine().net(), milliseconds(10'000),
                       {{"ETCDCTL_API", "3"}});
  require(keys.status == 0 && keys.output.find('/') == keys.output.npos, "somebody wrote into the empty coordinator: " + keys.output);
  lab.node(standby).kill();
  lab.node(standby).start();
  lab.verify();
}

// Bits rot in the data of a copy: never returned, counted, mended from another one.
void bit_rot(Stage& stage, bool running) {
  Lab lab(stage, {});
  LoadOptions options;
  options.unmap = 0;
  Load& load = lab.start_loaded(options);
  load.run_for(1'500, milliseconds(90'000));
  load.stop();
  unsigned victim = lab.await_serving();
  if (!running) {
    victim = lab.another(victim);
    lab.node(victim).stop();
  } else {
    pause_for(milliseconds(500));
  }
  const std::string store = lab.node(victim).store_of(Lab::kVolume);
  const std::uint64_t size = std::filesystem::file_size(store);
  stage.prove("blocks rotten", spoil(store, 2 * kChunkBytes + (16 << 20), size, 3, stage.seed()));
  if (!running) lab.node(victim).start();
  lab.await_all_in_sync();
  lab.verify_everywhere();
  stage.figure("mismatches counted", static_cast<double>(lab.copy(victim).checksum_errors));
}
void f10_running(Stage& stage) { bit_rot(stage, true); }
void f10_stopped(Stage& stage) { bit_rot(stage, false); }

}  // namespace

std::vector<Scenario> failure_scenarios() {
  return {
      {"F1", "the primary loses power under load", f1},
      {"F2a", "a standby's disk is full", f2a},
      {"F2b", "the primary's disk is full", f2b},
      {"F3a", "a standby's first superblock is spoilt while it is down", f3_first_superblock},
      {"F3b", "a standby's second superblock is spoilt while it is down", f3_second_superblock},
      {"F3c", "a standby's log is spoilt while it is down", f3_log},
      {"F4", "a standby dies in mid-write", f4},
      {"F5", "200 ms, then 2 s of delay on a replica's links", f5},
      {"F6a", "the primary is cut off from everybody", f6_all},
      {"F6b", "the primary hears nobody", f6_in},
      {"F6c", "nobody hears the primary", f6_out},
      {"F6d", "the primary is cut off from its peers only", f6_peers},
      {"F6e", "the primary is cut off from the coordinator only", f6_coordinator},
      {"F8a", "the coordinator is stopped", f8_stopped},
      {"F8b", "the coordinator stands still", f8_slow},
      {"F8c", "the coordinator loses its leader", f8_leader},
      {"F8d", "the coordinator is restarted empty", f8_empty},
      {"F8e", "ten minutes without the coordinator, and a member that dies meanwhile", f8_ten_minutes, 1'200, true},
      {"F10a", "bits rot in the primary's file while it runs", f10_running},
      {"F10b", "bits rot in a standby's file while it is stopped", f10_stopped},
  };
}

}  // namespace holdfast::torture

#include "test/crash/random_run.h"

#include <cstdio>

#include <functional>

#include "snapshot/superblock.h"
#include "test/crash/load.h"
#include "test/sim/text.h"

namespace holdfast::crash {

std::string_view trouble_name(Trouble trouble) {
  constexpr std::string_view names[] = {"none", "no space", "I/O errors", "rot"};
  return names[static_cast<std::size_t>(trouble)];
}

namespace {

constexpr std::int64_t kHangNs = 300'000'000'000;   // Five virtual minutes without an end is a hang.
constexpr std::uint64_t kStepsMax = 20'000'000;
constexpr std::uint64_t kNoCrash = ~std::uint64_t{0};

enum class End : std::uint8_t { done, crash_point, failed };

class SeedRun {
 public:
  SeedRun(std::uint64_t seed, const StoreMaker& maker, SeedOptions options)
      : seed_(seed), maker_(&maker), seed_options_(options), world_(seed), host_(world_), disk_(host_, 0),
        load_(host_, world_.random(), ledger_, LoadOptions{}) {}

  SeedReport run();

 private:
  sim::SimRandom& random() { return world_.random(); }
  void plan();
  GroupOptions draw_group_options();
  LoadMix draw_mix();

  // Runs the world until the condition holds, the disk reaches the crash point, or something is wrong.
  End until(const std::function<bool()>& condition, std::uint64_t crash_at, const char* what);
  bool format();
  bool open();              // With crashes inside; false when the seed is over.
  bool try_open(std::uint64_t crash_at);
  bool verify();
  bool round();
  bool load_phase(std::uint64_t crash_at);
  bool no_space_phase(std::uint64_t crash_at);
  bool io_error_phase(std::uint64_t crash_at);
  bool check_failed_store();
  bool rot_phase();
  bool after_rot(std::uint64_t place);
  void open_with_fault();
  bool finish();
  bool stop_cleanly();
  void die(Death how);
  void note(std::string line);
  Death draw_death() { return random().one_in(4) ? Death::killed : Death::power_loss; }
  std::uint64_t draw_crash_point(std::uint64_t most) {
    // Spread over the orders of magnitude: the first few I/Os are as interesting as the thousandth.
    const std::uint64_t limit = std::uint64_t{1} << random().between(1, 63 - static_cast<unsigned>(__builtin_clzll(most)));
    return disk_.events() + random().between(1, limit);
  }

  std::uint64_t seed_;
  const StoreMaker* maker_;
  SeedOptions seed_options_;
  sim::SimWorld world_;
  sim::SimHost host_;
  sim::SimDisk disk_;
  Ledger ledger_;
  Load load_;
  std::unique_ptr<Process> process_;
  GroupOptions group_options_;
  FormatOptions format_options_;
  Trouble trouble_ = Trouble::none;
  SeedReport report_;
  std::uint64_t struck_before_ = 0;  // Failed writes and syncs before this life.
  std::vector<std::string> notes_;
};

void SeedRun::note(std::string line) {
  line = sim::format("  [{} ms, disk event {}] {}", static_cast<double>((world_.now().value - 1'000'000'000) / 1000) / 1e3,
                     disk_.events(), line);
  if (seed_options_.narrate) std::fprintf(stderr, "%s\n", line.c_str());
  notes_.push_back(std::move(line));
}

void SeedRun::plan() {
  const std::uint64_t draw = random().below(20);
  trouble_ = draw < 12 ? Trouble::none : draw < 15 ? Trouble::no_space : draw < 18 ? Trouble::io_errors : Trouble::rot;
  if (seed_options_.trouble >= 0) trouble_ = static_cast<Trouble>(seed_options_.trouble);
  report_.trouble = trouble_;
  format_options_.log_bytes = (640 + random().below(random().one_in(4) ? 640 : 64)) * kBlockBytes;
  disk_.punched_reads = static_cast<sim::PunchedReads>(random().below(3));
  if (random().one_in(4)) disk_.faults.slow_ppm = 20'000;
  if (random().one_in(3)) {  // Another kind of disk: slow syncs, or everything alike.
    disk_.latency.durable_us = static_cast<std::uint32_t>(random().between(20, 3000));
    disk_.latency.write_us = static_cast<std::uint32_t>(random().between(10, 500));
    disk_.latency.sync_us = static_cast<std::uint32_t>(random().between(20, 5000));
  }
  LoadOptions& load = load_.options();
  load.clients = static_cast<unsigned>(random().one_in(3) ? random().between(8, 24) : random().between(1, 8));
  load.blocks_max = static_cast<std::uint32_t>(random().one_in(3) ? 256 : random().between(1, 64));
  load.large_one_in = random().one_in(4) ? 3 : 16;
  load.think_one_in = random().one_in(4) ? 1 : 8;
  load.volume_chunks_max = random().one_in(3) ? random().between(8, 48) : random().between(1, 12);
  // A device cannot run short of what it has: that is a file system's trouble.
  if (trouble_ != Trouble::no_space && random().one_in(4)) {
    disk_.become_block_device(random().between(128, 512) << 20);
    note(sim::format("the store is a block device of {} MiB", disk_.size_bytes() >> 20));
  }
}

GroupOptions SeedRun::draw_group_options() {
  GroupOptions o;
  o.map_cache_bytes = 65536ULL << random().below(6);
  o.apply_backlog_bytes = 65536ULL << random().between(4, 7);
  o.log_batches_in_flight = static_cast<std::uint32_t>(random().between(1, 8));
  o.log_batch_bytes_max = 1u << random().between(12, 20);
  o.checkpoint_interval_ms = random().one_in(3) ? static_cast<std::int64_t>(random().between(1, 50)) : 30'000;
  o.checkpoint_log_percent = static_cast<std::uint32_t>(random().between(5, 80));
  return o;
}

LoadMix SeedRun::draw_mix() {
  LoadMix mix;
  switch (random().below(5)) {
    case 0: mix.write = 100; break;
    case 1: mix.unmap = 25; break;
    case 2: mix.checkpoint = 8; break;
    case 3: mix.compare_and_write = 30; mix.or_write = 10; break;
    default: break;
  }
  if (random().one_in(3)) {
    mix.create = 2;
    mix.remove = 2;
  }
  return mix;
}

End SeedRun::until(const std::function<bool()>& condition, std::uint64_t crash_at, const char* what) {
  const std::int64_t give_up = world_.now().value + kHangNs;
  const std::uint64_t steps_max = world_.steps() + kStepsMax;
  for (;;) {
    if (ledger_.violation()) return End::failed;
    if (condition()) return End::done;
    if (disk_.events() >= crash_at) return End::crash_point;
    if (!world_.step() || world_.now().value > give_up || world_.steps() > steps_max) {
      ledger_.report(sim::format("hang: {} does not end", what));
      return End::failed;
    }
  }
}

void SeedRun::die(Death how) {
  std::string state = "while it starts";
  if (const Group* group = process_->group()) {
    const GroupStatus status = group->status();
    state = sim::format("at LSN {}, committed {}, applied {}, checkpoint {}", status.last_lsn.value, status.commit_lsn.value,
                        status.applied_lsn.value, status.checkpoint_lsn.value);
  }
  note(sim::format("life {}: {} {}", ledger_.life(), how == Death::killed ? "killed" : "power loss", state));
  process_->die(how);
  process_.reset();
  disk_.faults.fail_next_read = disk_.faults.fail_next_write = disk_.faults.fail_next_sync = false;
  ledger_.crash();
  ++report_.crashes;
}

// Formatting may be interrupted too: then there is no store yet, or an empty one.
bool SeedRun::format() {
  for (;;) {
    process_ = std::make_unique<Process>(host_, disk_, *maker_, 16 << 20);
    process_->start_format(format_options_, Group::Existing::overwrite);
    const std::uint64_t crash_at = random().one_in(10) ? draw_crash_point(64) : kNoCrash;
    const End end = until([&] { return process_->formatted.has_value(); }, crash_at, "format");
    if (end == End::done && !*process_->formatted)
      ledger_.report("format failed: " + process_->formatted->error().text());
    const bool formatted = end == End::done;
    const bool failed = ledger_.violation().has_value();
    note(sim::format("format of a log of {} KiB: {}", format_options_.log_bytes >> 10, formatted ? "done" : "interrupted"));
    die(draw_death());
    if (failed) return false;
    if (formatted) return true;
  }
}

bool SeedRun::try_open(std::uint64_t crash_at) {
  process_ = std::make_unique<Process>(host_, disk_, *maker_, 32 << 20);
  group_options_ = draw_group_options();
  process_->start_open(group_options_);
  const End end = until([&] { return process_->opened.has_value(); }, crash_at, "open");
  if (end == End::crash_point) {
    ++report_.crashes_in_recovery;
    die(draw_death());
    return false;
  }
  if (end == End::failed) return false;
  if (*process_->opened) return true;
  ledger_.report("open failed: " + process_->opened->error().text());
  return false;
}

// An I/O error while recovering: open fails, or what it opens is abandoned. Nothing is lost by it.
void SeedRun::open_with_fault() {
  process_ = std::make_unique<Process>(host_, disk_, *maker_, 32 << 20);
  process_->start_open(draw_group_options());
  (void)until([&] { return process_->opened.has_value(); }, disk_.events() + random().below(48), "open");
  const std::uint64_t kind = random().below(3);
  (kind == 0 ? disk_.faults.fail_next_read : kind == 1 ? disk_.faults.fail_next_write : disk_.faults.fail_next_sync) = true;
  note(sim::format("the next {} of the recovery fails", kind == 0 ? "read" : kind == 1 ? "write" : "sync"));
  (void)until([&] { return process_->opened.has_value(); }, kNoCrash, "open with an I/O error");
  if (process_->opened && !*process_->opened) note("open failed: " + process_->opened->error().text());
  die(draw_death());
}

bool SeedRun::open() {
  unsigned crashes = random().one_in(3) ? static_cast<unsigned>(random().between(1, 3)) : 0;
  if (trouble_ == Trouble::io_errors && random().one_in(4)) open_with_fault();
  for (;;) {
    const bool opened = try_open(crashes > 0 ? draw_crash_point(128) : kNoCrash);
    if (ledger_.violation()) return false;
    if (opened) break;
    if (crashes > 0) --crashes;
  }
  load_.tolerance.failures = false;
  struck_before_ = disk_.counters().write_errors + disk_.counters().sync_errors;
  note(sim::format("life {}: open, {} records recovered", ledger_.life(), process_->group()->status().recovered_records));
  load_.attach(*process_);
  load_.check_volumes();
  return !ledger_.violation();
}

bool SeedRun::verify() {
  load_.start_verification();
  ++report_.verifications;
  return until([&] { return load_.verified(); }, kNoCrash, "verification") == End::done;
}

bool SeedRun::load_phase(std::uint64_t crash_at) {
  load_.options().mix = draw_mix();
  load_.options().operations = random().between(10, 160);
  load_.start();
  const End end = until([&] { return load_.done(); }, crash_at, "the load");
  report_.operations += load_.options().operations;
  return end != End::failed;
}

// Space runs out in the middle of the load. Refusals harm nothing, and when space returns writes succeed again.
bool SeedRun::no_space_phase(std::uint64_t crash_at) {
  load_.tolerance.no_space = true;
  disk_.set_capacity(disk_.backed_bytes() + random().below(64) * kChunkBytes / 4);
  note(sim::format("space runs out: {} KiB backed", disk_.backed_bytes() >> 10));
  const std::uint64_t errors = load_.errors();
  if (!load_phase(crash_at)) return false;
  report_.no_space += load_.errors() - errors;
  if (!load_.done()) {  // Crashed while full: it must come back while it is still full.
    die(draw_death());
    if (!open() || !verify()) return false;
  }
  disk_.set_capacity(~std::uint64_t{0} >> 1);
  note("space returns");
  const std::int64_t patience = world_.now().value + 5'000'000'000;
  do {
    load_.start_probe(random().between(1, 64));
    if (until([&] { return load_.probed(); }, kNoCrash, "a write after space returned") != End::done) return false;
    if (load_.probe_failures() == 0) {
      load_.tolerance.no_space = false;
      return true;
    }
  } while (world_.now().value < patience);
  ledger_.report("writes still fail five seconds after space returned");
  return false;
}

bool SeedRun::io_error_phase(std::uint64_t crash_at) {
  load_.tolerance.failures = true;
  const std::uint64_t kind = random().below(4);
  const std::uint64_t strike_at = draw_crash_point(1024);
  load_.options().mix = draw_mix();
  load_.options().operations = random().between(40, 200);
  load_.start();
  End end = until([&] { return load_.done(); }, std::min(strike_at, crash_at), "the load");
  if (end != End::crash_point || strike_at > crash_at) return end != End::failed;
  if (kind == 0) disk_.faults.fail_next_read = true;
  if (kind == 1 || kind == 3) disk_.faults.fail_next_write = true;
  if (kind == 2 || kind == 3) disk_.faults.fail_next_sync = true;
  note(sim::format("the next {} fails", kind == 0 ? "read" : kind == 1 ? "write" : kind == 2 ? "sync" : "write and sync"));
  end = until([&] { return load_.done(); }, crash_at, "the load with an I/O error");
  report_.operations += load_.options().operations;
  if (end == End::failed) return false;
  return end == End::crash_point || check_failed_store();
}

// After a failed write or sync the store must not go on: it refuses every write, and says so.
bool SeedRun::check_failed_store() {
  if (disk_.counters().write_errors + disk_.counters().sync_errors == struck_before_) return true;
  // An error is drawn when a request starts: let it be told.
  if (until([&] { return disk_.in_flight() == 0; }, kNoCrash, "the disk to come to rest") != End::done) return false;
  load_.start_probe(1);
  if (until([&] { return load_.probed(); }, kNoCrash, "a write to a failed store") != End::done) return false;
  if (!process_->group()->status().failed) {
    ledger_.report("a write or sync failed, and the store goes on as if nothing had happened");
    return false;
  }
  if (load_.probe_failures() != load_.volumes_present()) {
    ledger_.report("a failed store acknowledged a write");
    return false;
  }
  ++report_.failed_stores;
  return true;
}

bool SeedRun::round() {
  const std::uint64_t crash_at = random().one_in(6) ? kNoCrash : draw_crash_point(4096);
  bool ok = false;
  if (trouble_ == Trouble::no_space && random().coin()) ok = no_space_phase(crash_at);
  else if (trouble_ == Trouble::io_errors && random().coin()) ok = io_error_phase(crash_at);
  else ok = load_phase(crash_at);
  if (!ok) return false;
  if (load_.done() && !load_.tolerance.failures && random().one_in(4)) {
    if (random().coin() && !verify()) return false;
    if (random().coin()) return stop_cleanly();
  }
  die(draw_death());
  return true;
}

bool SeedRun::stop_cleanly() {
  const std::uint64_t crash_at = random().one_in(3) ? draw_crash_point(128) : kNoCrash;
  process_->start_stop();
  const End end = until([&] { return process_->stopped.has_value(); }, crash_at, "stop");
  if (end == End::failed) return false;
  note(end == End::done ? "stopped" : "crashed while stopping");
  if (end == End::done && !*process_->stopped) ledger_.report("stop failed: " + process_->stopped->error().text());
  die(draw_death());
  return !ledger_.violation();
}

// A bit flips while the store is down. Whatever is returned afterwards is right, or it is an error that says so.
bool SeedRun::rot_phase() {
  // Three batches, one after the other: each proves the one before, so that only the last may be taken for a torn tail.
  for (int i = 0; i < 3; ++i) {
    load_.start_probe(random().between(1, 40));
    if (until([&] { return load_.probed(); }, kNoCrash, "a write") != End::done) return false;
  }
  const OpId last = load_.last_probe();
  die(Death::power_loss);
  const std::uint64_t blocks = disk_.size_bytes() / kBlockBytes;
  std::uint64_t block = 0;
  const std::uint64_t place = random().below(4);
  const std::uint64_t log_block = 2 * kChunkBlocks;
  const std::uint64_t data_block = log_block + format_options_.log_bytes / kBlockBytes;
  for (int tries = 0; tries < 1000; ++tries) {
    block = place == 0 ? random().below(2) * kChunkBlocks
            : place == 1 ? random().between(log_block, data_block - 1)
                         : random().between(data_block, blocks - 1);
    if (!disk_.media().visible(block).is_zero()) break;
  }
  // The power loss may have torn one copy of the superblock: then the other is all there is, and no store outlives its rot.
  const std::uint64_t other = block == 0 ? kChunkBlocks : 0;
  if (place == 0 && !snapshot::decode_superblock(disk_.peek(other * kBlockBytes, kBlockBytes))) block = other;
  const std::uint64_t offset = block * kBlockBytes + random().below(kBlockBytes);
  disk_.flip_bit(offset, static_cast<unsigned>(random().below(8)));
  note(sim::format("a bit flips in block {} of the store ({})", block, place == 0 ? "superblock" : place == 1 ? "log" : "data"));
  if (place == 1) ledger_.forgive(last);
  // A rotten map page also ends the service when a checkpoint or the applier needs it.
  load_.tolerance.corruption = load_.tolerance.failures = place != 0;
  return after_rot(place);
}

bool SeedRun::after_rot(std::uint64_t place) {
  process_ = std::make_unique<Process>(host_, disk_, *maker_, 32 << 20);
  process_->start_open(draw_group_options());
  if (until([&] { return process_->opened.has_value(); }, kNoCrash, "open") != End::done) return false;
  if (!*process_->opened) {
    const Errc code = process_->opened->error().code;
    note("open failed: " + process_->opened->error().text());
    ++report_.refused_opens;
    if (place == 0 || (code != Errc::damaged && code != Errc::corrupt))
      ledger_.report("after a flipped bit: " + process_->opened->error().text());
    die(Death::power_loss);
    return false;  // The end of this seed's story.
  }
  load_.attach(*process_);
  load_.check_volumes();
  const std::uint64_t errors = load_.errors();
  if (ledger_.violation() || !verify()) return false;
  report_.corrupt_reads += load_.errors() - errors;
  if (place != 0) {
    die(Death::power_loss);
    return false;
  }
  return true;
}

struct Verdict {
  std::optional<Result<std::uint64_t>> value;
  static Task<void> run(Group* group, Verdict* out) {
    auto result = co_await group->verify_all();
    out->value.emplace(std::move(result));
  }
};

// The last judgement: everything is there, every checksum is right, and a clean stop changes nothing.
bool SeedRun::finish() {
  if (!verify()) return false;
  Verdict verdict;
  process_->scope().spawn(Verdict::run(process_->group(), &verdict));
  if (until([&] { return verdict.value.has_value(); }, kNoCrash, "verify_all") != End::done) return false;
  if (!*verdict.value) {
    ledger_.report("verify_all: " + verdict.value->error().text());
    return false;
  }
  process_->start_stop();
  if (until([&] { return process_->stopped.has_value(); }, kNoCrash, "stop") != End::done) return false;
  if (!*process_->stopped) ledger_.report("stop failed: " + process_->stopped->error().text());
  die(Death::power_loss);
  if (ledger_.violation() || !try_open(kNoCrash)) return false;
  load_.attach(*process_);
  load_.check_volumes();
  return verify();
}

SeedReport SeedRun::run() {
  plan();
  bool alive = format();
  const std::uint64_t rounds = random().between(1, 5);
  for (std::uint64_t i = 0; alive && i < rounds; ++i) {
    alive = open();
    if (alive && (i + 1 == rounds || random().coin())) alive = verify();
    if (alive) alive = round();
  }
  if (alive) alive = open();
  if (alive && trouble_ == Trouble::rot && load_.volumes_present() > 0) alive = verify() && rot_phase();
  if (alive) alive = finish();
  if (process_) {
    process_->die(Death::power_loss);
    process_.reset();
  }
  report_.trace = world_.trace_hash();
  report_.acked_writes = ledger_.acked_writes();
  report_.disk = disk_.counters();
  report_.ok = !ledger_.violation();
  if (report_.ok) return report_;
  report_.story = sim::format("seed {} (trouble: {}) FAILED: {}\n", seed_, trouble_name(trouble_), *ledger_.violation());
  report_.story += "what happened:\n";
  for (const std::string& line : notes_) report_.story += line + "\n";
  report_.story += "the last operations:\n" + ledger_.story(30);
  report_.story += sim::format("replay: holdfast-crash random --first {} --seeds 1 --narrate\n", seed_);
  return report_;
}

}  // namespace

SeedReport run_seed(std::uint64_t seed, const StoreMaker& maker, SeedOptions options) {
  SeedRun run(seed, maker, options);
  return run.run();
}

}  // namespace holdfast::crash

#include "test/crash/exhaustive.h"

#include <cstdio>
#include <functional>

#include "test/crash/jobs.h"
#include "test/crash/load.h"
#include "test/sim/text.h"

namespace holdfast::crash {

using sim::Fate;
using sim::Image;
using sim::Tear;

namespace {

constexpr std::uint64_t kStepsPerImageMax = 2'000'000;

// The recorded life can be played again to any disk event, because a seed decides everything: no copy of its state is kept.
class Recording {
 public:
  Recording(const StoreMaker& maker, const ExhaustiveOptions& options)
      : maker_(&maker), options_(options), world_(options.seed), host_(world_), disk_(host_, 0),
        load_(host_, world_.random(), ledger_, load_options(options)) {}
  ~Recording() {
    if (process_) process_->die(Death::power_loss);
  }

  // Formats, opens and loads; stops when the disk has seen `event` events. False: the load ended before.
  bool play_until(std::uint64_t event) {
    if (!started_) start();
    while (disk_.events() < event) {
      if (phase_ == 0 && process_->formatted) {
        ENSURE(process_->formatted->has_value());
        first_event_ = disk_.events();
        process_->start_open(group_options());
        phase_ = 1;
      }
      if (phase_ == 1 && process_->opened) {
        ENSURE(process_->opened->has_value());
        load_.attach(*process_);
        load_.start();
        phase_ = 2;
      }
      if (phase_ == 2 && load_.done()) return false;
      ENSURE(world_.step());
      ENSURE(!ledger_.violation());
    }
    return true;
  }
  std::uint64_t first_event() const { return first_event_; }
  bool loading() const { return phase_ == 2; }
  const sim::SimDisk& disk() const { return disk_; }
  const Ledger& ledger() const { return ledger_; }
  GroupStatus status() const { return process_->group()->status(); }

  static GroupOptions group_options() {
    GroupOptions options;
    options.map_cache_bytes = 256 << 10;
    options.apply_backlog_bytes = 1 << 20;
    options.log_batches_in_flight = 3;
    options.log_batch_bytes_max = 128 << 10;
    options.checkpoint_log_percent = 20;
    options.checkpoint_interval_ms = 40;
    return options;
  }

 private:
  static LoadOptions load_options(const ExhaustiveOptions& options) {
    LoadOptions load;
    load.clients = 5;
    load.operations = options.operations;
    load.blocks_max = 80;
    load.large_one_in = 6;
    load.think_one_in = 4;
    load.volume_chunks_max = 8;
    load.mix.write = 80;
    load.mix.unmap = 10;
    load.mix.checkpoint = 3;
    load.mix.create = 2;
    load.mix.remove = 2;
    return load;
  }
  void start() {
    started_ = true;
    process_ = std::make_unique<Process>(host_, disk_, *maker_, 16 << 20);
    FormatOptions format;
    format.log_bytes = 640 * kBlockBytes;
    process_->start_format(format, Group::Existing::refuse);
  }

  const StoreMaker* maker_;
  ExhaustiveOptions options_;
  sim::SimWorld world_;
  sim::SimHost host_;
  sim::SimDisk disk_;
  Ledger ledger_;
  Load load_;
  std::unique_ptr<Process> process_;
  bool started_ = false;
  int phase_ = 0;
  std::uint64_t first_event_ = 0;
};

// What may be left: every class of the design, over the unsynced writes of this point.
std::vector<std::vector<Fate>> classes(std::size_t writes) {
  std::vector<std::vector<Fate>> all;
  const auto add = [&](auto tear_of) {
    std::vector<Fate> fates;
    for (std::size_t i = 0; i < writes; ++i) {
      const Tear tear = tear_of(i);
      if (tear != Tear::lost) fates.push_back(Fate{i, tear});
    }
    all.push_back(std::move(fates));
  };
  add([](std::size_t) { return Tear::lost; });
  if (writes == 0) return all;
  add([](std::size_t) { return Tear::kept; });
  for (std::size_t j = 0; j < writes; ++j) {
    if (writes > 1) add([j](std::size_t i) { return i == j ? Tear::lost : Tear::kept; });
    if (writes > 1) add([j](std::size_t i) { return i == j ? Tear::kept : Tear::lost; });
    for (const Tear tear : {Tear::first_sector, Tear::all_but_last_sector, Tear::alternate_sectors}) {
      add([j, tear](std::size_t i) { return i == j ? tear : Tear::kept; });
      if (writes > 1) add([j, tear](std::size_t i) { return i == j ? tear : Tear::lost; });
    }
    if (j > 0 && j + 1 < writes) add([j](std::size_t i) { return i <= j ? Tear::kept : Tear::lost; });  // Prefixes.
  }
  return all;
}

// A recovery from one image. `crash_after` disk events in it the power fails again; kNoCrash: it runs to its end.
class Recovery {
 public:
  static constexpr std::uint64_t kNoCrash = ~std::uint64_t{0};
  Recovery(const StoreMaker& maker, std::uint64_t seed, std::uint64_t size, Image image, Ledger ledger)
      : maker_(&maker), world_(seed), host_(world_), disk_(host_, size, std::move(image)), ledger_(std::move(ledger)),
        load_(host_, world_.random(), ledger_, LoadOptions{}) {}
  ~Recovery() {
    if (process_) process_->die(Death::power_loss);
  }

  // The number of disk events of the recovery; the violation is in violation().
  std::uint64_t run(std::uint64_t crash_after) {
    std::uint64_t events = 0;
    const std::uint64_t begin = disk_.events();
    process_ = std::make_unique<Process>(host_, disk_, *maker_, 16 << 20);
    process_->start_open(Recording::group_options());
    if (crash_after != kNoCrash) {
      wait([&] { return process_->opened.has_value() || disk_.events() >= begin + crash_after; }, "a recovery that is to crash");
      process_->die(Death::power_loss);
      process_ = std::make_unique<Process>(host_, disk_, *maker_, 16 << 20);
      process_->start_open(Recording::group_options());
    }
    if (!wait([&] { return process_->opened.has_value(); }, "open")) return 0;
    if (!*process_->opened) {
      ledger_.report("open failed: " + process_->opened->error().text());
      return 0;
    }
    events = disk_.events() - begin;
    load_.attach(*process_);
    load_.check_volumes();
    load_.start_verification();
    wait([&] { return load_.verified(); }, "verification");
    return events;
  }
  const std::optional<std::string>& violation() const { return ledger_.violation(); }

 private:
  bool wait(const std::function<bool()>& condition, const char* what) {
    const std::uint64_t most = world_.steps() + kStepsPerImageMax;
    while (!condition() && !ledger_.violation()) {
      if (world_.step() && world_.steps() < most) continue;
      ledger_.report(sim::format("hang: {} does not end", what));
    }
    return !ledger_.violation();
  }

  const StoreMaker* maker_;
  sim::SimWorld world_;
  sim::SimHost host_;
  sim::SimDisk disk_;
  Ledger ledger_;
  Load load_;
  std::unique_ptr<Process> process_;
};

// Each worker plays its own recording forward; points come in rising order.
class Prover {
 public:
  Prover(const StoreMaker& maker, const ExhaustiveOptions& options) : maker_(&maker), options_(options) {}

  std::string prove(std::uint64_t event, Tally& tally) {
    if (!recording_) recording_ = std::make_unique<Recording>(*maker_, options_);
    recording_->play_until(event);
    Ledger ledger = recording_->ledger();
    ledger.crash();
    const sim::Media& media = recording_->disk().media();
    ++tally.counts[0];
    std::size_t number = 0;
    for (const auto& fates : classes(media.unsettled().size())) {
      Recovery recovery(*maker_, event, recording_->disk().size_bytes(), media.after_power_loss(fates), ledger);
      const std::uint64_t events = recovery.run(Recovery::kNoCrash);
      ++tally.counts[1];
      if (recovery.violation()) return failure(event, number, Recovery::kNoCrash, *recovery.violation());
      if ((tally.counts[1] + event) % options_.inner_every == 0) {
        for (std::uint64_t inner = 1; inner <= events; ++inner) {
          Recovery again(*maker_, event + inner, recording_->disk().size_bytes(), media.after_power_loss(fates), ledger);
          again.run(inner);
          ++tally.counts[2];
          if (again.violation()) return failure(event, number, inner, *again.violation());
        }
      }
      ++number;
    }
    return {};
  }

 private:
  static std::string failure(std::uint64_t event, std::size_t image, std::uint64_t inner, const std::string& what) {
    std::string where = inner == Recovery::kNoCrash ? std::string() : sim::format(", crashed again at I/O {} of its recovery", inner);
    return sim::format("crash point {}, image {}{} FAILED: {}", event, image, where, what);
  }
  const StoreMaker* maker_;
  ExhaustiveOptions options_;
  std::unique_ptr<Recording> recording_;
};

}  // namespace

ExhaustiveReport run_exhaustive(const StoreMaker& maker, ExhaustiveOptions options) {
  ExhaustiveReport report;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  {
    Recording whole(maker, options);
    whole.play_until(~std::uint64_t{0} - 1);
    first = whole.first_event();
    last = whole.disk().events();
  }
  Prover prover(maker, options);  // Copied into each worker by the fork, not yet playing.
  const std::uint64_t points = (last - first) / options.every;
  const auto result = run_jobs(
      0, points, options.jobs, false,
      [&](std::uint64_t item, Tally& tally) { return prover.prove(first + item * options.every, tally); },
      [](std::uint64_t, const Tally&) {});
  report.points = result.tally.counts[0];
  report.images = result.tally.counts[1];
  report.recoveries_crashed = result.tally.counts[2];
  report.failures = result.failures;
  return report;
}

}  // namespace holdfast::crash

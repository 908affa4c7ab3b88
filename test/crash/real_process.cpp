#include "test/crash/real_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/ensure.h"
#include "io/store_file.h"
#include "io/unique_fd.h"
#include "test/crash/content.h"
#include "test/crash/real_wire.h"
#include "test/sim/text.h"

namespace holdfast::crash {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

constexpr std::uint64_t kStoreBytes = 512ULL << 20;
constexpr std::uint64_t kLogBytes = 2560ULL << 10;   // The smallest there is: it wraps many times in a life.
constexpr std::uint64_t kVolumeBlocks = 1536;        // 6 MiB: each verification reads all of both volumes.
constexpr std::uint64_t kKillAfterUsMin = 1'000;
constexpr std::uint64_t kKillAfterUsMax = 200'000;
constexpr auto kHungAfter = std::chrono::seconds(60);

volatile std::sig_atomic_t interrupted = 0;

enum class Phase : std::uint8_t { starting, recovering, verifying, serving };
enum class KillAt : std::uint8_t { never, recovery, load };

class RealRun {
 public:
  explicit RealRun(const RealOptions& options) : options_(&options), random_(options.seed) {}
  RealReport run();

 private:
  // One child from its fork to its burial. False: what follows makes no sense.
  bool one_life(RealLife life, KillAt kill_at);
  void spawn(RealLife life);
  void listen(KillAt kill_at);
  void bury();
  void judge_death(int status, KillAt kill_at);
  void take_in(Bytes bytes);
  void hear(const Message& message, Bytes extra);
  void hear_began(const Message& message);
  void hear_ended(const Message& message, Bytes extra);
  void arm(std::uint64_t delay_us) { kill_due_ = Clock::now() + microseconds(delay_us); }
  bool fine() const { return !ledger_.violation() && interrupted == 0; }

  const RealOptions* options_;
  sim::SimRandom random_;
  Ledger ledger_;
  RealReport report_;
  std::vector<RealVolume> volumes_;
  std::string path_;
  std::uint64_t typical_open_us_ = 10'000;
  bool stopped_cleanly_ = false;

  // Of the child that lives now.
  pid_t pid_ = -1;
  io::UniqueFd pipe_;
  std::vector<std::byte> heard_;      // Received, not yet a whole message.
  Phase phase_ = Phase::starting;
  KillAt kill_at_ = KillAt::never;
  std::optional<Clock::time_point> kill_due_;
  Clock::time_point started_;
  bool killed_ = false;
  std::uint64_t began_ = 0, ended_ = 0;   // Of the load.
  std::uint64_t unsynced_ = 0, early_ = 0;
};

RealReport RealRun::run() {
  path_ = options_->directory + "/store";
  const auto made = io::create_store_file(path_, kStoreBytes);
  if (!made) {
    report_.violation = made.error().text();
    return report_;
  }
  for (const char* name : {"pgdata", "pgwal"}) {
    volumes_.push_back(RealVolume{name, random_.next_uuid(), BlockCount(kVolumeBlocks)});
    const Windows all{BlockRange{Lba(0), BlockCount(kVolumeBlocks)}};
    (void)ledger_.begin_create(name, volumes_.back().uuid, BlockCount(kVolumeBlocks), all);
  }
  bool going = one_life(RealLife::create, KillAt::never);
  for (std::uint64_t round = 1; going && round <= options_->rounds; ++round) {
    for (std::uint64_t more = random_.below(3); going && more > 1; --more) going = one_life(RealLife::load, KillAt::recovery);
    going = going && one_life(RealLife::load, KillAt::load);
    if (options_->narrate_progress) std::printf("\rround %llu", static_cast<unsigned long long>(round)), std::fflush(stdout);
  }
  // Twice: the second one opens what the first one has stopped in good order.
  for (int i = 0; going && i < 2; ++i) going = one_life(RealLife::finish, KillAt::never);
  report_.acked_writes = ledger_.acked_writes();
  report_.violation = ledger_.violation();
  report_.interrupted = interrupted != 0;
  (void)io::remove_store_file(path_);
  return report_;
}

bool RealRun::one_life(RealLife life, KillAt kill_at) {
  spawn(life);
  kill_at_ = kill_at;
  listen(kill_at);
  bury();
  return fine();
}

void RealRun::spawn(RealLife life) {
  int ends[2];
  ENSURE(pipe2(ends, O_CLOEXEC) == 0);
  RealOrders orders{life, path_, volumes_, random_.next(), static_cast<std::uint32_t>(ledger_.ops().size()), kLogBytes,
                    stopped_cleanly_, ends[1]};
  std::fflush(nullptr);
  pid_ = fork();
  ENSURE(pid_ >= 0);
  if (pid_ == 0) {
    close(ends[0]);
    std::signal(SIGINT, SIG_IGN);  // Ctrl-C reaches the whole group; the parent decides.
    std::signal(SIGTERM, SIG_DFL);
    _exit(run_real_child(orders));
  }
  close(ends[1]);
  pipe_.reset(ends[0]);
  heard_.clear();
  phase_ = Phase::starting;
  kill_due_.reset();
  killed_ = stopped_cleanly_ = false;
  began_ = ended_ = unsynced_ = early_ = 0;
}

// Until the pipe ends, which is the child's end. What it said before the kill is heard to the last word.
void RealRun::listen(KillAt kill_at) {
  std::vector<std::byte> into(std::size_t{1} << 16);
  const auto hung_at = Clock::now() + kHungAfter;
  for (;;) {
    const auto now = Clock::now();
    if (!killed_ && interrupted == 0 && now >= hung_at)
      ledger_.report(sim::format("a child did not get on for a minute; the phase was {}", static_cast<int>(phase_)));
    if (!killed_ && (!fine() || (kill_due_ && now >= *kill_due_))) {
      ENSURE(kill(pid_, SIGKILL) == 0);
      killed_ = true;
    }
    const auto until = killed_ ? now + std::chrono::seconds(1) : kill_due_.value_or(hung_at);
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(until - now).count();
    const timespec wait{left / 1'000'000'000, left % 1'000'000'000};
    pollfd poll{pipe_.get(), POLLIN, 0};
    if (ppoll(&poll, 1, &wait, nullptr) <= 0) continue;
    const ssize_t got = ::read(pipe_.get(), into.data(), into.size());
    if (got < 0 && errno == EINTR) continue;
    ENSURE(got >= 0);
    if (got == 0) break;
    take_in(Bytes(into).first(static_cast<std::size_t>(got)));
  }
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0) ENSURE(errno == EINTR);
  judge_death(status, kill_at);
}

void RealRun::judge_death(int status, KillAt kill_at) {
  if (!fine()) return;
  if (kill_at == KillAt::never) {
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) ledger_.report(sim::format("a child ended with wait status {}", status));
    return;
  }
  if (!killed_ || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
    return ledger_.report(sim::format("a child died before it was killed, with wait status {}", status));
  report_.unsynced_dropped += unsynced_;
  report_.written_early += early_;
  if (kill_at == KillAt::load) {
    ENSURE(began_ > 0);
    ++report_.rounds;
    report_.in_flight_at_kill += began_ - ended_;
    for (const Op& op : ledger_.ops())
      if (op.life == ledger_.life() && op.outcome == Outcome::pending && op.kind != OpKind::none && op.kind != OpKind::read)
        ++report_.writes_in_flight_at_kill;
  } else if (phase_ == Phase::verifying || phase_ == Phase::serving) {
    ++report_.killed_in_verification;
  } else {
    ++report_.killed_in_recovery;
  }
}

void RealRun::bury() {
  ledger_.crash();
  pid_ = -1;
  pipe_.reset(-1);
}

void RealRun::take_in(Bytes bytes) {
  heard_.insert(heard_.end(), bytes.begin(), bytes.end());
  std::size_t at = 0;
  while (heard_.size() - at >= sizeof(Message)) {
    Message message;
    std::memcpy(&message, heard_.data() + at, sizeof message);
    ENSURE(message.extra_bytes <= kExtraBytesMax);
    const std::size_t whole = sizeof message + message.extra_bytes;
    if (heard_.size() - at < whole) break;
    hear(message, Bytes(heard_).subspan(at + sizeof message, message.extra_bytes));
    at += whole;
  }
  heard_.erase(heard_.begin(), heard_.begin() + static_cast<std::ptrdiff_t>(at));
}

void RealRun::hear(const Message& message, Bytes extra) {
  unsynced_ = message.unsynced;
  early_ = message.early;
  switch (message.word) {
    case Word::started:
      phase_ = Phase::recovering;
      started_ = Clock::now();
      if (kill_at_ == KillAt::recovery) arm(random_.below(typical_open_us_ * 5 / 4));
      return;
    case Word::opened: {
      const auto took = std::chrono::duration_cast<microseconds>(Clock::now() - started_).count();
      typical_open_us_ = static_cast<std::uint64_t>(took) + 1;
      report_.replayed += message.count;
      return;
    }
    case Word::verifying:
      phase_ = Phase::verifying;
      for (VolumeKey key = 0; key < ledger_.volume_count(); ++key) ledger_.found_after_recovery(key, true);
      return ledger_.begin_verification();
    case Word::verified:
      phase_ = Phase::serving;
      ++report_.verifications;
      return ledger_.end_verification();
    case Word::began: return hear_began(message);
    case Word::ended: return hear_ended(message, extra);
    case Word::checkpointed: ++report_.checkpoints; return;
    case Word::all_checked: report_.blocks_checked = message.count; return;
    case Word::stopped: stopped_cleanly_ = true; return;
    case Word::complaint:
      return ledger_.report(std::string(reinterpret_cast<const char*>(extra.data()), extra.size()));
  }
  ENSURE(false);
}

// The parent works out by itself what the operation writes: from its number, not from what the child says.
void RealRun::hear_began(const Message& message) {
  const BlockRange range{Lba(message.first_block), BlockCount(message.count)};
  const auto kind = static_cast<OpKind>(message.kind);
  if (phase_ == Phase::serving) {
    if (began_++ == 0 && kill_at_ == KillAt::load) arm(random_.between(kKillAfterUsMin, kKillAfterUsMax));
    ++report_.operations;
  }
  ENSURE(message.op == ledger_.ops().size());
  if (kind == OpKind::read) return (void)ledger_.begin_read(message.volume, range);
  std::vector<std::uint64_t> hashes;
  alignas(8) std::byte block[kBlockBytes];
  const std::uint64_t distinct = kind == OpKind::write ? message.count : 1;
  for (std::uint64_t i = 0; i < distinct; ++i) {
    stamp_block(block, message.op, i);
    hashes.push_back(xxh3(Bytes(block, kBlockBytes)));
  }
  if (kind == OpKind::unmap || message.zeros != 0) hashes.assign(1, xxh3_zero_block());
  (void)ledger_.begin_write(kind, message.volume, range, std::move(hashes));
}

void RealRun::hear_ended(const Message& message, Bytes extra) {
  if (phase_ == Phase::serving) ++ended_;
  const Op op = ledger_.ops()[message.op];
  if (op.kind != OpKind::read) {
    if (message.refused == 0) report_.acked_blocks += op.range.count.value;
    return ledger_.end_write(message.op, message.refused != 0 ? Outcome::refused : Outcome::acked);
  }
  if (message.refused != 0) return ledger_.end_read_failed(message.op);
  const std::size_t blocks = op.range.count.value;
  ENSURE(extra.size() == blocks * 12);
  std::vector<std::uint64_t> hashes(blocks);
  std::vector<OpId> stamps(blocks);
  std::memcpy(hashes.data(), extra.data(), blocks * 8);
  std::memcpy(stamps.data(), extra.data() + blocks * 8, blocks * 4);
  ledger_.end_read(message.op, hashes, stamps);
}

}  // namespace

RealReport run_real(const RealOptions& options) {
  struct sigaction action{};
  action.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  RealRun run(options);
  return run.run();
}

}  // namespace holdfast::crash

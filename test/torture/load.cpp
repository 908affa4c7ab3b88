#include "test/torture/load.h"

#include <algorithm>

#include "test/crash/content.h"
#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"

namespace holdfast::torture {
namespace {

using cluster::ClientOp;
using cluster::OpId;
using cluster::OpKind;
using cluster::Outcome;

constexpr std::uint8_t kDataProtect = 0x07;
constexpr std::uint16_t kNoSpace = 0x2707;
constexpr std::uint64_t kReadBlocks = 128;

ClientOp operation(OpKind kind, BlockRange range, std::uint32_t client) {
  ClientOp op;
  op.kind = kind;
  op.client = client;
  op.range = range;
  op.invoked_at = now();
  return op;
}

// By block who wrote what was read. Nothing: some block is torn, or of nobody; the sentence says which.
std::optional<std::string> recognise(const cluster::History& history, BlockRange range, const std::vector<std::byte>& data, std::vector<OpId>* seen) {
  if (data.size() != range.count.value * kBlockBytes) return sim::format("a read of {} blocks brought {} bytes", range.count.value, data.size());
  seen->assign(range.count.value, 0);
  for (std::uint64_t i = 0; i < range.count.value; ++i)
    if (auto wrong = history.recognise_block(0, Lba(range.first.value + i), data.data() + i * kBlockBytes, &(*seen)[i])) return wrong;
  return std::nullopt;
}

}  // namespace

std::uint64_t Ledger::acknowledged() const {
  const std::lock_guard lock(mutex_);
  return history_.count(Outcome::done);
}

void Ledger::verify(MultipathHost& host, BlockRange range) {
  for (std::uint64_t at = range.first.value; at < range.end().value; at += kReadBlocks) {
    const BlockRange piece{Lba(at), BlockCount(std::min(kReadBlocks, range.end().value - at))};
    OpId id;
    {
      const std::lock_guard lock(mutex_);
      id = history_.begin(operation(OpKind::read, piece, 0));
    }
    const ScsiAnswer answer = host.execute(read_blocks(piece));
    require(answer.good(), sim::format("block {} cannot be read: {}", at, answer.text()));
    const std::lock_guard lock(mutex_);
    std::vector<OpId> seen;
    if (const auto wrong = recognise(history_, piece, answer.data, &seen)) throw Failure(*wrong);
    history_.op(id).seen = std::move(seen);
    history_.end(id, Outcome::done, now());
  }
  const std::lock_guard lock(mutex_);
  if (const auto wrong = history_.judge()) throw Failure(*wrong);
}

Load::Load(MultipathHost& host, Ledger& ledger, LoadOptions options) : host_(host), ledger_(ledger), options_(options) {
  running_ = options_.workers;
  for (unsigned i = 1; i <= options_.workers; ++i) workers_.emplace_back([this, i] { work(i); });
}

Load::~Load() {
  stopping_ = true;
  bool hangs;
  {
    std::unique_lock lock(mutex_);
    hangs = !changed_.wait_for(lock, std::chrono::seconds(2), [&] { return running_ == 0; });
  }
  if (hangs) host_.give_up();
  for (std::thread& worker : workers_) worker.join();
}

void Load::stop(DurationNs patience) {
  stopping_ = true;
  std::unique_lock lock(mutex_);
  const bool ended = changed_.wait_for(lock, std::chrono::nanoseconds(patience.value), [&] { return running_ == 0; });
  require(ended, sim::format("{} commands did not end within {} ms", running_, patience.value / 1'000'000));
}

LoadCounters Load::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void Load::run_for(std::uint64_t operations, DurationNs patience) {
  std::unique_lock lock(mutex_);
  const std::uint64_t goal = counters_.operations + operations;
  const bool reached = changed_.wait_for(lock, std::chrono::nanoseconds(patience.value), [&] { return counters_.operations >= goal; });
  require(reached, sim::format("only {} of {} operations ended within {} ms", operations - (goal - counters_.operations), operations, patience.value / 1'000'000));
}

Pause Load::longest_pause(BootNs from, BootNs to) const {
  const std::lock_guard lock(mutex_);
  Pause longest;
  BootNs before = acks_.empty() ? from : acks_.front().answered;
  const auto look = [&](BootNs next) {
    if (next >= from && before <= to && next - before > longest.length) longest = {next - before, before, next};
    before = next;
  };
  for (const Ack& ack : acks_) look(ack.answered);
  if (before < to) look(to);
  return longest;
}

DurationNs Load::until_write_after(BootNs t, DurationNs patience) const {
  std::unique_lock lock(mutex_);
  const auto find = [&] { return std::find_if(acks_.begin(), acks_.end(), [&](const Ack& ack) { return ack.called >= t; }); };
  const bool found = changed_.wait_for(lock, std::chrono::nanoseconds(patience.value), [&] { return find() != acks_.end(); });
  require(found, sim::format("no write was acknowledged within {} ms", patience.value / 1'000'000));
  return find()->answered - t;
}

DurationNs Load::pause_since(BootNs before_the_fault, DurationNs patience) const {
  const BootNs made = now();
  static_cast<void>(until_write_after(made, patience));
  return longest_pause(before_the_fault, made).length;
}

std::uint64_t Load::writes_between(BootNs from, BootNs to) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::uint64_t>(std::count_if(acks_.begin(), acks_.end(), [&](const Ack& a) { return a.answered >= from && a.answered <= to; }));
}

void Load::work(unsigned number) {
  sim::SimRandom random(options_.seed * 1'000 + number);
  while (!stopping_) {
    operate(random, number);
    if (options_.think.value > 0) pause_for(options_.think);
  }
  const std::lock_guard lock(mutex_);
  --running_;
  changed_.notify_all();
}

BlockRange Load::draw(sim::SimRandom& random) const {
  const std::uint64_t space = random.one_in(2) ? std::min(options_.hot_blocks, options_.blocks) : options_.blocks;
  const std::uint64_t first = random.below(space);
  const std::uint64_t most = random.one_in(options_.large_one_in) ? options_.large_blocks : 4;
  return {Lba(options_.first_block + first), BlockCount(std::min(random.between(1, most), options_.blocks - first))};
}

void Load::operate(sim::SimRandom& random, unsigned number) {
  const std::uint64_t dice = random.below(options_.write + options_.read + options_.unmap);
  const BlockRange range = draw(random);
  if (dice < options_.read) return read(range, number);
  if (!claim(range)) return;
  change(dice < options_.read + options_.write ? OpKind::write : OpKind::unmap, range, number);
  release(range);
}

bool Load::claim(BlockRange range) {
  const std::lock_guard lock(mutex_);
  if (std::any_of(claimed_.begin(), claimed_.end(), [&](BlockRange other) { return ranges_overlap(other, range); })) return false;
  claimed_.push_back(range);
  return true;
}

void Load::release(BlockRange range) {
  const std::lock_guard lock(mutex_);
  std::erase_if(claimed_, [&](BlockRange other) { return other.first == range.first; });
}

void Load::read(BlockRange range, unsigned number) {
  OpId id;
  {
    const std::lock_guard lock(ledger_.mutex_);
    id = ledger_.history_.begin(operation(OpKind::read, range, number));
  }
  const ScsiAnswer answer = host_.execute(read_blocks(range));
  std::string wrong;
  {
    const std::lock_guard lock(ledger_.mutex_);
    std::vector<OpId> seen;
    if (!answer.good()) wrong = answer.text();
    else if (const auto torn = recognise(ledger_.history_, range, answer.data, &seen)) wrong = *torn;
    if (wrong.empty()) ledger_.history_.op(id).seen = std::move(seen);
    ledger_.history_.end(id, wrong.empty() ? Outcome::done : Outcome::refused, now());
  }
  const std::lock_guard lock(mutex_);
  ++counters_.operations;
  ++counters_.reads;
  if (!wrong.empty() && answer.status != kGivenUp && counters_.errors++ == 0) counters_.first_error = sim::format("read of {}+{}: {}", range.first.value, range.count.value, wrong);
  changed_.notify_all();
}

void Load::change(OpKind kind, BlockRange range, unsigned number) {
  OpId id;
  {
    const std::lock_guard lock(ledger_.mutex_);
    id = ledger_.history_.begin(operation(kind, range, number));
  }
  std::vector<std::byte> data;
  if (kind == OpKind::unmap) {
    data = unmap_list(range);
  } else {
    data.resize(range.count.value * kBlockBytes);
    for (std::uint64_t i = 0; i < range.count.value; ++i) crash::stamp_block(data.data() + i * kBlockBytes, id, i);
  }
  const BootNs called = now();
  const ScsiAnswer answer = host_.execute(kind == OpKind::unmap ? unmap_blocks(data) : write_blocks(range, data));
  const bool no_space = answer.key == kDataProtect && answer.asc == kNoSpace;
  {
    const std::lock_guard lock(ledger_.mutex_);
    // A command that failed for another reason may have done some of its work. One that found no space may have as well: its pieces are
    // calls of their own.
    ledger_.history_.end(id, answer.good() ? Outcome::done : Outcome::unknown, now());
  }
  const std::lock_guard lock(mutex_);
  ++counters_.operations;
  if (answer.good()) {
    ++counters_.writes;
    if (kind == OpKind::write) counters_.bytes_written += data.size();
    acks_.push_back({called, now()});
  } else if (no_space) {
    ++counters_.no_space;
  } else if (answer.status != kGivenUp && counters_.errors++ == 0) {
    counters_.first_error = sim::format("{} of {}+{}: {}", op_kind_name(kind), range.first.value, range.count.value, answer.text());
  }
  changed_.notify_all();
}

}  // namespace holdfast::torture

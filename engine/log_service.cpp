#include "engine/log_service.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/operation.h"

namespace holdfast::engine {

using snapshot::ConsumerChange;
using snapshot::StoredConsumer;
using snapshot::kBlocksUnknown;
using wal::RecordKind;

namespace {

Result<void> check_name(const std::string& name) {
  if (name.empty() || name.size() > snapshot::kNameBytesMax)
    return fail(Errc::invalid_argument, concat("consumer: must have 1 to ", snapshot::kNameBytesMax, " characters"));
  for (const char c : name) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    if (!fine) return fail(Errc::invalid_argument, "consumer: only a-z, 0-9, '.', '-' and '_'");
  }
  return {};
}

std::unexpected<Error> no_such_consumer(const std::string& name) {
  return fail(Errc::not_found, concat("consumer: there is no consumer ", name, " of this log"));
}

StoredConsumer make_consumer(const std::string& name, Lsn confirmed, std::uint64_t blocks) {
  StoredConsumer consumer{};
  std::memcpy(consumer.name, name.data(), std::min(name.size(), snapshot::kNameBytesMax));
  consumer.confirmed_lsn = confirmed.value;
  consumer.confirmed_blocks = blocks;
  return consumer;
}

std::optional<std::uint64_t> bytes_between(std::uint64_t blocks_before, std::uint64_t blocks_after) {
  if (blocks_before == kBlocksUnknown) return std::nullopt;
  return (blocks_after - blocks_before) * kBlockBytes;
}

}  // namespace

LogService::LogService(GroupImpl& group)
    : group_(&group), change_turn_(group.ports().executor, 1), read_turn_(group.ports().executor, 1), marks_(kMarks),
      log_timer_(group.ports().clock), scope_(group.ports().executor) {}

LogService::Unlogged LogService::position_of(const StoredConsumer& consumer) const {
  const auto found = unlogged_.find(consumer.name);
  if (found != unlogged_.end() && found->second.lsn.value > consumer.confirmed_lsn) return found->second;
  return {Lsn(consumer.confirmed_lsn), consumer.confirmed_blocks};
}

ConsumerStatus LogService::status_of(const StoredConsumer& consumer) const {
  const Unlogged position = position_of(consumer);
  ConsumerStatus status;
  status.name = consumer.name;
  status.confirmed = position.lsn;
  if (newest_entry_ > position.lsn) status.lag_records = newest_entry_.value - position.lsn.value;
  status.lag_bytes = bytes_between(position.blocks, group_->commit_point().written_blocks);
  status.gap = gap_from(position.lsn.next());
  return status;
}

std::vector<ConsumerStatus> LogService::consumers() const {
  std::vector<ConsumerStatus> all;
  for (const StoredConsumer& consumer : group_->store().consumers().all()) all.push_back(status_of(consumer));
  return all;
}

// What is committed and that the ring holds no more, from there on.
std::optional<LogGap> LogService::gap_from(Lsn from) const {
  const Lsn end = std::min(group_->log().first_kept(), group_->commit_lsn().next());
  if (from >= end) return std::nullopt;
  return LogGap{from, end, bytes_between(blocks_before(from), group_->log().oldest().written_blocks)};
}

std::uint64_t LogService::blocks_before(Lsn from) const {
  if (from == Lsn(1)) return 0;
  const Lsn last(from.value - 1);
  for (const StoredConsumer& consumer : group_->store().consumers().all()) {
    const Unlogged position = position_of(consumer);
    if (position.lsn == last) return position.blocks;
    if (Lsn(consumer.confirmed_lsn) == last) return consumer.confirmed_blocks;
  }
  for (const Mark& mark : marks_)
    if (mark.lsn == last) return mark.blocks;
  return kBlocksUnknown;
}

Task<Result<std::uint64_t>> LogService::blocks_up_to(Lsn lsn) {
  if (const std::uint64_t known = blocks_before(lsn.next()); known != kBlocksUnknown) co_return known;
  co_await read_turn_.acquire();
  Turn turn(read_turn_);
  auto read = co_await wal::read_batch(&group_->ports().disk, buffers(), &group_->log(), lsn);
  if (!read && read.error().code == Errc::io_error) co_return fail(read.error());
  if (!read) co_return kBlocksUnknown;
  std::uint64_t blocks = read->written_before;
  for (const wal::RecordHeader& record : read->batch.records)
    if (record.lsn <= lsn.value) blocks += wal::written_blocks_of(record.kind, record.count);
  co_return blocks;
}

Task<Result<ConsumerStatus>> LogService::create(std::string name, ConsumerStart start) {
  if (auto ok = check_name(name); !ok) co_return fail(ok.error());
  Operation operation(*group_);
  co_await change_turn_.acquire();
  Turn turn(change_turn_);
  const std::uint64_t reign = group_->reign();
  CO_TRY(co_await group_->await_admission(reign, 0));
  snapshot::ConsumerTable& table = group_->store().consumers();
  if (table.find(name)) co_return fail(Errc::exists, concat("consumer: there is a consumer ", name, " already"));
  if (table.is_full())
    co_return fail(Errc::overloaded, concat("a log has at most ", snapshot::kConsumersMax, " consumers: drop one that is not needed"));
  const wal::LogPoint now = group_->commit_point();
  ConsumerChange change{make_consumer(name, now.lsn, now.written_blocks), 0};
  const Lsn oldest = group_->log().first_kept();
  if (start == ConsumerStart::oldest && oldest <= now.lsn)
    change.consumer = make_consumer(name, Lsn(oldest.value - 1), group_->log().oldest().written_blocks);
  CO_TRY(co_await log_change(&change, reign));
  const StoredConsumer* made = table.find(name);
  if (!made) co_return no_such_consumer(name);
  co_return status_of(*made);
}

Task<Result<void>> LogService::remove(std::string name) {
  Operation operation(*group_);
  co_await change_turn_.acquire();
  Turn turn(change_turn_);
  const std::uint64_t reign = group_->reign();
  CO_TRY(co_await group_->await_admission(reign, 0));
  const StoredConsumer* consumer = group_->store().consumers().find(name);
  if (!consumer) co_return no_such_consumer(name);
  const ConsumerChange change{*consumer, 1};
  auto done = co_await log_change(&change, reign);
  co_return done;
}

Task<Result<void>> LogService::confirm(std::string name, Lsn lsn, Confirm when) {
  Operation operation(*group_);
  if (group_->obstacle() != Errc{}) co_return fail(group_->obstacle());
  const std::uint64_t reign = group_->reign();
  if (!group_->store().consumers().find(name)) co_return no_such_consumer(name);
  if (lsn > group_->commit_lsn())
    co_return fail(Errc::out_of_range, concat("lsn: ", lsn.value, " is beyond the last committed record, ", group_->commit_lsn().value));
  auto blocks = co_await blocks_up_to(lsn);
  if (!blocks) co_return fail(blocks.error());
  const StoredConsumer* consumer = group_->store().consumers().find(name);
  if (group_->obstacle(reign) != Errc{}) co_return fail(group_->obstacle(reign));
  if (!consumer) co_return no_such_consumer(name);
  if (lsn > position_of(*consumer).lsn) unlogged_[name] = {lsn, *blocks};
  if (when == Confirm::durably) {
    auto done = co_await log_position(name, reign);
    co_return done;
  }
  if (!logging_ && unlogged_.contains(name)) {
    logging_ = true;
    scope_.spawn(log_later());
  }
  co_return Result<void>{};
}

// Positions that were confirmed in the meantime share the wait, and the order of their records does not matter.
Task<void> LogService::log_later() {
  co_await log_timer_.after(milliseconds(group_->options().consumer_log_ms));
  logging_ = false;
  if (stopping_) co_return;
  Operation operation(*group_);
  std::vector<std::string> names;
  for (const auto& [name, position] : unlogged_) names.push_back(name);
  const std::uint64_t reign = group_->reign();
  for (const std::string& name : names) (void)co_await log_position(name, reign);
}

Task<Result<void>> LogService::log_position(std::string name, std::uint64_t reign) {
  co_await change_turn_.acquire();
  Turn turn(change_turn_);
  CO_TRY(co_await group_->await_admission(reign, 0));
  const StoredConsumer* consumer = group_->store().consumers().find(name);
  if (!consumer) co_return no_such_consumer(name);
  const Unlogged position = position_of(*consumer);
  const bool nothing_new = position.lsn.value <= consumer->confirmed_lsn || Lsn(consumer->confirmed_lsn) >= newest_entry_;
  if (nothing_new) co_return Result<void>{};
  const ConsumerChange change{make_consumer(name, position.lsn, position.blocks), 0};
  auto done = co_await log_change(&change, reign);
  co_return done;
}

Task<Result<void>> LogService::log_change(const ConsumerChange* change, std::uint64_t reign) {
  Tail::Handle record = group_->tail().make();
  record->kind = RecordKind::consumer;
  record->count = sizeof *change;
  record->head_blocks = 1;
  record->payload = co_await group_->ports().buffers.acquire(kBlockBytes);
  std::memset(record->payload.data(), 0, kBlockBytes);
  std::memcpy(record->payload.data(), change, sizeof *change);
  record->checksums[0] = xxh3(record->payload.bytes());
  auto committed = co_await group_->log_and_commit(std::move(record), reign);
  co_return committed;
}

void LogService::committed(const TailRecord& record) {
  const auto change = snapshot::decode_consumer_change(record.payload.bytes());
  if (!change) return log_error(concat("LSN ", record.lsn.value, ": ", change.error().message));
  group_->store().consumers().apply(*change, record.lsn);
  const auto unlogged = unlogged_.find(change->consumer.name);
  if (unlogged == unlogged_.end()) return;
  if (change->removed != 0 || unlogged->second.lsn.value <= change->consumer.confirmed_lsn) unlogged_.erase(unlogged);
}

void LogService::noted(RecordKind kind, Lsn lsn) {
  if (kind != RecordKind::consumer) newest_entry_ = lsn;
}

// What was confirmed in another reign of this copy may since have been dropped and made anew.
void LogService::role_changed() {
  unlogged_.clear();
  wake();
}

void LogService::close() {
  stopping_ = true;
  log_timer_.cancel();
  wake();
}

void LogService::wake() {
  while (!waiting_.empty()) waiting_.pop_front().timer.cancel();
}

BufferPool* LogService::buffers() {
  constexpr std::size_t kBytes = 4 * BufferPool::kLargestBytes;
  if (!buffers_) buffers_ = std::make_unique<BufferPool>(group_->ports().executor, kBytes);
  return buffers_.get();
}

}  // namespace holdfast::engine

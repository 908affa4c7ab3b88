#include "engine/receiver.h"

#include "base/checksum.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/volume_impl.h"

namespace holdfast::engine {

using wal::RecordKind;

namespace {

constexpr std::int64_t kRetryMs = 5;  // For room that the primary, or a checkpoint, has to give.

constexpr std::uint64_t kVolumeBlocksMax = (std::uint64_t{1} << 50) / kBlockBytes;

// That a write covers.
std::size_t whole_chunks_of(const TailRecord& record) {
  if (record.kind != RecordKind::write) return 0;
  const std::uint64_t first = divide_up(record.first.value, kChunkBlocks), end = (record.first.value + record.count) / kChunkBlocks;
  return end > first ? end - first : 0;
}

bool changes_catalogue(RecordKind kind) {
  return kind == RecordKind::volume_create || kind == RecordKind::volume_delete || kind == RecordKind::reservations;
}

// What the codec cannot know: that the lengths fit the kind.
bool is_sane(const wal::RecordOnWire& r) {
  switch (static_cast<RecordKind>(r.kind)) {
    case RecordKind::write: return r.payload_blocks > 0 && r.count == r.payload_blocks;
    case RecordKind::unmap: return r.payload_blocks == 0 && r.count > 0 && r.count <= kUnmapRecordBlocks;
    case RecordKind::epoch_start:
    case RecordKind::volume_delete: return r.payload_blocks == 0;
    case RecordKind::volume_create: return r.payload_blocks == 1 && r.count == sizeof(snapshot::VolumeDescription);
    case RecordKind::consumer: return r.payload_blocks == 1 && r.count == sizeof(snapshot::ConsumerChange);
    case RecordKind::reservations: return r.count <= r.payload_blocks * kBlockBytes && r.count <= snapshot::kBlobBytesMax;
  }
  return false;
}

}  // namespace

Receiver::Receiver(GroupImpl& group, Replica& replica)
    : group_(&group), replica_(&replica), work_(group.ports().executor), poll_timer_(group.ports().clock),
      scope_(group.ports().executor) {}

void Receiver::start() { scope_.spawn(run()); }

void Receiver::stop() {
  stopping_ = true;
  poll_timer_.cancel();
  wake();
}

bool Receiver::wanted(SessionId session, Epoch epoch) const {
  return !stopping_ && session == session_ && replica_->machine().accepts(session, epoch) && !group_->has_failed();
}

void Receiver::restart(SessionId session, Lsn end) {
  session_ = session;
  next_ = end.next();
  barrier_ = Lsn();
}

// A primary that was overtaken may have records under way when the next epoch is bound. One line an epoch.
void Receiver::tell_if_fenced(const Session& session, Epoch epoch, std::size_t records) {
  const Epoch bound = replica_->machine().bound().epoch;
  if (records == 0 || epoch >= bound || bound == fenced_at_) return;
  fenced_at_ = bound;
  log_info(concat("records of epoch ", epoch.value, " came from node ", session.node.value, " after epoch ", bound.value, " was bound: fenced, none of them is taken"));
}

bool Receiver::take(const Session& session, const AppendHead& head, Buffer payload) {
  const Epoch epoch(head.body.epoch);
  if (!wanted(session.id, epoch)) {
    tell_if_fenced(session, epoch, head.records.size());
    return true;
  }
  if (head.body.previous_lsn + 1 != next_.value) return false;
  std::size_t at = 0;
  for (const wal::RecordOnWire& record : head.records) {
    if (!is_sane(record)) return false;
    Incoming in{session.id, epoch, next_, Lsn(head.body.commit_lsn), record, {}, {}};
    const std::size_t blocks = record.payload_blocks;
    in.checksums.assign(head.checksums.begin() + static_cast<std::ptrdiff_t>(at),
                        head.checksums.begin() + static_cast<std::ptrdiff_t>(at + blocks));
    if (blocks > 0) in.payload = payload.slice(at * kBlockBytes, blocks * kBlockBytes);
    const bool elided = (record.flags & wal::kRecordElided) != 0;
    for (std::size_t b = 0; b < blocks && !elided; ++b)
      if (xxh3(Bytes(in.payload.data() + b * kBlockBytes, kBlockBytes)) != in.checksums[b]) return false;
    at += blocks;
    next_ = next_.next();
    incoming_.push_back(std::move(in));
  }
  wake();
  return true;
}

Task<void> Receiver::settle() {
  wake();
  while ((busy_ || !incoming_.empty() || !ready_.empty()) && !stopping_ && !group_->has_failed()) {
    poll_timer_.cancel();
    co_await work_.wait();
  }
}

// One after the other: each may need what the one before has changed.
Task<void> Receiver::run() {
  while (!stopping_) {
    if (incoming_.empty()) {
      co_await work_.wait();
      continue;
    }
    busy_ = true;
    Incoming in = std::move(incoming_.front());
    incoming_.pop_front();
    if (wanted(in.session, in.epoch)) {
      auto admitted = co_await admit(&in);
      if (!admitted && !group_->has_failed() && wanted(in.session, in.epoch)) refuse(in.session, admitted.error().text());
    }
    busy_ = false;
    wake();
  }
}

Task<bool> Receiver::pause(SessionId session, Epoch epoch) {
  if (!wanted(session, epoch)) co_return false;
  co_await poll_timer_.after(milliseconds(kRetryMs));
  co_return wanted(session, epoch);
}

Task<Result<void>> Receiver::admit(Incoming* in) {
  while (group_->commit_lsn() < barrier_) {
    mark(Mark::receive_barrier);
    if (!co_await pause(in->session, in->epoch)) co_return Result<void>{};
  }
  while (!group_->applier().has_room()) {
    group_->applier().kick();
    if (!co_await pause(in->session, in->epoch)) co_return Result<void>{};
  }
  if (in->record.flags & wal::kRecordElided) CO_TRY(co_await group_->become_unfit(in->commit));
  Tail::Handle record;
  for (;;) {
    record = make_record(*in);
    auto prepared = co_await prepare(record.get());
    // Superseded blocks are not what the record says: only chunks may hold them, the log may not.
    const bool astray = prepared && (in->record.flags & wal::kRecordElided) && record->chunk_count == 0 && whole_chunks_of(*record) > 0;
    if (astray) prepared = fail(Errc::no_space);
    if (prepared) break;
    if (prepared.error().code != Errc::no_space) co_return prepared;
    mark(Mark::receive_no_space);
    record.reset();
    if (!co_await pause(in->session, in->epoch)) co_return Result<void>{};
  }
  const std::size_t header = wal::record_bytes(record->data_blocks(), record->chunk_count);
  const auto reserve = [&] {
    wal::Log& log = group_->log();
    return record->kind == RecordKind::epoch_start ? log.reserve_epoch_start() : log.try_reserve(record->logged_blocks(), header);
  };
  std::optional<std::uint64_t> room;
  while (!(room = reserve())) {
    mark(Mark::receive_no_room);
    if (!co_await pause(in->session, in->epoch)) co_return Result<void>{};
  }
  if (changes_catalogue(record->kind)) barrier_ = in->lsn;
  const bool placed = record->chunk_count > 0 && record->target;
  ready_.push_back(Ready{in->session, in->epoch, in->record.chain_xxh3, *room, std::move(record), !placed});
  if (placed) scope_.spawn(write_chunks(&ready_.back()));
  append_ready();
  group_->look_after_space();
  co_return Result<void>{};
}

Tail::Handle Receiver::make_record(const Incoming& in) {
  Tail::Handle record = group_->tail().make();
  record->kind = static_cast<RecordKind>(in.record.kind);
  record->epoch = Epoch(in.record.epoch);
  record->volume = VolumeId(in.record.volume_id);
  record->first = Lba(in.record.first_block);
  record->count = in.record.count;
  record->payload = in.payload;
  std::copy(in.checksums.begin(), in.checksums.end(), record->checksums.begin());
  record->head_blocks = in.record.payload_blocks;  // A write's placement follows.
  record->superseded = (in.record.flags & wal::kRecordElided) != 0;
  return record;
}

// What a primary's own flows do before they log a record of the kind.
Task<Result<void>> Receiver::prepare(TailRecord* record) {
  if (record->kind == RecordKind::epoch_start) co_return Result<void>{};
  if (record->kind == RecordKind::consumer) {
    const auto change = snapshot::decode_consumer_change(record->payload.bytes());
    if (!change) co_return fail(Errc::protocol, change.error().message);
    co_return Result<void>{};
  }
  if (record->kind == RecordKind::volume_create) {
    auto prepared = co_await group_->store().prepare_volume();
    co_return prepared;
  }
  VolumeImpl* volume = group_->volume_of(record->volume);
  if (!volume && group_->was_dropped(record->volume)) {
    mark(Mark::rebuild_volume_dropped);
    auto prepared = co_await prepare_without_effect(record);
    co_return prepared;
  }
  if (!volume) co_return fail(Errc::protocol, concat("a record of volume ", record->volume.value, ", which does not exist"));
  record->target = &volume->stored();
  if (record->kind == RecordKind::write || record->kind == RecordKind::unmap) {
    if (!range_fits(BlockRange{record->first, BlockCount(record->count)}, volume->capacity()))
      co_return fail(Errc::protocol, "a record reaches beyond the volume's end");
    Result<void> done;
    if (record->kind == RecordKind::write) {
      auto admitted = co_await volume->admit(record);
      done = std::move(admitted);
    } else {
      auto prepared = co_await volume->prepare_unmap(record);
      done = std::move(prepared);
    }
    co_return done;
  }
  if (record->kind == RecordKind::reservations) {
    CO_TRY(co_await group_->store().prepare_reservations(record->target));
    if (!planted(Bug::reservation_not_replicated)) record->state.assign(record->payload.data(), record->payload.data() + record->count);
  }
  co_return Result<void>{};
}

// The record is logged, and means nothing here. Its whole chunks are named and not written, for nobody reads them, and what came for them
// need not be what it was: in the log itself that would be damage. They are free again once it is committed.
Task<Result<void>> Receiver::prepare_without_effect(TailRecord* record) {
  if (record->kind != RecordKind::write) co_return Result<void>{};
  if (!range_fits(BlockRange{record->first, BlockCount(record->count)}, BlockCount(kVolumeBlocksMax)))
    co_return fail(Errc::protocol, "a record reaches beyond every volume's end");
  const std::size_t chunks = whole_chunks_of(*record);
  if (chunks > 0) CO_TRY(co_await group_->store().space().reserve(chunks, 0));
  record->first_whole = divide_up(record->first.value, kChunkBlocks);
  record->reserved_chunks = chunks;
  VolumeImpl::place(*record, group_->store().space());
  co_return Result<void>{};
}

Task<void> Receiver::write_chunks(Ready* ready) {
  mark(Mark::receive_chunks);
  VolumeImpl* volume = group_->volume_of(ready->record->volume);
  auto written = co_await volume->write_chunks(ready->record.get());
  if (!written) co_return;  // The store is out of service.
  ready->prepared = true;
  append_ready();
}

void Receiver::append_ready() {
  while (!ready_.empty() && ready_.front().prepared) {
    Ready next = std::move(ready_.front());
    ready_.pop_front();
    const bool continues = group_->log().next_chain(*next.record) == next.chain;
    if (wanted(next.session, next.epoch) && continues) {
      group_->append(std::move(next.record), next.room);
      continue;
    }
    mark(Mark::receive_dropped);
    group_->log().give_back(next.room);
    if (wanted(next.session, next.epoch)) refuse(next.session, "a record does not continue this copy's log");
  }
  wake();
}

void Receiver::refuse(SessionId session, std::string why) {
  if (replica_->machine().wants_to_give_up()) return replica_->cannot_take(session);
  mark(Mark::receive_refused);
  log_warning(concat("records of the primary are refused: ", why, "; the connection is made anew"));
  session_ = SessionId();
  replica_->close_session(session);
}

}  // namespace holdfast::engine

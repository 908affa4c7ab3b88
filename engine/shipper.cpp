// Leading: records on their way to another copy. What is not committed yet goes out from memory; what is older, and what was
// recovered, is read back from the log.
#include <cstring>

#include "base/checksum.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/replica.h"
#include "wal/log_reader.h"

namespace holdfast::engine {
namespace {

// The head of a frame with one record fits, whatever the record's length.
constexpr std::size_t kHeadBytes = BufferPool::kPageBytes;
constexpr std::uint64_t kRecordCostBytes = 512;  // Of the window: records without payload take memory, too.
static_assert(sizeof(wal::FrameHeader) + sizeof(wal::AppendBody) + sizeof(wal::RecordOnWire) + 8 * wal::kRecordBlocksMax <= kHeadBytes);

wal::RecordOnWire on_wire(const TailRecord& r) {
  wal::RecordOnWire record{};
  record.chain_xxh3 = r.chain_xxh3;
  record.epoch = r.epoch.value;
  record.volume_id = r.volume.value;
  record.first_block = r.first.value;
  record.count = r.count;
  record.kind = static_cast<std::uint16_t>(r.kind);
  record.payload_blocks = static_cast<std::uint16_t>(r.data_blocks());
  return record;
}

wal::RecordOnWire on_wire(const wal::RecordHeader& r) {
  wal::RecordOnWire record{};
  record.chain_xxh3 = r.chain_xxh3;
  record.epoch = r.epoch;
  record.volume_id = r.volume_id;
  record.first_block = r.first_block;
  record.count = r.count;
  record.kind = r.kind;
  record.payload_blocks = static_cast<std::uint16_t>(r.head_blocks + r.tail_blocks + r.chunk_count * kChunkBlocks);
  return record;
}

}  // namespace

// Where the session stands, brought up to date with what the machine says of it.
bool Replica::may_ship(Session& session) {
  const auto after = machine_.ship_after(session.node, session.id);
  if (!after || session.epoch != machine_.epoch()) {
    session.epoch = machine_.epoch();
    session.next = Lsn();
    session.in_flight.clear();
    session.in_flight_bytes = 0;
  }
  if (!after || session.ended) return false;
  if (session.next == Lsn()) session.next = after->next();
  const LogFacts& facts = group_->facts();
  if (session.next > facts.end) return false;
  if (session.in_flight_bytes >= start_.ship_window_bytes && !session.in_flight.empty()) {
    mark(Mark::ship_window_full);
    return false;
  }
  const TailRecord* record = group_->tail().find(session.next);
  return (record && record->in_memory()) || session.next <= facts.durable;
}

Task<void> Replica::ship_all(Session* session) {
  while (!session->ended) {
    if (!may_ship(*session)) {
      co_await session->work.wait();
      continue;
    }
    const TailRecord* record = group_->tail().find(session->next);
    // Two statements: GCC 12 destroys what a co_await inside of a conditional expression returns twice.
    Result<void> shipped;
    if (record && record->in_memory()) {
      auto done = co_await ship_from_memory(session);
      shipped = std::move(done);
    } else {
      auto done = co_await ship_from_log(session);
      shipped = std::move(done);
    }
    if (!shipped) close_session(session->id);
  }
}

Task<Result<void>> Replica::ship_from_memory(Session* session) {
  Buffer head = co_await frames_.acquire(kHeadBytes);
  if (!may_ship(*session)) co_return Result<void>{};
  const TailRecord* record = group_->tail().find(session->next);
  if (!record || !record->in_memory()) co_return Result<void>{};
  auto sent = co_await ship(session, std::move(head), on_wire(*record), std::span(record->checksums).first(record->data_blocks()), record->payload);
  co_return sent;
}

// head: memory for it. The record is the session's next one; it and the checksums need not outlive the call's first part.
Task<Result<void>> Replica::ship(Session* session, Buffer head, wal::RecordOnWire record, std::span<const std::uint64_t> checksums, Buffer payload) {
  wal::AppendBody body{};
  body.epoch = machine_.epoch().value;
  body.previous_lsn = session->next.value - 1;
  body.previous_epoch = group_->facts().history.at(Lsn(body.previous_lsn)).value;
  body.commit_lsn = machine_.commit().value;
  body.record_count = 1;
  encoded_.clear();
  encode_append(body, {&record, 1}, checksums, encoded_);
  std::memcpy(head.data(), encoded_.data(), encoded_.size());
  head = head.slice(0, encoded_.size());
  const std::uint64_t cost = payload.size() + kRecordCostBytes;
  session->in_flight.push_back({session->next, cost});
  session->in_flight_bytes += cost;
  session->next = session->next.next();
  ++shipped_records_;
  shipped_bytes_ += payload.size();
  Frame frame;  // Named: GCC 12 destroys such a temporary twice.
  frame.head = std::move(head);
  frame.payload = std::move(payload);
  auto sent = co_await session->link->send(std::move(frame));
  co_return sent;
}

// All that is left of one batch of the log.
Task<Result<void>> Replica::ship_from_log(Session* session) {
  mark(Mark::ship_from_log);
  const Epoch epoch = session->epoch;
  auto read = co_await wal::read_batch(&group_->ports().disk, group_->other_copies_memory(), &group_->log(), session->next);
  if (!read) {
    mark(Mark::ship_fell_behind);
    const bool uncommitted = session->next > machine_.commit();
    if (uncommitted) event([&](RoleMachine& m) { m.cannot_read_tail(now(), session->node, session->id); });
    else event([&](RoleMachine& m) { m.fell_behind(session->node, session->id); });
    co_return Result<void>{};
  }
  for (std::size_t i = 0; i < read->batch.records.size(); ++i) {
    const wal::RecordHeader& header = read->batch.records[i];
    const std::uint64_t* numbers = read->batch.numbers.data() + read->batch.numbers_begin[i];
    if (header.lsn < session->next.value) continue;
    if (header.lsn > read->last.value || header.lsn > group_->facts().durable.value) break;
    wal::RecordOnWire record = on_wire(header);
    Buffer payload;
    if (header.chunk_count > 0) {
      payload = co_await group_->other_copies_memory()->acquire(record.payload_blocks * kBlockBytes);
      auto whole = co_await read_chunks(&header, numbers, read->payload, payload);
      if (header.lsn > machine_.commit().value && !(whole && *whole)) {
        // Nobody replaced it: it rotted, or cannot be read. As if the record itself could not be.
        event([&](RoleMachine& m) { m.cannot_read_tail(now(), session->node, session->id); });
        co_return Result<void>{};
      }
      if (!whole) co_return fail(whole.error());
      if (!*whole) {
        mark(Mark::ship_superseded);
        record.flags |= wal::kRecordElided;
      }
    } else if (record.payload_blocks > 0) {
      payload = read->payload.slice(header.payload_block * kBlockBytes, record.payload_blocks * kBlockBytes);
    }
    Buffer head = co_await frames_.acquire(kHeadBytes);
    while (!may_ship(*session) && !session->ended && session->epoch == epoch) co_await session->work.wait();
    if (session->ended || session->epoch != epoch || session->next.value != header.lsn) break;
    const std::span<const std::uint64_t> checksums(numbers + header.chunk_count, record.payload_blocks);
    CO_TRY(co_await ship(session, std::move(head), record, checksums, std::move(payload)));
  }
  co_return Result<void>{};
}

// The record's blocks in order: those of whole chunks lie where they were written. False: some were overwritten since.
Task<Result<bool>> Replica::read_chunks(const wal::RecordHeader* header, const std::uint64_t* numbers, Buffer logged, Buffer into) {
  const std::uint64_t* checksums = numbers + header->chunk_count;
  const std::size_t head_bytes = header->head_blocks * kBlockBytes, tail_bytes = header->tail_blocks * kBlockBytes;
  const std::size_t chunk_bytes = header->chunk_count * kChunkBytes;
  const std::byte* from = logged ? logged.data() + header->payload_block * kBlockBytes : nullptr;
  if (head_bytes > 0) std::memcpy(into.data(), from, head_bytes);
  if (tail_bytes > 0) std::memcpy(into.data() + head_bytes + chunk_bytes, from + head_bytes, tail_bytes);
  bool readable = true;
  for (std::size_t i = 0; i < header->chunk_count; ++i) {
    const MutableBytes place = into.bytes().subspan(head_bytes + i * kChunkBytes, kChunkBytes);
    auto read = co_await group_->ports().disk.read(numbers[i] * kChunkBytes, place);
    if (read) continue;
    // Like what was overwritten: the other copy knows that this is not the content, and asks for it when it needs it.
    std::fill(place.begin(), place.end(), std::byte{0});
    readable = false;
  }
  bool whole = readable;
  for (std::size_t b = header->head_blocks; b < header->head_blocks + header->chunk_count * kChunkBlocks && whole; ++b)
    whole = xxh3(Bytes(into.data() + b * kBlockBytes, kBlockBytes)) == checksums[b];
  co_return whole;
}

}  // namespace holdfast::engine

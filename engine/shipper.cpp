// Leading: records on their way to another copy. What is not committed yet goes out from memory; what is older, and what was
// recovered, is read back from the log.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/replica.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"
#include "wal/log_reader.h"

namespace holdfast::engine {
namespace {

// Memory for the heads of what is sent together: that of one record fits, whatever the record's length.
constexpr std::size_t kHeadsBytes = BufferPool::kPageBytes;
// Payload after which nothing more is added. A beat waits for what is sent together.
constexpr std::size_t kShipmentBytes = std::size_t{64} << 10;
// Of a session: then what is rotten is shipped as it is.
constexpr DurationNs kMendPatience = milliseconds(20'000);
constexpr std::int64_t kMendPauseMs = 50;
constexpr std::uint64_t kRecordCostBytes = 512;  // Of the window: records without payload take memory, too.

// Of a frame with one record.
constexpr std::size_t append_head_bytes(std::size_t payload_blocks) {
  return sizeof(wal::FrameHeader) + sizeof(wal::AppendBody) + sizeof(wal::RecordOnWire) + 8 * payload_blocks;
}
static_assert(append_head_bytes(wal::kRecordBlocksMax) <= kHeadsBytes);

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

bool are_blocks(Bytes bytes, const std::uint64_t* checksums) {
  for (std::size_t b = 0; b < bytes.size() / kBlockBytes; ++b)
    if (xxh3(bytes.subspan(b * kBlockBytes, kBlockBytes)) != checksums[b]) return false;
  return true;
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

// What is ready goes out together: a system call, and a wake-up of the other side, cost more than a record.
Task<Result<void>> Replica::ship_from_memory(Session* session) {
  Buffer heads = co_await frames_.acquire(kHeadsBytes);
  std::size_t used = 0, bytes = 0;
  // Nothing suspends in here.
  while (bytes < kShipmentBytes && may_ship(*session)) {
    const TailRecord* record = group_->tail().find(session->next);
    if (!record || !record->in_memory()) break;
    const std::size_t need = append_head_bytes(record->data_blocks());
    if (used + need > kHeadsBytes) break;
    const std::span<const std::uint64_t> checksums = std::span(record->checksums).first(record->data_blocks());
    session->shipment.push_back(next_append(*session, heads.slice(used, need), on_wire(*record), checksums, record->payload));
    used += need;
    bytes += record->payload.size();
  }
  if (session->shipment.empty()) co_return Result<void>{};
  auto sent = co_await session->link->send_all(session->shipment);
  session->shipment.clear();
  co_return sent;
}

// The session's next record, which is on its way from now on. head: memory for its head, as many bytes as that has or more.
Frame Replica::next_append(Session& session, Buffer head, wal::RecordOnWire record, std::span<const std::uint64_t> checksums, Buffer payload) {
  wal::AppendBody body{};
  body.epoch = machine_.epoch().value;
  body.previous_lsn = session.next.value - 1;
  body.previous_epoch = group_->facts().history.at(Lsn(body.previous_lsn)).value;
  body.commit_lsn = machine_.commit().value;
  body.record_count = 1;
  encoded_.clear();
  encode_append(body, {&record, 1}, checksums, encoded_);
  ENSURE(encoded_.size() <= head.size());
  std::memcpy(head.data(), encoded_.data(), encoded_.size());
  const std::uint64_t cost = payload.size() + kRecordCostBytes;
  session.in_flight.push_back({session.next, cost});
  session.in_flight_bytes += cost;
  session.next = session.next.next();
  ++shipped_records_;
  shipped_bytes_ += payload.size();
  return Frame{head.slice(0, encoded_.size()), std::move(payload)};
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
      const Lsn commit = machine_.commit();
      auto whole = co_await read_chunks(session, &header, numbers, read->payload, payload, commit);
      const bool is_whole = whole && *whole;
      if (!is_whole && header.lsn > commit.value && header.lsn <= machine_.commit().value) {
        --i;  // It was committed meanwhile: others have it, and are asked for it.
        continue;
      }
      if (!is_whole && header.lsn > commit.value) {
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
    Buffer head = co_await frames_.acquire(kHeadsBytes);
    while (!may_ship(*session) && !session->ended && session->epoch == epoch) co_await session->work.wait();
    if (session->ended || session->epoch != epoch || session->next.value != header.lsn) break;
    const std::span<const std::uint64_t> checksums(numbers + header.chunk_count, record.payload_blocks);
    Frame frame = next_append(*session, std::move(head), record, checksums, std::move(payload));
    CO_TRY(co_await session->link->send(std::move(frame)));
  }
  co_return Result<void>{};
}

// The record's blocks in order: those of whole chunks lie where they were written. False: some were overwritten since, or nobody has them.
// commit: as it was known before.
Task<Result<bool>> Replica::read_chunks(Session* session, const wal::RecordHeader* header, const std::uint64_t* numbers, Buffer logged, Buffer into, Lsn commit) {
  const std::uint64_t* checksums = numbers + header->chunk_count + header->head_blocks;
  const std::size_t head_bytes = header->head_blocks * kBlockBytes, tail_bytes = header->tail_blocks * kBlockBytes;
  const std::size_t chunk_bytes = header->chunk_count * kChunkBytes;
  const std::byte* from = logged ? logged.data() + header->payload_block * kBlockBytes : nullptr;
  if (head_bytes > 0) std::memcpy(into.data(), from, head_bytes);
  if (tail_bytes > 0) std::memcpy(into.data() + head_bytes + chunk_bytes, from + head_bytes, tail_bytes);
  bool whole = true;
  for (std::size_t i = 0; i < header->chunk_count; ++i) {
    const MutableBytes place = into.bytes().subspan(head_bytes + i * kChunkBytes, kChunkBytes);
    auto read = co_await group_->ports().disk.read(numbers[i] * kChunkBytes, place);
    if (read && are_blocks(place, checksums + i * kChunkBlocks)) continue;
    // Overwritten, or rotten? The volume tells: what it has there now, from another copy perhaps, is the same, or newer.
    Result<void> current = fail(Errc::not_found);
    if (header->lsn <= commit.value) {
      auto now_there = co_await read_patiently(session, header, i, into.slice(head_bytes + i * kChunkBytes, kChunkBytes));
      current = std::move(now_there);
    }
    if (current && are_blocks(place, checksums + i * kChunkBlocks)) {
      mark(Mark::ship_mended);
      continue;
    }
    whole = false;
    if (current) continue;
    // Like what was overwritten: the other copy knows that this is not the content, and asks for it when it needs it.
    auto again = co_await group_->ports().disk.read(numbers[i] * kChunkBytes, place);
    if (!again) std::fill(place.begin(), place.end(), std::byte{0});
  }
  co_return whole;
}

// Who cannot give a block may take seconds to say so, and whatever else the session waits for waits for that.
bool Replica::may_mend(const Session& session) const {
  return !session.ended && !stopping_ && session.epoch == machine_.epoch() && session.mended_in_vain < kMendPatience;
}

// Somebody who may have it is not there just now.
bool Replica::is_one_missing(const Session& session) const {
  const std::vector<NodeId> there = connected();
  return std::ranges::any_of(machine_.view().members, [&](NodeId node) {
    return node != start_.self.node && node != session.node && std::ranges::find(there, node) == there.end();
  });
}

Task<Result<void>> Replica::read_patiently(Session* session, const wal::RecordHeader* header, std::size_t chunk, Buffer into) {
  Timer pause(group_->ports().clock);
  while (may_mend(*session)) {
    const VolumeImpl* volume = group_->volume_of(VolumeId(header->volume_id));
    if (!volume || volume->is_closed()) break;  // Nobody needs it.
    const BootNs began = now();
    // Until what the maps have is committed, what does not match them is not known to be wrong. And whoever is needed for that is not kept waiting.
    const bool behind = group_->is_behind_its_maps(), patient = !machine_.is_needed(session->node);
    if (!behind) {
      auto read = co_await read_current(header, chunk, into);
      if (read) co_return read;
    }
    const bool again = patient && (behind || is_one_missing(*session));
    if (again) co_await pause.after(milliseconds(kMendPauseMs));
    session->mended_in_vain.value += (now() - began).value;
    if (!again) break;
  }
  co_return fail(Errc::not_found);
}

// Of the record's whole chunks, that one, as the volume has it.
Task<Result<void>> Replica::read_current(const wal::RecordHeader* header, std::size_t chunk, Buffer into) {
  VolumeImpl* volume = group_->volume_of(VolumeId(header->volume_id));
  if (!volume || volume->is_closed()) co_return fail(Errc::not_found);
  VolumeOperation reading(*volume);
  const Lba first(header->first_block + header->head_blocks + chunk * kChunkBlocks);
  auto read = co_await volume->read_local(BlockRange{first, BlockCount(kChunkBlocks)}, std::move(into));
  co_return read;
}

}  // namespace holdfast::engine

#include "engine/volume_impl.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "engine/operation.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using snapshot::MapEntry;
using wal::RecordKind;

VolumeImpl::VolumeImpl(GroupImpl& group, snapshot::StoredVolume& stored)
    : group_(&group), stored_(&stored), capacity_(stored.entry.block_count), gate_(group.ports().executor),
      idle_(group.ports().executor) {
  identity_.name = stored.name();
  std::copy(std::begin(stored.entry.uuid), std::end(stored.entry.uuid), identity_.uuid.begin());
}

// One port group a node, named by the node's number. The addresses are those that this node was told of.
ClusterView VolumeImpl::port_groups(const GroupView& view) const {
  ClusterView out;
  out.local_group = static_cast<std::uint16_t>(group_->options().node.value);
  for (const GroupView::Member& member : view.members) {
    const auto id = static_cast<std::uint16_t>(member.node.value);
    const PortGroupState behind = member.in_sync ? PortGroupState::standby : PortGroupState::unavailable;
    PortGroup group{id, member.node == view.primary ? PortGroupState::active_optimized : behind, {}};
    for (const PortGroup& known : group_->options().cluster_view.groups)
      if (known.id == id) group.portals = known.portals;
    out.groups.push_back(std::move(group));
  }
  return out;
}

ClusterView VolumeImpl::cluster_view() const { return port_groups(group_->known_view()); }

PortGroupState VolumeImpl::local_state() const {
  if (closed_ || group_->has_failed()) return PortGroupState::unavailable;
  const Errc why = group_->obstacle();
  if (why == Errc{}) return PortGroupState::active_optimized;
  return why == Errc::fenced && group_->is_in_sync() ? PortGroupState::standby : PortGroupState::unavailable;
}

Task<Result<ClusterView>> VolumeImpl::confirmed_cluster_view() {
  if (closed_) co_return fail(Errc::closed);
  auto view = co_await group_->confirmed_view();
  if (!view) co_return fail(view.error());
  if (closed_) co_return fail(Errc::closed);
  co_return port_groups(*view);
}

Errc VolumeImpl::obstacle() const {
  return closed_ ? Errc::closed : group_->obstacle();
}

Result<void> VolumeImpl::check(BlockRange range, std::size_t bytes) const {
  if (obstacle() != Errc{}) return fail(obstacle());
  if (range.count.value == 0 || range.count.value > kTransferBlocksMax) return fail(Errc::invalid_argument);
  if (!range_fits(range, capacity_)) return fail(Errc::out_of_range);
  if (bytes != range.count.value * kBlockBytes) return fail(Errc::invalid_argument);
  return {};
}

void VolumeImpl::tell(VolumeEvent event) {
  const std::vector<VolumeObserver*> now = observers_;  // An observer may leave while it is told.
  for (VolumeObserver* observer : now) observer->volume_event(event);
}

VolumeFigures VolumeImpl::figures() const {
  VolumeFigures f;
  if (!closed_) f.allocated_bytes = stored_->mapped_chunks * kChunkBytes;
  f.reads = reads_.get();
  f.writes = writes_.get();
  f.unmaps = unmaps_.get();
  f.read_bytes = read_bytes_.get();
  f.write_bytes = write_bytes_.get();
  return f;
}

Task<void> VolumeImpl::close() {
  closed_ = true;
  while (operations_ > 0) co_await idle_.wait();
}

Task<void> VolumeImpl::enter_shared() {
  while (alone_) co_await gate_.wait();
  ++writers_;
}
void VolumeImpl::leave_shared() {
  if (--writers_ == 0) gate_.notify_all();
}
Task<void> VolumeImpl::enter_alone() {
  while (alone_) co_await gate_.wait();
  alone_ = true;
  while (writers_ > 0) co_await gate_.wait();
}
void VolumeImpl::leave_alone() {
  alone_ = false;
  gate_.notify_all();
}

Task<Result<void>> VolumeImpl::write_same(BlockRange range, Buffer block) {
  if (obstacle() != Errc{}) co_return fail(obstacle());
  if (!range_fits(range, capacity_)) co_return fail(Errc::out_of_range);
  if (range.count.value == 0 || block.size() != kBlockBytes) co_return fail(Errc::invalid_argument);
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  // All of it, not its checksum: a block that only has the one of zeros would be thrown away.
  const auto zero = [](std::byte b) { return b == std::byte{0}; };
  if (std::all_of(block.data(), block.data() + kBlockBytes, zero)) {
    co_await enter_shared();
    auto done = co_await unmap_pieces(range, reign);
    leave_shared();
    co_return done;
  }
  const std::uint64_t step = std::min(range.count.value, kTransferBlocksMax);
  Buffer pattern = co_await buffers().acquire(step * kBlockBytes);
  for (std::uint64_t i = 0; i < step; ++i) std::memcpy(pattern.data() + i * kBlockBytes, block.data(), kBlockBytes);
  for (std::uint64_t at = range.first.value; at < range.end().value;) {
    // Aligned pieces, so that whole chunks are written once.
    const std::uint64_t aligned_end = (at / kTransferBlocksMax + 1) * kTransferBlocksMax;
    const std::uint64_t count = std::min({step, range.end().value - at, aligned_end - at});
    co_await enter_shared();
    auto done = co_await write_admitted(BlockRange{Lba(at), BlockCount(count)}, pattern.slice(0, count * kBlockBytes), reign);
    leave_shared();
    if (!done) co_return done;
    at += count;
  }
  co_return Result<void>{};
}

template <class See>
Task<Result<void>> VolumeImpl::look(BlockRange range, See see) {
  co_await group_->scratch_turn().acquire();
  Turn turn(group_->scratch_turn());
  for (std::uint64_t at = 0; at < range.count.value; at += kChunkBlocks) {
    const std::uint64_t count = std::min<std::uint64_t>(kChunkBlocks, range.count.value - at);
    Buffer current = group_->scratch().slice(0, count * kBlockBytes);
    CO_TRY(co_await read_blocks(BlockRange{Lba(range.first.value + at), BlockCount(count)}, current, Unreadable::mended, nullptr));
    if (!see(at * kBlockBytes, current.bytes())) break;
  }
  co_return Result<void>{};
}

Task<Result<Volume::CompareResult>> VolumeImpl::compare_and_write(BlockRange range, Buffer expected, Buffer desired) {
  if (auto ok = check(range, expected.size()); !ok) co_return fail(ok.error());
  if (desired.size() != expected.size()) co_return fail(Errc::invalid_argument);
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  co_await enter_alone();
  CompareResult result{true, 0};
  CompareResult* found = &result;
  const std::byte* all = expected.data();
  auto done = co_await look(range, [found, all](std::size_t offset, MutableBytes current) {
    const std::byte* wanted = all + offset;
    const auto difference = std::mismatch(wanted, wanted + current.size(), current.data());
    found->matched = difference.first == wanted + current.size();
    found->mismatch_offset = offset + static_cast<std::uint64_t>(difference.first - wanted);
    return found->matched;
  });
  if (!done) done = co_await group_->after_damage(done.error(), reign);
  else if (result.matched) done = co_await write_admitted(range, std::move(desired), reign);
  else done = co_await group_->await_lease(reign);  // What it was compared with is told, as a read tells it.
  leave_alone();
  if (!done) co_return fail(done.error());
  co_return result;
}

Task<Result<void>> VolumeImpl::or_write(BlockRange range, Buffer mask) {
  if (auto ok = check(range, mask.size()); !ok) co_return ok;
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  co_await enter_alone();
  // Into the mask, which is the caller's to give: what is written must stay as it is until it is applied.
  std::byte* all = mask.data();
  auto done = co_await look(range, [all](std::size_t offset, MutableBytes current) {
    std::byte* out = all + offset;
    std::transform(out, out + current.size(), current.data(), out, [](std::byte x, std::byte y) { return x | y; });
    return true;
  });
  if (!done) done = co_await group_->after_damage(done.error(), reign);
  else done = co_await write_admitted(range, std::move(mask), reign);
  leave_alone();
  co_return done;
}

Task<Result<void>> VolumeImpl::flush() {
  if (obstacle() != Errc{}) co_return fail(obstacle());
  // WCE = 0: what was acknowledged is durable, and what was not has not been promised to this flush.
  co_return Result<void>{};
}

Task<Result<std::vector<ProvisioningRun>>> VolumeImpl::provisioning(Lba first, std::size_t runs_max) {
  if (obstacle() != Errc{}) co_return fail(obstacle());
  if (first.value >= capacity_.value) co_return fail(Errc::out_of_range);
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  constexpr std::uint64_t kScanBlocksMax = 1 << 20;  // 4 GiB a call: bounded work, and the answer may end early.
  std::vector<ProvisioningRun> runs;
  const std::uint64_t end = std::min(capacity_.value, first.value + kScanBlocksMax);
  for (std::uint64_t block = first.value; block < end;) {
    const std::uint64_t chunk = block / kChunkBlocks;
    auto leaf = co_await stored_->map->load_leaf(chunk / snapshot::kLeafChunks);
    if (!leaf) co_return fail(leaf.error());
    MapEntry entry{};
    if (*leaf) std::memcpy(&entry, (*leaf)->body() + chunk % snapshot::kLeafChunks * sizeof entry, sizeof entry);
    const PendingChunk* pending = group_->pending().find(*stored_, chunk);
    for (; block < end && block / kChunkBlocks == chunk; ++block) {
      const auto in_chunk = static_cast<std::uint8_t>(block % kChunkBlocks);
      const auto found = pending ? PendingIndex::look_up(*pending, in_chunk) : PendingIndex::Found{};
      bool mapped = entry.location != 0 && (entry.valid_mask >> in_chunk & 1);
      if (found) mapped = !found.zeros && found.block->source != BlockSource::zero;
      if (!runs.empty() && runs.back().mapped == mapped) {
        ++runs.back().range.count.value;
        continue;
      }
      if (runs.size() == runs_max) {
        block = end;
        break;
      }
      runs.push_back({BlockRange{Lba(block), BlockCount(1)}, mapped});
    }
  }
  // As with a read: another node may serve by now, and have data where this one has none.
  CO_TRY(co_await group_->await_lease(reign));
  co_return runs;
}

Task<Result<void>> VolumeImpl::confirm_served() {
  if (obstacle() != Errc{}) co_return fail(obstacle());
  VolumeOperation operation(*this);
  auto done = co_await group_->await_lease(group_->reign());
  co_return done;
}

Task<Result<void>> VolumeImpl::store_reservations(std::vector<std::byte> state) {
  if (obstacle() != Errc{}) co_return fail(obstacle());
  if (state.size() > kReservationBytesMax) co_return fail(Errc::overloaded);
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  const std::size_t blocks = divide_up(state.size(), kBlockBytes);
  CO_TRY(co_await group_->await_admission(reign, blocks * kBlockBytes));
  Tail::Handle record = group_->tail().make_admitted(blocks * kBlockBytes);
  CO_TRY(co_await group_->store().prepare_reservations(stored_));
  record->kind = RecordKind::reservations;
  record->volume = stored_->id();
  record->target = stored_;
  record->count = state.size();
  record->head_blocks = static_cast<std::uint16_t>(blocks);
  if (blocks > 0) {
    record->payload = co_await buffers().acquire(blocks * kBlockBytes);
    std::memset(record->payload.data(), 0, record->payload.size());
    std::memcpy(record->payload.data(), state.data(), state.size());
  }
  for (std::size_t i = 0; i < blocks; ++i)
    record->checksums[i] = xxh3(Bytes(record->payload.data() + i * kBlockBytes, kBlockBytes));
  record->state = std::move(state);
  auto committed = co_await group_->log_and_commit(std::move(record), reign);
  co_return committed;
}

}  // namespace holdfast::engine

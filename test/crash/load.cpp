#include "test/crash/load.h"

#include <algorithm>


#include "test/crash/content.h"
#include "test/sim/text.h"

namespace holdfast::crash {

class Load::User {
 public:
  User(Load* load, VolumeKey key) : load_(load), key_(key) { ++load_->handles_[key_].users; }
  User(const User&) = delete;
  ~User() { --load_->handles_[key_].users; }

 private:
  Load* load_;
  VolumeKey key_;
};

namespace {

// A range in a list for as long as this lives.
class Listed {
 public:
  Listed(std::vector<BlockRange>* list, BlockRange range) : list_(list), range_(range) { list_->push_back(range); }
  Listed(const Listed&) = delete;
  ~Listed() {
    const auto found = std::find_if(list_->begin(), list_->end(), [&](const BlockRange& r) {
      return r.first == range_.first && r.count == range_.count;
    });
    ENSURE(found != list_->end());
    list_->erase(found);
  }

 private:
  std::vector<BlockRange>* list_;
  BlockRange range_;
};

}  // namespace

void Load::attach(Process& process) {
  process_ = &process;
  running_ = 0;
  creating_ = 0;
  operations_left_ = 0;
  handles_.assign(ledger_->volume_count(), Handle{});
  for (VolumeKey key = 0; key < handles_.size(); ++key) {
    const Ledger::Volume& known = ledger_->volume(key);
    handles_[key].volume = process.group()->find(known.name);
  }
}

void Load::check_volumes() {
  std::size_t present = 0;
  for (VolumeKey key = 0; key < handles_.size(); ++key) {
    Volume* volume = handles_[key].volume;
    ledger_->found_after_recovery(key, volume != nullptr);
    if (!volume) continue;
    ++present;
    const Ledger::Volume& known = ledger_->volume(key);
    if (volume->capacity() != known.capacity || volume->identity().uuid != known.uuid || volume->identity().name != known.name)
      ledger_->report(sim::format("volume {} came back with another size or identity", known.name));
    ledger_->check_reservations(key, xxh3(volume->reservations()));
  }
  if (process_->group()->volumes().size() != present) ledger_->report("the store has volumes that nobody created");
}

std::size_t Load::volumes_present() const {
  std::size_t present = 0;
  for (const Handle& handle : handles_) present += handle.volume != nullptr && !handle.closing;
  return present;
}

void Load::start() {
  operations_left_ = options_.operations;
  for (unsigned i = 0; i < options_.clients; ++i) {
    ++running_;
    process_->scope().spawn(client(this));
  }
}

Task<void> Load::client(Load* self) {
  while (self->operations_left_ > 0) {
    --self->operations_left_;
    co_await self->one_operation();
    if (self->random_->one_in(self->options_.think_one_in)) co_await self->pause();
  }
  --self->running_;
}

Task<void> Load::pause() {
  Timer timer(host_->clock());
  (void)co_await timer.after(microseconds(static_cast<std::int64_t>(random_->below(3000))));
}

std::int64_t Load::pick_volume() {
  std::vector<VolumeKey> usable;
  for (VolumeKey key = 0; key < handles_.size(); ++key)
    if (handles_[key].volume && !handles_[key].closing) usable.push_back(key);
  return usable.empty() ? -1 : static_cast<std::int64_t>(usable[random_->below(usable.size())]);
}

Task<void> Load::one_operation() {
  const std::int64_t picked = pick_volume();
  if (picked < 0) {
    if (creating_ == 0) co_await create_volume(this);
    else co_await pause();
    co_return;
  }
  const auto key = static_cast<VolumeKey>(picked);
  auto draw = static_cast<unsigned>(random_->below(options_.mix.total()));
  if (draw < options_.mix.remove) {
    co_await delete_volume(this, key);
    co_return;
  }
  draw -= options_.mix.remove;
  if (draw < options_.mix.create) {
    if (volumes_present() + creating_ < options_.volumes_max) co_await create_volume(this);
    co_return;
  }
  User user(this, key);
  co_await operate(draw - options_.mix.create, key);
}

Task<void> Load::operate(unsigned draw, VolumeKey key) {
  const LoadMix& mix = options_.mix;
  const auto takes = [&draw](unsigned weight) {
    if (draw < weight) return true;
    draw -= weight;
    return false;
  };
  const BlockRange range = pick_range(key, pick_length());
  if (takes(mix.write)) {
    co_await write(key, range);
  } else if (takes(mix.read)) {
    Buffer into = co_await process_->pool().acquire(range.count.value * kBlockBytes);
    (void)co_await read(key, range, into);
  } else if (takes(mix.unmap)) {
    co_await unmap(key, pick_unmap(key));
  } else if (takes(mix.write_same)) {
    co_await write_same(key, range);
  } else if (takes(mix.compare_and_write)) {
    co_await compare_and_write(key, pick_range(key, random_->between(1, 4)));
  } else if (takes(mix.or_write)) {
    co_await or_write(key, pick_range(key, random_->between(1, 8)));
  } else if (takes(mix.flush)) {
    co_await flush(key);
  } else if (takes(mix.provisioning)) {
    co_await provisioning(key, range.first);
  } else if (takes(mix.reservations)) {
    co_await reservations(key);
  } else {
    co_await checkpoint();
  }
}

std::uint64_t Load::pick_length() {
  std::uint64_t blocks = 1;
  if (random_->one_in(options_.large_one_in)) blocks = random_->between(1, options_.blocks_max);
  else if (random_->coin()) blocks = random_->one_in(3) ? random_->between(1, 32) : random_->between(1, 8);
  return std::min<std::uint64_t>(blocks, options_.blocks_max);
}

BlockRange Load::pick_range(VolumeKey key, std::uint64_t length) {
  const Windows& windows = ledger_->volume(key).windows;
  const BlockRange window = windows[random_->below(windows.size())];
  length = std::min(length, window.count.value);
  std::uint64_t at = random_->below(window.count.value - length + 1);
  const std::uint64_t style = random_->below(8);
  if (style < 3) at = std::min(at, random_->below(4) * 5);                          // Hot spots at the front.
  if (style == 3) {                                                                // Whole chunks.
    at = at / kChunkBlocks * kChunkBlocks;
    length = std::min(round_up(length, kChunkBlocks), window.count.value - at);
  }
  length = std::min<std::uint64_t>(length, Volume::kTransferBlocksMax);
  return BlockRange{Lba(window.first.value + at), BlockCount(length)};
}

BlockRange Load::pick_unmap(VolumeKey key) {
  const std::uint64_t capacity = ledger_->volume(key).capacity.value;
  BlockRange range = pick_range(key, random_->between(1, 64));
  if (random_->one_in(16)) return BlockRange{Lba(0), BlockCount(std::min(capacity, Volume::kUnmapBlocksMax))};
  if (random_->one_in(4)) range.count = BlockCount(std::min(range.count.value * 16, capacity - range.first.value));
  return range;
}

bool Load::blocked(const Handle& handle, BlockRange range) const {
  return std::any_of(handle.exclusive.begin(), handle.exclusive.end(), [&](BlockRange r) { return ranges_overlap(r, range); });
}

// What an error means for the ledger; an error that nothing explains is a violation.
Outcome Load::outcome(const Error& error, OpKind kind, VolumeKey key, BlockRange range) {
  ++errors_;
  const auto unexpected = [&] {
    ledger_->report(sim::format("{} of blocks {}+{} of volume {} failed without a cause: {}", op_kind_name(kind), range.first.value,
                                range.count.value, ledger_->volume(key).name, error.text()));
  };
  switch (error.code) {
    case Errc::no_space:
      if (!tolerance.no_space) unexpected();
      return Outcome::refused;
    case Errc::overloaded: return Outcome::refused;
    case Errc::corrupt:
      if (!tolerance.corruption) unexpected();
      return Outcome::unknown;
    case Errc::io_error:
    case Errc::sync_failed:
    case Errc::closed:
    case Errc::fenced:
    case Errc::cancelled:
      if (!tolerance.failures) unexpected();
      return Outcome::unknown;
    default: unexpected(); return Outcome::unknown;
  }
}

Task<void> Load::write(VolumeKey key, BlockRange range) {
  if (blocked(handles_[key], range)) co_return;
  Listed listed(&handles_[key].writing, range);
  Buffer buffer = co_await process_->pool().acquire(range.count.value * kBlockBytes);
  const auto next = static_cast<OpId>(ledger_->ops().size());
  for (std::uint64_t i = 0; i < range.count.value; ++i) stamp_block(buffer.data() + i * kBlockBytes, next, i);
  const OpId op = ledger_->begin_write(OpKind::write, key, range, hashes_of(buffer.bytes()));
  auto done = co_await handles_[key].volume->write(range, buffer);
  ledger_->end_write(op, done ? Outcome::acked : outcome(done.error(), OpKind::write, key, range));
}

Task<void> Load::write_same(VolumeKey key, BlockRange range) {
  if (blocked(handles_[key], range)) co_return;
  Listed listed(&handles_[key].writing, range);
  Buffer block = co_await process_->pool().acquire(kBlockBytes);
  if (random_->one_in(4)) std::memset(block.data(), 0, kBlockBytes);
  else stamp_block(block.data(), static_cast<OpId>(ledger_->ops().size()), 0);
  const OpId op = ledger_->begin_write(OpKind::write_same, key, range, hashes_of(block.bytes()));
  auto done = co_await handles_[key].volume->write_same(range, block);
  ledger_->end_write(op, done ? Outcome::acked : outcome(done.error(), OpKind::write_same, key, range));
}

Task<void> Load::unmap(VolumeKey key, BlockRange range) {
  if (blocked(handles_[key], range)) co_return;
  Listed listed(&handles_[key].writing, range);
  const OpId op = ledger_->begin_write(OpKind::unmap, key, range, {xxh3_zero_block()});
  auto done = co_await handles_[key].volume->unmap(range);
  ledger_->end_write(op, done ? Outcome::acked : outcome(done.error(), OpKind::unmap, key, range));
}

Task<void> Load::compare_and_write(VolumeKey key, BlockRange range) {
  if (blocked(handles_[key], range)) co_return;
  Listed listed(&handles_[key].writing, range);
  Buffer expected = co_await process_->pool().acquire(range.count.value * kBlockBytes);
  const bool known = co_await read(key, range, expected);
  if (!known) co_return;
  Buffer desired = co_await process_->pool().acquire(range.count.value * kBlockBytes);
  if (random_->one_in(6)) expected.data()[random_->below(expected.size())] ^= std::byte{1};
  const auto next = static_cast<OpId>(ledger_->ops().size());
  for (std::uint64_t i = 0; i < range.count.value; ++i) stamp_block(desired.data() + i * kBlockBytes, next, i);
  const auto expected_hashes = hashes_of(expected.bytes());
  const OpId op = ledger_->begin_write(OpKind::compare_and_write, key, range, hashes_of(desired.bytes()));
  auto done = co_await handles_[key].volume->compare_and_write(range, expected, desired);
  if (done && done->matched) co_return ledger_->end_compare_matched(op, expected_hashes);
  if (done || done.error().code == Errc::miscompare) co_return ledger_->end_write(op, Outcome::refused);
  ledger_->end_write(op, outcome(done.error(), OpKind::compare_and_write, key, range));
}

// Alone on its range, so that the result is known: it reads what is there first.
Task<void> Load::or_write(VolumeKey key, BlockRange range) {
  Handle& handle = handles_[key];
  const auto& writing = handle.writing;
  if (blocked(handle, range)) co_return;
  if (std::any_of(writing.begin(), writing.end(), [&](BlockRange r) { return ranges_overlap(r, range); })) co_return;
  Listed exclusive(&handles_[key].exclusive, range);
  Buffer old = co_await process_->pool().acquire(range.count.value * kBlockBytes);
  const bool known = co_await read(key, range, old);
  if (!known) co_return;
  Buffer mask = co_await process_->pool().acquire(range.count.value * kBlockBytes);
  std::vector<std::byte> result(old.size());
  const auto next = static_cast<OpId>(ledger_->ops().size());
  for (std::uint64_t i = 0; i < range.count.value; ++i) stamp_block(mask.data() + i * kBlockBytes, next, i);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = old.data()[i] | mask.data()[i];
  const OpId op = ledger_->begin_write(OpKind::or_write, key, range, hashes_of(result));
  auto done = co_await handles_[key].volume->or_write(range, mask);
  ledger_->end_write(op, done ? Outcome::acked : outcome(done.error(), OpKind::or_write, key, range));
}

Task<bool> Load::read(VolumeKey key, BlockRange range, Buffer into) {
  const OpId op = ledger_->begin_read(key, range);
  auto done = co_await handles_[key].volume->read(range, into);
  if (!done) {
    ledger_->end_read_failed(op);
    (void)outcome(done.error(), OpKind::read, key, range);
    co_return false;
  }
  ledger_->end_read(op, hashes_of(into.bytes()), stamps_of(into.bytes()));
  co_return true;
}

Task<void> Load::flush(VolumeKey key) {
  auto done = co_await handles_[key].volume->flush();
  if (!done) (void)outcome(done.error(), OpKind::none, key, {});
}

Task<void> Load::provisioning(VolumeKey key, Lba from) {
  auto runs = co_await handles_[key].volume->provisioning(from, random_->between(1, 8));
  if (!runs) {
    (void)outcome(runs.error(), OpKind::none, key, {});
    co_return;
  }
  Lba expected = from;
  for (const ProvisioningRun& run : *runs) {
    if (run.range.first != expected || run.range.count.value == 0) ledger_->report("provisioning: runs with a gap");
    expected = run.range.end();
  }
  if (runs->empty() || expected.value > ledger_->volume(key).capacity.value) ledger_->report("provisioning: no run, or beyond the end");
}

Task<void> Load::reservations(VolumeKey key) {
  std::vector<std::byte> state(random_->one_in(4) ? random_->below(Volume::kReservationBytesMax + 1) : random_->between(8, 200));
  random_->fill(state);
  const OpId op = ledger_->begin_reservations(key, xxh3(state));
  auto done = co_await handles_[key].volume->store_reservations(std::move(state));
  ledger_->end_write(op, done ? Outcome::acked : outcome(done.error(), OpKind::reservations, key, {}));
}

Task<void> Load::checkpoint() {
  auto done = co_await process_->group()->checkpoint();
  if (!done) (void)outcome(done.error(), OpKind::none, 0, {});
}

Task<void> Load::create_volume(Load* self) {
  const std::uint64_t chunks = self->random_->between(1, self->options_.volume_chunks_max);
  Windows windows{BlockRange{Lba(0), BlockCount(chunks * kChunkBlocks)}};
  std::uint64_t capacity_chunks = chunks;
  if (self->random_->one_in(5)) {  // A large and sparse one: the map gets depth, and the ends of it get used.
    capacity_chunks = chunks * 2 + self->random_->below(100'000);
    windows.push_back(BlockRange{Lba((capacity_chunks - chunks) * kChunkBlocks), BlockCount(chunks * kChunkBlocks)});
  }
  ++self->creating_;
  std::string name = sim::format("v{}", ++self->names_);
  const Uuid uuid = self->random_->next_uuid();
  const BlockCount capacity(capacity_chunks * kChunkBlocks);
  const VolumeKey key = self->ledger_->begin_create(name, uuid, capacity, std::move(windows));
  self->handles_.push_back(Handle{});
  auto made = co_await self->process_->group()->create_volume(std::move(name), uuid, capacity);
  --self->creating_;
  if (made) self->handles_[key].volume = *made;
  self->ledger_->end_create(key, made ? Outcome::acked : self->outcome(made.error(), OpKind::create_volume, key, {}));
}

Task<void> Load::delete_volume(Load* self, VolumeKey key) {
  if (self->handles_[key].closing || self->volumes_present() < 2) co_return;
  self->handles_[key].closing = true;
  while (self->handles_[key].users > 0) co_await self->pause();
  self->ledger_->begin_delete(key);
  auto done = co_await self->process_->group()->delete_volume(self->ledger_->volume(key).name);
  self->ledger_->end_delete(key, done ? Outcome::acked : self->outcome(done.error(), OpKind::delete_volume, key, {}));
  if (done) self->handles_[key].volume = nullptr;
}

void Load::start_create() {
  running_ = 1;
  struct Once {
    static Task<void> run(Load* self) {
      co_await create_volume(self);
      --self->running_;
    }
  };
  process_->scope().spawn(Once::run(this));
}

void Load::start_verification() {
  ledger_->begin_verification();
  verified_ = false;
  process_->scope().spawn(verify(this));
}

Task<void> Load::verify(Load* self) {
  for (VolumeKey key = 0; key < self->handles_.size(); ++key) {
    if (!self->handles_[key].volume) continue;
    const Windows windows = self->ledger_->volume(key).windows;
    for (const BlockRange& window : windows) {
      for (std::uint64_t at = 0; at < window.count.value;) {
        // With rot about, block by block: one bad block hides no other.
        const std::uint64_t most = self->tolerance.corruption ? 1 : self->random_->between(1, Volume::kTransferBlocksMax);
        const std::uint64_t part = std::min(most, window.count.value - at);
        Buffer into = co_await self->process_->pool().acquire(part * kBlockBytes);
        (void)co_await self->read(key, BlockRange{Lba(window.first.value + at), BlockCount(part)}, into);
        at += part;
      }
    }
  }
  self->ledger_->end_verification();
  self->verified_ = true;
}

void Load::start_probe(std::uint64_t blocks) {
  probe_done_ = false;
  probe_failures_ = 0;
  process_->scope().spawn(probe(this, blocks));
}

Task<void> Load::probe(Load* self, std::uint64_t blocks) {
  for (VolumeKey key = 0; key < self->handles_.size(); ++key) {
    if (!self->handles_[key].volume || self->handles_[key].closing) continue;
    const std::uint64_t errors = self->errors_;
    self->last_probe_ = static_cast<OpId>(self->ledger_->ops().size());
    co_await self->write(key, self->pick_range(key, blocks));
    self->probe_failures_ += self->errors_ != errors;
  }
  self->probe_done_ = true;
}

}  // namespace holdfast::crash

#include "test/crash/fake_store.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/checksum.h"
#include "base/sync.h"

namespace holdfast::crash {
namespace {

constexpr std::uint64_t kEntryMagic = 0x656b6166;
constexpr std::uint64_t kDiskBytes = 512ULL << 20;

enum class EntryKind : std::uint64_t { write = 1, unmap, create, remove, reservations };

struct Entry {
  std::uint64_t magic;
  std::uint64_t checksum;   // Of the rest and of the payload.
  std::uint64_t sequence;
  EntryKind kind;
  std::uint64_t volume;
  std::uint64_t first;
  std::uint64_t count;
  std::uint64_t payload_blocks;
  std::uint64_t bytes;
  Uuid uuid;
  char name[64];
};

using Block = std::array<std::byte, kBlockBytes>;

class FakeGroup;

class FakeVolume final : public Volume {
 public:
  FakeVolume(FakeGroup* group, std::uint64_t id, VolumeIdentity identity, BlockCount capacity)
      : group_(group), id_(id), identity_(std::move(identity)), capacity_(capacity) {}

  Executor& executor() const override;
  Clock& clock() const override;
  BufferPool& buffers() const override;
  const VolumeIdentity& identity() const override { return identity_; }
  BlockCount capacity() const override { return capacity_; }
  ClusterView cluster_view() const override { return {}; }
  PortGroupState local_state() const override { return PortGroupState::active_optimized; }
  Task<Result<ClusterView>> confirmed_cluster_view() override { co_return ClusterView{}; }
  Task<Result<void>> read(BlockRange range, Buffer into) override;
  Task<Result<void>> write(BlockRange range, Buffer from) override;
  Task<Result<void>> unmap(BlockRange range) override;
  Task<Result<void>> write_same(BlockRange range, Buffer block) override;
  Task<Result<CompareResult>> compare_and_write(BlockRange range, Buffer expected, Buffer desired) override;
  Task<Result<void>> or_write(BlockRange range, Buffer mask) override;
  Task<Result<void>> flush() override { co_return Result<void>{}; }
  Task<Result<std::vector<ProvisioningRun>>> provisioning(Lba first, std::size_t) override {
    co_return std::vector<ProvisioningRun>{{BlockRange{first, BlockCount(capacity_.value - first.value)}, true}};
  }
  std::vector<std::byte> reservations() const override { return reservations_; }
  Task<Result<void>> store_reservations(std::vector<std::byte> state) override;
  void add_observer(VolumeObserver&) override {}
  void remove_observer(VolumeObserver&) override {}

  void put(std::uint64_t lba, const std::byte* data) {
    Block& block = blocks_[lba];
    previous_[lba] = block;
    std::memcpy(block.data(), data, kBlockBytes);
  }
  void get(std::uint64_t lba, std::byte* out) const {
    const auto found = blocks_.find(lba);
    if (found == blocks_.end()) std::memset(out, 0, kBlockBytes);
    else std::memcpy(out, found->second.data(), kBlockBytes);
  }

  FakeGroup* group_;
  std::uint64_t id_;
  VolumeIdentity identity_;
  BlockCount capacity_;
  std::map<std::uint64_t, Block> blocks_;
  std::map<std::uint64_t, Block> previous_;
  std::vector<std::byte> reservations_;
};

class FakeGroup final : public Group {
 public:
  explicit FakeGroup(GroupPorts ports) : ports_(ports), turn_(ports.executor, 1) {}

  Task<Result<Volume*>> create_volume(std::string name, Uuid uuid, BlockCount size) override {
    Entry entry = new_entry(EntryKind::create, next_id_++);
    entry.count = size.value;
    entry.uuid = uuid;
    std::memcpy(entry.name, name.data(), name.size());
    const std::uint64_t id = entry.volume;
    CO_TRY(co_await log(entry, {}));
    co_return volumes_.at(id).get();
  }
  Task<Result<void>> delete_volume(std::string name) override {
    Entry entry = new_entry(EntryKind::remove, static_cast<FakeVolume*>(find(name))->id_);
    auto done = co_await log(entry, {});
    co_return done;
  }
  std::vector<Volume*> volumes() override {
    std::vector<Volume*> all;
    for (auto& [id, volume] : volumes_) all.push_back(volume.get());
    return all;
  }
  Volume* find(const std::string& name) override {
    for (auto& [id, volume] : volumes_)
      if (volume->identity().name == name) return volume.get();
    return nullptr;
  }
  GroupStatus status() const override {
    GroupStatus status;
    status.failed = failed_;
    status.recovered_records = sequence_;
    return status;
  }
  ReplicaStatus replica_status() const override { return {}; }
  void accept(NodeId, std::unique_ptr<Link>) override {}
  Task<Result<void>> switchover(NodeId) override { co_return fail(Errc::invalid_argument); }
  Result<VolumeFigures> figures(const std::string&) const override { return VolumeFigures{}; }
  std::vector<ConsumerStatus> consumers() const override { return {}; }
  Task<Result<ConsumerStatus>> create_consumer(std::string, ConsumerStart) override { co_return fail(Errc::unsupported); }
  Task<Result<void>> delete_consumer(std::string) override { co_return fail(Errc::unsupported); }
  Task<Result<void>> confirm_consumer(std::string, Lsn, Confirm) override { co_return fail(Errc::unsupported); }
  Task<Result<LogBatch>> read_log(Lsn, LogReadLimits) override { co_return fail(Errc::unsupported); }
  Task<Result<void>> checkpoint() override { co_return Result<void>{}; }
  Task<Result<void>> stop() override { co_return Result<void>{}; }
  Task<Result<std::uint64_t>> verify_all() override { co_return 0; }
  void start_scrub() override {}

  static Entry new_entry(EntryKind kind, std::uint64_t volume) {
    Entry entry{};
    entry.kind = kind;
    entry.volume = volume;
    return entry;
  }

  // One at a time: writes the entry, then lets it take effect.
  Task<Result<void>> log(Entry entry, std::vector<std::byte> payload) {
    if (fake_bug != FakeBug::early_ack) co_await turn_.acquire();
    auto done = co_await log_alone(entry, std::move(payload));
    if (fake_bug != FakeBug::early_ack) turn_.release();
    co_return done;
  }

  Task<Result<void>> log_alone(Entry entry, std::vector<std::byte> payload) {
    if (failed_) co_return fail(Errc::closed);
    payload.resize(round_up(payload.size(), kBlockBytes));
    entry.magic = kEntryMagic;
    entry.sequence = ++sequence_;
    entry.payload_blocks = payload.size() / kBlockBytes;
    std::vector<std::byte> bytes(kBlockBytes + payload.size());
    std::copy(payload.begin(), payload.end(), bytes.begin() + kBlockBytes);
    std::memcpy(bytes.data(), &entry, sizeof entry);
    entry.checksum = xxh3(Bytes(bytes).subspan(16));
    std::memcpy(bytes.data(), &entry, sizeof entry);
    const std::uint64_t offset = end_;
    end_ += bytes.size();
    if (fake_bug == FakeBug::early_ack) apply(entry, payload);
    const auto durability = fake_bug == FakeBug::not_durable ? Durability::cached : Durability::durable;
    if (fake_bug == FakeBug::early_ack && ports_.random.next_u64() % 8 == 0) co_return Result<void>{};
    auto done = co_await ports_.disk.write(offset, Bytes(bytes), durability);
    if (!done) {
      failed_ = true;
      co_return done;
    }
    if (fake_bug != FakeBug::early_ack) apply(entry, payload);
    co_return Result<void>{};
  }

  void apply(const Entry& entry, const std::vector<std::byte>& payload) {
    if (entry.kind == EntryKind::create) {
      volumes_[entry.volume] = std::make_unique<FakeVolume>(this, entry.volume, VolumeIdentity{entry.name, entry.uuid},
                                                            BlockCount(entry.count));
      next_id_ = std::max(next_id_, entry.volume + 1);
      return;
    }
    if (entry.kind == EntryKind::remove) {
      volumes_.erase(entry.volume);
      return;
    }
    FakeVolume& volume = *volumes_.at(entry.volume);
    if (entry.kind == EntryKind::unmap)
      volume.blocks_.erase(volume.blocks_.lower_bound(entry.first), volume.blocks_.lower_bound(entry.first + entry.count));
    if (entry.kind == EntryKind::write)
      for (std::uint64_t i = 0; i < entry.count; ++i) volume.put(entry.first + i, payload.data() + i * kBlockBytes);
    if (entry.kind == EntryKind::reservations)
      volume.reservations_.assign(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(entry.bytes));
  }

  // A real store syncs before it trusts what it reads: a killed process may have left it in the disk's cache.
  Task<Result<void>> recover() {
    CO_TRY(co_await ports_.disk.sync());
    for (;;) {
      std::vector<std::byte> bytes(kBlockBytes);
      CO_TRY(co_await ports_.disk.read(end_, MutableBytes(bytes)));
      Entry entry;
      std::memcpy(&entry, bytes.data(), sizeof entry);
      if (entry.magic != kEntryMagic || entry.sequence != sequence_ + 1 || entry.payload_blocks > 300) break;
      bytes.resize(kBlockBytes * (1 + entry.payload_blocks));
      CO_TRY(co_await ports_.disk.read(end_, MutableBytes(bytes)));
      if (fake_bug != FakeBug::checksum_ignored && xxh3(Bytes(bytes).subspan(16)) != entry.checksum) break;
      apply(entry, std::vector<std::byte>(bytes.begin() + kBlockBytes, bytes.end()));
      ++sequence_;
      end_ += bytes.size();
    }
    co_return Result<void>{};
  }

  GroupPorts ports_;
  Semaphore turn_;
  std::map<std::uint64_t, std::unique_ptr<FakeVolume>> volumes_;
  std::uint64_t next_id_ = 1;
  std::uint64_t sequence_ = 0;
  std::uint64_t end_ = kBlockBytes;
  bool failed_ = false;
};

Executor& FakeVolume::executor() const { return group_->ports_.executor; }
Clock& FakeVolume::clock() const { return group_->ports_.clock; }
BufferPool& FakeVolume::buffers() const { return group_->ports_.buffers; }

Task<Result<void>> FakeVolume::read(BlockRange range, Buffer into) {
  for (std::uint64_t i = 0; i < range.count.value; ++i) {
    get(range.first.value + i, into.data() + i * kBlockBytes);
    const auto old = previous_.find(range.first.value + i);
    if (fake_bug == FakeBug::stale_read && old != previous_.end() && group_->ports_.random.next_u64() % 16 == 0)
      std::memcpy(into.data() + i * kBlockBytes, old->second.data(), kBlockBytes);
  }
  co_return Result<void>{};
}

Task<Result<void>> FakeVolume::write(BlockRange range, Buffer from) {
  Entry entry = FakeGroup::new_entry(EntryKind::write, id_);
  entry.first = range.first.value;
  entry.count = range.count.value;
  auto done = co_await group_->log(entry, std::vector<std::byte>(from.data(), from.data() + from.size()));
  co_return done;
}

Task<Result<void>> FakeVolume::unmap(BlockRange range) {
  Entry entry = FakeGroup::new_entry(EntryKind::unmap, id_);
  entry.first = range.first.value;
  entry.count = range.count.value;
  auto done = co_await group_->log(entry, {});
  co_return done;
}

Task<Result<void>> FakeVolume::write_same(BlockRange range, Buffer block) {
  std::vector<std::byte> data;
  for (std::uint64_t i = 0; i < range.count.value; ++i) data.insert(data.end(), block.data(), block.data() + kBlockBytes);
  Entry entry = FakeGroup::new_entry(EntryKind::write, id_);
  entry.first = range.first.value;
  entry.count = range.count.value;
  auto done = co_await group_->log(entry, std::move(data));
  co_return done;
}

Task<Result<Volume::CompareResult>> FakeVolume::compare_and_write(BlockRange range, Buffer expected, Buffer desired) {
  const bool racy = fake_bug == FakeBug::compare_races;
  if (!racy) co_await group_->turn_.acquire();
  std::vector<std::byte> now(expected.size());
  for (std::uint64_t i = 0; i < range.count.value; ++i) get(range.first.value + i, now.data() + i * kBlockBytes);
  const bool matched = std::memcmp(now.data(), expected.data(), now.size()) == 0;
  Result<void> done;
  if (matched) {
    Entry entry = FakeGroup::new_entry(EntryKind::write, id_);
    entry.first = range.first.value;
    entry.count = range.count.value;
    std::vector<std::byte> data(desired.data(), desired.data() + desired.size());
    if (racy) done = co_await group_->log(entry, std::move(data));
    else done = co_await group_->log_alone(entry, std::move(data));
  }
  if (!racy) group_->turn_.release();
  if (!done) co_return fail(done.error());
  co_return CompareResult{matched, 0};
}

Task<Result<void>> FakeVolume::or_write(BlockRange range, Buffer mask) {
  std::vector<std::byte> data(mask.size());
  for (std::uint64_t i = 0; i < range.count.value; ++i) get(range.first.value + i, data.data() + i * kBlockBytes);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] |= mask.data()[i];
  Entry entry = FakeGroup::new_entry(EntryKind::write, id_);
  entry.first = range.first.value;
  entry.count = range.count.value;
  auto done = co_await group_->log(entry, std::move(data));
  co_return done;
}

Task<Result<void>> FakeVolume::store_reservations(std::vector<std::byte> state) {
  Entry entry = FakeGroup::new_entry(EntryKind::reservations, id_);
  entry.bytes = state.size();
  auto done = co_await group_->log(entry, std::move(state));
  co_return done;
}

Task<Result<void>> format(GroupPorts ports, FormatOptions, Group::Existing) {
  if (!ports.disk.is_file()) co_return Result<void>{};
  auto done = co_await ports.disk.grow(kDiskBytes);
  co_return done;
}

Task<Result<std::unique_ptr<Group>>> open(GroupPorts ports, GroupOptions) {
  auto group = std::make_unique<FakeGroup>(ports);
  auto done = co_await group->recover();
  if (!done) co_return fail(done.error());
  co_return std::move(group);
}

}  // namespace

const StoreMaker kFakeStore{format, open};

}  // namespace holdfast::crash

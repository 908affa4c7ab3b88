#include "test/crash/remnant.h"

#include <array>
#include <cstring>
#include <vector>

#include "base/checksum.h"
#include "snapshot/store_format.h"
#include "test/sim/text.h"
#include "wal/log_scan.h"
#include "wal/record.h"

namespace holdfast::crash {
namespace {

constexpr std::uint64_t kLogBlocks = 640;
constexpr std::byte kOld{0x11};
constexpr std::byte kCut{0x22};   // Of the write in batch k + 1: it must never be seen after the cut.

// A batch of the log where it lies in the ring, which this story never fills.
struct Found {
  std::uint64_t slot;
  wal::DecodedBatch batch;
};

class Stage {
 public:
  explicit Stage(const StoreMaker& maker) : maker_(&maker), world_(1), host_(world_), disk_(host_, 0) { begin_life(); }
  ~Stage() { process_->die(Death::power_loss); }

  void format() {
    process_->start_format(FormatOptions{kLogBlocks * kBlockBytes}, Group::Existing::refuse);
    run_until([this] { return process_->formatted.has_value(); });
    ENSURE(process_->formatted->has_value());
  }
  Result<void> open() {
    process_->start_open(GroupOptions{});
    run_until([this] { return process_->opened.has_value(); });
    return *process_->opened;
  }
  Volume* volume() { return process_->group()->find("pg"); }
  void create() {
    auto made = run(process_->group()->create_volume("pg", world_.random().next_uuid(), BlockCount(kChunkBlocks)));
    ENSURE(made.has_value());
  }
  void write(std::byte value) { ENSURE(run(volume()->write(block(0), filled(value))).has_value()); }
  void power_loss() {
    process_->die(Death::power_loss);
    begin_life();
  }
  std::byte value_at(std::uint64_t at) {
    Buffer into = filled(std::byte{0xee});
    ENSURE(run(volume()->read(block(at), into)).has_value());
    return into.data()[0];
  }

  // An unmap whose batch is under way when the batch of the write behind it is sealed: it proves nothing of the first.
  void unmap_and_write_at_once() {
    std::optional<Result<void>> unmapped;
    std::optional<Result<void>> written;
    process_->scope().spawn(keep(volume()->unmap(block(1)), &unmapped));
    const std::uint64_t writes = disk_.counters().durable_writes;
    run_until([&] { return disk_.counters().durable_writes > writes || disk_.in_flight() > 0; });
    process_->scope().spawn(keep(volume()->write(block(0), filled(kCut)), &written));
    run_until([&] { return unmapped && written; });
  }

  std::vector<std::byte> log_block(std::uint64_t slot) const { return disk_.peek(offset(slot), kBlockBytes); }
  void put_log_block(std::uint64_t slot, Bytes bytes) { disk_.overwrite(offset(slot), bytes); }
  std::vector<Found> batches() const {
    std::vector<Found> all;
    for (std::uint64_t slot = 0; slot < kLogBlocks;) {
      auto batch = wal::decode_batch(log_block(slot));
      if (!batch) break;
      all.push_back({slot, *batch});
      slot += batch->header.header_blocks + batch->header.payload_blocks;
    }
    return all;
  }

 private:
  static BlockRange block(std::uint64_t at) { return BlockRange{Lba(at), BlockCount(1)}; }
  static std::uint64_t offset(std::uint64_t slot) { return snapshot::kLogOffset + slot * kBlockBytes; }
  void begin_life() { process_ = std::make_unique<Process>(host_, disk_, *maker_, std::size_t{16} << 20); }
  Buffer filled(std::byte value) {
    Buffer buffer = process_->pool().try_acquire(kBlockBytes);
    std::memset(buffer.data(), std::to_integer<int>(value), buffer.size());
    return buffer;
  }
  template <class Condition>
  void run_until(Condition condition) {
    while (!condition()) ENSURE(world_.step());
  }
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>* answer) {
    auto value = co_await std::move(task);
    answer->emplace(std::move(value));
  }
  template <class T>
  T run(Task<T> task) {
    std::optional<T> answer;
    process_->scope().spawn(keep(std::move(task), &answer));
    run_until([&] { return answer.has_value(); });
    return std::move(*answer);
  }

  const StoreMaker* maker_;
  sim::SimWorld world_;
  sim::SimHost host_;
  sim::SimDisk disk_;
  std::unique_ptr<Process> process_;
};

// Makes the remnant go on from the batch that now stands before it.
void chain_to(Stage& stage, const Found& before, std::uint64_t remnant_slot) {
  std::vector<std::byte> bytes = stage.log_block(remnant_slot);
  const auto remnant = wal::decode_batch(bytes);
  ENSURE(remnant && remnant->records.size() == 1 && remnant->header.header_blocks == 1);
  wal::BatchHeader header = remnant->header;
  wal::RecordHeader record = remnant->records.front();
  header.previous_xxh3 = before.batch.header.header_xxh3;
  record.chain_xxh3 = wal::chain_of(record, remnant->numbers, before.batch.records.back().chain_xxh3);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, &record, sizeof record);
  header.header_xxh3 = xxh3(Bytes(bytes).subspan(16));
  std::memcpy(bytes.data(), &header, sizeof header);
  stage.put_log_block(remnant_slot, bytes);
}

}  // namespace

std::string run_remnant(const StoreMaker& maker, RemnantChain chain) {
  Stage stage(maker);
  stage.format();
  if (!stage.open()) return "a fresh store does not open";
  stage.create();
  stage.write(kOld);
  stage.unmap_and_write_at_once();
  const std::vector<Found> first_life = stage.batches();
  if (first_life.size() < 3) return "the log is not as the story needs it";
  const Found k = first_life[first_life.size() - 2];
  const Found remnant = first_life.back();
  if (k.batch.header.payload_blocks != 0 || remnant.slot != k.slot + 1 || remnant.batch.header.durable_lsn >= k.batch.header.first_lsn)
    return "the two batches were not under way together";
  stage.power_loss();
  const std::array<std::byte, kBlockBytes> lost{};
  stage.put_log_block(k.slot, lost);

  if (const auto opened = stage.open(); !opened) return "the first restart refuses: " + opened.error().text();
  if (stage.value_at(0) != kOld) return "a write behind a lost one was taken up";
  stage.power_loss();
  const std::vector<Found> second_life = stage.batches();
  if (second_life.size() != first_life.size() || second_life.back().slot != remnant.slot ||
      second_life.back().batch.header.header_xxh3 != remnant.batch.header.header_xxh3)
    return "the remnant does not stand behind the new end";
  if (chain == RemnantChain::fits) chain_to(stage, second_life[second_life.size() - 2], remnant.slot);

  if (const auto opened = stage.open(); !opened) return "the second restart refuses: " + opened.error().text();
  return stage.value_at(0) == kOld ? std::string() : "a write that the first restart had cut came back at the second";
}

}  // namespace holdfast::crash

#include "wal/log_retained.h"

#include <algorithm>

#include "wal/log_scan.h"
#include "wal/ring_reader.h"

namespace holdfast::wal {
namespace {

class Finder {
 public:
  Finder(Disk* disk, BufferPool* buffers, const RetainedInput& input)
      : input_(input), reader_(*disk, *buffers, input.geometry) {}

  Task<std::vector<LogCursor>> run() {
    const std::uint64_t blocks = input_.geometry.blocks;
    const std::uint64_t lap = input_.head_position > blocks ? input_.head_position - blocks : 0;
    std::uint64_t position = std::max(input_.retained_position, lap);
    while (position < input_.tail.position) {
      const bool readable = co_await load_block(position);
      if (!readable) {
        found_.clear();
        position += RingReader::kWindowBlocks - position % blocks % RingReader::kWindowBlocks;
        continue;
      }
      auto batch = co_await read_header(position);
      if (!batch) {
        found_.clear();
        ++position;
        continue;
      }
      take(position, *batch);
      position += batch->header.header_blocks + batch->header.payload_blocks;
    }
    co_return leads_to_tail() ? std::move(found_) : std::vector<LogCursor>{};
  }

 private:
  Task<bool> load_block(std::uint64_t position) {
    const std::uint64_t slot = position % input_.geometry.blocks;
    if (reader_.peek(slot)) co_return true;
    co_await reader_.load(slot);
    co_return reader_.peek(slot) != nullptr;
  }

  // The batch that begins there, if one does; it is not known yet whether it continues what came before.
  Task<std::optional<DecodedBatch>> read_header(std::uint64_t position) {
    const auto fixed = peek_batch(Bytes(block(position), kBlockBytes));
    if (!fixed || fixed->position != position) co_return std::nullopt;
    if (fixed->header_blocks + std::uint64_t{fixed->payload_blocks} > input_.tail.position - position) co_return std::nullopt;
    region_.clear();
    for (std::uint64_t i = 0; i < fixed->header_blocks; ++i) {
      const bool readable = co_await load_block(position + i);
      if (!readable) co_return std::nullopt;
      region_.insert(region_.end(), block(position + i), block(position + i) + kBlockBytes);
    }
    auto batch = decode_batch(region_);
    if (!batch) co_return std::nullopt;
    const BatchHeader& h = batch->header;
    const bool ours = std::equal(input_.store_id.begin(), input_.store_id.end(), h.store_id) && h.log_generation <= input_.generation;
    if (!ours) co_return std::nullopt;
    co_return std::move(*batch);
  }

  void take(std::uint64_t position, const DecodedBatch& batch) {
    const BatchHeader& h = batch.header;
    if (!continues(h)) found_.clear();
    if (found_.empty()) written_.clear();
    else written_.resize(h.first_lsn - found_.front().first_lsn);  // A new generation goes on where the old one was cut.
    while (!found_.empty() && found_.back().first_lsn >= h.first_lsn) found_.pop_back();
    std::uint64_t sum = written_.empty() ? 0 : written_.back();
    found_.push_back(LogCursor{position, h.first_lsn, h.previous_xxh3, 0, sum});
    for (const RecordHeader& record : batch.records) written_.push_back(sum += written_blocks_of(record.kind, record.count));
    next_lsn_ = h.first_lsn + batch.records.size();
    generation_ = h.log_generation;
    last_xxh3_ = h.header_xxh3;
  }

  bool continues(const BatchHeader& h) const {
    if (found_.empty() || h.previous_xxh3 != last_xxh3_ || h.log_generation < generation_) return false;
    const bool cuts = h.first_lsn < next_lsn_ && h.log_generation > generation_ && h.first_lsn > found_.front().first_lsn;
    return h.first_lsn == next_lsn_ || cuts;
  }

  // Also brings the sums to what the tail knows of all that came before it.
  bool leads_to_tail() {
    if (found_.empty() || last_xxh3_ != input_.tail.previous_xxh3 || next_lsn_ < input_.tail.first_lsn) return false;
    if (found_.front().first_lsn >= input_.tail.first_lsn) return false;
    while (found_.back().first_lsn >= input_.tail.first_lsn) found_.pop_back();
    const std::uint64_t kept = input_.tail.first_lsn - found_.front().first_lsn;
    const std::uint64_t before = input_.tail.written_blocks - written_[kept - 1];
    for (LogCursor& cursor : found_) cursor.written_blocks += before;
    return true;
  }

  const std::byte* block(std::uint64_t position) const { return reader_.peek(position % input_.geometry.blocks); }

  RetainedInput input_;
  RingReader reader_;
  std::vector<std::byte> region_;
  std::vector<LogCursor> found_;
  std::vector<std::uint64_t> written_;  // After each record since the first that was found.
  std::uint64_t next_lsn_ = 0, generation_ = 0, last_xxh3_ = 0;  // Of the last batch that was found.
};

}  // namespace

Task<std::vector<LogCursor>> find_retained(Disk* disk, BufferPool* buffers, RetainedInput input) {
  Finder finder(disk, buffers, input);
  auto found = co_await finder.run();
  co_return found;
}

}  // namespace holdfast::wal

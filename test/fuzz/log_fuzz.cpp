// The log's decoder: any bytes as one batch's header region. It must answer, and what it accepts must be within its bounds.
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/checksum.h"
#include "base/ensure.h"
#include "wal/log_scan.h"

using namespace holdfast;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> region(round_up(size + 1, kBlockBytes));
  std::memcpy(region.data(), data, size);
  // Half of the inputs get a right magic and checksum: what lies behind them must be reached too.
  if (size > 0 && (data[size - 1] & 1) != 0) {
    wal::BatchHeader header;
    std::memcpy(&header, region.data(), sizeof header);
    header.magic = wal::kBatchMagic;
    header.format_version = wal::kLogVersion;
    header.header_blocks = static_cast<std::uint16_t>(header.header_blocks % (region.size() / kBlockBytes) + 1);
    if (header.header_blocks > wal::kHeaderBlocksMax) header.header_blocks = wal::kHeaderBlocksMax;
    std::memcpy(region.data(), &header, sizeof header);
    header.header_xxh3 = xxh3(Bytes(region).first(header.header_blocks * kBlockBytes).subspan(16));
    std::memcpy(region.data(), &header, sizeof header);
  }
  const auto batch = wal::decode_batch(region);
  if (!batch) return 0;
  ENSURE(batch->records.size() == batch->header.record_count && batch->records.size() <= wal::kBatchRecordsMax);
  std::uint64_t payload = 0;
  for (const wal::RecordHeader& record : batch->records) payload += std::uint64_t{record.head_blocks} + record.tail_blocks;
  ENSURE(payload == batch->header.payload_blocks);
  return 0;
}

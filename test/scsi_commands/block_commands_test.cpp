// Commands that move blocks, on a volume in memory.
#include <gtest/gtest.h>

#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

using scsi::Status;

constexpr std::uint64_t kLast = ScsiBench::kBlocks - 1;

TEST(Read, WrittenBlocks_ReadBack_AreTheSame) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2a, 100, 2), blocks_of(7, 2))->status(), Status::good);
  auto read = bench.send(bench.b, cdb16(0x88, 100, 2), {}, 2 * kBlockBytes);
  EXPECT_EQ(read->status(), Status::good);
  EXPECT_EQ(read->data(), blocks_of(7, 2));
}

}  // namespace
}  // namespace holdfast::test

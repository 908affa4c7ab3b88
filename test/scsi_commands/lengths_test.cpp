// What the CDB asks for and what the initiator announced (EDTL and direction) disagree.
#include <gtest/gtest.h>

#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

using scsi::Status;
using Operation = FakeVolume::Operation;

constexpr BlockRange kFirstTwo{Lba(0), BlockCount(2)};

TEST(Lengths, ReadWithLessRoom_FetchesWhatFitsAndTellsTheRest) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 2), blocks_of(1, 2));
  auto x = bench.send(bench.a, cdb10(0x28, 0, 2), {}, 200);
  EXPECT_EQ(x->status(), Status::good);
  EXPECT_EQ(x->data(), Octets(200, std::byte{1}));
  EXPECT_EQ(x->command.transfer_bytes, 8192u);
  EXPECT_EQ(x->command.data_in.size(), 4096u);
}

TEST(Lengths, ReadWithoutRoom_IsGoodWithoutTouchingTheVolume) {
  ScsiBench bench;
  auto x = bench.send(bench.a, cdb10(0x28, 0, 1));
  EXPECT_EQ(x->status(), Status::good);
  EXPECT_EQ(x->command.transfer_bytes, 4096u);
  EXPECT_EQ(bench.volume.calls(Operation::read), 0u);
}

TEST(Lengths, ReadSentAsAWrite_IsGoodAndTakesNoData) {
  ScsiBench bench;
  auto x = bench.send(bench.a, cdb10(0x28, 0, 1), blocks_of(1, 1));
  EXPECT_EQ(x->status(), Status::good);
  EXPECT_EQ(x->plan.data_out_bytes, 0u);
}

TEST(Lengths, WriteSentAsARead_IsRefused) {
  ScsiBench bench;
  auto x = bench.send(bench.a, cdb10(0x2a, 0, 1), {}, 4096);
  EXPECT_EQ(x->asc(), 0x0e03u);
  EXPECT_EQ(bench.volume.calls(Operation::write), 0u);
}

TEST(Lengths, WriteOfMoreThanAnnounced_WritesWhatCameAndLeavesTheRest) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 2), blocks_of('a', 2));
  auto x = bench.send(bench.a, cdb10(0x2a, 0, 2), blocks_of('b', 1));
  EXPECT_EQ(x->status(), Status::good);
  EXPECT_EQ(x->command.transfer_bytes, 8192u);
  Octets expected = blocks_of('b', 1);
  const Octets old = blocks_of('a', 1);
  expected.insert(expected.end(), old.begin(), old.end());
  EXPECT_EQ(bench.volume.content(kFirstTwo), expected);
}

// Each command that takes blocks keeps the part of a block that it was not sent.
TEST(Lengths, WriteOfAPartOfABlock_KeepsTheRestOfTheBlock) {
  for (int code : {0x2a, 0x2e}) {
    ScsiBench bench;
    bench.send(bench.a, cdb10(0x2a, 0, 2), blocks_of('a', 2));
    auto x = bench.send(bench.a, cdb10(code, 0, 2), Octets(4096 + 200, std::byte{'b'}));
    EXPECT_EQ(x->status(), Status::good);
    Octets expected = blocks_of('a', 2);
    std::fill_n(expected.begin(), 4096 + 200, std::byte{'b'});
    EXPECT_EQ(bench.volume.content(kFirstTwo), expected);
  }
}

TEST(Lengths, OrWriteOfAPartOfABlock_LeavesTheRestAlone) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 1), blocks_of(0x0f, 1));
  EXPECT_EQ(bench.send(bench.a, cdb16(0x8b, 0, 1), Octets(100, std::byte{0xf0}))->status(), Status::good);
  Octets expected = blocks_of(0x0f, 1);
  std::fill_n(expected.begin(), 100, std::byte{0xff});
  EXPECT_EQ(bench.volume.content({Lba(0), BlockCount(1)}), expected);
}

TEST(Lengths, VerifyOfAPartOfABlock_ComparesThatPart) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 1), blocks_of(1, 1));
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2f, 0, 1, 0x02), Octets(100, std::byte{1}))->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2f, 0, 1, 0x02), Octets(100, std::byte{2}))->asc(), 0x1d00u);
}

TEST(Lengths, WriteWithoutData_IsGoodAndWritesNothing) {
  ScsiBench bench;
  auto x = bench.send(bench.a, cdb10(0x2a, 0, 1));
  EXPECT_EQ(x->status(), Status::good);
  EXPECT_EQ(x->command.transfer_bytes, 4096u);
  EXPECT_EQ(bench.volume.calls(Operation::write), 0u);
}

TEST(Lengths, MoreAnnouncedThanAskedFor_PlansWhatIsAskedFor) {
  ScsiBench bench;
  auto x = bench.send(bench.a, cdb10(0x2a, 0, 1), Octets(10000, std::byte{'b'}));
  EXPECT_EQ(x->plan.data_out_bytes, 4096u);
  EXPECT_EQ(x->command.transfer_bytes, 4096u);
  EXPECT_EQ(bench.volume.content({Lba(1), BlockCount(1)}), blocks_of(0, 1));
}

// Memory is found for it before it begins, so that a volume that stands still keeps no more than its share.
TEST(Lengths, MemoryForTheirOwnWork_IsPlanned) {
  ScsiBench bench;
  constexpr std::uint32_t kMiB = 1 << 20;
  const auto planned = [&](Octets cdb, Octets out = {}) { return bench.send(bench.a, std::move(cdb), std::move(out))->plan.work_bytes; };
  EXPECT_EQ(planned(cdb16(0x93, 0, 8), blocks_of(1, 1)), 8 * 4096u);
  EXPECT_EQ(planned(cdb16(0x93, 0, 4096), blocks_of(1, 1)), kMiB);
  EXPECT_EQ(planned(cdb16(0x93, 0, 4096, 0x01)), 0u) << "WRITE SAME without data";
  EXPECT_EQ(planned(cdb10(0x2a, 0, 2), blocks_of(1, 2)), 0u);
  EXPECT_EQ(planned(cdb10(0x2a, 0, 2), Octets(4096 + 200)), 2 * 4096u);
  EXPECT_EQ(planned(cdb16(0x8b, 0, 2), blocks_of(1, 2)), 0u);
  EXPECT_EQ(planned(cdb16(0x8b, 0, 2), Octets(4096 + 200)), 2 * 4096u);
  EXPECT_EQ(planned(cdb10(0x2f, 0, 4096)), kMiB);
  EXPECT_EQ(planned(cdb10(0x2e, 0, 2), blocks_of(1, 2)), 2 * 4096u);
}

TEST(Lengths, HalfAParameterList_IsRefused) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, octets({0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0}), Octets(23))->asc(), 0x0e03u);
  EXPECT_EQ(bench.send(bench.a, cdb16(0x93, 0, 4), Octets(2048))->asc(), 0x0e03u);
}

// An aborted command must have no effect that can still be prevented.
TEST(Aborts, WriteAbortedBetweenItsPieces_StopsThere) {
  ScsiBench bench;
  bench.volume.hold(Operation::write);
  auto x = bench.start(bench.a, cdb16(0x8a, 0, 512), blocks_of(1, 512));
  x->command.aborted = true;
  bench.volume.release();
  bench.turn();
  EXPECT_TRUE(x->finished);
  EXPECT_EQ(bench.volume.calls(Operation::write), 1u);
}

}  // namespace
}  // namespace holdfast::test

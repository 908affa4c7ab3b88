// Commands that move blocks, on a volume in memory.
#include <gtest/gtest.h>

#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

using scsi::Status;
using Operation = FakeVolume::Operation;

constexpr std::uint64_t kEnd = ScsiBench::kBlocks;

struct Failure {
  Status status;
  unsigned key;
  unsigned asc;
  bool operator==(const Failure&) const = default;
};
void PrintTo(const Failure& f, std::ostream* out) {
  *out << "status " << int(f.status) << " key " << f.key << " asc " << std::hex << f.asc;
}
Failure failure(const Exchange& x) { return {x.status(), x.sense_key(), x.asc()}; }
constexpr Failure kOutOfRange{Status::check_condition, 0x5, 0x2100};
constexpr Failure kInvalidCdb{Status::check_condition, 0x5, 0x2400};
constexpr Failure kMiscompare{Status::check_condition, 0xe, 0x1d00};

Octets cdb6(int code, std::uint32_t lba, int count) {
  Octets c(6);
  c[0] = std::byte(code);
  store_be24(&c[1], lba);
  c[4] = std::byte(count);
  return c;
}
Octets cdb12(int code, std::uint32_t lba, std::uint32_t count, int flags = 0) {
  Octets c(12);
  c[0] = std::byte(code);
  c[1] = std::byte(flags);
  store_be<std::uint32_t>(&c[2], lba);
  store_be<std::uint32_t>(&c[6], count);
  return c;
}

TEST(ReadWrite, EveryCdbSize_WrittenBlocksReadBack_AreTheSame) {
  ScsiBench bench;
  const std::vector<std::pair<Octets, Octets>> pairs = {
      {cdb6(0x0a, 10, 2), cdb6(0x08, 10, 2)},
      {cdb10(0x2a, 20, 2), cdb10(0x28, 20, 2)},
      {cdb12(0xaa, 30, 2), cdb12(0xa8, 30, 2)},
      {cdb16(0x8a, 40, 2), cdb16(0x88, 40, 2)},
  };
  int value = 1;
  for (const auto& [write, read] : pairs) {
    EXPECT_EQ(bench.send(bench.a, write, blocks_of(value, 2))->status(), Status::good);
    EXPECT_EQ(bench.send(bench.b, read, {}, 2 * kBlockBytes)->data(), blocks_of(value, 2));
    ++value;
  }
}

TEST(ReadWrite, SixByteCdbWithLengthZero_Means256Blocks) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, cdb6(0x0a, 0, 0), blocks_of(5, 256))->status(), Status::good);
  EXPECT_EQ(bench.volume.content({Lba(255), BlockCount(1)}), blocks_of(5, 1));
}

TEST(ReadWrite, EightMebibytes_InPieces_AreOneTransfer) {
  ScsiBench bench;
  Octets data;
  for (int piece = 0; piece < 8; ++piece) {
    const Octets part = blocks_of(piece + 1, 256);
    data.insert(data.end(), part.begin(), part.end());
  }
  EXPECT_EQ(bench.send(bench.a, cdb16(0x8a, 3, 2048), data)->status(), Status::good);
  auto read = bench.send(bench.a, cdb16(0x88, 3, 2048), {}, 8u << 20);
  EXPECT_EQ(read->status(), Status::good);
  EXPECT_EQ(read->data(), data);
}

TEST(ReadWrite, MoreThanTheLimit_IsRefusedAtTheLengthField) {
  ScsiBench bench;
  auto x = bench.send(bench.a, cdb16(0x88, 0, 2049), {}, 4096);
  EXPECT_EQ(failure(*x), kInvalidCdb);
  EXPECT_EQ(x->command.sense.bytes[15], std::byte{0xc0});  // SKSV, in the CDB.
  EXPECT_EQ(load_be<std::uint16_t>(&x->command.sense.bytes[16]), 10);
}

// 2^20 + 1 blocks are 4 KiB in 32-bit arithmetic.
TEST(ReadWrite, LengthThatWrapsIn32Bits_IsRefusedAndWritesNothing) {
  ScsiBench bench;
  bench.volume.set_capacity(BlockCount(1ULL << 40));
  EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x8a, 0, (1u << 20) + 1), blocks_of(9, 1))), kInvalidCdb);
  EXPECT_EQ(bench.volume.calls(Operation::write), 0u);
}

TEST(ReadWrite, RangeBeyondTheEnd_IsRefusedWithTheLba) {
  ScsiBench bench;
  const std::vector<std::pair<std::uint64_t, std::uint32_t>> ranges = {
      {kEnd, 1}, {kEnd - 1, 2}, {~0ULL, 1}, {~0ULL, 2}, {1ULL << 63, 1}, {kEnd + 1, 0}, {1, 0xffffffff}};
  for (const auto& [lba, count] : ranges) {
    EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x88, lba, count), {}, 4096)), kOutOfRange) << lba << "+" << count;
    EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x8a, lba, count), blocks_of(1, 1))), kOutOfRange) << lba;
  }
  auto x = bench.send(bench.a, cdb16(0x88, kEnd, 1), {}, 4096);
  EXPECT_EQ(x->command.sense.bytes[0], std::byte{0xf0});
  EXPECT_EQ(load_be<std::uint32_t>(&x->command.sense.bytes[3]), kEnd);
}

TEST(ReadWrite, LengthZero_IsGoodAndMovesNothing) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, cdb16(0x88, kEnd, 0))->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, cdb16(0x8a, 0, 0))->status(), Status::good);
  EXPECT_EQ(bench.volume.calls(Operation::read) + bench.volume.calls(Operation::write), 0u);
}

TEST(ReadWrite, ProtectionBits_AreRefusedAndCacheBitsAccepted) {
  ScsiBench bench;
  for (int protect = 1; protect < 8; ++protect) {
    EXPECT_EQ(failure(*bench.send(bench.a, cdb10(0x28, 0, 1, protect << 5), {}, 4096)), kInvalidCdb);
    EXPECT_EQ(failure(*bench.send(bench.a, cdb10(0x2a, 0, 1, protect << 5), blocks_of(1, 1))), kInvalidCdb);
  }
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2a, 0, 1, 0x18), blocks_of(1, 1))->status(), Status::good);
}

// What went wrong in the volume is what the host is told.
TEST(VolumeErrors, ReadAndWrite_AreTranslated) {
  struct Case {
    Errc code;
    Failure reading, writing;
  };
  const Failure standby{Status::check_condition, 0x2, 0x040b};
  const Failure unavailable{Status::check_condition, 0x2, 0x040c};
  const Case cases[] = {
      {Errc::no_space, {Status::check_condition, 0x7, 0x2707}, {Status::check_condition, 0x7, 0x2707}},
      {Errc::corrupt, {Status::check_condition, 0x3, 0x1100}, {Status::check_condition, 0x3, 0x1100}},
      {Errc::io_error, {Status::check_condition, 0x3, 0x1100}, {Status::check_condition, 0x3, 0x0c00}},
      {Errc::sync_failed, {Status::check_condition, 0x3, 0x1100}, {Status::check_condition, 0x3, 0x0c00}},
      {Errc::fenced, standby, standby},
      {Errc::closed, unavailable, unavailable},
      {Errc::overloaded, {Status::task_set_full, 0, 0}, {Status::task_set_full, 0, 0}},
  };
  for (const Case& c : cases) {
    ScsiBench bench;
    bench.volume.fail_with(Operation::read, c.code);
    bench.volume.fail_with(Operation::write, c.code);
    auto read = bench.send(bench.a, cdb16(0x88, 0, 1), {}, 4096);
    EXPECT_EQ(failure(*read), c.reading) << errc_name(c.code);
    EXPECT_EQ(read->command.data_in_bytes, 0u);
    EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x8a, 0, 1), blocks_of(1, 1))), c.writing) << errc_name(c.code);
  }
}

TEST(Verify, ByteCheckOne_ComparesAndTellsTheOffset) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 2), blocks_of(3, 2));
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2f, 0, 2, 0x02), blocks_of(3, 2))->status(), Status::good);
  Octets other = blocks_of(3, 2);
  other[5000] = std::byte{4};
  auto x = bench.send(bench.a, cdb10(0x2f, 0, 2, 0x02), other);
  EXPECT_EQ(failure(*x), kMiscompare);
  EXPECT_EQ(load_be<std::uint32_t>(&x->command.sense.bytes[3]), 5000u);
}

TEST(Verify, ByteCheckThree_ComparesOneBlockWithEach) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 3), blocks_of(3, 3));
  EXPECT_EQ(bench.send(bench.a, cdb16(0x8f, 0, 3, 0x06), blocks_of(3, 1))->status(), Status::good);
  EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x8f, 0, 4, 0x06), blocks_of(3, 1))), kMiscompare);
}

TEST(Verify, ByteCheckZero_ReadsTheMediumAndTakesNoData) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, cdb16(0x8f, 0, 4096))->status(), Status::good);
  EXPECT_EQ(bench.volume.calls(Operation::read), 16u);
  bench.volume.fail_with(Operation::read, Errc::corrupt);
  EXPECT_EQ(bench.send(bench.a, cdb16(0x8f, 0, 1))->asc(), 0x1100u);
}

TEST(Verify, ReservedByteCheck_IsRefused) {
  ScsiBench bench;
  EXPECT_EQ(failure(*bench.send(bench.a, cdb10(0x2f, 0, 1, 0x04), blocks_of(0, 1))), kInvalidCdb);
  EXPECT_EQ(failure(*bench.send(bench.a, cdb10(0x2e, 0, 1, 0x04), blocks_of(0, 1))), kInvalidCdb);
}

TEST(WriteAndVerify, GoodData_IsWrittenAndReadBack) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2e, 8, 1, 0x02), blocks_of(6, 1))->status(), Status::good);
  EXPECT_EQ(bench.volume.calls(Operation::read), 1u);
  EXPECT_EQ(bench.volume.content({Lba(8), BlockCount(1)}), blocks_of(6, 1));
}

TEST(CompareAndWrite, EqualThenDifferent_WritesThenMiscompares) {
  ScsiBench bench;
  Octets data = blocks_of(0, 1);
  const Octets desired = blocks_of(7, 1);
  data.insert(data.end(), desired.begin(), desired.end());
  EXPECT_EQ(bench.send(bench.a, compare_and_write(5, 1), data)->status(), Status::good);
  EXPECT_EQ(bench.volume.content({Lba(5), BlockCount(1)}), desired);
  auto x = bench.send(bench.a, compare_and_write(5, 1), data);
  EXPECT_EQ(failure(*x), kMiscompare);
  EXPECT_EQ(x->command.sense.bytes[0], std::byte{0xf0});
  EXPECT_EQ(load_be<std::uint32_t>(&x->command.sense.bytes[3]), 0u);
}

TEST(CompareAndWrite, MoreThanTheLimitOrHalfTheData_IsRefused) {
  ScsiBench bench;
  EXPECT_EQ(failure(*bench.send(bench.a, compare_and_write(0, 129), blocks_of(0, 258))), kInvalidCdb);
  EXPECT_EQ(bench.send(bench.a, compare_and_write(0, 2), blocks_of(0, 2))->asc(), 0x0e03u);
  EXPECT_EQ(bench.volume.calls(Operation::compare_and_write), 0u);
}

// 256 blocks wrap to zero in one byte: that is not "equal".
TEST(CompareAndWrite, NoBlocksButData_IsRefused) {
  ScsiBench bench;
  EXPECT_EQ(failure(*bench.send(bench.a, compare_and_write(0, 0), blocks_of(0, 512))), kInvalidCdb);
  EXPECT_EQ(bench.send(bench.a, compare_and_write(0, 0))->status(), Status::good);
}

TEST(OrWrite, Mask_IsOredIn) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 1), blocks_of(0x0f, 1));
  EXPECT_EQ(bench.send(bench.a, cdb16(0x8b, 0, 1), blocks_of(0xf0, 1))->status(), Status::good);
  EXPECT_EQ(bench.volume.content({Lba(0), BlockCount(1)}), blocks_of(0xff, 1));
}

Octets write_atomic(std::uint64_t lba, int count, int boundary = 0) {
  Octets c = cdb16(0x9c, lba, 0);
  store_be<std::uint16_t>(&c[10], static_cast<std::uint16_t>(boundary));
  store_be<std::uint16_t>(&c[12], static_cast<std::uint16_t>(count));
  return c;
}

TEST(WriteAtomic, UpToTheLimit_IsOneWriteOfTheVolume) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, write_atomic(1, 256), blocks_of(2, 256))->status(), Status::good);
  EXPECT_EQ(bench.volume.calls(Operation::write), 1u);
}

TEST(WriteAtomic, BeyondTheLimitBoundaryOrHalfTheData_IsRefused) {
  ScsiBench bench;
  EXPECT_EQ(failure(*bench.send(bench.a, write_atomic(0, 257), blocks_of(2, 257))), kInvalidCdb);
  EXPECT_EQ(failure(*bench.send(bench.a, write_atomic(0, 2, 1), blocks_of(2, 2))), kInvalidCdb);
  EXPECT_EQ(bench.send(bench.a, write_atomic(0, 2), blocks_of(2, 1))->asc(), 0x0e03u);
  EXPECT_EQ(failure(*bench.send(bench.a, write_atomic(kEnd - 1, 300), blocks_of(2, 300))), kOutOfRange);
  EXPECT_EQ(bench.volume.calls(Operation::write), 0u);
}

TEST(WriteSame, OneBlock_FillsTheRange) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, cdb16(0x93, 100, 5000), blocks_of(8, 1))->status(), Status::good);
  EXPECT_EQ(bench.volume.content({Lba(5099), BlockCount(2)})[0], std::byte{8});
  EXPECT_EQ(bench.volume.content({Lba(5100), BlockCount(1)}), blocks_of(0, 1));
  EXPECT_EQ(bench.send(bench.a, cdb10(0x41, 0, 3), blocks_of(9, 1))->status(), Status::good);
}

TEST(WriteSame, NoDataOutBuffer_Unmaps) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 32), blocks_of(1, 32));
  EXPECT_EQ(bench.send(bench.a, cdb16(0x93, 0, 32, 0x09))->status(), Status::good);
  EXPECT_EQ(bench.volume.content({Lba(0), BlockCount(32)}), blocks_of(0, 32));
  EXPECT_EQ(bench.volume.calls(Operation::unmap), 1u);
}

TEST(WriteSame, ZeroLengthTooLongOrAnchored_IsRefused) {
  ScsiBench bench;
  EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x93, 0, 0), blocks_of(0, 1))), kInvalidCdb);
  EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x93, 0, 32769), blocks_of(0, 1))), kInvalidCdb);
  EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x93, 0, 1, 0x10), blocks_of(0, 1))), kInvalidCdb);
  EXPECT_EQ(failure(*bench.send(bench.a, cdb10(0x41, 0, 1, 0x01), blocks_of(0, 1))), kInvalidCdb);  // NDOB: (16) only.
}

Octets unmap_cdb(std::size_t list_bytes) {
  Octets c(10);
  c[0] = std::byte{0x42};
  store_be<std::uint16_t>(&c[7], static_cast<std::uint16_t>(list_bytes));
  return c;
}
Octets unmap_list(const std::vector<std::pair<std::uint64_t, std::uint32_t>>& ranges) {
  Octets list(8 + 16 * ranges.size());
  store_be<std::uint16_t>(&list[0], static_cast<std::uint16_t>(list.size() - 2));
  store_be<std::uint16_t>(&list[2], static_cast<std::uint16_t>(list.size() - 8));
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    store_be<std::uint64_t>(&list[8 + 16 * i], ranges[i].first);
    store_be<std::uint32_t>(&list[16 + 16 * i], ranges[i].second);
  }
  return list;
}
auto unmap(ScsiBench& bench, const std::vector<std::pair<std::uint64_t, std::uint32_t>>& ranges) {
  Octets list = unmap_list(ranges);
  Octets cdb = unmap_cdb(list.size());
  return bench.send(bench.a, cdb, list);
}

TEST(Unmap, SeveralRanges_ReadAsZeros) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 64), blocks_of(1, 64));
  EXPECT_EQ(unmap(bench, {{0, 1}, {16, 32}, {kEnd, 0}})->status(), Status::good);
  EXPECT_EQ(bench.volume.content({Lba(0), BlockCount(1)}), blocks_of(0, 1));
  EXPECT_EQ(bench.volume.content({Lba(1), BlockCount(1)}), blocks_of(1, 1));
  EXPECT_EQ(bench.volume.content({Lba(16), BlockCount(32)}), blocks_of(0, 32));
}

// Hosts and test suites send runs of small descriptors; each call of the volume is a record in its log.
TEST(Unmap, RangesThatTouchOrOverlap_AreOneCall) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 64), blocks_of(1, 64));
  EXPECT_EQ(unmap(bench, {{2, 1}, {0, 1}, {1, 1}, {2, 3}, {20, 4}, {21, 1}})->status(), Status::good);
  EXPECT_EQ(bench.volume.calls(Operation::unmap), 2u);
  EXPECT_EQ(bench.volume.content({Lba(0), BlockCount(5)}), blocks_of(0, 5));
  EXPECT_EQ(bench.volume.content({Lba(5), BlockCount(15)}), blocks_of(1, 15));
  EXPECT_EQ(bench.volume.content({Lba(24), BlockCount(40)}), blocks_of(1, 40));
}

TEST(Unmap, ManyRanges_GoSideBySideAndFailAsOne) {
  ScsiBench bench;
  bench.volume.hold(Operation::unmap);
  std::vector<std::pair<std::uint64_t, std::uint32_t>> ranges;
  for (std::uint64_t i = 0; i < 100; ++i) ranges.push_back({i * 2, 1});
  const Octets list = unmap_list(ranges);
  auto x = bench.start(bench.a, unmap_cdb(list.size()), list);
  EXPECT_EQ(bench.volume.calls(Operation::unmap), 32u);
  bench.volume.fail_with(Operation::unmap, Errc::io_error);
  bench.volume.release();
  bench.turn();
  EXPECT_TRUE(x->finished);
  EXPECT_EQ(x->asc(), 0x0c00u);
  EXPECT_EQ(bench.volume.calls(Operation::unmap), 32u);
}

TEST(Unmap, OneBadRangeAmongGood_UnmapsNothing) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 0, 1), blocks_of(1, 1));
  EXPECT_EQ(failure(*unmap(bench, {{0, 1}, {kEnd, 1}})), kOutOfRange);
  EXPECT_EQ(failure(*unmap(bench, {{0, 1}, {~0ULL, 0xffffffff}})), kOutOfRange);
  EXPECT_EQ(bench.volume.calls(Operation::unmap), 0u);
}

// Each range is within the volume, but all of them together are beyond the limit; 4096 × 2^20 would wrap.
TEST(Unmap, MoreBlocksThanTheLimit_IsRefused) {
  ScsiBench bench;
  bench.volume.set_capacity(BlockCount(1ULL << 40));
  EXPECT_EQ(unmap(bench, {{0, 1u << 20}})->status(), Status::good);
  EXPECT_EQ(unmap(bench, {{0, (1u << 20) + 1}})->asc(), 0x2600u);
  EXPECT_EQ(unmap(bench, {{0, 1u << 20}, {0, 1}})->asc(), 0x2600u);
  EXPECT_EQ(unmap(bench, {{0, 0xffffffff}})->asc(), 0x2600u);
  EXPECT_EQ(unmap(bench, std::vector<std::pair<std::uint64_t, std::uint32_t>>(257, {0, 0}))->asc(), 0x2600u);
}

TEST(Unmap, ListLengths_ThatContradictEachOther_AreRefused) {
  ScsiBench bench;
  Octets list = unmap_list({{0, 1}});
  EXPECT_EQ(bench.send(bench.a, unmap_cdb(0))->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, unmap_cdb(7), Octets(7))->asc(), 0x1a00u);
  store_be<std::uint16_t>(&list[2], 32);
  EXPECT_EQ(bench.send(bench.a, unmap_cdb(list.size()), list)->asc(), 0x1a00u);
  EXPECT_EQ(bench.send(bench.a, unmap_cdb(64), list)->asc(), 0x0e03u);
}

TEST(GetLbaStatus, MappedAndUnmappedRuns_StartAtTheAskedBlock) {
  ScsiBench bench;
  bench.send(bench.a, cdb10(0x2a, 20, 1), blocks_of(1, 1));
  Octets cdb = cdb16(0x9e, 18, 0, 0x12);
  store_be<std::uint32_t>(&cdb[10], 40);
  const Octets data = bench.send(bench.a, cdb, {}, 40)->data();
  ASSERT_EQ(data.size(), 40u);
  EXPECT_EQ(load_be<std::uint64_t>(&data[8]), 18u);
  EXPECT_EQ(load_be<std::uint32_t>(&data[16]), 14u);
  EXPECT_EQ(data[20], std::byte{0});
  EXPECT_EQ(load_be<std::uint64_t>(&data[24]), 32u);
  EXPECT_EQ(data[36], std::byte{1});
  EXPECT_EQ(failure(*bench.send(bench.a, cdb16(0x9e, kEnd, 24, 0x12), {}, 24)), kOutOfRange);
}

TEST(SynchronizeCacheAndPrefetch, WithinAndBeyond_AreGoodAndRefused) {
  ScsiBench bench;
  for (int code : {0x35, 0x34}) {
    EXPECT_EQ(bench.send(bench.a, cdb10(code, 0, 0))->status(), Status::good);
    EXPECT_EQ(failure(*bench.send(bench.a, cdb10(code, kEnd, 1))), kOutOfRange);
  }
  EXPECT_EQ(bench.volume.calls(Operation::flush), 1u);
}

TEST(SoftwareWriteProtect, WritesOfEveryKind_AreRefused) {
  ScsiBench bench;
  Octets list = octets({0, 0, 0, 0, 0x0a, 0x0a, 0, 0x10, 0x08, 0x00, 0, 0, 0xff, 0xff, 0, 0});
  ASSERT_EQ(bench.send(bench.a, octets({0x15, 0x10, 0, 0, 16, 0}), list)->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2a, 0, 1), blocks_of(1, 1))->asc(), 0x2702u);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x41, 0, 1), blocks_of(1, 1))->asc(), 0x2702u);
  EXPECT_EQ(unmap(bench, {{0, 1}})->asc(), 0x2702u);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x28, 0, 1), {}, 4096)->status(), Status::good);
}

// A thin volume reads as zeros without a wait: the thread has others to serve all the same.
TEST(Verify, OfAWholeThinVolume_LetsOthersRun) {
  ScsiBench bench;
  scsi::Command verify;
  verify.nexus = bench.a;
  const Octets cdb = cdb16(0x8f, 0, ScsiBench::kBlocks);
  std::copy(cdb.begin(), cdb.end(), verify.cdb.begin());
  ASSERT_TRUE(bench.device->plan(verify).execute);
  Scope scope(bench.executor);
  scope.spawn(bench.device->execute(verify));
  for (int i = 0; i < 8; ++i) bench.executor.run_one();
  EXPECT_LE(bench.volume.calls(Operation::read), 8u) << "MiB read in eight turns of the thread";
  bench.turn();
  EXPECT_EQ(verify.status, Status::good);
}

}  // namespace
}  // namespace holdfast::test

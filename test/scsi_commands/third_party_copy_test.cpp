// EXTENDED COPY within the volume: validated as a whole before the first block moves.
#include <gtest/gtest.h>

#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

using scsi::Status;
using Operation = FakeVolume::Operation;

struct Segment {
  std::uint64_t from, to;
  std::uint16_t count;
  int target = 0;
};

// One target descriptor (this unit, by its NAA name) and segments.
Octets copy_list(const std::vector<Segment>& segments, int targets = 1, int list_id = 1) {
  Octets list(16);
  list[0] = std::byte(list_id);
  store_be<std::uint16_t>(&list[2], static_cast<std::uint16_t>(32 * targets));
  store_be<std::uint32_t>(&list[8], static_cast<std::uint32_t>(28 * segments.size()));
  for (int i = 0; i < targets; ++i) {
    Octets target = octets({0xe4, 0, 0, 0, 0x01, 0x03, 0, 8, 0x30, 0x90, 0xb0, 0x90, 0xf0, 0x90, 0xb0, 0x90});
    target.resize(32);
    store_be24(&target[29], 4096);
    list.insert(list.end(), target.begin(), target.end());
  }
  for (const Segment& s : segments) {
    Octets segment(28);
    segment[0] = std::byte{2};
    store_be<std::uint16_t>(&segment[2], 0x18);
    store_be<std::uint16_t>(&segment[6], static_cast<std::uint16_t>(s.target));
    store_be<std::uint16_t>(&segment[10], s.count);
    store_be<std::uint64_t>(&segment[12], s.from);
    store_be<std::uint64_t>(&segment[20], s.to);
    list.insert(list.end(), segment.begin(), segment.end());
  }
  return list;
}
auto copy(ScsiBench& bench, const Octets& list) {
  Octets cdb(16);
  cdb[0] = std::byte{0x83};
  store_be<std::uint32_t>(&cdb[10], static_cast<std::uint32_t>(list.size()));
  return bench.send(bench.a, cdb, list);
}
Octets receive_cdb(int action, int list_id) {
  return octets({0x84, action, list_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0});
}

TEST(ExtendedCopy, TwoSegments_AreCopied) {
  ScsiBench bench;
  bench.send(bench.a, cdb16(0x8a, 0, 300), blocks_of(5, 300));
  EXPECT_EQ(copy(bench, copy_list({{0, 1000, 300}, {0, 5000, 1}}))->status(), Status::good);
  EXPECT_EQ(bench.volume.content({Lba(1000), BlockCount(300)}), blocks_of(5, 300));
  EXPECT_EQ(bench.volume.content({Lba(5000), BlockCount(2)})[4096], std::byte{0});
  const Octets status = bench.send(bench.a, receive_cdb(0, 1), {}, 256)->data();
  EXPECT_EQ(status, octets({0, 0, 0, 8, 1, 0, 2, 2, 0, 0, 0, 1}));
  EXPECT_EQ(bench.send(bench.a, receive_cdb(0, 2), {}, 256)->asc(), 0x2400u);
  EXPECT_EQ(bench.send(bench.b, receive_cdb(0, 1), {}, 256)->asc(), 0x2400u);
}

TEST(ExtendedCopy, OneBadSegment_CopiesNothing) {
  ScsiBench bench;
  auto x = copy(bench, copy_list({{0, 100, 1}, {0, ScsiBench::kBlocks - 1, 2}}));
  EXPECT_EQ(x->sense_key(), 0xau);
  EXPECT_EQ(copy(bench, copy_list({{0, 100, 1}, {~0ULL, 0, 2}}))->sense_key(), 0xau);
  EXPECT_EQ(copy(bench, copy_list({{0, 100, 1, 1}}))->sense_key(), 0xau);
  EXPECT_EQ(bench.volume.calls(Operation::write), 0u);
}

TEST(ExtendedCopy, DescriptorsBeyondTheLimits_AreRefused) {
  ScsiBench bench;
  EXPECT_EQ(copy(bench, copy_list({{0, 1, 1}}, 9))->asc(), 0x2606u);
  EXPECT_EQ(copy(bench, copy_list(std::vector<Segment>(17, {0, 1, 1})))->asc(), 0x2608u);
  EXPECT_EQ(copy(bench, copy_list(std::vector<Segment>(40, {0, 1, 1})))->asc(), 0x1a00u);
  Octets list = copy_list({{0, 1, 1}});
  EXPECT_EQ(copy(bench, Octets(list.begin(), list.end() - 1))->asc(), 0x1a00u);
  EXPECT_EQ(copy(bench, Octets(15))->asc(), 0x1a00u);
  EXPECT_EQ(copy(bench, {})->status(), Status::good);
}

TEST(ExtendedCopy, OtherKindsOfDescriptors_AreRefused) {
  ScsiBench bench;
  Octets list = copy_list({{0, 1, 1}});
  list[16] = std::byte{0xe0};
  EXPECT_EQ(copy(bench, list)->asc(), 0x2607u);
  list = copy_list({{0, 1, 1}});
  list[48] = std::byte{0x03};
  EXPECT_EQ(copy(bench, list)->asc(), 0x2609u);
  list = copy_list({{0, 1, 1}});
  list[24] = std::byte{0x31};  // Another unit's name.
  EXPECT_EQ(copy(bench, list)->asc(), 0x0804u);
}

TEST(ExtendedCopy, OperatingParameters_TellTheLimits) {
  ScsiBench bench;
  const Octets data = bench.send(bench.a, receive_cdb(3, 0), {}, 256)->data();
  ASSERT_EQ(data.size(), 46u);
  EXPECT_EQ(load_be<std::uint16_t>(&data[8]), 8u);
  EXPECT_EQ(load_be<std::uint16_t>(&data[10]), 16u);
  EXPECT_EQ(load_be<std::uint32_t>(&data[12]), 1024u);
}

}  // namespace
}  // namespace holdfast::test

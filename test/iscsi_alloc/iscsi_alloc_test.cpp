// The path of an I/O through the door calls no malloc after warm-up: from bytes on the wire through the real device
// server to a volume in memory, and back to bytes.
#include <gtest/gtest.h>

#include <optional>

#include "scsi/device_server.h"
#include "scsi/target.h"
#include "test/iscsi/initiator.h"
#include "test/support/counting_allocator.h"
#include "test/support/ram_volume.h"

namespace holdfast::test {
namespace {

class NoMalloc : public ::testing::Test {
 protected:
  NoMalloc() {
    scsi::TargetOptions options;
    options.volume = "pg";
    target = std::make_shared<scsi::Target>(options, scsi::make_device_server(volume, {}), table, executor, clock, pool,
                                            random);
    scsi::TargetEntry entry;
    entry.name = target->name();
    entry.executor = &executor;
    entry.target = target;
    table.put(entry);
  }
  ~NoMalloc() override {
    if (initiator) initiator->wire->hang_up();
    executor.run();
  }

  // The same requests again and again: what the first rounds need is the pools' to keep.
  void expect_no_malloc(const std::string& requests) {
    if (!allocations_are_counted()) GTEST_SKIP() << "allocations are not counted under a sanitizer";
    initiator->wire->inbound.reserve(2 * requests.size());
    initiator->wire->outbound.reserve(8 << 20);
    for (int i = 0; i < 3; ++i) round(requests);
    std::uint64_t allocations = 0;
    std::string sites;
    {
      AllocationWatch watch;
      round(requests);
      allocations = watch.allocations();
      sites = watch.sites();
    }
    EXPECT_EQ(allocations, 0U) << sites;
    for (const Pdu& pdu : initiator->take_all()) {
      const bool has_status = pdu.opcode() == Opcode::scsi_response || (pdu.header.flags() & 1) != 0;
      if (has_status) {
        EXPECT_EQ(pdu.status(), 0) << pdu.sense();
      }
    }
  }
  void round(const std::string& requests) {
    initiator->wire->outbound.clear();
    initiator->wire->inbound.append(requests);
    renumber(requests.size());
    initiator->wire->changed->notify_all();
    executor.run();
    EXPECT_FALSE(initiator->wire->outbound.empty());
  }
  // Each round goes on with the session's command numbers.
  void renumber(std::size_t bytes) {
    std::string& in = initiator->wire->inbound;
    for (std::size_t at = in.size() - bytes; at < in.size();) {
      auto* header = reinterpret_cast<std::byte*>(in.data() + at);
      if ((header[0] & std::byte{0x3f}) != std::byte{0x05}) store_be(header + 24, initiator->cmd_sn++);
      at += 48 + scsi::padded(load_be24(header + 5));
    }
  }
  void connect(std::vector<std::string> keys) {
    initiator.emplace(executor, portal);
    initiator->login(std::move(keys));
    for (std::uint32_t itt = 1; itt <= 4; ++itt) initiator->send(initiator->test_unit_ready(itt));  // Unit attentions.
    initiator->take_all();
  }
  Header block_command(unsigned opcode, std::uint32_t itt, std::uint32_t lba, std::uint16_t blocks) {
    const bool reading = opcode == 0x28;
    return initiator->command(opcode, itt, lba, blocks, reading ? Initiator::kRead : Initiator::kWrite, blocks * 4096U);
  }
  // The bytes of what `queue` asks for, without sending them.
  template <class F>
  std::string record(F queue) {
    const std::uint32_t cmd_sn = initiator->cmd_sn;
    std::string kept = std::exchange(initiator->wire->inbound, {});
    queue();
    initiator->cmd_sn = cmd_sn;
    return std::exchange(initiator->wire->inbound, std::move(kept));
  }

  ManualExecutor executor;
  ManualClock clock{executor};
  CountingRandom random;
  BufferPool pool{executor, 64 << 20};
  RamVolume volume{executor, clock, pool, "pg", BlockCount(16384)};
  scsi::TargetTable table;
  std::shared_ptr<scsi::Target> target;
  scsi::Portal portal{table, executor, clock, random};
  std::optional<Initiator> initiator;
};

TEST_F(NoMalloc, Reads_AtDepth64_AfterWarmUp) {
  connect({"MaxRecvDataSegmentLength=262144"});
  expect_no_malloc(record([&] {
    for (std::uint32_t itt = 1; itt <= 64; ++itt) initiator->queue(block_command(0x28, itt, itt, 1));
  }));
}

TEST_F(NoMalloc, ImmediateWrites_AtDepth64_AfterWarmUp) {
  connect({"FirstBurstLength=262144"});
  expect_no_malloc(record([&] {
    for (std::uint32_t itt = 1; itt <= 64; ++itt)
      initiator->queue(block_command(0x2a, itt, itt, 1), std::string(4096, 'x'));
  }));
}

TEST_F(NoMalloc, LargeReadsAndWrites_AfterWarmUp) {
  connect({"MaxRecvDataSegmentLength=65536", "FirstBurstLength=262144"});
  expect_no_malloc(record([&] {
    for (std::uint32_t itt = 1; itt <= 4; ++itt) {
      initiator->queue(block_command(0x2a, itt, itt * 64, 64), std::string(262144, 'x'));
      initiator->queue(block_command(0x28, itt + 100, itt * 64, 64));
    }
  }));
}

}  // namespace
}  // namespace holdfast::test

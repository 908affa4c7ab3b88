// A whole iSCSI connection, from bytes of the wire to bytes of the wire, takes nothing from the heap after warm-up.
// The initiator does: only the target's turns are watched.
#include <gtest/gtest.h>

#include "scsi/device_server.h"
#include "scsi/target.h"
#include "test/iscsi/initiator.h"
#include "test/support/counting_allocator.h"
#include "test/support/ram_volume.h"

namespace holdfast::test {
namespace {

constexpr unsigned kRead10 = 0x28, kWrite10 = 0x2a;

class DoorAllocations : public ::testing::Test {
 protected:
  DoorAllocations() {
    scsi::TargetOptions options;
    options.volume = "pg";
    target = std::make_shared<scsi::Target>(std::move(options), scsi::make_device_server(volume, {}), table, executor, clock, pool, random);
    scsi::TargetEntry entry;
    entry.name = target->name();
    entry.executor = &executor;
    entry.target = target;
    table.put(std::move(entry));
  }

  void SetUp() override {
    if (!allocations_are_counted()) GTEST_SKIP() << "a sanitizer owns the allocator";
  }
  ~DoorAllocations() override {
    initiator.wire->hang_up();
    executor.run();
  }

  // 32 commands at once; what the target took from the heap to serve them is added up.
  void batch(unsigned opcode, std::uint16_t blocks) {
    const bool writes = opcode == kWrite10;
    const std::uint32_t bytes = blocks * 4096U;
    for (std::uint32_t i = 0; i < 32; ++i) {
      const auto header = initiator.command(opcode, 0x100 + i, i * blocks, blocks, writes ? Initiator::kWrite : Initiator::kRead, bytes);
      initiator.queue(header, writes ? std::string(bytes, 'w') : std::string());
    }
    {
      AllocationWatch watch;
      executor.run();
      allocations += watch.allocations();
      if (watch.allocations() > 0) sites = watch.sites();
    }
    for (const Pdu& pdu : initiator.take_all()) {
      if (pdu.opcode() == scsi::Opcode::scsi_response || (pdu.opcode() == scsi::Opcode::data_in && (pdu.header.flags() & 1))) {
        ++answers;
        if (pdu.status() != 0) ++failures;
      }
    }
  }

  void expect_no_allocation(unsigned opcode, std::uint16_t blocks) {
    const Pdu reply = initiator.login({"ImmediateData=Yes", "InitialR2T=No", "FirstBurstLength=262144", "MaxRecvDataSegmentLength=262144"});
    ASSERT_EQ(Initiator::login_status(reply), 0);
    batch(0x00, 0);  // Takes the power-on unit attention.
    for (int round = 0; round < 10; ++round) batch(opcode, blocks);
    allocations = answers = failures = 0;
    for (int round = 0; round < 50; ++round) batch(opcode, blocks);
    EXPECT_EQ(allocations, 0U) << sites;
    EXPECT_EQ(answers, 50U * 32U);
    EXPECT_EQ(failures, 0U);
  }

  ManualExecutor executor;
  ManualClock clock{executor};
  CountingRandom random;
  BufferPool pool{executor, 64u << 20};
  RamVolume volume{executor, clock, pool, "pg", BlockCount(16'384)};
  scsi::TargetTable table;
  std::shared_ptr<scsi::Target> target;
  scsi::Portal portal{table, executor, clock, random};
  Initiator initiator{executor, portal};
  std::uint64_t allocations = 0, answers = 0, failures = 0;
  std::string sites;
};

TEST_F(DoorAllocations, SmallReads_AfterWarmUp_AllocateNothing) { expect_no_allocation(kRead10, 1); }
TEST_F(DoorAllocations, SmallWrites_AfterWarmUp_AllocateNothing) { expect_no_allocation(kWrite10, 1); }
TEST_F(DoorAllocations, ChunkReads_AfterWarmUp_AllocateNothing) { expect_no_allocation(kRead10, 16); }
TEST_F(DoorAllocations, ChunkWrites_AfterWarmUp_AllocateNothing) { expect_no_allocation(kWrite10, 16); }

}  // namespace
}  // namespace holdfast::test

// Several volumes on a thread, of which one stands still: it waits for a copy, for the lease, for its disk. The others do not notice.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

using scsi::TaskFunction;

class StandingVolume : public IscsiTest {
 protected:
  static constexpr std::uint32_t kMiB = 1 << 20;

  struct Unit {
    std::shared_ptr<scsi::Target> target;
    FakeDeviceServer* disk = nullptr;
  };
  StandingVolume() : IscsiTest(default_options(), 32 << 20) {
    auto budgets = std::make_shared<scsi::PayloadBudgets>(executor, pool);
    for (Unit* unit : {&standing, &healthy}) {
      auto options = default_options();
      options.volume = unit == &standing ? "standing" : "healthy";
      options.payload_budgets = budgets;
      auto server = std::make_unique<FakeDeviceServer>(executor, clock, pool);
      unit->disk = server.get();
      unit->target = std::make_shared<scsi::Target>(std::move(options), std::move(server), table, executor, clock, pool, random);
      table.put({.name = unit->target->name(), .executor = &executor, .target = unit->target, .auth = nullptr, .portal_group = 3,
                 .portals = {}});
    }
    standing.disk->hold(true);
  }
  ~StandingVolume() override {
    for (auto& initiator : initiators) initiator->wire->hang_up();
    standing.disk->hold(false);
    executor.run();
    EXPECT_EQ(standing.target->session_count() + healthy.target->session_count(), 0U);
  }

  Initiator& host_of(const Unit& unit, std::vector<std::string> keys = {}) {
    Initiator& one = connect();
    one.isid[5] = std::byte(initiators.size());
    one.target = unit.target->name();
    EXPECT_EQ(Initiator::login_status(one.login(std::move(keys))), 0);
    return one;
  }
  // A host that announces more writes than it may have memory for, and sends no data.
  Initiator& announce() {
    auto& host = host_of(standing, {"ImmediateData=No", "MaxBurstLength=1048576"});
    for (std::uint32_t itt = 1; itt <= 60; ++itt) host.queue(host.write(itt, 0, 2048));
    executor.run();
    EXPECT_LT(host.take_all().size(), 60U);
    return host;
  }
  // What an honest host does with what it has been told: sends the data that is asked for, answers pings, notes what came of its writes.
  struct Outcome {
    unsigned good = 0, full = 0, other = 0;
  };
  Outcome serve(Initiator& host) {
    Outcome outcome;
    while (host.has()) {
      for (const Pdu& pdu : host.take_all()) {
        if (pdu.opcode() == Opcode::r2t) {
          const std::uint32_t offset = pdu.header.u32(40), bytes = pdu.header.u32(44);
          for (std::uint32_t at = 0, sn = 0; at < bytes; ++sn) {
            const std::uint32_t piece = std::min(bytes - at, 256U << 10);
            const bool last = at + piece == bytes;
            host.queue(host.data_out(pdu.header.itt(), pdu.header.u32(20), sn, offset + at, last), std::string(piece, 'x'));
            at += piece;
          }
        } else if (pdu.opcode() == Opcode::nop_in) {
          host.queue(host.request(Opcode::nop_out, 0x80, kNoTag, true).set32(20, pdu.header.u32(20)));
        } else {
          ++(pdu.status() == 0 ? outcome.good : pdu.status() == 0x28 ? outcome.full : outcome.other);
        }
      }
      executor.run();
    }
    return outcome;
  }

  Unit standing, healthy;
};

// Two hosts of the standing volume have as much under way as they may, one with R2Ts, one with all of the data at once.
//   1. A host of the healthy volume writes 8 MiB, and a little at once, and reads.
//   2. Minutes pass: all answer their pings, and nobody is dropped.
//   3. The volume goes on, and so do all of its writes.
TEST_F(StandingVolume, ItsHostsHaveAllThatTheyMay_OthersAreServed) {
  const std::array hosts{&host_of(standing, {"ImmediateData=No", "MaxBurstLength=1048576"}), &host_of(standing, {"FirstBurstLength=262144"})};
  auto& stranger = host_of(healthy);
  unsigned full = 0;
  for (Initiator* host : hosts) {
    const bool all_at_once = host == hosts.back();
    const std::uint32_t bytes = all_at_once ? 256U << 10 : kMiB;
    for (std::uint32_t itt = 1; itt <= 40; ++itt)
      host->queue(host->write(itt, 0, static_cast<std::uint16_t>(bytes / 512)), all_at_once ? std::string(bytes, 'x') : std::string());
    executor.run();
    full += serve(*host).full;
  }
  const auto look = [&] {
    stranger.send(stranger.write(1, 0, 8 * kMiB / 512));
    EXPECT_EQ(serve(stranger).good, 1U) << "a large write";
    stranger.send(stranger.write(2, 0, 8), std::string(4096, 's'));
    EXPECT_EQ(serve(stranger).good, 1U) << "a small write";
    stranger.send(stranger.read(3, 0, 8));
    ASSERT_TRUE(stranger.has());
    EXPECT_EQ(stranger.take().opcode(), Opcode::data_in);
  };
  look();
  for (int i = 0; i < 30; ++i) {
    clock.advance(milliseconds(5'000));
    for (auto& one : initiators) serve(*one);
  }
  look();
  standing.disk->hold(false);
  executor.run();
  unsigned good = 0;
  for (int round = 0; round < 40; ++round)
    for (Initiator* host : hosts) good += serve(*host).good;
  EXPECT_EQ(good + full, 80U);
  for (auto& one : initiators) EXPECT_FALSE(one->closed());
}

// The same with reads: each has its memory before it is at the volume.
TEST_F(StandingVolume, ItsHostsReadAllThatTheyMay_OthersAreServed) {
  const std::vector<std::string> keys{"MaxRecvDataSegmentLength=262144"};  // Few headers beside the data.
  const std::array hosts{&host_of(standing, keys), &host_of(standing, keys)};
  auto& stranger = host_of(healthy);
  for (Initiator* host : hosts)
    for (std::uint32_t itt = 1; itt <= 40; ++itt) host->send(host->read(itt, 0, kMiB / 512));
  for (int i = 0; i < 2; ++i) {
    stranger.send(stranger.write(1, 0, 8 * kMiB / 512));
    EXPECT_EQ(serve(stranger).good, 1U);
    stranger.send(stranger.read(2, 0, 8));
    ASSERT_TRUE(stranger.has());
    EXPECT_EQ(stranger.take().opcode(), Opcode::data_in);
  }
  hosts[0]->send(hosts[0]->task_management(TaskFunction::abort_task, 100, 40));
  ASSERT_TRUE(hosts[0]->has()) << "an abort of a read that waits for memory";
  EXPECT_EQ(hosts[0]->take().opcode(), Opcode::task_management_response);
  standing.disk->hold(false);
  executor.run();
  std::size_t bytes = 0;
  for (Initiator* host : hosts) bytes += std::exchange(host->wire->outbound, {}).size();
  EXPECT_GT(bytes, 79 * std::size_t{kMiB});
  EXPECT_LT(bytes, 80 * std::size_t{kMiB});
}

// Buffers are powers of two, and what counts is what they take: with both volumes standing, half of the pool is free for what brings no data.
TEST_F(StandingVolume, WritesOfUnevenSizes_TakeNoMoreOfThePoolThanTheirShares) {
  healthy.disk->hold(true);
  for (const Unit* unit : {&standing, &healthy}) {
    auto& host = host_of(*unit, {"ImmediateData=No", "MaxBurstLength=1048576"});
    for (std::uint32_t itt = 1; itt <= 60; ++itt) host.queue(host.write(itt, 0, 260 * 2));
    executor.run();
    EXPECT_EQ(host.take_all().size(), 16U) << "R2Ts for 260 KiB, which take 512";
  }
  EXPECT_EQ(pool.free_bytes(), pool.memory().size() / 2);
  healthy.disk->hold(false);
}

// Commands that bring little and take much for their own work, as WRITE SAME does: that counts as well.
TEST_F(StandingVolume, ItsHostsSendWhatTakesMemoryForItself_OthersAreServed) {
  standing.disk->write_work_bytes = kMiB;
  auto& host = host_of(standing);
  auto& stranger = host_of(healthy);
  for (std::uint32_t itt = 1; itt <= 32; ++itt) host.send(host.write(itt, 0, 8), std::string(4096, 'x'));
  EXPECT_EQ(standing.disk->waiting(), 8U);
  stranger.send(stranger.read(1, 0, 8));
  ASSERT_TRUE(stranger.has());
  EXPECT_EQ(stranger.take().opcode(), Opcode::data_in);
  host.send(host.task_management(TaskFunction::abort_task, 100, 32));
  ASSERT_TRUE(host.has()) << "an abort of one that waits for memory";
  EXPECT_EQ(host.take().opcode(), Opcode::task_management_response);
  standing.disk->hold(false);
  executor.run();
  EXPECT_EQ(serve(host).good, 31U);
}

// An ORDERED write never takes the memory that the one before it waits for, in whatever segments they come: it would wait for that one, too.
TEST_F(StandingVolume, OrderedWriteInTheSegmentOfALargeOne_DoesNotOvertakeIt) {
  for (const bool one_segment : {true, false}) {
    auto& host = host_of(standing, {"ImmediateData=No", "MaxBurstLength=1048576"});
    standing.disk->hold(true);
    host.send(host.write(1, 0, 2 * kMiB / 512));
    serve(host);
    ASSERT_EQ(standing.disk->waiting(), 1U);
    host.queue(host.write(2, 0, 8 * kMiB / 512));
    if (!one_segment) executor.run();
    host.queue(host.write(3, 0, 2 * kMiB / 512).set8(1, 0xa2));
    executor.run();
    serve(host);
    standing.disk->hold(false);
    unsigned good = 0;
    for (int i = 0; i < 4; ++i) {
      clock.advance(milliseconds(5'000));
      good += serve(host).good;
    }
    EXPECT_EQ(good, 3U);
    EXPECT_FALSE(host.closed());
    host.wire->hang_up();
    executor.run();
  }
}

// Who waits for memory waits for nothing else: an abort of it is answered at once, also when it is its own connection that has it all.
TEST_F(StandingVolume, AbortOfAWriteThatWaitsForMemory_IsAnsweredAtOnce) {
  auto& host = announce();
  for (const auto function : {TaskFunction::abort_task, TaskFunction::logical_unit_reset}) {
    host.send(host.task_management(function, 100, 60));
    ASSERT_TRUE(host.has());
    const auto told = host.take_all();
    EXPECT_EQ(told.back().opcode(), Opcode::task_management_response);
    EXPECT_EQ(told.back().header.u8(2), 0);
  }
  EXPECT_EQ(pool.free_bytes(), pool.memory().size());
}

// The same where it is the pool itself that has nothing left: others than hosts take of it, too.
TEST_F(StandingVolume, PoolIsEmpty_AbortAndHangUpOfWhatWaitsForItAreAnswered) {
  auto& host = host_of(healthy, {"ImmediateData=No"});
  std::vector<Buffer> taken;
  while (Buffer one = pool.try_acquire(kMiB)) taken.push_back(std::move(one));
  const auto begin = [&](std::uint32_t itt) {
    host.queue(host.write(itt, 0, 8));
    host.send(host.read(itt + 1, 0, 8));
    clock.advance(milliseconds(100));
    EXPECT_FALSE(host.has());
  };
  begin(1);
  for (const std::uint32_t itt : {1U, 2U}) {
    host.send(host.task_management(TaskFunction::abort_task, 100 + itt, itt));
    clock.advance(milliseconds(1));
    ASSERT_TRUE(host.has());
    EXPECT_EQ(host.take().opcode(), Opcode::task_management_response);
  }
  begin(3);
  host.wire->hang_up();
  executor.run();
  clock.advance(milliseconds(1));
  EXPECT_EQ(healthy.target->session_count(), 0U);
}

TEST_F(StandingVolume, WritesWaitForMemory_LogoutIsAnsweredAtOnce) {
  auto& host = announce();
  host.send(host.request(Opcode::logout, 0x80, 100, true));
  ASSERT_TRUE(host.has());
  EXPECT_EQ(host.take().opcode(), Opcode::logout_response);
  EXPECT_EQ(standing.target->session_count(), 0U);
}

TEST_F(StandingVolume, WritesWaitForMemory_PreemptAndAbortEndsThem) {
  auto& host = announce();
  standing.disk->abort_nexus(standing.disk->nexuses.front().get());
  executor.run();
  EXPECT_EQ(standing.target->sessions().front().commands, 0U);
  EXPECT_EQ(pool.free_bytes(), pool.memory().size());
  EXPECT_FALSE(host.closed());
}

TEST_F(StandingVolume, WritesWaitForMemory_ConnectionAndTargetEndWithoutThem) {
  announce().wire->hang_up();
  executor.run();
  EXPECT_EQ(standing.target->session_count(), 0U);
  announce();
  Scope scope(executor);
  scope.spawn(standing.target->end_sessions(milliseconds(0)));
  clock.advance(milliseconds(100));
  executor.run();
  EXPECT_EQ(standing.target->session_count(), 0U);
}

// The role goes while the disk hangs: who waits for memory that is there hears of it no sooner than who is there.
TEST_F(StandingVolume, ItsRoleGoes_WhoWaitsForMemoryIsCutOff) {
  auto& host = host_of(standing, {"ImmediateData=No", "MaxBurstLength=1048576"});
  auto& other = host_of(standing, {"ImmediateData=No"});
  for (std::uint32_t itt = 1; itt <= 8; ++itt) host.send(host.write(itt, 0, kMiB / 512));
  serve(host);
  ASSERT_EQ(standing.disk->waiting(), 8U);
  other.send(other.write(1, 0, kMiB / 512));
  ASSERT_FALSE(other.has());
  standing.disk->standby = true;
  standing.disk->change_service(scsi::ServiceChange::ceases);
  clock.advance(milliseconds(60));
  executor.run();
  EXPECT_TRUE(host.closed());
  EXPECT_TRUE(other.closed());
}

// Its sessions are lost, each with a read at the volume, and their hosts log in again, and give that up, too. Others may log in all the same.
TEST_F(StandingVolume, LoginsWaitForTheEndOfItsSessions_OthersLogIn) {
  scsi::Portal small{table, executor, clock, random, scsi::PortalOptions{.logins_max = 4}};
  const auto come = [&](const Unit& unit, std::uint8_t isid) -> Initiator& {
    initiators.push_back(std::make_unique<Initiator>(executor, small));
    Initiator& one = *initiators.back();
    one.isid[5] = std::byte{isid};
    one.target = unit.target->name();
    return one;
  };
  for (std::uint8_t i = 1; i <= 4; ++i) {
    auto& host = come(standing, i);
    ASSERT_EQ(Initiator::login_status(host.login()), 0);
    host.send(host.read(1, 0, 1));
    host.wire->hang_up();
    executor.run();
  }
  for (std::uint8_t i = 1; i <= 4; ++i) {
    auto& again = come(standing, i);
    again.send(again.login_header(Initiator::kOperationalToFull), text_of(again.identity()));
    EXPECT_FALSE(again.has());
    again.wire->hang_up();
  }
  clock.advance(milliseconds(60'000));
  executor.run();
  EXPECT_EQ(Initiator::login_status(come(healthy, 5).login()), 0);
  for (auto& initiator : initiators) initiator->wire->hang_up();
  executor.run();
}

}  // namespace
}  // namespace holdfast::test

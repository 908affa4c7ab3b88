// Hosts with much under way at a volume that stands still.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

using scsi::ServiceChange;

class MuchUnderWay : public IscsiTest {
 protected:
  MuchUnderWay() : IscsiTest(default_options(), 256 << 20) {}
  static Header pong(Initiator& initiator, const Pdu& ping) {
    EXPECT_EQ(ping.opcode(), Opcode::nop_in);
    return initiator.request(Opcode::nop_out, 0x80, kNoTag, true).set32(20, ping.header.u32(20));
  }
  // Up to where the end of the old session is waited for.
  Initiator& begin_login_again(const Initiator& old) {
    auto& again = connect();
    again.isid = old.isid;
    again.send(again.login_header(Initiator::kOperationalToFull), text_of(again.identity()));
    return again;
  }
  // A write of 1 MiB, all of whose data is sent as it is asked for.
  void write_1_mib(Initiator& initiator, std::uint32_t itt) {
    initiator.send(initiator.write(itt, 0, 2048));
    while (initiator.has()) {
      const Pdu r2t = initiator.take();
      ASSERT_EQ(r2t.opcode(), Opcode::r2t);
      const std::uint32_t offset = r2t.header.u32(40), bytes = r2t.header.u32(44);
      for (std::uint32_t at = 0, sn = 0; at < bytes; at += 256 << 10, ++sn)
        initiator.send(initiator.data_out(itt, r2t.header.u32(20), sn, offset + at, at + (256 << 10) >= bytes), std::string(256 << 10, 'x'));
    }
  }
};

// Of two copies the other one dies under a host with many writes of 1 MiB under way, in the end more than it may have memory for. They
// wait in the volume, for the other copy or for the lease. The primary asks the host for a word, and the host answers at once. That must be heard:
// otherwise it gives way, for ever, to somebody who is not there.
TEST_F(MuchUnderWay, HostWithManyLargeWritesUnderWay_AnswersAPing_IsHeard) {
  for (const unsigned writes : {33U, 80U}) {
    auto& initiator = connect_and_login({"ImmediateData=No", "InitialR2T=Yes", "MaxBurstLength=1048576"});
    disk->hold(true);
    for (std::uint32_t i = 0; i < writes; ++i) write_1_mib(initiator, 100 + i);
    const std::size_t waiting = disk->waiting();
    EXPECT_EQ(waiting, std::min<std::uint64_t>(writes, data_out_share(1) >> 20));
    const unsigned before = disk->heard;
    for (int round = 0; round < 10; ++round) {
      disk->change_service(ServiceChange::ask_initiators);
      executor.run();
      for (const Pdu& ping : initiator.take_all()) initiator.send(pong(initiator, ping));
      clock.advance(milliseconds(100));
      executor.run();
    }
    EXPECT_GT(disk->heard, before) << writes << " writes under way: what the host answers is not read";
    // The host gives up after 30 s: it aborts what is under way, and that is not read either.
    initiator.send(initiator.task_management(scsi::TaskFunction::abort_task, 7, 100));
    EXPECT_GT(disk->heard, before) << "nor what it says of its own accord";
    disk->hold(false);
    executor.run();
    initiator.wire->hang_up();
    executor.run();
    initiator.take_all();
  }
}

// Of two copies the other one dies, and the host with it (one rack, one fuse), with a single write under way. It waits in the volume for the
// lease. The session is given up after nop_timeout, and counts no longer: the primary would give way for it for ever. The host, when it is up
// again, speaks by its login, and is let in when its old session has ended.
TEST_F(MuchUnderWay, HostIsGoneWithAWriteAtTheVolume_ItsSessionCountsNoMore) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  ASSERT_EQ(disk->waiting(), 1U);
  for (int i = 0; i < 12; ++i) {
    clock.advance(milliseconds(5'000));
    executor.run();
  }
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(disk->left, 1U) << "a minute after the host is gone its session counts as one of an initiator";
  const unsigned heard = disk->heard;
  auto& again = begin_login_again(initiator);
  EXPECT_GT(disk->heard, heard);
  EXPECT_FALSE(again.has()) << "a write of the old session is under way";
  disk->hold(false);
  executor.run();
  EXPECT_TRUE(again.has()) << "the host is up again, and its login is not answered";
}

// The host has lost its connection without our noticing, and logs in again with a write at the volume: its old session is no lost one.
TEST_F(MuchUnderWay, HostLogsInAgainWithAWriteAtTheVolume_IsHeardAndNotLost) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  ASSERT_EQ(disk->waiting(), 1U);
  clock.advance(milliseconds(1'000));
  begin_login_again(initiator);
  EXPECT_EQ(disk->heard_at, clock.now());
  EXPECT_EQ(disk->left, 1U);
  EXPECT_EQ(disk->lost, 0U);
}

// A host logs in again, and is cut off a moment later: the end of what its old session had at the volume is no word of it.
TEST_F(MuchUnderWay, HostIsCutOffWhileItsLoginWaits_EndOfItsOldSessionIsNoWord) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.read(1, 0, 1));
  ASSERT_EQ(disk->waiting(), 1U);
  clock.advance(milliseconds(1'000));
  const BootNs last_word = clock.now();
  begin_login_again(initiator);
  clock.advance(milliseconds(9'000));
  disk->hold(false);
  executor.run();
  EXPECT_EQ(disk->heard_at, last_word);
}

// The same, but the host logs out: nobody is there any more, and nothing has to be waited for to know that.
TEST_F(MuchUnderWay, HostLogsOutWithAWriteAtTheVolume_ItsSessionCountsNoMoreAtOnce) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  ASSERT_EQ(disk->waiting(), 1U);
  initiator.send(initiator.request(Opcode::logout, 0x80, 2, true));
  EXPECT_EQ(disk->left, 1U);
  EXPECT_EQ(disk->lost, 0U);
  EXPECT_FALSE(initiator.has()) << "a write of the session is under way";
  disk->hold(false);
  executor.run();
  EXPECT_EQ(initiator.take().opcode(), Opcode::logout_response);
}

// A primary that hears no other copy asks for a word of its hosts. With much under way nothing was read from this one, which may have been cut
// off meanwhile: what has been lying in the socket since is no word, and the answer to a ping is as old as the ping.
TEST_F(MuchUnderWay, WhatLayInTheSocket_IsNoAnswerToTheQuestion) {
  auto& initiator = connect_and_login({"ImmediateData=No", "InitialR2T=Yes", "MaxBurstLength=1048576"});
  disk->hold(true);
  for (std::uint32_t i = 0; i < 33; ++i) write_1_mib(initiator, 100 + i);
  initiator.take_all();
  for (int i = 0; i < 2; ++i) clock.advance(milliseconds(5'000));
  executor.run();
  const BootNs pinged = clock.now();
  const auto early = initiator.take_all();
  ASSERT_FALSE(early.empty()) << "no ping";
  clock.advance(milliseconds(3'000));
  initiator.queue(pong(initiator, early.back()));
  for (std::uint32_t itt = 1; itt <= 4; ++itt) initiator.queue(initiator.test_unit_ready(itt));
  disk->change_service(ServiceChange::ask_initiators);
  executor.run();
  EXPECT_LE(disk->heard_at, pinged);
  EXPECT_TRUE(initiator.wire->inbound.empty()) << "what it says is not read";
  const BootNs asked = clock.now();
  const auto pings = initiator.take_all();
  ASSERT_FALSE(pings.empty());
  clock.advance(milliseconds(200));
  initiator.send(pong(initiator, pings.back()));
  EXPECT_EQ(disk->heard_at, asked);
}

// A host gives up what it has at the volume one by one, and more often than it has commands: what it answers is heard all the time, and
// each abort is answered when the volume goes on.
TEST_F(MuchUnderWay, AbortsWaitForTheVolume_AnswersToPingsAreHeard) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  for (std::uint32_t itt = 1; itt <= 100; ++itt) initiator.send(initiator.write(itt, 0, 1), std::string(512, 'x'));
  ASSERT_EQ(disk->waiting(), 100U);
  for (std::uint32_t itt = 1; itt <= 300; ++itt)
    initiator.send(initiator.task_management(scsi::TaskFunction::abort_task, 1000 + itt, 1 + itt % 100));
  std::size_t rejected = 0, answered = 0;
  for (int i = 0; i < 24; ++i) {
    disk->change_service(ServiceChange::ask_initiators);
    executor.run();
    for (const Pdu& pdu : initiator.take_all()) {
      if (pdu.opcode() == Opcode::nop_in) initiator.send(pong(initiator, pdu));
      else rejected += pdu.header.u8(2) == 255;
    }
    EXPECT_EQ(disk->heard_at, clock.now());
    clock.advance(milliseconds(5'000));
  }
  EXPECT_FALSE(initiator.closed()) << "it has always been there";
  disk->hold(false);
  executor.run();
  for (const Pdu& pdu : initiator.take_all()) answered += pdu.opcode() == Opcode::task_management_response && pdu.header.u8(2) == 0;
  EXPECT_EQ(rejected, 300 - scsi::Connection::kTaskFunctionsMax);
  EXPECT_EQ(answered, scsi::Connection::kTaskFunctionsMax);
}

// Nobody sent a ping with such a tag.
TEST_F(MuchUnderWay, AnswerToNoPing_IsNoWord) {
  auto& initiator = connect_and_login();
  const unsigned before = disk->heard;
  for (const std::uint32_t ttt : {0U, 1U, 7U, 0xfffffffeU}) {
    Header h = initiator.request(Opcode::nop_out, 0x80, kNoTag, true);
    initiator.send(h.set32(20, ttt));
  }
  EXPECT_EQ(disk->heard, before);
}

// What comes on top takes memory within bounds: writes that need a place at once find it in the share, or are told to come again.
TEST_F(MuchUnderWay, WritesThatBringTheirData_TakeMemoryWithinBounds) {
  auto& initiator = connect_and_login({"ImmediateData=Yes", "FirstBurstLength=262144", "MaxBurstLength=1048576"});
  disk->hold(true);
  for (std::uint32_t i = 0; i < 60; ++i) write_1_mib(initiator, 100 + i);
  ASSERT_EQ(disk->waiting(), 60U);
  const std::size_t fit = (data_out_share(1) - (60 << 20)) >> 18;
  for (std::uint32_t i = 0; i < 60; ++i) initiator.send(initiator.write(200 + i, 0, 512), std::string(256 << 10, 'y'));
  EXPECT_EQ(disk->waiting(), 60U + fit);
  EXPECT_EQ(pool.memory().size() - pool.free_bytes(), data_out_share(1));
  std::size_t full = 0;
  for (const Pdu& pdu : initiator.take_all()) full += pdu.opcode() == Opcode::scsi_response && pdu.status() == 0x28;
  EXPECT_EQ(full, 60U - fit);
  disk->hold(false);
  executor.run();
  std::size_t good = 0;
  for (const Pdu& pdu : initiator.take_all()) good += pdu.opcode() == Opcode::scsi_response && pdu.status() == 0;
  EXPECT_EQ(good, 60U + fit);
}

// A host that stays silent while its writes wait is looked after like any other.
TEST_F(MuchUnderWay, HostThatIsGone_LosesItsSession_AndCountsNoLonger) {
  auto& initiator = connect_and_login({"ImmediateData=No", "InitialR2T=Yes", "MaxBurstLength=1048576"});
  disk->hold(true);
  for (std::uint32_t i = 0; i < 33; ++i) write_1_mib(initiator, 100 + i);
  for (int i = 0; i < 6; ++i) {
    clock.advance(milliseconds(5'000));
    executor.run();
  }
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(disk->left, 1U) << "its commands are still at the volume";
  disk->hold(false);
  executor.run();
}

// A volume is deleted, or its node stops, while a primary with fewer than min_in_sync copies holds a write: its sessions end before the
// write does, and its group can be told that it is over.
TEST_F(MuchUnderWay, WriteWaitsForCopies_SessionsEndWithoutIt) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  ASSERT_EQ(disk->waiting(), 1U);
  bool ended = false, joined = false;
  Scope scope(executor);
  scope.spawn([](scsi::Target* at, bool* one, bool* both) -> Task<void> {
    co_await at->end_sessions(milliseconds(3'000));
    *one = true;
    co_await at->join();
    *both = true;
  }(target.get(), &ended, &joined));
  clock.advance(milliseconds(4'000));
  executor.run();
  EXPECT_TRUE(initiator.closed());
  EXPECT_TRUE(ended);
  EXPECT_FALSE(joined);
  disk->hold(false);
  executor.run();
  EXPECT_TRUE(joined);
}

}  // namespace
}  // namespace holdfast::test

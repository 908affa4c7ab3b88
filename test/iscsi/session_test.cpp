// Sessions: how they begin, replace each other, stay alive and end.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

class Session : public IscsiTest {};

TEST_F(Session, NormalLogin_MovesToTheVolumesExecutor) {
  auto& initiator = connect_and_login();
  EXPECT_EQ(initiator.wire->moves, 1U);
  EXPECT_EQ(target->session_count(), 1U);
  EXPECT_EQ(disk->nexuses[0]->ports.initiator, initiator.name);
  EXPECT_EQ(disk->nexuses[0]->ports.target_port, 3);
}

// The same initiator port logs in again, because it has lost its connection and the target has not noticed yet: what the
// old session still does ends before the new one begins (RFC 7143 §6.3.5).
TEST_F(Session, Reinstatement_WithATaskAtTheVolume_WaitsForItsEnd) {
  auto& old = connect_and_login();
  disk->hold(true);
  old.send(old.write(1, 0, 1), std::string(512, 'x'));
  auto& fresh = connect();
  fresh.isid = old.isid;
  fresh.send(fresh.login_header(Initiator::kOperationalToFull), text_of(fresh.identity()));
  EXPECT_TRUE(old.closed());
  EXPECT_FALSE(fresh.has());
  disk->hold(false);
  executor.run();
  EXPECT_EQ(Initiator::login_status(fresh.take()), 0);
  EXPECT_FALSE(old.has());
  EXPECT_EQ(disk->disk()[0], '\0');
  EXPECT_EQ(target->session_count(), 1U);
  EXPECT_EQ(disk->events, (std::vector<std::string>{"attach", "detach", "attach"}));
}

TEST_F(Session, ThreeLoginsOfOnePortAtOnce_LeaveOneSession) {
  auto& old = connect_and_login();
  disk->hold(true);
  old.send(old.write(1, 0, 1), std::string(512, 'x'));
  Initiator* fresh[3];
  for (auto& one : fresh) {
    one = &connect();
    one->isid = old.isid;
    one->send(one->login_header(Initiator::kOperationalToFull), text_of(one->identity()));
  }
  disk->hold(false);
  executor.run();
  EXPECT_EQ(target->session_count(), 1U);
  EXPECT_EQ(disk->nexuses.size(), 1U);
}

// A volume that hangs, and a host that gives up each login and tries again: the slots of logins are everybody's, and one
// login is enough to wait for the old session's end.
TEST_F(Session, LoginsThatWaitForAnOldSession_DoNotUseUpTheSlots) {
  auto& old = connect_and_login();
  disk->hold(true);
  old.send(old.write(1, 0, 1), std::string(512, 'x'));
  Initiator* again = nullptr;
  for (int i = 0; i < 130; ++i) {
    Initiator* before = std::exchange(again, &connect());
    again->isid = old.isid;
    again->send(again->login_header(Initiator::kOperationalToFull), text_of(again->identity()));
    ASSERT_FALSE(again->closed());
    if (before) {
      EXPECT_EQ(Initiator::login_status(before->take()), 0x0301);  // Its successor waits in its place.
    }
  }
  auto& other = connect();
  other.isid[5] = std::byte{77};
  EXPECT_EQ(Initiator::login_status(other.login()), 0);
  disk->hold(false);
  executor.run();
  EXPECT_EQ(Initiator::login_status(again->take()), 0);
  EXPECT_EQ(target->session_count(), 2U);
}

TEST_F(Session, OtherPortOfTheSameInitiator_IsAnotherSession) {
  connect_and_login();
  connect_and_login();
  EXPECT_EQ(target->session_count(), 2U);
}

TEST_F(Session, ConnectionReinstatement_SameTsihAndCid_ReplacesTheConnection) {
  auto& old = connect_and_login();
  auto& fresh = connect();
  fresh.isid = old.isid;
  fresh.tsih = old.tsih;
  EXPECT_EQ(Initiator::login_status(fresh.login()), 0);
  EXPECT_EQ(fresh.tsih, old.tsih);
  EXPECT_TRUE(old.closed());
  EXPECT_EQ(target->session_count(), 1U);
}

TEST_F(Session, SecondConnection_ToASession_IsTooMany) {
  auto& old = connect_and_login();
  auto& second = connect();
  second.isid = old.isid;
  second.tsih = old.tsih;
  second.cid = 1;
  EXPECT_EQ(Initiator::login_status(second.login()), 0x0206);
  EXPECT_TRUE(second.closed());
  EXPECT_FALSE(old.closed());
}

TEST_F(Session, Login_ToASessionThatIsNot_SaysSo) {
  auto& old = connect_and_login();
  auto& stranger = connect();
  stranger.isid = old.isid;
  stranger.tsih = static_cast<std::uint16_t>(old.tsih + 1);
  EXPECT_EQ(Initiator::login_status(stranger.login()), 0x020a);
  EXPECT_FALSE(old.closed());
}

// Whoever cannot prove who he is cannot throw out a session either.
TEST_F(Session, Reinstatement_WithoutAuthentication_LeavesTheOldSessionAlone) {
  auto& old = connect_and_login();
  auto auth = std::make_shared<scsi::TargetAuth>();
  auth->chap = scsi::ChapCredentials{"host", "a secret of enough bits"};
  publish(auth);
  auto& thief = connect();
  thief.isid = old.isid;
  EXPECT_EQ(Initiator::login_status(thief.login()), 0x0201);
  EXPECT_FALSE(old.closed());
  EXPECT_EQ(target->session_count(), 1U);
}

TEST_F(Session, MoreSessionsThanAllowed_AreOutOfResources) {
  for (int i = 0; i < 8; ++i) connect_and_login();
  auto& one_too_many = connect();
  one_too_many.isid[5] = std::byte{99};
  EXPECT_EQ(Initiator::login_status(one_too_many.login()), 0x0302);
  EXPECT_EQ(target->session_count(), 8U);
}

TEST_F(Session, Login_ThatStalls_IsClosedInTime) {
  auto& silent = connect();
  auto& halfway = connect();
  halfway.login_step(0x00, halfway.identity());
  clock.advance(milliseconds(14'000));
  EXPECT_FALSE(silent.closed() || halfway.closed());
  clock.advance(milliseconds(2'000));
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(halfway.closed());
}

TEST_F(Session, MoreLoginsThanAllowed_AreClosedUnheard) {
  for (int i = 0; i < 128; ++i) {
    auto& one = connect();
    one.login_step(0x00, one.identity());  // Begins to log in, and stops there.
  }
  auto& one_too_many = connect();
  executor.run();
  EXPECT_TRUE(one_too_many.closed());
  EXPECT_EQ(portal.refused_for_load().get(), 1U);
  clock.advance(milliseconds(16'000));  // They time out, and there is room again.
  connect_and_login();
}

// Connections that say nothing are cheap to make: they cannot keep out whoever does.
TEST_F(Session, SilentConnections_MakeWayForNewcomersOldestFirst) {
  for (int i = 0; i < 128; ++i) connect();
  executor.run();
  connect_and_login();
  EXPECT_TRUE(initiators[0]->closed());
  EXPECT_FALSE(initiators[1]->closed());
  EXPECT_EQ(portal.refused_for_load().get(), 1U);
  connect_and_login();  // In the place of the first newcomer: its login is over.
  EXPECT_FALSE(initiators[1]->closed());
}

TEST_F(Session, Logout_WithATaskAtTheVolume_IsAnsweredAfterItsEnd) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  initiator.send(initiator.request(Opcode::logout, 0x80, 2, true));
  EXPECT_FALSE(initiator.has());
  disk->hold(false);
  executor.run();
  const Pdu reply = initiator.take();
  EXPECT_EQ(reply.opcode(), Opcode::logout_response);
  EXPECT_EQ(reply.header.u8(2), 0);
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(target->session_count(), 0U);
  EXPECT_EQ(disk->disk()[0], '\0');
}

TEST_F(Session, Logout_OfAConnection_KnowsItsOwnOnly) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.request(Opcode::logout, 0x81, 2, true).set16(20, 5));
  EXPECT_EQ(initiator.take().header.u8(2), 1);
  initiator.send(initiator.request(Opcode::logout, 0x82, 3, true).set16(20, 0));
  EXPECT_EQ(initiator.take().header.u8(2), 2);
  initiator.send(initiator.request(Opcode::logout, 0x81, 4, true).set16(20, 0));
  EXPECT_EQ(initiator.take().header.u8(2), 0);
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Session, LostConnection_DetachesAfterItsTasksHaveEnded) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.read(1, 0, 1));
  initiator.wire->hang_up();
  executor.run();
  EXPECT_EQ(disk->nexuses.size(), 1U);
  disk->hold(false);
  executor.run();
  EXPECT_TRUE(disk->nexuses.empty());
}

TEST_F(Session, Ping_IsEchoed) {
  auto& initiator = connect_and_login({"MaxRecvDataSegmentLength=512"});
  initiator.send(initiator.request(Opcode::nop_out, 0x80, 5), "nopping");
  Pdu echo = initiator.take();
  EXPECT_EQ(echo.opcode(), Opcode::nop_in);
  EXPECT_EQ(echo.header.itt(), 5U);
  EXPECT_EQ(echo.header.u32(20), kNoTag);
  EXPECT_EQ(echo.data, "nopping");
  initiator.send(initiator.request(Opcode::nop_out, 0x80, 6, true), std::string(5000, 'x'));
  EXPECT_EQ(initiator.take().data, std::string(512, 'x'));  // No more than it takes.
  initiator.send(initiator.request(Opcode::nop_out, 0x80, kNoTag, true), "x");
  EXPECT_FALSE(initiator.has());  // The answer to a ping of ours.
}

TEST_F(Session, QuietInitiator_IsPingedAndStays_WhenItAnswers) {
  auto& initiator = connect_and_login();
  clock.advance(milliseconds(60));
  for (int i = 0; i < 10; ++i) {
    for (int waits = 0; !initiator.has() && waits < 4; ++waits) clock.advance(milliseconds(5'000));
    const Pdu ping = initiator.take();
    EXPECT_EQ(ping.opcode(), Opcode::nop_in);
    EXPECT_EQ(ping.header.itt(), kNoTag);
    EXPECT_NE(ping.header.u32(20), kNoTag);
    EXPECT_EQ(ping.header.u32(24), 2U);  // StatSN is shown, not used up.
    initiator.send(initiator.request(Opcode::nop_out, 0x80, kNoTag, true).set32(20, ping.header.u32(20)));
  }
  EXPECT_FALSE(initiator.closed());
}

TEST_F(Session, DeadInitiator_IsClosed) {
  auto& initiator = connect_and_login();
  clock.advance(milliseconds(30'000));
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(target->session_count(), 0U);
}

TEST_F(Session, DropAll_TellsEveryInitiatorAndTakesNewOnes) {
  auto& first = connect_and_login();
  auto& second = connect_and_login();
  target->drop_all_sessions(scsi::DropReason::out_of_service);
  executor.run();
  for (Initiator* initiator : {&first, &second}) {
    const Pdu message = initiator->take();
    EXPECT_EQ(message.opcode(), Opcode::async_message);
    EXPECT_EQ(message.header.u8(36), 3);
    EXPECT_TRUE(initiator->closed());
  }
  connect_and_login();
  EXPECT_EQ(target->session_count(), 1U);
}

// The volume's store has failed, with a write under way.
//   1. Every session ends, and the write with it: nobody may repeat it here later (ghost writes).
//   2. Whoever comes back is let in once and stays; what the volume cannot do it answers command by command.
TEST_F(Session, VolumeStopsServing_DropsAllSessionsOnceAndTakesNewOnes) {
  auto& first = connect_and_login();
  auto& second = connect_and_login();
  disk->hold(true);
  first.send(first.write(1, 0, 1), std::string(512, 'x'));
  disk->change_service(scsi::ServiceChange::stopped);
  executor.run();
  for (Initiator* initiator : {&first, &second}) {
    EXPECT_EQ(initiator->take().opcode(), Opcode::async_message);
    EXPECT_TRUE(initiator->closed());
  }
  disk->hold(false);
  executor.run();
  EXPECT_EQ(disk->disk()[0], '\0');
  auto& back = connect_and_login();
  back.send(back.test_unit_ready(1));
  EXPECT_EQ(back.take().opcode(), Opcode::scsi_response);
  EXPECT_FALSE(back.closed());
}

TEST_F(Session, VolumeDeleted_DropsAllSessionsAndRefusesNewOnes) {
  auto& initiator = connect_and_login();
  disk->change_service(scsi::ServiceChange::deleted);
  executor.run();
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(Initiator::login_status(connect().login()), 0x0301);
}

TEST_F(Session, DropAll_WhenALogInIsBeingAnswered_DropsItToo) {
  auto& initiator = connect();
  initiator.wire->allow_writes(false);
  initiator.send(initiator.login_header(Initiator::kOperationalToFull), text_of(initiator.identity()));
  target->drop_all_sessions(scsi::DropReason::out_of_service);
  initiator.wire->allow_writes(true);
  executor.run();
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(target->session_count(), 0U);
}

Task<void> stop(scsi::Target* target, DurationNs patience, bool* done) {
  co_await target->stop(patience);
  *done = true;
}

TEST_F(Session, Stop_AsksForLogoutThenDropsAndRefusesNewcomers) {
  auto& polite = connect_and_login();
  auto& deaf = connect_and_login();
  bool done = false;
  Scope scope(executor);
  scope.spawn(stop(target.get(), milliseconds(3'000), &done));
  executor.run();
  EXPECT_EQ(polite.take().header.u8(36), 1);
  EXPECT_EQ(deaf.take().header.u8(36), 1);
  polite.send(polite.request(Opcode::logout, 0x80, 2, true));
  EXPECT_EQ(polite.take().opcode(), Opcode::logout_response);
  EXPECT_EQ(Initiator::login_status(connect().login()), 0x0301);
  EXPECT_FALSE(done);
  clock.advance(milliseconds(4'000));
  EXPECT_TRUE(done);
  EXPECT_TRUE(deaf.closed());
  EXPECT_EQ(target->session_count(), 0U);
}

TEST_F(Session, TargetGoneDuringLogin_ClosesTheStream) {
  auto& initiator = connect();
  target.reset();
  disk = nullptr;
  initiator.send(initiator.login_header(Initiator::kOperationalToFull), text_of(initiator.identity()));
  EXPECT_TRUE(initiator.closed());
  // For the fixture's closing checks.
  auto server = std::make_unique<FakeDeviceServer>(executor, clock, pool);
  disk = server.get();
  target = std::make_shared<scsi::Target>(default_options(), std::move(server), table, executor, clock, pool, random);
}

// A crash in simulation: the target is destroyed where it stands, commands, data and all.
TEST_F(Session, Target_DestroyedInMidstOfCommands_UnwindsCleanly) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  initiator.send(initiator.write(1, 0, 8));  // Waits for its data.
  disk->hold(true);
  initiator.send(initiator.read(2, 0, 8));   // Is at the volume.
  initiator.wire->allow_writes(false);
  initiator.send(initiator.request(Opcode::nop_out, 0x80, 3, true), "ping");
  executor.drop_ready();
  disk = nullptr;
  target.reset();
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(pool.free_bytes(), kPoolBytes);
  // For the fixture's closing checks.
  auto server = std::make_unique<FakeDeviceServer>(executor, clock, pool);
  disk = server.get();
  target = std::make_shared<scsi::Target>(default_options(), std::move(server), table, executor, clock, pool, random);
}

TEST_F(Session, CommandThatAsksForIt_DropsTheConnectionWithoutAStatus) {
  auto& initiator = connect_and_login();
  disk->close_connections = true;
  initiator.send(initiator.test_unit_ready(1));
  EXPECT_FALSE(initiator.has());
  EXPECT_TRUE(initiator.closed());
}

class NeverAsked : public IscsiTest {
 protected:
  NeverAsked() : IscsiTest([] {
    scsi::TargetOptions options = default_options();
    options.connection.nop_interval = DurationNs{};
    return options;
  }()) {}
};

TEST_F(NeverAsked, SilentInitiator_KeepsItsSession) {
  auto& initiator = connect_and_login();
  clock.advance(milliseconds(600'000));
  executor.run();
  EXPECT_FALSE(initiator.closed());
  EXPECT_FALSE(initiator.has());
  initiator.send(initiator.read(1, 0, 1));
  EXPECT_EQ(initiator.take().status(), 0);
}

}  // namespace
}  // namespace holdfast::test

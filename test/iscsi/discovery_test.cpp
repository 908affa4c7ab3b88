// Discovery: what SendTargets says, to whom, in how many pieces, and what else a discovery session may do.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

class Discovery : public IscsiTest {
 protected:
  Initiator& discover(std::vector<std::string> keys = {}) {
    Initiator& initiator = connect();
    initiator.discovery = true;
    EXPECT_EQ(Initiator::login_status(initiator.login(std::move(keys))), 0);
    return initiator;
  }
  static Pdu send_targets(Initiator& initiator, const std::string& which) {
    initiator.send(initiator.request(Opcode::text, 0x80, 3), text_of({"SendTargets=" + which}));
    return initiator.take();
  }
  void add_target(const std::string& volume, std::shared_ptr<const scsi::TargetAuth> auth = nullptr) {
    table.put({.name = std::string(scsi::kTargetNamePrefix) + volume, .executor = &executor, .target = target,
               .auth = std::move(auth), .portal_group = 3, .portals = {{"192.0.2.9:3260", 3}}});
  }
};

TEST_F(Discovery, SendTargetsAll_ListsEveryTargetWithEveryPortal) {
  add_target("wal");
  auto& initiator = discover();
  const Pdu reply = send_targets(initiator, "All");
  EXPECT_EQ(reply.opcode(), Opcode::text_response);
  EXPECT_TRUE(reply.header.final());
  EXPECT_EQ(reply.data, text_of({"TargetName=iqn.2026-11.io.holdfast:pg", "TargetAddress=192.0.2.1:3260,3",
                                 "TargetAddress=192.0.2.2:3260,4", "TargetName=iqn.2026-11.io.holdfast:wal",
                                 "TargetAddress=192.0.2.9:3260,3"}));
  EXPECT_EQ(initiator.wire->moves, 0U);
}

TEST_F(Discovery, SendTargetsByName_ListsThatOneOnly) {
  add_target("wal");
  auto& initiator = discover();
  EXPECT_EQ(value_in(send_targets(initiator, "iqn.2026-11.io.holdfast:wal").data, "TargetName"),
            "iqn.2026-11.io.holdfast:wal");
  EXPECT_EQ(send_targets(initiator, "iqn.unknown").data, "");
}

TEST_F(Discovery, TargetsThatWouldNotAdmitTheInitiator_AreNotShown) {
  auto auth = std::make_shared<scsi::TargetAuth>();
  auth->initiators = {"iqn.somebody.else"};
  add_target("secret", auth);
  auto& initiator = discover();
  EXPECT_EQ(send_targets(initiator, "All").data.find("secret"), std::string::npos);
  EXPECT_EQ(send_targets(initiator, "iqn.2026-11.io.holdfast:secret").data, "");
}

TEST_F(Discovery, LongAnswer_ComesInPiecesThatAreAskedFor) {
  for (int i = 0; i < 100; ++i) add_target("volume-" + std::to_string(i));
  auto& initiator = discover({"MaxRecvDataSegmentLength=512"});
  Pdu piece = send_targets(initiator, "All");
  std::string all;
  while (!piece.header.final()) {
    EXPECT_EQ(piece.header.flags(), 0x40);
    EXPECT_EQ(piece.data.size(), 512U);
    all += piece.data;
    initiator.send(initiator.request(Opcode::text, 0x80, 3).set32(20, piece.header.u32(20)));
    piece = initiator.take();
  }
  EXPECT_EQ(piece.header.u32(20), kNoTag);
  all += piece.data;
  for (int i = 0; i < 100; ++i)
    EXPECT_NE(all.find("holdfast:volume-" + std::to_string(i) + std::string(1, '\0')), std::string::npos);
}

TEST_F(Discovery, Login_HasItsOwnAuthentication) {
  auto auth = std::make_shared<scsi::TargetAuth>();
  auth->chap = scsi::ChapCredentials{"host", "a secret of enough bits"};
  table.set_discovery_auth(auth);
  auto& stranger = connect();
  stranger.discovery = true;
  EXPECT_EQ(Initiator::login_status(stranger.login()), 0x0201);
  connect_and_login();  // The target itself is open.
}

TEST_F(Discovery, PingAndLogout_AreAnswered) {
  auto& initiator = discover();
  initiator.send(initiator.request(Opcode::nop_out, 0x80, 5, true), "ping");
  EXPECT_EQ(initiator.take().data, "ping");
  initiator.send(initiator.request(Opcode::logout, 0x80, 6, true));
  EXPECT_EQ(initiator.take().opcode(), Opcode::logout_response);
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Discovery, ScsiCommand_ClosesTheSession) {
  auto& initiator = discover();
  initiator.send(initiator.read(1, 0, 1));
  EXPECT_FALSE(initiator.has());
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Discovery, Session_ThatLingers_IsClosed) {
  auto& initiator = discover();
  clock.advance(milliseconds(61'000));
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Discovery, SendTargets_InANormalSession_KnowsItsOwnTargetOnly) {
  add_target("wal");
  auto& initiator = connect_and_login();
  for (const char* which : {"All", "", "iqn.2026-11.io.holdfast:pg"}) {
    const std::string answer = send_targets(initiator, which).data;
    EXPECT_EQ(value_in(answer, "TargetName"), "iqn.2026-11.io.holdfast:pg") << which;
    EXPECT_EQ(answer.find("wal"), std::string::npos);
  }
  EXPECT_EQ(value_in(send_targets(initiator, "iqn.2026-11.io.holdfast:wal").data, "SendTargets"), "Reject");
  EXPECT_EQ(value_in(send_targets(initiator, "Alle").data, "SendTargets"), "Reject");
  initiator.send(initiator.request(Opcode::text, 0x80, 3), text_of({"SendTargetsPlease=All", "MaxBurstLength=512"}));
  const std::string answer = initiator.take().data;
  EXPECT_EQ(value_in(answer, "SendTargetsPlease"), "NotUnderstood");
  EXPECT_EQ(value_in(answer, "MaxBurstLength"), "Reject");
}

// The initiator has more to say: an answer that is final before the request is would be a protocol error (§11.11.1).
TEST_F(Discovery, TextRequestThatIsNotFinal_IsAnsweredWhenItIs) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.request(Opcode::text, 0x00, 1, true), text_of({"SendTargets=All"}));
  const Pdu go_on = initiator.take();
  EXPECT_EQ(go_on.opcode(), Opcode::text_response);
  EXPECT_FALSE(go_on.header.final());
  ASSERT_NE(go_on.header.u32(20), kNoTag);
  initiator.send(initiator.request(Opcode::text, 0x80, 1, true).set32(20, go_on.header.u32(20)));
  const Pdu answer = initiator.take();
  EXPECT_TRUE(answer.header.final());
  EXPECT_EQ(value_in(answer.data, "TargetName"), "iqn.2026-11.io.holdfast:pg");
}

// The same when the initiator asks for the last piece of a long answer without its F bit.
TEST_F(Discovery, LastPieceAskedForWithoutF_IsNotFinalUntilTheInitiatorIs) {
  for (int i = 0; i < 10; ++i) add_target("volume-" + std::to_string(i));
  auto& initiator = discover({"MaxRecvDataSegmentLength=512"});
  Pdu piece = send_targets(initiator, "All");
  for (int i = 0; i < 10 && (piece.header.flags() & 0x40) != 0; ++i) {
    initiator.send(initiator.request(Opcode::text, 0x00, 3).set32(20, piece.header.u32(20)));
    piece = initiator.take();
    EXPECT_FALSE(piece.header.final());
  }
  initiator.send(initiator.request(Opcode::text, 0x80, 3).set32(20, piece.header.u32(20)));
  piece = initiator.take();
  EXPECT_TRUE(piece.header.final());
  EXPECT_EQ(piece.data, "");
}

}  // namespace
}  // namespace holdfast::test

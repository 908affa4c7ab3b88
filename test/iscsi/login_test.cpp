// The login machine as tables: a request in, a step and an answer out. No stream, no target.
#include "scsi/login.h"

#include <gtest/gtest.h>

#include "test/iscsi/initiator.h"

namespace holdfast::test {
namespace {

using scsi::LoginMachine;
using scsi::LoginStatus;
using Step = LoginMachine::Step;

constexpr std::uint8_t kSecurity = 0x00;
constexpr std::uint8_t kSecurityToOperational = 0x81;
constexpr std::uint8_t kSecurityToFull = 0x83;
constexpr std::uint8_t kOperational = 0x04;
constexpr std::uint8_t kOperationalToFull = 0x87;
constexpr std::uint8_t kContinue = 0x40;

const std::vector<std::string> kIdentity{"InitiatorName=iqn.host", "TargetName=iqn.target"};

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Header request(std::uint8_t flags) {
  Header h;
  h.set8(0, 0x43).set8(1, flags).set64(8, 0x8001020300010000ULL).set32(16, 5).set32(24, 100);
  return h;
}

class Machine {
 public:
  Step send(std::uint8_t flags, const std::vector<std::string>& keys) { return send(request(flags), text_of(keys)); }
  Step send(const Header& header, const std::string& text) {
    step = machine.on_request(header, text, random);
    if (step == Step::need_target) step = machine.on_target(facts, random);
    return step;
  }
  std::uint16_t status() const { return machine.reply_header().u16(36); }
  std::uint8_t flags() const { return machine.reply_header().flags(); }
  std::string answer(const std::string& key) const { return value_in(machine.reply_text(), key); }

  LoginMachine machine;
  CountingRandom random;
  std::optional<scsi::TargetFacts> facts = scsi::TargetFacts{nullptr, 3};
  Step step = Step::reply;
};

std::shared_ptr<scsi::TargetAuth> chap_only() {
  auto auth = std::make_shared<scsi::TargetAuth>();
  auth->chap = scsi::ChapCredentials{"host", "a secret of enough bits"};
  return auth;
}

// Both shapes of stage skipping, and the long way round: each stage costs one round trip.
TEST(Login, StraightToOperational_NothingRequired_CompletesInOneRoundTrip) {
  Machine m;
  EXPECT_EQ(m.send(kOperationalToFull, kIdentity + std::vector<std::string>{"HeaderDigest=None"}), Step::need_session);
  EXPECT_EQ(m.machine.on_session(LoginStatus::success, 9), Step::complete);
  EXPECT_EQ(m.status(), 0);
  EXPECT_EQ(m.flags(), kOperationalToFull);
  EXPECT_EQ(m.machine.reply_header().u16(14), 9);
  EXPECT_EQ(m.answer("TargetPortalGroupTag"), "3");
  EXPECT_EQ(m.answer("MaxRecvDataSegmentLength"), "262144");
}

TEST(Login, SecurityToFullFeature_NothingRequired_Completes) {
  Machine m;
  EXPECT_EQ(m.send(kSecurityToFull, kIdentity + std::vector<std::string>{"AuthMethod=None"}), Step::need_session);
  EXPECT_EQ(m.machine.on_session(LoginStatus::success, 1), Step::complete);
  EXPECT_EQ(m.answer("AuthMethod"), "None");
}

TEST(Login, BothStages_NothingRequired_TakesTwoRoundTrips) {
  Machine m;
  EXPECT_EQ(m.send(kSecurityToOperational, kIdentity + std::vector<std::string>{"AuthMethod=CHAP,None"}), Step::reply);
  EXPECT_EQ(m.flags(), kSecurityToOperational);
  EXPECT_EQ(m.send(kOperationalToFull, {"ErrorRecoveryLevel=2"}), Step::need_session);
  EXPECT_EQ(m.machine.on_session(LoginStatus::success, 1), Step::complete);
  EXPECT_EQ(m.answer("ErrorRecoveryLevel"), "0");
  EXPECT_EQ(m.answer("TargetPortalGroupTag"), "(absent)");  // Said in the first answer.
}

struct HeaderCase {
  const char* what;
  std::uint8_t flags;
  std::uint16_t status;
};

TEST(Login, FirstRequest_WithImpossibleFlags_IsRefused) {
  for (const auto& [what, flags, status] : {
           HeaderCase{"T and C together", kOperationalToFull | kContinue, 0x0200},
           HeaderCase{"stage 2", 0x08, 0x0200},
           HeaderCase{"stage 3", 0x0c, 0x0200},
           HeaderCase{"next stage 2", 0x82, 0x0200},
           HeaderCase{"next stage is the present one", 0x80, 0x0200},
           HeaderCase{"next stage lies behind", 0x84, 0x0200},
       }) {
    Machine m;
    EXPECT_EQ(m.send(flags, kIdentity), Step::refused) << what;
    EXPECT_EQ(m.status(), status) << what;
  }
}

struct KeyCase {
  const char* what;
  std::vector<std::string> keys;
  std::uint16_t status;
};

TEST(Login, FirstRequest_WithoutProperIdentity_IsRefused) {
  for (const auto& [what, keys, status] : std::vector<KeyCase>{
           {"no initiator", {"TargetName=iqn.target"}, 0x0207},
           {"no target", {"InitiatorName=iqn.host"}, 0x0207},
           {"two initiators", {"InitiatorName=iqn.a", "InitiatorName=iqn.b", "TargetName=iqn.target"}, 0x0200},
           {"two targets", {"InitiatorName=iqn.a", "TargetName=iqn.target", "TargetName=iqn.b"}, 0x0200},
           {"empty initiator", {"InitiatorName=", "TargetName=iqn.target"}, 0x0200},
           {"initiator with a control character", {"InitiatorName=iqn.\n", "TargetName=iqn.target"}, 0x0200},
           {"initiator too long", {"InitiatorName=" + std::string(224, 'a'), "TargetName=iqn.target"}, 0x0200},
           {"unknown session type", {"InitiatorName=iqn.a", "SessionType=Odd", "TargetName=iqn.target"}, 0x0209},
           {"no equals sign", {"InitiatorName"}, 0x0200},
           {"no key", {"=value"}, 0x0200},
           {"key too long", {std::string(64, 'k') + "=v"}, 0x0200},
           {"value too long", {"InitiatorName=" + std::string(8193, 'v')}, 0x0200},
       }) {
    Machine m;
    EXPECT_EQ(m.send(kOperationalToFull, keys), Step::refused) << what;
    EXPECT_EQ(m.status(), status) << what;
  }
}

TEST(Login, Target_Unknown_IsNotFound) {
  Machine m;
  m.facts.reset();
  EXPECT_EQ(m.send(kOperationalToFull, kIdentity), Step::refused);
  EXPECT_EQ(m.status(), 0x0203);
}

TEST(Login, Initiator_NotOnTheAllowList_IsForbidden) {
  auto auth = std::make_shared<scsi::TargetAuth>();
  auth->initiators = {"iqn.other"};
  Machine m;
  m.facts->auth = auth;
  EXPECT_EQ(m.send(kOperationalToFull, kIdentity), Step::refused);
  EXPECT_EQ(m.status(), 0x0202);
}

TEST(Login, Initiator_OnTheAllowListInOtherCase_IsAdmitted) {
  auto auth = std::make_shared<scsi::TargetAuth>();
  auth->initiators = {"iqn.host"};
  Machine m;
  m.facts->auth = auth;
  EXPECT_EQ(m.send(kOperationalToFull, {"InitiatorName=IQN.Host", "TargetName=iqn.target"}), Step::need_session);
}

TEST(Login, VersionMinimumAboveOurs_IsUnsupported) {
  Machine m;
  EXPECT_EQ(m.send(request(kOperationalToFull).set8(2, 1).set8(3, 1), text_of(kIdentity)), Step::refused);
  EXPECT_EQ(m.status(), 0x0205);
}

TEST(Login, OtherPduDuringLogin_IsRefused) {
  Machine m;
  EXPECT_EQ(m.send(request(kOperationalToFull).set8(0, 0x01), text_of(kIdentity)), Step::refused);
  EXPECT_EQ(m.status(), 0x020b);
}

TEST(Login, LaterRequest_OfAnotherIdentity_IsRefused) {
  const auto first = kIdentity;
  for (const auto& change : std::vector<std::pair<const char*, Header>>{
           {"task tag", request(kOperational).set32(16, 6)},
           {"isid", request(kOperational).set8(8, 0x40)},
           {"tsih", request(kOperational).set16(14, 1)},
           {"cid", request(kOperational).set16(20, 1)},
           {"stage back", request(kSecurity)},
       }) {
    Machine m;
    ASSERT_EQ(m.send(kOperational, first), Step::reply);
    EXPECT_EQ(m.send(change.second, ""), Step::refused) << change.first;
    EXPECT_EQ(m.status(), 0x0200) << change.first;
  }
}

TEST(Login, TextOverSeveralPdus_IsGluedTogether) {
  Machine m;
  EXPECT_EQ(m.send(request(kOperational | kContinue), "InitiatorName=iqn.ho"), Step::reply);
  EXPECT_EQ(m.flags(), kOperational);
  EXPECT_TRUE(m.machine.reply_text().empty());
  EXPECT_EQ(m.send(request(kOperational | kContinue), std::string("st\0TargetName=iqn.tar", 21)), Step::reply);
  EXPECT_EQ(m.send(request(kOperationalToFull), std::string("get\0", 4)), Step::need_session);
  EXPECT_EQ(m.machine.identity().initiator, "iqn.host");
  EXPECT_EQ(m.machine.identity().target, "iqn.target");
}

TEST(Login, EndlessText_IsRefusedAtTheBound) {
  Machine m;
  const std::string piece(8192, 'x');
  Step step = Step::reply;
  int pdus = 0;
  for (; step == Step::reply && pdus < 100; ++pdus) step = m.send(request(kOperational | kContinue), piece);
  EXPECT_EQ(step, Step::refused);
  EXPECT_LE(pdus, 9);
}

TEST(Login, EndlessConversation_IsRefusedAtTheBound) {
  Machine m;
  ASSERT_EQ(m.send(kOperational, kIdentity), Step::reply);
  Step step = Step::reply;
  int pdus = 0;
  for (; step == Step::reply && pdus < 1000; ++pdus) step = m.send(kOperational, {});
  EXPECT_EQ(step, Step::refused);
  EXPECT_LE(pdus, 64);
}

TEST(Login, ManyUnknownKeys_AnswerLongerThanASegment_IsRefused) {
  std::vector<std::string> keys = kIdentity;
  for (int i = 0; i < 250; ++i) keys.push_back("X-" + std::string(40, 'a') + std::to_string(i) + "=1");
  Machine m;
  EXPECT_EQ(m.send(kOperational, keys), Step::refused);
  EXPECT_EQ(m.status(), 0x0200);
}

TEST(Login, IdentityKey_AfterTheFirstAnswer_IsRefused) {
  Machine m;
  ASSERT_EQ(m.send(kOperational, kIdentity), Step::reply);
  EXPECT_EQ(m.send(kOperationalToFull, {"InitiatorName=iqn.somebody.else"}), Step::refused);
  EXPECT_EQ(m.status(), 0x0200);
}

TEST(Login, SessionRefused_AnswersItsStatusWithoutTransit) {
  Machine m;
  ASSERT_EQ(m.send(kOperationalToFull, kIdentity), Step::need_session);
  EXPECT_EQ(m.machine.on_session(LoginStatus::out_of_resources, 0), Step::refused);
  EXPECT_EQ(m.status(), 0x0302);
  EXPECT_EQ(m.flags() & 0x80, 0);
}

TEST(Login, SequenceNumbers_StartWhereTheInitiatorSays) {
  Machine m;
  m.send(request(kOperational).set32(24, 0xffffffff), text_of(kIdentity));
  EXPECT_EQ(m.machine.reply_header().u32(28), 0xffffffffU);
  EXPECT_EQ(m.machine.reply_header().u32(32), 126U);
  EXPECT_EQ(m.machine.reply_header().u32(24), 1U);
  m.send(request(kOperational), "");
  EXPECT_EQ(m.machine.reply_header().u32(24), 2U);
}

// Attempts to get in without proving anything.
TEST(Login, ChapRequired_EveryBypass_IsAnAuthenticationFailure) {
  using Script = std::vector<std::pair<std::uint8_t, std::vector<std::string>>>;
  const std::vector<std::string> none;
  for (const auto& [what, script] : std::vector<std::pair<const char*, Script>>{
           {"operational stage first", {{kOperationalToFull, kIdentity}}},
           {"operational stage first, without transit", {{kOperational, kIdentity}}},
           {"security to full feature without a word", {{kSecurityToFull, kIdentity}}},
           {"security to operational without a word", {{kSecurityToOperational, kIdentity}}},
           {"AuthMethod=None", {{kSecurityToOperational, kIdentity + std::vector<std::string>{"AuthMethod=None"}}}},
           {"AuthMethod unknown", {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=KRB5"}}}},
           {"CHAP_R at once", {{kSecurityToFull, kIdentity + std::vector<std::string>{"CHAP_N=host", "CHAP_R=0x00"}}}},
           {"CHAP_A before the method", {{kSecurity, kIdentity + std::vector<std::string>{"CHAP_A=5"}}}},
           {"no CHAP_A", {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurityToFull, none}}},
           {"no usable CHAP_A",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"CHAP_A=56,0,x"}}}},
           {"empty CHAP_A",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"CHAP_A="}}}},
           {"CHAP_R skipped",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"CHAP_A=5"}}, {kSecurityToFull, none}}},
           {"CHAP_A again instead of CHAP_R",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"CHAP_A=5"}}, {kSecurity, {"CHAP_A=5"}}}},
           {"method again instead of CHAP_A",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"AuthMethod=None"}}}},
           {"CHAP_N alone",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"CHAP_A=5"}}, {kSecurityToFull, {"CHAP_N=host"}}}},
           {"wrong response",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"CHAP_A=5"}},
             {kSecurityToFull, {"CHAP_N=host", "CHAP_R=0x00112233445566778899aabbccddeeff"}}}},
           {"empty response",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"CHAP_A=5"}},
             {kSecurityToFull, {"CHAP_N=host", "CHAP_R="}}}},
           {"two responses",
            {{kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}}, {kSecurity, {"CHAP_A=5"}},
             {kSecurityToFull, {"CHAP_N=host", "CHAP_R=0x00", "CHAP_R=0x01"}}}},
       }) {
    Machine m;
    m.facts->auth = chap_only();
    Step step = Step::reply;
    for (const auto& [flags, keys] : script) {
      ASSERT_EQ(step, Step::reply) << what;
      step = m.send(flags, keys);
    }
    EXPECT_EQ(step, Step::refused) << what;
    EXPECT_EQ(m.status(), 0x0201) << what;
  }
}

// The stage is the machine's, not the request's: naming the operational stage in mid-CHAP does not lead there.
TEST(Login, ChapUnderWay_RequestInOperationalStage_IsRefused) {
  Machine m;
  m.facts->auth = chap_only();
  ASSERT_EQ(m.send(kSecurity, kIdentity + std::vector<std::string>{"AuthMethod=CHAP"}), Step::reply);
  EXPECT_EQ(m.send(kOperationalToFull, {}), Step::refused);
}

TEST(Login, ChapUnderWay_TransitAskedTooEarly_IsAnsweredWithoutTransit) {
  Machine m;
  m.facts->auth = chap_only();
  EXPECT_EQ(m.send(kSecurityToOperational, kIdentity + std::vector<std::string>{"AuthMethod=CHAP,None"}), Step::reply);
  EXPECT_EQ(m.flags(), kSecurity);
  EXPECT_EQ(m.answer("AuthMethod"), "CHAP");
}

}  // namespace
}  // namespace holdfast::test

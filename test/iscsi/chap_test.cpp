// CHAP: published vectors, both directions through the login machine, and configurations that are refused.
#include "scsi/chap.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "scsi/login.h"
#include "test/iscsi/initiator.h"

namespace holdfast::test {
namespace {

using scsi::ChapAlgorithm;
using scsi::ChapCredentials;
using scsi::LoginMachine;
using scsi::TargetAuth;
using Step = LoginMachine::Step;

const std::string kSecret = "a secret of enough bits";
const std::string kMutualSecret = "another secret of ours!";

std::shared_ptr<TargetAuth> mutual_auth() {
  auto auth = std::make_shared<TargetAuth>();
  auth->chap = ChapCredentials{"host", kSecret};
  auth->mutual = ChapCredentials{"target", kMutualSecret};
  return auth;
}

class Chap {
 public:
  explicit Chap(std::shared_ptr<const TargetAuth> auth) : auth_(std::move(auth)) {}

  // Up to the challenge.
  void challenge(const std::string& algorithms) {
    send(0x00, {"InitiatorName=iqn.host", "TargetName=iqn.target", "AuthMethod=CHAP"});
    step = send(0x00, {"CHAP_A=" + algorithms});
    id = static_cast<std::uint8_t>(std::stoi("0" + value_in(machine.reply_text(), "CHAP_I")));
    text = value_in(machine.reply_text(), "CHAP_C");
    const auto bytes = scsi::decode_binary(text);
    if (bytes) challenge_bytes = *bytes;
  }
  std::string response(ChapAlgorithm algorithm, const std::string& secret) const {
    return "CHAP_R=" + scsi::encode_hex(scsi::chap_response(algorithm, id, secret, challenge_bytes));
  }
  Step send(std::uint8_t flags, const std::vector<std::string>& keys) {
    Header h;
    h.set8(0, 0x43).set8(1, flags).set32(16, 5);
    step = machine.on_request(h, text_of(keys), random);
    if (step == Step::need_target) step = machine.on_target(scsi::TargetFacts{auth_, 1}, random);
    return step;
  }
  std::uint16_t status() const { return machine.reply_header().u16(36); }

  LoginMachine machine;
  CountingRandom random;
  Step step = Step::reply;
  std::uint8_t id = 0;
  std::string text;
  std::vector<std::byte> challenge_bytes;

 private:
  std::shared_ptr<const TargetAuth> auth_;
};

// The digests of the empty tail are well known: H("abc") with id 'a', secret "b" and challenge "c".
TEST(ChapResponse, KnownDigests_Match) {
  const auto of = [](ChapAlgorithm algorithm) {
    return scsi::encode_hex(scsi::chap_response(algorithm, 'a', "b", as_bytes("c")));
  };
  EXPECT_EQ(of(ChapAlgorithm::md5), "0x900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(of(ChapAlgorithm::sha1), "0xa9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(of(ChapAlgorithm::sha256), "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(of(ChapAlgorithm::sha3_256), "0x3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
}

TEST(ChapBinary, HexAndBase64_DecodeToTheSame) {
  const auto hex = scsi::decode_binary("0x48656c6c6f21");
  const auto base64 = scsi::decode_binary("0bSGVsbG8h");
  ASSERT_TRUE(hex && base64);
  EXPECT_EQ(*hex, *base64);
  EXPECT_EQ(as_text(*scsi::decode_binary("0bSGVsbG8=")), "Hello");
  EXPECT_EQ(as_text(*scsi::decode_binary("0bSGk=")), "Hi");
  EXPECT_EQ(as_text(*scsi::decode_binary("0X141")), "\x01" "A");
}

TEST(ChapBinary, Malformed_IsRefused) {
  for (const char* text : {"", "0x", "0b", "48", "1x48", "0y48", "0x4g", "0bS", "0bSG=k", "0bSGk", "0b====", "0b!GVs"})
    EXPECT_FALSE(scsi::decode_binary(text)) << text;
  EXPECT_FALSE(scsi::decode_binary("0x" + std::string(2 * 1025, 'a')));
  EXPECT_FALSE(scsi::decode_binary("0b" + std::string(2048, 'A')));
}

TEST(ChapLogin, RightSecret_WithEachAlgorithm_IsAdmitted) {
  for (const ChapAlgorithm algorithm :
       {ChapAlgorithm::md5, ChapAlgorithm::sha1, ChapAlgorithm::sha256, ChapAlgorithm::sha3_256}) {
    Chap chap(mutual_auth());
    chap.challenge(std::to_string(static_cast<int>(algorithm)));
    EXPECT_EQ(value_in(chap.machine.reply_text(), "CHAP_A"), std::to_string(static_cast<int>(algorithm)));
    EXPECT_EQ(chap.send(0x83, {"CHAP_N=host", chap.response(algorithm, kSecret)}), Step::need_session);
  }
}

TEST(ChapLogin, InitiatorsFirstKnownAlgorithm_IsChosen) {
  auto auth = mutual_auth();
  auth->algorithms = {ChapAlgorithm::md5, ChapAlgorithm::sha256};
  Chap chap(auth);
  chap.challenge("99,8,7,5");
  EXPECT_EQ(value_in(chap.machine.reply_text(), "CHAP_A"), "7");
}

TEST(ChapLogin, ResponseInBase64_IsAdmitted) {
  Chap chap(mutual_auth());
  chap.challenge("7");
  const auto response = scsi::chap_response(ChapAlgorithm::sha256, chap.id, kSecret, chap.challenge_bytes);
  std::string base64(64, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(base64.data()),
                                     reinterpret_cast<const unsigned char*>(response.data()),
                                     static_cast<int>(response.size()));
  base64.resize(static_cast<std::size_t>(length));
  EXPECT_EQ(chap.send(0x83, {"CHAP_N=host", "CHAP_R=0b" + base64}), Step::need_session);
}

TEST(ChapLogin, WrongNameOrSecret_IsRefused) {
  for (const auto& [name, secret] : {std::pair{"host", "a secret of enough bitS"}, std::pair{"hosT", kSecret.c_str()},
                                     std::pair{"", kSecret.c_str()}, std::pair{"target", kMutualSecret.c_str()}}) {
    Chap chap(mutual_auth());
    chap.challenge("7");
    EXPECT_EQ(chap.send(0x83, {std::string("CHAP_N=") + name, chap.response(ChapAlgorithm::sha256, secret)}),
              Step::refused);
    EXPECT_EQ(chap.status(), 0x0201);
  }
}

TEST(ChapLogin, EveryLogin_HasItsOwnChallenge) {
  CountingRandom random;
  Chap first(mutual_auth());
  first.challenge("7");
  Chap second(mutual_auth());
  second.random = first.random;
  second.challenge("7");
  EXPECT_EQ(first.challenge_bytes.size(), 32U);
  EXPECT_NE(first.challenge_bytes, second.challenge_bytes);
}

TEST(ChapLogin, MutualChallenge_IsProved) {
  Chap chap(mutual_auth());
  chap.challenge("7");
  EXPECT_EQ(chap.send(0x83, {"CHAP_N=host", chap.response(ChapAlgorithm::sha256, kSecret), "CHAP_I=9",
                             "CHAP_C=0x0102030405060708"}),
            Step::need_session);
  const std::vector<std::byte> theirs = *scsi::decode_binary("0x0102030405060708");
  EXPECT_EQ(value_in(chap.machine.reply_text(), "CHAP_N"), "target");
  EXPECT_EQ(value_in(chap.machine.reply_text(), "CHAP_R"),
            scsi::encode_hex(scsi::chap_response(ChapAlgorithm::sha256, 9, kMutualSecret, theirs)));
}

// Whoever sends our own challenge back wants us to compute the response for him.
TEST(ChapLogin, OwnChallengeReflected_IsRefusedWithoutAResponse) {
  Chap chap(mutual_auth());
  chap.challenge("7");
  EXPECT_EQ(chap.send(0x83, {"CHAP_N=host", chap.response(ChapAlgorithm::sha256, kSecret),
                             "CHAP_I=" + std::to_string(chap.id), "CHAP_C=" + chap.text}),
            Step::refused);
  EXPECT_EQ(chap.status(), 0x0201);
  EXPECT_TRUE(chap.machine.reply_text().empty());
}

TEST(ChapLogin, MutualChallenge_WithAWrongResponse_GetsNoProof) {
  Chap chap(mutual_auth());
  chap.challenge("7");
  EXPECT_EQ(chap.send(0x83, {"CHAP_N=host", "CHAP_R=0x00", "CHAP_I=9", "CHAP_C=0x01020304"}), Step::refused);
  EXPECT_TRUE(chap.machine.reply_text().empty());
}

TEST(ChapLogin, MutualChallenge_MalformedOrNotConfigured_IsRefused) {
  auto one_way = mutual_auth();
  one_way->mutual.reset();
  using Case = std::pair<std::shared_ptr<TargetAuth>, std::vector<std::string>>;
  for (const auto& [auth, extra] : std::vector<Case>{
           {one_way, {"CHAP_I=9", "CHAP_C=0x01020304"}},
           {mutual_auth(), {"CHAP_I=9"}},
           {mutual_auth(), {"CHAP_C=0x01020304"}},
           {mutual_auth(), {"CHAP_I=256", "CHAP_C=0x01020304"}},
           {mutual_auth(), {"CHAP_I=9", "CHAP_C=0x"}},
           {mutual_auth(), {"CHAP_I=9", "CHAP_C=0x01", "CHAP_A=5"}},
       }) {
    Chap chap(auth);
    chap.challenge("7");
    std::vector<std::string> keys{"CHAP_N=host", chap.response(ChapAlgorithm::sha256, kSecret)};
    keys.insert(keys.end(), extra.begin(), extra.end());
    EXPECT_EQ(chap.send(0x83, keys), Step::refused);
    EXPECT_EQ(chap.status(), 0x0201);
  }
}

TEST(ChapConfiguration, WeakOrReflectableSecrets_AreRefused) {
  EXPECT_TRUE(scsi::check_auth(*mutual_auth()));
  auto same = mutual_auth();
  same->mutual->secret = same->chap->secret;
  EXPECT_FALSE(scsi::check_auth(*same));
  auto short_secret = mutual_auth();
  short_secret->chap->secret = "11 letters.";
  EXPECT_FALSE(scsi::check_auth(*short_secret));
  short_secret->short_secrets_allowed = true;
  EXPECT_TRUE(scsi::check_auth(*short_secret));
  auto alone = mutual_auth();
  alone->chap.reset();
  EXPECT_FALSE(scsi::check_auth(*alone));
  auto no_algorithm = mutual_auth();
  no_algorithm->algorithms.clear();
  EXPECT_FALSE(scsi::check_auth(*no_algorithm));
  auto no_user = mutual_auth();
  no_user->chap->user.clear();
  EXPECT_FALSE(scsi::check_auth(*no_user));
}

}  // namespace
}  // namespace holdfast::test

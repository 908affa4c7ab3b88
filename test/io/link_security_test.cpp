// Who may be a node: certificates, secrets, neither; what is replaced while connections come and go; and what each side is told.
#include <gtest/gtest.h>

#include "base/log.h"
#include "io/link_preamble.h"
#include "test/io/link_nodes.h"

namespace holdfast::io {
namespace {

using test::CertificateWish;
using test::KeyedCertificate;
using test::kCluster;
using test::LinkLab;
using test::make_frame;
using test::NodeFiles;
using test::plain_node;
using test::RawPeer;
using test::RawTls;
using test::run_beside;
using test::TestAuthority;
using test::write_private;

constexpr const char* kOldSecret = "the old secret has more than 32 bytes";
constexpr const char* kNewSecret = "the new secret has even more than 32 bytes";

bool mentions(const std::string& text, std::string_view what) { return text.find(what) != std::string::npos; }

// What the log says while this lives.
class HeardLog {
 public:
  HeardLog() {
    set_log_sink([this](LogLevel, std::string_view line) { lines_.append(line).push_back('\n'); });
  }
  ~HeardLog() { set_log_sink({}); }
  const std::string& lines() const { return lines_; }

 private:
  std::string lines_;
};

// The links of a lab carry frames both ways.
void expect_talking(LinkLab& lab, Link& link) {
  ASSERT_FALSE(lab.door.arrivals.empty());
  auto far = make_tcp_link(lab.memory, std::move(lab.door.arrivals.back().stream));
  BufferPool pool(*lab.reactor, 1 << 20);
  ASSERT_TRUE(run_task(*lab.reactor, link.send(make_frame(pool, 100, 2 * kBlockBytes, 1))).has_value());
  const auto there = run_task(*lab.reactor, far->receive());
  ASSERT_TRUE(there.has_value()) << there.error().text();
  EXPECT_TRUE(test::is_filled(there->payload, 2));
  ASSERT_TRUE(run_task(*lab.reactor, far->send(make_frame(pool, 50, 0, 3))).has_value());
  const auto here = run_task(*lab.reactor, link.receive());
  ASSERT_TRUE(here.has_value()) << here.error().text();
  EXPECT_TRUE(test::is_filled(here->head, 3));
  link.close();
}

// A dialer that must not get in. What it is told; the listener's door stays shut.
Error refused(LinkLab& lab, int to = 1) {
  const auto& stats = lab.listener->stats();
  const std::uint64_t before = stats.welcomed.get() + stats.refused.get();
  auto link = lab.dial(to);
  lab.await_verdicts(before + 1);
  EXPECT_FALSE(link.has_value());
  EXPECT_TRUE(lab.door.arrivals.empty());
  if (link) return Error(Errc::exists);
  EXPECT_TRUE(mentions(link.error().message, "127.0.0.1:" + std::to_string(lab.port()))) << link.error().text();
  EXPECT_TRUE(mentions(link.error().message, "node " + std::to_string(to) + " ")) << link.error().text();
  return link.error();
}

// ---- Certificates.

TEST(LinkSecurity, CertificatesOfOneAuthority_NameTheNodes) {
  const TestAuthority authority;
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(),
              NodeFiles(2).certificate(authority, authority.issue_node(kCluster, 2)).load());
  auto link = lab.dial();
  ASSERT_TRUE(link.has_value()) << link.error().text();
  lab.await_verdicts(1);
  ASSERT_EQ(lab.door.arrivals.size(), 1u);
  EXPECT_EQ(lab.door.arrivals[0].from, NodeId(2));
  EXPECT_EQ(lab.door.arrivals[0].group, test::kGroup);
  expect_talking(lab, **link);
}

TEST(LinkSecurity, CertificateOfAnotherAuthority_IsRefusedByTheListener) {
  const TestAuthority ours, theirs("another authority");
  LinkLab lab(NodeFiles(1).certificate(ours, ours.issue_node(kCluster, 1)).load(),
              NodeFiles(2).certificate(ours, theirs.issue_node(kCluster, 2)).load());
  HeardLog log;
  const Error error = refused(lab);
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_TRUE(mentions(error.message, "unknown ca")) << error.text();
  EXPECT_TRUE(mentions(error.message, "ca_file")) << error.text();
  EXPECT_TRUE(mentions(log.lines(), "unable to get local issuer certificate")) << log.lines();
  EXPECT_EQ(lab.listener->stats().refused.get(), 1u);
}

TEST(LinkSecurity, CertificateOfAnotherAuthority_IsRefusedByTheDialer) {
  const TestAuthority ours, theirs("another authority");
  LinkLab lab(NodeFiles(1).certificate(ours, theirs.issue_node(kCluster, 1)).load(),
              NodeFiles(2).certificate(ours, ours.issue_node(kCluster, 2)).load());
  HeardLog log;
  const Error error = refused(lab);
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_TRUE(mentions(error.message, "certificate is not accepted")) << error.text();
  EXPECT_TRUE(mentions(log.lines(), "unknown ca")) << log.lines();
}

// An authority that only calls itself the same.
TEST(LinkSecurity, CertificateOfANamesake_IsRefused) {
  const TestAuthority ours, namesake;
  LinkLab lab(NodeFiles(1).certificate(ours, ours.issue_node(kCluster, 1)).load(),
              NodeFiles(2).certificate(ours, namesake.issue_node(kCluster, 2)).load());
  HeardLog log;
  const Error error = refused(lab);
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_TRUE(mentions(error.message, "same authority")) << error.text();
  EXPECT_TRUE(mentions(log.lines(), "signature failure")) << log.lines();
}

TEST(LinkSecurity, ExpiredCertificate_IsRefusedByEitherSide) {
  const TestAuthority authority;
  const CertificateWish old{.names = {"URI:holdfast://prod/node/2"}, .begins_s = -7200, .ends_s = -3600, .usage = {}};
  {
    LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(),
                NodeFiles(2).certificate(authority, authority.issue(old)).load());
    HeardLog log;
    const Error error = refused(lab);
    EXPECT_EQ(error.code, Errc::permission);
    EXPECT_TRUE(mentions(error.message, "expired")) << error.text();
    EXPECT_TRUE(mentions(log.lines(), "has expired")) << log.lines();
  }
  CertificateWish own = old;
  own.names = {"URI:holdfast://prod/node/1"};
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue(own)).load(),
              NodeFiles(2).certificate(authority, authority.issue_node(kCluster, 2)).load());
  EXPECT_TRUE(mentions(refused(lab).message, "has expired"));
}

TEST(LinkSecurity, CertificateThatIsNotValidYet_IsRefused) {
  const TestAuthority authority;
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(),
              NodeFiles(2).certificate(authority, authority.issue({.names = {"URI:holdfast://prod/node/2"}, .begins_s = 3600, .usage = {}})).load());
  HeardLog log;
  refused(lab);
  EXPECT_TRUE(mentions(log.lines(), "not yet valid")) << log.lines();
}

// The address is another node's, or somebody has taken over the address: the dialer does not talk to it.
TEST(LinkSecurity, CertificateOfAnotherNode_IsNotWhoWasDialled) {
  const TestAuthority authority;
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(),
              NodeFiles(2).certificate(authority, authority.issue_node(kCluster, 2)).load());
  const Error error = refused(lab, 3);
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_TRUE(mentions(error.message, "holdfast://prod/node/1")) << error.text();
  EXPECT_TRUE(mentions(error.message, "holdfast://prod/node/3")) << error.text();
}

// A node may not say that it is another one: node 3 with its own right certificate claims to be node 2.
TEST(LinkSecurity, DialerThatClaimsAnothersNumber_IsRefused) {
  const TestAuthority authority;
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(), nullptr);
  HeardLog log;
  RawTls peer(lab.port());
  peer.show(authority.issue_node(kCluster, 3));
  const std::string answer = run_beside(*lab.reactor, [&] {
    EXPECT_EQ(peer.connect(), "");
    peer.write(encode_hello({kCluster, test::kGroup, NodeId(2), NodeId(1)}));
    return peer.read();
  });
  EXPECT_TRUE(mentions(answer, "your certificate names holdfast://prod/node/3, not holdfast://prod/node/2")) << answer;
  lab.await_verdicts(1);
  EXPECT_TRUE(lab.door.arrivals.empty());
  EXPECT_EQ(lab.listener->stats().refused.get(), 1u);
}

TEST(LinkSecurity, CertificateOfAnotherCluster_ProvesNothingHere) {
  const TestAuthority authority;  // One authority signs for both.
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(), nullptr);
  RawTls peer(lab.port());
  peer.show(authority.issue_node("test", 2));
  const std::string answer = run_beside(*lab.reactor, [&] {
    EXPECT_EQ(peer.connect(), "");
    peer.write(encode_hello({kCluster, test::kGroup, NodeId(2), NodeId(1)}));
    return peer.read();
  });
  EXPECT_TRUE(mentions(answer, "holdfast://test/node/2")) << answer;
  lab.await_verdicts(1);
  EXPECT_TRUE(lab.door.arrivals.empty());
}

TEST(LinkSecurity, ClientWithoutACertificate_IsRefused) {
  const TestAuthority authority;
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(), nullptr);
  HeardLog log;
  RawTls peer(lab.port());
  const std::string outcome = run_beside(*lab.reactor, [&] {
    const std::string connected = peer.connect();  // TLS 1.3: its side is done before the server has looked.
    return connected.empty() ? peer.read() : connected;
  });
  EXPECT_TRUE(mentions(outcome, "certificate required")) << outcome;
  lab.await_verdicts(1);
  EXPECT_TRUE(mentions(log.lines(), "it shows none")) << log.lines();
  EXPECT_EQ(lab.listener->stats().refused.get(), 1u);
}

// A certificate for servers only, by its authority's word, is no node's: nodes dial, too.
TEST(LinkSecurity, CertificateForServersOnly_IsRefusedOfWhoDials) {
  const TestAuthority authority;
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(),
              NodeFiles(2).certificate(authority, authority.issue({.names = {"URI:holdfast://prod/node/2"}, .usage = "serverAuth"})).load());
  HeardLog log;
  EXPECT_EQ(refused(lab).code, Errc::permission);
  EXPECT_TRUE(mentions(log.lines(), "purpose")) << log.lines();
}

// Other names beside the node's do no harm.
TEST(LinkSecurity, CertificateWithOtherNamesToo_IsTaken) {
  const TestAuthority authority;
  LinkLab lab(NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load(),
              NodeFiles(2)
                  .certificate(authority, authority.issue({.names = {"DNS:db2.example", "URI:spiffe://x/y", "URI:holdfast://prod/node/2"},
                                                           .usage = "serverAuth,clientAuth"}))
                  .load());
  auto link = lab.dial();
  ASSERT_TRUE(link.has_value()) << link.error().text();
}

// ---- Secrets.

TEST(LinkSecurity, OneSecret_IsEnough) {
  LinkLab lab(NodeFiles(1).secret(kOldSecret).load(), NodeFiles(2).secret(std::string(kOldSecret) + "\n").load());
  auto link = lab.dial();
  ASSERT_TRUE(link.has_value()) << link.error().text();
  lab.await_verdicts(1);
  ASSERT_EQ(lab.door.arrivals.size(), 1u);
  EXPECT_EQ(lab.door.arrivals[0].from, NodeId(2));
  expect_talking(lab, **link);
}

TEST(LinkSecurity, AnotherSecret_IsRefused) {
  LinkLab lab(NodeFiles(1).secret(kOldSecret).load(), NodeFiles(2).secret(kNewSecret).load());
  const Error error = refused(lab);
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_TRUE(mentions(error.message, "the same secret")) << error.text();
  EXPECT_EQ(lab.listener->stats().refused.get(), 1u);
}

// The key's name is no proof: who has seen it on the wire does not know the secret.
int offer_wrong_key(SSL* connection, const EVP_MD*, const unsigned char** identity, std::size_t* bytes, SSL_SESSION** session) {
  static const std::string name = derive_shared_key(kOldSecret, kCluster)->identity;
  const unsigned char suite[] = {0x13, 0x01}, key[32] = {1, 2, 3};
  *session = SSL_SESSION_new();
  SSL_SESSION_set1_master_key(*session, key, sizeof key);
  SSL_SESSION_set_cipher(*session, SSL_CIPHER_find(connection, suite));
  SSL_SESSION_set_protocol_version(*session, TLS1_3_VERSION);
  *identity = reinterpret_cast<const unsigned char*>(name.data());
  *bytes = name.size();
  return 1;
}

TEST(LinkSecurity, RightKeyNameWithAWrongKey_IsRefused) {
  LinkLab lab(NodeFiles(1).secret(kOldSecret).load(), nullptr);
  RawTls peer(lab.port());
  SSL_CTX_set_psk_use_session_callback(peer.context(), offer_wrong_key);
  const std::string outcome = run_beside(*lab.reactor, [&] { return peer.connect(); });
  EXPECT_TRUE(mentions(outcome, "alert")) << outcome;
  lab.await_verdicts(1);
  EXPECT_EQ(lab.listener->stats().refused.get(), 1u);
}

// A secret is one cluster's, even if somebody uses it for two.
TEST(LinkSecurity, SecretOfAnotherCluster_IsRefused) {
  LinkLab lab(NodeFiles(1).secret(kOldSecret).load("prod"), NodeFiles(2).secret(kOldSecret).load("test"));
  EXPECT_EQ(refused(lab).code, Errc::permission);
}

// A certificate of whatever authority opens no door that wants a secret, and the other way round.
TEST(LinkSecurity, SecretAndCertificates_DoNotMix) {
  const TestAuthority authority;
  const auto certified = NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load();
  const auto certified2 = NodeFiles(2).certificate(authority, authority.issue_node(kCluster, 2)).load();
  {
    LinkLab lab(certified, NodeFiles(2).secret(kOldSecret).load());
    const Error error = refused(lab);
    EXPECT_TRUE(mentions(error.message, "certificate")) << error.text();
  }
  LinkLab lab(NodeFiles(1).secret(kOldSecret).load(), certified2);
  const Error error = refused(lab);
  EXPECT_TRUE(mentions(error.message, "secured alike")) << error.text();
}

TEST(LinkSecurity, SharedKey_DependsOnSecretAndCluster) {
  const auto one = derive_shared_key(kOldSecret, "prod"), same = derive_shared_key(kOldSecret, "prod");
  const auto other = derive_shared_key(kNewSecret, "prod"), elsewhere = derive_shared_key(kOldSecret, "test");
  ASSERT_TRUE(one && same && other && elsewhere);
  EXPECT_EQ(one->key, same->key);
  EXPECT_EQ(one->identity, same->identity);
  EXPECT_NE(one->key, other->key);
  EXPECT_NE(one->key, elsewhere->key);
  EXPECT_NE(one->identity, other->identity);
  EXPECT_TRUE(one->identity.starts_with("holdfast 1 prod "));
  EXPECT_FALSE(mentions(one->identity, "secret"));
}

// Nodes of two versions must derive the same: these were computed with Python's hmac, by RFC 5869.
TEST(LinkSecurity, SharedKey_IsFrozen) {
  const auto key = derive_shared_key("0123456789abcdef0123456789abcdef", "prod");
  ASSERT_TRUE(key.has_value());
  std::string hex;
  for (const std::uint8_t byte : key->key) hex.append({"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]});
  EXPECT_EQ(hex, "38ba1840828bbf75f981473c86838bfee8c912e842069ba98117a6b16e970b65");
  EXPECT_EQ(key->identity, "holdfast 1 prod 0a081a4fd22a8651");
}

// ---- Replacing them while everything runs.

// The order of the operator's manual: nothing is refused at any step, whichever node is ahead.
TEST(LinkSecurity, SecretsInRotation_ConnectAtEveryStep) {
  const std::string steps[] = {std::string(kOldSecret) + "\n", std::string(kOldSecret) + "\n" + kNewSecret + "\n",
                               std::string(kNewSecret) + "\n" + kOldSecret + "\n", std::string(kNewSecret) + "\n"};
  NodeFiles listens(1), dials(2);
  LinkLab lab(listens.secret(steps[0]).load(), dials.secret(steps[0]).load());
  for (const auto& [listening, dialling] : {std::pair{0, 0}, {1, 0}, {0, 1}, {1, 1}, {2, 1}, {1, 2}, {2, 2}, {3, 2}, {2, 3}, {3, 3}}) {
    write_private(listens.file("secret"), steps[listening]);
    write_private(dials.file("secret"), steps[dialling]);
    auto link = lab.dial();
    EXPECT_TRUE(link.has_value()) << listening << dialling << link.error().text();
  }
  write_private(dials.file("secret"), steps[0]);
  lab.await_verdicts(10);
  lab.door.arrivals.clear();
  refused(lab);  // The old one is worth nothing any more.
}

TEST(LinkSecurity, ReplacedCertificates_CountFromTheNextConnection) {
  const TestAuthority old_authority, new_authority;
  NodeFiles listens(1), dials(2);
  LinkLab lab(listens.certificate(old_authority, old_authority.issue_node(kCluster, 1)).load(),
              dials.certificate(old_authority, old_authority.issue_node(kCluster, 2)).load());
  auto before = lab.dial();
  ASSERT_TRUE(before.has_value()) << before.error().text();
  listens.certificate(new_authority, new_authority.issue_node(kCluster, 1));
  lab.await_verdicts(1);
  auto old_arrival = std::move(lab.door.arrivals);
  lab.door.arrivals.clear();
  refused(lab);
  dials.certificate(new_authority, new_authority.issue_node(kCluster, 2));
  auto after = lab.dial();
  ASSERT_TRUE(after.has_value()) << after.error().text();
  lab.await_verdicts(3);
  expect_talking(lab, **after);
  // What was there before goes on.
  lab.door.arrivals = std::move(old_arrival);
  expect_talking(lab, **before);
}

// Half of a replacement, or nonsense: what was there goes on, and the log says so once.
TEST(LinkSecurity, ReplacementThatMakesNoSense_LeavesTheOldOne) {
  const TestAuthority authority;
  NodeFiles listens(1);
  const KeyedCertificate renewed = authority.issue_node(kCluster, 1);
  LinkLab lab(listens.certificate(authority, authority.issue_node(kCluster, 1)).load(),
              NodeFiles(2).certificate(authority, authority.issue_node(kCluster, 2)).load());
  HeardLog log;
  write_private(listens.file("node.pem"), renewed.certificate);
  for (int i = 0; i < 3; ++i) {
    auto link = lab.dial();
    EXPECT_TRUE(link.has_value()) << link.error().text();
  }
  const std::size_t first = log.lines().find("go on with the credentials they had");
  ASSERT_NE(first, std::string::npos) << log.lines();
  EXPECT_TRUE(mentions(log.lines(), "node.key is not the key of")) << log.lines();
  EXPECT_EQ(log.lines().find("go on with the credentials they had", first + 1), std::string::npos) << log.lines();
  write_private(listens.file("node.key"), renewed.key);
  auto link = lab.dial();
  EXPECT_TRUE(link.has_value()) << link.error().text();
  EXPECT_TRUE(mentions(log.lines(), "new connections use the new ones")) << log.lines();
  ASSERT_EQ(0, ::unlink(listens.file("node.pem").c_str()));
  auto without = lab.dial();
  EXPECT_TRUE(without.has_value()) << without.error().text();
}

// ---- Files that are wrong from the start.

Error wrong_files(const NodeFiles& files) {
  const auto loaded = files.try_load();
  EXPECT_FALSE(loaded.has_value());
  return loaded ? Error(Errc::exists) : loaded.error();
}

TEST(LinkSecurity, SecretFile_ThatIsWrong_IsRefusedWithWhatToDo) {
  NodeFiles files(1);
  EXPECT_TRUE(mentions(wrong_files(files.secret("too short")).message, "32 to 255"));
  EXPECT_TRUE(mentions(wrong_files(files.secret("")).message, "openssl rand"));
  EXPECT_TRUE(mentions(wrong_files(files.secret(std::string(300, 'x'))).message, "300 bytes"));
  const std::string line = std::string(40, 'x') + "\n";
  EXPECT_TRUE(mentions(wrong_files(files.secret(line + line)).message, "twice"));
  EXPECT_TRUE(mentions(wrong_files(files.secret(line + kNewSecret + "\n" + kOldSecret + "\n")).message, "two lines"));
  EXPECT_TRUE(mentions(wrong_files(files.secret(std::string(300'000, 'x'))).message, "more than"));
  files.secret(kOldSecret);
  ::chmod(files.file("secret").c_str(), 0644);
  const Error open = wrong_files(files);
  EXPECT_EQ(open.code, Errc::permission);
  EXPECT_TRUE(mentions(open.message, "chmod 600")) << open.text();
  ::unlink(files.file("secret").c_str());
  EXPECT_EQ(wrong_files(files).code, Errc::not_found);
  ::mkdir(files.file("secret").c_str(), 0700);
  EXPECT_TRUE(mentions(wrong_files(files).message, "not a file"));
}

TEST(LinkSecurity, CertificateFiles_ThatAreWrong_AreRefusedByName) {
  const TestAuthority authority, other;
  const KeyedCertificate good = authority.issue_node(kCluster, 1);
  NodeFiles files(1);
  const auto with = [&](const char* name, std::string_view text) {
    files.certificate(authority, good);
    write_private(files.file(name), text);
    return wrong_files(files).message;
  };
  EXPECT_TRUE(mentions(with("ca.pem", ""), "ca.pem holds no certificate"));
  EXPECT_TRUE(mentions(with("ca.pem", good.certificate), "no authority's"));
  EXPECT_TRUE(mentions(with("ca.pem", good.certificate.substr(0, 200) + "\n-----END CERTIFICATE-----\n"), "damaged"));
  EXPECT_TRUE(mentions(with("node.pem", "nonsense"), "node.pem holds no certificate"));
  EXPECT_TRUE(mentions(with("node.pem", authority.issue_node(kCluster, 2).certificate), "holdfast://prod/node/2"));
  EXPECT_TRUE(mentions(with("node.pem", authority.issue({.names = {"DNS:db1"}, .usage = {}}).certificate), "names no node"));
  EXPECT_TRUE(mentions(with("node.key", "nonsense"), "node.key holds no private key"));
  EXPECT_TRUE(mentions(with("node.key", authority.issue_node(kCluster, 1).key), "is not the key of"));
  files.certificate(authority, good);
  ::chmod(files.file("node.key").c_str(), 0604);
  EXPECT_TRUE(mentions(wrong_files(files).message, "chmod 600"));
  ::chmod(files.file("node.key").c_str(), 0640);  // A group of the operator's choice.
  EXPECT_TRUE(files.try_load().has_value());
}

TEST(LinkSecurity, Configuration_ThatIsIncomplete_SaysWhatIsMissing) {
  const LinkIdentity self{kCluster, NodeId(1)};
  const Endpoint anywhere{"0.0.0.0", 3261}, loopback{"127.0.0.1", 3261};
  EXPECT_TRUE(check_link_security({}, self, loopback).has_value());
  const auto open = check_link_security({}, self, anywhere);
  ASSERT_FALSE(open.has_value());
  EXPECT_TRUE(mentions(open.error().message, "secret_file")) << open.error().text();
  EXPECT_TRUE(mentions(open.error().message, "0.0.0.0:3261")) << open.error().text();
  LinkSecurity security;
  security.secret_file = "s";
  EXPECT_TRUE(mentions(check_link_security(security, self, loopback).error().message, "switched off"));
  security = {};
  security.proof = LinkProof::secret;
  EXPECT_TRUE(mentions(check_link_security(security, self, anywhere).error().message, "secret_file is missing"));
  security.secret_file = "s";
  EXPECT_TRUE(check_link_security(security, self, anywhere).has_value());
  security.ca_file = "c";
  EXPECT_TRUE(mentions(check_link_security(security, self, anywhere).error().message, "only one of the two"));
  security = {.proof = LinkProof::certificate, .secret_file = {}, .ca_file = "c", .certificate_file = "n", .key_file = {}};
  EXPECT_TRUE(mentions(check_link_security(security, self, anywhere).error().message, "key_file is missing"));
  security.key_file = "k";
  EXPECT_TRUE(check_link_security(security, self, anywhere).has_value());
  EXPECT_FALSE(check_link_security(security, {"a/b", NodeId(1)}, anywhere).has_value());
  EXPECT_FALSE(check_link_security(security, {kCluster, NodeId(0)}, anywhere).has_value());
  EXPECT_FALSE(check_link_security(security, {kCluster, NodeId(65'536)}, anywhere).has_value());
}

// ---- Neither.

TEST(LinkSecurity, WithoutSecurity_LoopbackIsAllowedAndNothingElse) {
  LinkLab lab(plain_node(1), plain_node(2));
  auto link = lab.dial();
  ASSERT_TRUE(link.has_value()) << link.error().text();
  lab.await_verdicts(1);
  expect_talking(lab, **link);
  EXPECT_TRUE(check_both_loopback("127.0.0.1:1", "[::1]:2").has_value());
  for (const auto& [local, peer] : {std::pair{"127.0.0.1:1", "192.0.2.1:2"}, {"192.0.2.1:1", "127.0.0.1:2"}, {"", "127.0.0.1:1"}}) {
    const auto checked = check_both_loopback(local, peer);
    ASSERT_FALSE(checked.has_value());
    EXPECT_EQ(checked.error().code, Errc::permission);
    EXPECT_TRUE(mentions(checked.error().message, "secret_file")) << checked.error().text();
  }
  auto socket = listen_tcp(*lab.reactor, {"0.0.0.0", 0});
  ASSERT_TRUE(socket.has_value());
  const auto open = LinkListener::create(*lab.reactor, std::move(*socket), plain_node(1), lab.door);
  ASSERT_FALSE(open.has_value());
  EXPECT_TRUE(mentions(open.error().message, "from anybody")) << open.error().text();
}

TEST(LinkSecurity, PlainDialerAtASecuredListener_IsToldWhatToConfigure) {
  LinkLab lab(NodeFiles(1).secret(kOldSecret).load(), plain_node(2));
  HeardLog log;
  const Error error = refused(lab);
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_TRUE(mentions(error.message, "configure this node's secret_file")) << error.text();
  EXPECT_TRUE(mentions(log.lines(), "not secured was refused")) << log.lines();
}

TEST(LinkSecurity, SecuredDialerAtAPlainListener_IsRefused) {
  LinkLab lab(plain_node(1), NodeFiles(2).secret(kOldSecret).load());
  HeardLog log;
  const Error error = refused(lab);
  EXPECT_TRUE(mentions(error.message, "no security configured")) << error.text();
  EXPECT_TRUE(mentions(log.lines(), "configure both alike")) << log.lines();
}

}  // namespace
}  // namespace holdfast::io

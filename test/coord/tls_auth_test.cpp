// Certificates, users and passwords, the right ones and the wrong ones.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "test/coord/fake_server.h"
#include "test/coord/support.h"

namespace holdfast::coord::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// An authority and certificates of it, in files.
class Authority {
 public:
  Authority(const TempDirectory& directory, std::string name) : directory_(&directory), name_(std::move(name)) {
    run({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=" + name_ + " authority", "-keyout", key("ca"),
         "-out", certificate("ca")});
  }
  // subject: "/CN=x", or "/O=x" for a certificate without a common name.
  void issue(const std::string& who, const std::string& subject, const std::string& alternative) {
    const std::string request = directory_->file(name_ + "-" + who + ".csr"), extensions = directory_->file(name_ + "-" + who + ".ext");
    run({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject, "-keyout", key(who), "-out", request, "-addext",
         "subjectAltName=" + alternative, "-addext", "extendedKeyUsage=serverAuth,clientAuth"});
    run({"x509", "-req", "-in", request, "-CA", certificate("ca"), "-CAkey", key("ca"), "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out", certificate(who)});
  }
  std::string certificate(const std::string& who) const { return directory_->file(name_ + "-" + who + ".pem"); }
  std::string key(const std::string& who) const { return directory_->file(name_ + "-" + who + ".key"); }

 private:
  void run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "openssl");
    const Ran ran = run_program(arguments);
    ASSERT_EQ(ran.status, 0) << ran.output;
  }
  const TempDirectory* directory_;
  std::string name_;
};

struct TlsTest : testing::Test {
  TlsTest() {
    ours.issue("server", "/O=holdfast", "IP:127.0.0.1");
    EtcdMemberOptions& o = cluster.member(0).options();
    o.tls_certificate = ours.certificate("server");
    o.tls_key = ours.key("server");
  }
  EtcdOptions options(const std::string& ca) {
    EtcdOptions options = options_for(cluster.urls());
    options.tls_ca_file = ca;
    // A handshake takes its time on a busy machine, and under a sanitizer.
    options.request_timeout_ms = 20'000;
    options.connect_timeout_ms = 10'000;
    return options;
  }
  static Error refused(const EtcdOptions& options) {
    auto client = start_client(options);
    EXPECT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::unknown);
    const auto entry = get(*client, "group-1");
    EXPECT_FALSE(entry);
    return entry ? Error(Errc::cancelled) : entry.error();
  }
  TempDirectory directory;
  Authority ours{directory, "ours"};
  EtcdCluster cluster;
};

TEST_F(TlsTest, RightAuthority_IsTrusted_WrongOnesAreNot) {
  ASSERT_NO_FATAL_FAILURE(cluster.start());
  auto client = start_client(options(ours.certificate("ca")));
  const auto id = set_up(*client);
  ASSERT_TRUE(id) << id.error().text();
  EXPECT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::applied);
  EXPECT_EQ(get(*client, "group-1")->value, "one");
  auto changed = until_changed(*client, "group-1", 0);
  changed.get();
  Authority theirs{directory, "theirs"};
  const Error wrong = refused(options(theirs.certificate("ca")));
  EXPECT_EQ(wrong.code, Errc::permission);
  EXPECT_THAT(wrong.message, AllOf(HasSubstr(cluster.urls()[0]), HasSubstr("not trusted"), HasSubstr("tls_ca_file"))) << wrong.text();
  // The system's authorities do not know it either.
  EXPECT_THAT(refused(options("")).message, HasSubstr("not trusted"));
  // Plain HTTP at this door.
  EXPECT_NE(refused(options_for({"http://127.0.0.1:" + std::to_string(cluster.member(0).port())})).code, Errc::cancelled);
}

TEST_F(TlsTest, CertificateOfAnotherHost_IsNotTrusted) {
  ours.issue("server", "/O=holdfast", "IP:127.0.0.2,DNS:elsewhere.example");
  ASSERT_NO_FATAL_FAILURE(cluster.start());
  const Error wrong = refused(options(ours.certificate("ca")));
  EXPECT_EQ(wrong.code, Errc::permission);
  EXPECT_THAT(wrong.message, AllOf(HasSubstr("not trusted"), HasSubstr("host"))) << wrong.text();
}

TEST_F(TlsTest, ClientCertificate_WhereEtcdWantsOne) {
  ours.issue("client", "/O=holdfast", "DNS:client");
  cluster.member(0).options().tls_client_ca = ours.certificate("ca");
  ASSERT_NO_FATAL_FAILURE(cluster.start());
  EtcdOptions with = options(ours.certificate("ca"));
  with.tls_certificate_file = ours.certificate("client");
  with.tls_key_file = ours.key("client");
  auto client = start_client(with);
  const auto id = set_up(*client);
  ASSERT_TRUE(id) << id.error().text();
  EXPECT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::applied);
  const Error without = refused(options(ours.certificate("ca")));
  EXPECT_EQ(without.code, Errc::permission) << without.text();
  EXPECT_EQ(get(*client, "group-1")->value, "one");
}

TEST_F(TlsTest, FilesThatAreNone_AreNamedAtTheStart) {
  const auto message = [](const EtcdOptions& options) {
    auto client = EtcdClient::start(options);
    return client ? std::string() : client.error().message;
  };
  EXPECT_THAT(message(options("/no/such/file")), AllOf(HasSubstr("tls_ca_file"), HasSubstr("/no/such/file")));
  EtcdOptions certificate = options(ours.certificate("ca"));
  certificate.tls_certificate_file = ours.key("ca");
  certificate.tls_key_file = ours.key("ca");
  EXPECT_THAT(message(certificate), HasSubstr("tls_certificate_file"));
  certificate.tls_certificate_file = ours.certificate("ca");
  certificate.tls_key_file = ours.certificate("ca");
  EXPECT_THAT(message(certificate), HasSubstr("tls_key_file"));
}

// Nobody is asked for its passphrase, neither at a terminal nor, without one, by standard input.
TEST_F(TlsTest, KeyWithAPassphrase_IsRefusedAtTheStart) {
  ours.issue("client", "/O=holdfast", "DNS:client");
  const std::string encrypted = directory.file("encrypted.key");
  const Ran ran = run_program({"openssl", "pkcs8", "-topk8", "-in", ours.key("client"), "-out", encrypted, "-passout", "pass:secret"});
  ASSERT_EQ(ran.status, 0) << ran.output;
  EtcdOptions with = options(ours.certificate("ca"));
  with.tls_certificate_file = ours.certificate("client");
  with.tls_key_file = encrypted;
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const int before = ::dup(STDIN_FILENO);
  ASSERT_EQ(::dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
  EXPECT_EQ(::write(ends[1], "secret\n", 7), 7);
  ::close(ends[1]);
  const auto client = EtcdClient::start(with);
  ::dup2(before, STDIN_FILENO);
  ::close(before);
  ::close(ends[0]);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Errc::invalid_argument);
  EXPECT_THAT(client.error().message, AllOf(HasSubstr("tls_key_file"), HasSubstr("passphrase")));
}

struct AuthTest : EtcdTest {
  std::string as_root(const std::string& path, const std::string& body, const std::string& token = {}) {
    return post(cluster->member(0).port(), "/v3/auth/" + path, body, token);
  }
  // Users root and holdfast; the latter may do everything below the prefix, and nothing else.
  void make_users() {
    as_root("user/add", R"({"name":"root","password":"root-secret"})");
    as_root("role/add", R"({"name":"root"})");
    as_root("user/grant", R"({"user":"root","role":"root"})");
    as_root("user/add", R"({"name":"holdfast","password":"a \"secret\""})");
    as_root("user/add", R"({"name":"nobody","password":"nothing"})");
    as_root("role/add", R"({"name":"holdfast"})");
    as_root("role/grant", R"({"name":"holdfast","perm":{"permType":"READWRITE","key":")" + base64("/holdfast/") + R"(","range_end":")" + base64("/holdfast0") + "\"}}");
    as_root("user/grant", R"({"user":"holdfast","role":"holdfast"})");
  }
  void enable() { as_root("enable", "{}"); }
  EtcdOptions options_of(const std::string& user, const std::string& password) const {
    EtcdOptions o = options();
    o.user = user;
    o.password = password;
    return o;
  }
  Error refused(const EtcdOptions& o) {
    auto node = start_client(o);
    EXPECT_EQ(swap(*node, "group-1", 0, "one").status, CasStatus::unknown);
    const auto entry = get(*node, "group-1");
    EXPECT_FALSE(entry);
    return entry ? Error(Errc::cancelled) : entry.error();
  }
};

TEST_F(AuthTest, RightPassword_Works_WrongOnesAreNamed) {
  ASSERT_NO_FATAL_FAILURE(start());
  make_users();
  enable();
  auto node = start_client(options_of("holdfast", "a \"secret\""));
  const CasOutcome created = swap(*node, "group-1", 0, "one");
  EXPECT_EQ(created.status, CasStatus::applied);
  EXPECT_EQ(get(*node, "group-1")->value, "one");
  EXPECT_TRUE(list(*node, "groups"));
  EXPECT_EQ(node->stats().authentications.get(), 1u);
  // The stream of changes has the token, too.
  auto changed = until_changed(*node, "group-1", created.entry.revision);
  EXPECT_EQ(swap(*node, "group-1", created.entry.revision, "two").status, CasStatus::applied);
  changed.get();
  EXPECT_GT(node->stats().changes.get(), 0u);
  const Error wrong = refused(options_of("holdfast", "guessed"));
  EXPECT_EQ(wrong.code, Errc::permission);
  EXPECT_THAT(wrong.message, AllOf(HasSubstr("invalid user ID or password"), HasSubstr("check user and password")));
  const Error none = refused(options());
  EXPECT_EQ(none.code, Errc::permission);
  EXPECT_THAT(none.message, HasSubstr("does it want a user?"));
  const Error without_role = refused(options_of("nobody", "nothing"));
  EXPECT_EQ(without_role.code, Errc::permission);
  EXPECT_THAT(without_role.message, HasSubstr("role")) << without_role.text();
  EXPECT_EQ(get(*node, "group-1")->value, "two");
}

// Etcd forgets a user's tokens when the password changes, be it to the same one.
TEST_F(AuthTest, TokenThatIsValidNoMore_IsRenewed_AlsoForAChange) {
  ASSERT_NO_FATAL_FAILURE(start());
  make_users();
  enable();
  const std::string answer = as_root("authenticate", R"({"name":"root","password":"root-secret"})");
  const std::size_t begin = answer.find("\"token\":\"") + 9;
  const std::string token = answer.substr(begin, answer.find('"', begin) - begin);
  auto node = start_client(options_of("holdfast", "a \"secret\""));
  std::uint64_t revision = swap(*node, "group-1", 0, "0").entry.revision;
  as_root("user/changepw", R"({"name":"holdfast","password":"a \"secret\""})", token);
  ASSERT_TRUE(get(*node, "group-1"));
  EXPECT_EQ(node->stats().authentications.get(), 2u);
  as_root("user/changepw", R"({"name":"holdfast","password":"a \"secret\""})", token);
  const CasOutcome outcome = swap(*node, "group-1", revision, "1");
  EXPECT_EQ(outcome.status, CasStatus::applied);
  EXPECT_EQ(node->stats().authentications.get(), 3u);
}

// An operator writes the new password into the file, and then tells etcd of it.
TEST_F(AuthTest, PasswordIsReplaced_TheFileIsReadAgain) {
  ASSERT_NO_FATAL_FAILURE(start());
  make_users();
  enable();
  const std::string answer = as_root("authenticate", R"({"name":"root","password":"root-secret"})");
  const std::size_t begin = answer.find("\"token\":\"") + 9;
  const std::string token = answer.substr(begin, answer.find('"', begin) - begin);
  EtcdOptions o = options_of("holdfast", "a \"secret\"");
  o.password_file = cluster->directory().file("password");  // Not there yet.
  auto node = start_client(o);
  const CasOutcome first = swap(*node, "group-1", 0, "0");
  ASSERT_EQ(first.status, CasStatus::applied);
  std::ofstream(o.password_file) << "another one\n";
  EXPECT_TRUE(get(*node, "group-1")) << "the token that there is still counts";
  as_root("user/changepw", R"({"name":"holdfast","password":"another one"})", token);
  EXPECT_EQ(swap(*node, "group-1", first.entry.revision, "1").status, CasStatus::applied);
}

TEST_F(AuthTest, TokenThatHasExpired_IsRenewed) {
  cluster = std::make_unique<EtcdCluster>();
  cluster->member(0).options().more = {"--auth-token-ttl", "1"};
  ASSERT_NO_FATAL_FAILURE(cluster->start());
  client = start_client(options());
  ASSERT_TRUE(set_up(*client));
  make_users();
  enable();
  auto node = start_client(options_of("holdfast", "a \"secret\""));
  const std::uint64_t revision = swap(*node, "group-1", 0, "0").entry.revision;
  // Etcd tells nobody that it forgets a token, and to ask would keep it alive. It looks once a second.
  std::this_thread::sleep_for(std::chrono::milliseconds(2'200));
  EXPECT_EQ(swap(*node, "group-1", revision, "1").status, CasStatus::applied);
  EXPECT_EQ(node->stats().authentications.get(), 2u);
}

// The JSON gateways of some versions close the connection instead of saying that a token is not valid.
TEST_F(AuthTest, TokenThatIsAnsweredByAClosedConnection_IsRenewed) {
  ASSERT_NO_FATAL_FAILURE(start());
  std::string valid = "token-1";
  int tokens = 0;
  FakeServer gateway([&](const FakeServer::Request& request) {
    if (request.path == "/v3/auth/authenticate") return FakeServer::Reply{http_answer("{\"token\":\"token-" + std::to_string(++tokens) + "\"}")};
    if (request.authorization != valid) return FakeServer::Reply{"", false, false};
    return pass_on(cluster->member(0).port(), {request.path, request.body, ""});
  });
  EtcdOptions o = options_of("holdfast", "secret");
  o.endpoints = {gateway.url()};
  o.token_trusted_ms = 0;
  auto node = start_client(o);
  ASSERT_TRUE(get(*node, "group-1"));
  valid = "token-2";
  EXPECT_EQ(swap(*node, "group-1", 0, "one").status, CasStatus::unknown) << "a closed connection proves nothing";
  EXPECT_EQ(swap(*node, "group-1", 0, "one").status, CasStatus::applied);
  EXPECT_EQ(tokens, 2);
}

// An operator configures the user first, and then turns authentication on.
TEST_F(AuthTest, AuthenticationThatIsTurnedOnLater_InterruptsNothing) {
  ASSERT_NO_FATAL_FAILURE(start());
  make_users();
  auto node = start_client(options_of("holdfast", "a \"secret\""));
  const CasOutcome before = swap(*node, "group-1", 0, "one");
  ASSERT_EQ(before.status, CasStatus::applied);
  enable();
  const CasOutcome after = swap(*node, "group-1", before.entry.revision, "two");
  EXPECT_EQ(after.status, CasStatus::applied);
  EXPECT_EQ(get(*node, "group-1")->value, "two");
}

}  // namespace
}  // namespace holdfast::coord::test

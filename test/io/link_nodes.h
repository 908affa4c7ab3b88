// Nodes that secure their links: an authority that signs certificates, files, a listener and a connector.
#pragma once

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/link_connector.h"
#include "io/link_credentials.h"
#include "io/link_listener.h"
#include "test/io/link_support.h"

namespace holdfast::io::test {

// ---- Files.

inline void write_private(const std::string& path, std::string_view text) {
  // As an operator replaces a file: whoever reads it sees one or the other.
  const std::string beside = path + ".new";
  std::ofstream(beside) << text;
  ::chmod(beside.c_str(), 0600);
  ASSERT_EQ(0, ::rename(beside.c_str(), path.c_str()));
}

// ---- Certificates.

struct KeyedCertificate {
  std::string certificate, key;  // PEM
};

struct CertificateWish {
  std::vector<std::string> names;          // subjectAltName, as openssl's configuration has them: "URI:holdfast://c/node/1".
  long begins_s = -3600, ends_s = 86'400;  // From now.
  std::string usage;                       // extendedKeyUsage; empty: any.
};

class TestAuthority {
 public:
  explicit TestAuthority(const char* name = "cluster authority") : key_(EVP_EC_gen("P-256"), EVP_PKEY_free), own_(X509_new(), X509_free) {
    begin(own_.get(), key_.get(), name, -3600, 86'400);
    X509_set_issuer_name(own_.get(), X509_get_subject_name(own_.get()));
    extend(own_.get(), NID_basic_constraints, "critical,CA:TRUE");
    extend(own_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
    X509_sign(own_.get(), key_.get(), EVP_sha256());
  }
  std::string certificate() const { return pem_of(own_.get()); }

  KeyedCertificate issue(const CertificateWish& wish) const {
    const KeyPtr key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    const CertificatePtr made(X509_new(), X509_free);
    begin(made.get(), key.get(), "a node", wish.begins_s, wish.ends_s);
    X509_set_issuer_name(made.get(), X509_get_subject_name(own_.get()));
    std::string names;
    for (const std::string& name : wish.names) names += (names.empty() ? "" : ",") + name;
    if (!names.empty()) extend(made.get(), NID_subject_alt_name, names.c_str());
    if (!wish.usage.empty()) extend(made.get(), NID_ext_key_usage, wish.usage.c_str());
    X509_sign(made.get(), key_.get(), EVP_sha256());
    return {pem_of(made.get()), pem_of(key.get())};
  }
  KeyedCertificate issue_node(const std::string& cluster, int node) const {
    return issue({.names = {"URI:holdfast://" + cluster + "/node/" + std::to_string(node)}, .usage = {}});
  }

 private:
  using KeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using CertificatePtr = std::unique_ptr<X509, decltype(&X509_free)>;

  static void begin(X509* certificate, EVP_PKEY* key, const char* name, long begins_s, long ends_s) {
    static long serial = 1;
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), begins_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), ends_s);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  }
  static void extend(X509* certificate, int id, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, nullptr, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value);
    EXPECT_TRUE(extension) << value;
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  static std::string text_of(BIO* bio) {
    char* data = nullptr;
    const long bytes = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<std::size_t>(bytes));
    BIO_free(bio);
    return out;
  }
  static std::string pem_of(X509* certificate) {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    return text_of(bio);
  }
  static std::string pem_of(EVP_PKEY* key) {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
    return text_of(bio);
  }

  KeyPtr key_;
  CertificatePtr own_;
};

// ---- Nodes.

inline constexpr const char* kCluster = "prod";
inline constexpr Uuid kGroup{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

// Files of one node, and credentials of them.
class NodeFiles {
 public:
  explicit NodeFiles(int node = 1) : node_(node) {}
  NodeFiles& certificate(const TestAuthority& trusted, const KeyedCertificate& own) {
    write_private(file("ca.pem"), trusted.certificate());
    write_private(file("node.pem"), own.certificate);
    write_private(file("node.key"), own.key);
    security_ = {.proof = LinkProof::certificate, .secret_file = {}, .ca_file = file("ca.pem"), .certificate_file = file("node.pem"), .key_file = file("node.key")};
    return *this;
  }
  NodeFiles& secret(std::string_view text) {
    write_private(file("secret"), text);
    security_ = {.proof = LinkProof::secret, .secret_file = file("secret"), .ca_file = {}, .certificate_file = {}, .key_file = {}};
    return *this;
  }
  Result<std::shared_ptr<LinkCredentials>> try_load(const std::string& cluster = kCluster) const {
    return LinkCredentials::load(security_, {cluster, NodeId(static_cast<std::uint64_t>(node_))});
  }
  // The files live as long as the credentials.
  std::shared_ptr<LinkCredentials> load(const std::string& cluster = kCluster) const {
    auto loaded = try_load(cluster);
    EXPECT_TRUE(loaded.has_value()) << loaded.error().text();
    if (!loaded) return nullptr;
    struct Held {
      std::shared_ptr<TempDirectory> directory;
      std::shared_ptr<LinkCredentials> credentials;
    };
    const auto held = std::make_shared<Held>(Held{directory_, *loaded});
    return {held, held->credentials.get()};
  }
  std::string file(const std::string& name) const { return directory_->file(name); }
  const LinkSecurity& security() const { return security_; }

 private:
  int node_;
  std::shared_ptr<TempDirectory> directory_ = std::make_shared<TempDirectory>();
  LinkSecurity security_;
};

inline std::shared_ptr<LinkCredentials> plain_node(int node, const std::string& cluster = kCluster) { return NodeFiles(node).load(cluster); }

class TestDoor final : public LinkDoor {
 public:
  bool has_group(Uuid group) const override { return group == kGroup; }
  void arrived(LinkArrival arrival) override { arrivals.push_back(std::move(arrival)); }
  std::vector<LinkArrival> arrivals;
};

class TestBook final : public AddressBook {
 public:
  Result<NodeAddresses> find(NodeId) const override { return addresses; }
  NodeAddresses addresses;
};

// A listening node and one that dials it, on one reactor.
struct LinkLab {
  LinkLab(std::shared_ptr<LinkCredentials> listens, std::shared_ptr<LinkCredentials> dials, LinkListenerOptions options = {}) {
    auto socket = listen_tcp(*reactor, {"127.0.0.1", 0}, kLinkTcpOptions);
    EXPECT_TRUE(socket.has_value());
    auto made = LinkListener::create(*reactor, std::move(*socket), std::move(listens), door, options);
    EXPECT_TRUE(made.has_value()) << made.error().text();
    listener = std::move(*made);
    listener->start();
    book.addresses.endpoints = {listener->local_endpoint()};
    if (dials) connector = std::make_unique<TcpConnector>(memory, std::move(dials), book);
  }
  ~LinkLab() {
    if (connector) run_task(*reactor, connector->stop());
    run_task(*reactor, listener->stop());
  }
  Result<std::unique_ptr<Link>> dial(int node = 1, Uuid group = kGroup) {
    return run_task(*reactor, connector->connect(NodeId(static_cast<std::uint64_t>(node)), group));
  }
  std::uint16_t port() const { return listener->local_endpoint().port; }
  // Until the listener has decided on so many connections since the lab began.
  void await_verdicts(std::uint64_t count) {
    const auto& stats = listener->stats();
    const auto decided = [&] { return stats.welcomed.get() + stats.refused.get() + stats.timed_out.get() + stats.dropped.get(); };
    const BootNs until = reactor->clock().now() + milliseconds(20'000);
    while (decided() < count && reactor->clock().now() < until) run_task(*reactor, pause_for(reactor.get(), 1));
    EXPECT_EQ(decided(), count);
  }

  std::unique_ptr<Reactor> reactor = make_reactor();
  LinkMemory memory{*reactor, 1 << 20};
  TestDoor door;
  TestBook book;
  std::unique_ptr<LinkListener> listener;
  std::unique_ptr<TcpConnector> connector;
};

// ---- A peer with an OpenSSL of its own, so that it may do what no node does.

// Runs what blocks on another thread while the reactor turns here.
template <class F>
auto run_beside(Reactor& reactor, F job) {
  auto done = std::async(std::launch::async, std::move(job));
  while (done.wait_for(std::chrono::seconds(0)) != std::future_status::ready) run_task(reactor, pause_for(&reactor, 1));
  return done.get();
}

class RawTls {
 public:
  explicit RawTls(std::uint16_t port) : peer_(port), context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets without MSG_NOSIGNAL.
  }
  SSL_CTX* context() { return context_.get(); }
  SSL* connection() { return connection_.get(); }
  RawPeer& peer() { return peer_; }
  void show(const KeyedCertificate& own) {
    BIO* in = BIO_new_mem_buf(own.certificate.data(), static_cast<int>(own.certificate.size()));
    X509* certificate = PEM_read_bio_X509(in, nullptr, nullptr, nullptr);
    SSL_CTX_use_certificate(context_.get(), certificate);
    X509_free(certificate);
    BIO_free(in);
    in = BIO_new_mem_buf(own.key.data(), static_cast<int>(own.key.size()));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(in, nullptr, nullptr, nullptr);
    SSL_CTX_use_PrivateKey(context_.get(), key);
    EVP_PKEY_free(key);
    BIO_free(in);
  }
  // Blocks. Empty when it went well.
  std::string connect() {
    connection_.reset(SSL_new(context_.get()));
    SSL_set_fd(connection_.get(), peer_.fd());
    return outcome(SSL_connect(connection_.get()));
  }
  std::string write(Bytes bytes) { return outcome(SSL_write(connection_.get(), bytes.data(), static_cast<int>(bytes.size()))); }
  // What comes with one read; an error's text behind "error: ".
  std::string read() {
    char piece[1024];
    const int bytes = SSL_read(connection_.get(), piece, sizeof piece);
    if (bytes > 0) return std::string(piece, static_cast<std::size_t>(bytes));
    return "error: " + outcome(bytes);
  }

 private:
  std::string outcome(int result) {
    if (result > 0) return {};
    const int why = SSL_get_error(connection_.get(), result);
    if (why == SSL_ERROR_ZERO_RETURN) return "ended in order";
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    const char* reason = ERR_reason_error_string(code);
    return reason ? reason : "connection broken";
  }
  RawPeer peer_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  struct Free {
    void operator()(SSL* connection) const { SSL_free(connection); }
  };
  std::unique_ptr<SSL, Free> connection_;
};

}  // namespace holdfast::io::test

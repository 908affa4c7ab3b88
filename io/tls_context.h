// What TLS connections of one configuration share: TLS 1.3 only, no tickets, no early data, and one way to prove who one is.
//   certificates: each side shows one of the configured authorities; which node it names is for the caller to look at.
//   secrets:      an external pre-shared key with (EC)DHE, derived from the secret (docs/formats.md). No certificate is shown or accepted.
// Never changed once made, so it may be used from any thread; connections hold on to the one they began with.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/link_security.h"

namespace holdfast::io {

// A file's text, with its name for messages.
struct NamedText {
  std::string name;
  std::string text;
};

class TlsContext {
 public:
  struct Certificates {
    NamedText authorities, certificate, key;  // PEM
  };
  // Errors: invalid_argument; the message names the file and what is wrong with it.
  static Result<std::shared_ptr<const TlsContext>> of_certificates(const Certificates& files, const LinkIdentity& self);
  // secrets: one or two; the first is used where this side dials, all are accepted where it listens.
  static Result<std::shared_ptr<const TlsContext>> of_secrets(const std::vector<std::string>& secrets, const std::string& cluster);

  TlsContext(const TlsContext&) = delete;

  LinkProof proof() const { return proof_; }
  SSL_CTX* native() const { return context_.get(); }

  struct SharedKey {
    std::string identity;  // What goes over the wire in clear: cluster and key, not the secret.
    std::array<std::uint8_t, 32> key;
  };
  static constexpr std::size_t kSecretsMax = 2;

 private:
  explicit TlsContext(LinkProof proof) : proof_(proof) {}
  Result<void> prepare();

  struct ContextDeleter {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  LinkProof proof_;
  std::unique_ptr<SSL_CTX, ContextDeleter> context_;
  std::vector<SharedKey> keys_;  // In the order of the secrets. The context's callbacks look here.
};

// The key of a secret, and what it is called. Errors: io_error (OpenSSL refuses HKDF).
Result<TlsContext::SharedKey> derive_shared_key(const std::string& secret, const std::string& cluster);

// The nodes that a certificate names, whichever cluster they are of.
std::vector<LinkIdentity> nodes_named_by(X509* certificate);

}  // namespace holdfast::io

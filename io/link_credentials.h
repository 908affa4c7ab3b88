// What this node proves itself with on its links: the configured files, as they are now. They are read again for each new connection
// (a few KiB, beside a handshake that costs a millisecond), so what replaces them counts from the next connection on, without a restart and
// without a guess from a file's times. A change that makes no sense (a new certificate whose key is not there yet) is told once, and
// what was there before goes on.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "io/tls_context.h"

namespace holdfast::io {

class LinkCredentials {
 public:
  // Reads the files for the first time: they must be right. Errors: invalid_argument, permission (a key or secret that others can read),
  // not_found; the message names the file and what to do.
  static Result<std::shared_ptr<LinkCredentials>> load(LinkSecurity security, LinkIdentity self);

  LinkCredentials(const LinkCredentials&) = delete;

  const LinkIdentity& self() const { return self_; }
  LinkProof proof() const { return security_.proof; }
  // For a new connection; empty when links are not secured. From any thread.
  std::shared_ptr<const TlsContext> current();

 private:
  using Texts = std::vector<NamedText>;  // The secret; or authorities, certificate, key.
  using Digest = std::array<std::uint8_t, 32>;

  LinkCredentials(LinkSecurity security, LinkIdentity self) : security_(std::move(security)), self_(std::move(self)) {}
  Result<Texts> read_files() const;
  Result<std::shared_ptr<const TlsContext>> make(const Texts& texts) const;
  // Takes what is there now if it is new and makes sense.
  Result<void> look();
  void tell(const Error& error);

  const LinkSecurity security_;
  const LinkIdentity self_;
  std::mutex mutex_;                              // Of everything below.
  std::shared_ptr<const TlsContext> context_;
  Digest seen_{};                                 // Of the texts that context_ was made of.
  std::string told_;                              // What was logged last and is still so.
};

}  // namespace holdfast::io

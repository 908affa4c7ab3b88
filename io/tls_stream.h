// The Stream port inside of TLS 1.3, over another stream. Not a thread's own: an idle one moves as the stream below it does.
//
// OpenSSL works on two buffers of ours and never waits; whoever reads or writes carries the bytes. An end of the stream below that
// TLS did not announce is an error (io_error), so that nobody cuts a message short unnoticed.
#pragma once

#include <memory>
#include <vector>

#include "base/stream.h"
#include "io/tls_context.h"

namespace holdfast::io {

enum class TlsSide : std::uint8_t { dials, listens };

struct TlsStreamOptions {
  // The sender's key is changed after so many records: AES-GCM wears out after 2^24.5 full ones (RFC 8446 §5.5).
  std::uint64_t records_per_key = std::uint64_t{1} << 23;
};

class TlsStream : public Stream {
 public:
  // Returns when both sides have proven themselves, as far as this one can know: where it dials, the refusal of its own certificate
  // comes with the first read. Errors: permission (not accepted, here or there), protocol (no TLS), closed, io_error; the message
  // says what to do. It has no time limit of its own: close() ends it.
  virtual Task<Result<void>> handshake() = 0;

  // After the handshake: the nodes that the other side's certificate names. Empty with secrets.
  virtual std::vector<LinkIdentity> peer_names() const = 0;

  // What came first, before anything else: who fails to understand it may want to know whether it is TLS at all.
  virtual Bytes first_bytes() const = 0;
  // The stream below; only after a handshake that failed.
  virtual Stream& below() = 0;
};

std::unique_ptr<TlsStream> make_tls_stream(std::unique_ptr<Stream> below, std::shared_ptr<const TlsContext> context, TlsSide side,
                                           TlsStreamOptions options = {});

}  // namespace holdfast::io

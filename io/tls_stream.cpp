#include "io/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "base/ensure.h"
#include "io/tls_error.h"

namespace holdfast::io {
namespace {

constexpr std::size_t kPlainRecordBytes = std::size_t{16} << 10;
constexpr std::size_t kRecordOverhead = 5 + 1 + 16;  // Header, type, tag: nothing is padded.
constexpr std::size_t kSealedRecordBytes = kPlainRecordBytes + kRecordOverhead;
constexpr std::size_t kRecordsAtOnce = 4;
constexpr std::size_t kSpareBytes = 2048;            // Alerts, and messages about keys, beside the records.
constexpr std::size_t kOutgoingBytes = kRecordsAtOnce * kSealedRecordBytes + kSpareBytes;
constexpr std::size_t kIncomingBytes = std::size_t{64} << 10;
constexpr std::size_t kGatheredBytes = std::size_t{8} << 10;  // Pieces up to here share a record: a copy costs less than a record.
constexpr std::size_t kHandshakeBytesMax = std::size_t{128} << 10;
constexpr std::size_t kFirstBytes = 4;

// Bytes on their way between OpenSSL and the stream below.
class Pipe {
 public:
  explicit Pipe(std::size_t bytes) : memory_(std::make_unique_for_overwrite<std::byte[]>(bytes)), bytes_(bytes) {}
  MutableBytes content() const { return {memory_.get() + begin_, end_ - begin_}; }
  // Where more can be put; what is there may be moved to the front for it.
  MutableBytes room() {
    if (begin_ == end_) begin_ = end_ = 0;
    return {memory_.get() + end_, bytes_ - end_};
  }
  void put(std::size_t bytes) { end_ += bytes; }
  void take(std::size_t bytes) { begin_ += bytes; }

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::size_t bytes_;
  std::size_t begin_ = 0, end_ = 0;
};

struct Pipes {
  Pipe incoming{kIncomingBytes};
  Pipe outgoing{kOutgoingBytes};
};

// ---- A BIO over the two pipes.

int pipe_write(BIO* bio, const char* data, int bytes) {
  Pipe& out = static_cast<Pipes*>(BIO_get_data(bio))->outgoing;
  BIO_clear_retry_flags(bio);
  const std::size_t count = std::min(out.room().size(), static_cast<std::size_t>(std::max(bytes, 0)));
  if (count == 0) {
    BIO_set_retry_write(bio);
    return -1;
  }
  std::memcpy(out.room().data(), data, count);
  out.put(count);
  return static_cast<int>(count);
}

int pipe_read(BIO* bio, char* data, int bytes) {
  Pipe& in = static_cast<Pipes*>(BIO_get_data(bio))->incoming;
  BIO_clear_retry_flags(bio);
  const std::size_t count = std::min(in.content().size(), static_cast<std::size_t>(std::max(bytes, 0)));
  if (count == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  std::memcpy(data, in.content().data(), count);
  in.take(count);
  return static_cast<int>(count);
}

long pipe_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

int pipe_create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

// Lives as long as the program: whoever ends last may still need it.
const BIO_METHOD* pipe_method() {
  static const BIO_METHOD* method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "buffers");
    ENSURE(made);
    const bool set = BIO_meth_set_write(made, pipe_write) == 1 && BIO_meth_set_read(made, pipe_read) == 1 &&
                     BIO_meth_set_ctrl(made, pipe_control) == 1 && BIO_meth_set_create(made, pipe_create) == 1;
    ENSURE(set);
    return made;
  }();
  return method;
}

struct ConnectionDeleter {
  void operator()(SSL* connection) const { SSL_free(connection); }
};

// What moves from thread to thread: everything but the stream below.
struct TlsState {
  std::shared_ptr<const TlsContext> context;
  TlsStreamOptions options;
  Pipes pipes;
  std::unique_ptr<SSL, ConnectionDeleter> connection;
  std::array<std::byte, kPlainRecordBytes> gathered;  // Small pieces on their way into one record.
  std::array<std::byte, kFirstBytes> first{};
  std::size_t first_count = 0;
  std::uint64_t records = 0;         // Sealed with the present key.
  bool established = false;
  std::optional<Error> failure;      // Of TLS itself: nothing more is read or written.
};

// Plain text in pieces of at most a record: small neighbours together, large ones from where they are.
class Pieces {
 public:
  Pieces(std::span<const iovec> from, MutableBytes scratch) : from_(from), scratch_(scratch) {}
  // Valid until the next call; empty at the end.
  Bytes next() {
    std::size_t gathered = 0;
    for (;;) {
      while (index_ < from_.size() && offset_ == from_[index_].iov_len) {
        ++index_;
        offset_ = 0;
      }
      if (index_ == from_.size()) return scratch_.first(gathered);
      const std::size_t left = from_[index_].iov_len - offset_;
      const auto* data = static_cast<const std::byte*>(from_[index_].iov_base) + offset_;
      if (left > kGatheredBytes || gathered + left > scratch_.size()) {
        if (gathered > 0) return scratch_.first(gathered);
        const std::size_t bytes = std::min(left, kPlainRecordBytes);
        offset_ += bytes;
        return {data, bytes};
      }
      std::memcpy(scratch_.data() + gathered, data, left);
      gathered += left;
      offset_ += left;
    }
  }

 private:
  std::span<const iovec> from_;
  MutableBytes scratch_;
  std::size_t index_ = 0, offset_ = 0;
};

class TlsStreamImpl final : public TlsStream {
 public:
  TlsStreamImpl(std::unique_ptr<Stream> below, std::unique_ptr<TlsState> state) : below_(std::move(below)), state_(std::move(state)) {}

  Task<Result<void>> handshake() override;
  Task<Result<std::size_t>> read_some(std::span<const iovec> into) override;
  Task<Result<void>> write_all(std::span<const iovec> from) override;
  void close() override;
  std::string peer_address() const override { return below_->peer_address(); }
  std::string local_address() const override { return below_->local_address(); }
  std::unique_ptr<Stream> move_to(Executor& executor) override {
    ENSURE(state_ && !reading_ && !writing_);
    closed_ = true;
    return std::make_unique<TlsStreamImpl>(below_->move_to(executor), std::move(state_));
  }
  std::vector<LinkIdentity> peer_names() const override;
  Bytes first_bytes() const override { return Bytes(state_->first).first(state_->first_count); }
  Stream& below() override { return *below_; }

 private:
  SSL* connection() const { return state_->connection.get(); }
  Result<std::size_t> take_plain(std::span<const iovec> into);
  Result<void> seal(Bytes plain);
  Result<void> change_worn_key();
  Result<void> check_proof();
  Error tls_failed();
  Task<Result<void>> read_sealed();
  Task<Result<void>> flush();
  void flush_at_once();

  std::unique_ptr<Stream> below_;
  std::unique_ptr<TlsState> state_;   // Empty once moved away.
  bool closed_ = false, reading_ = false, writing_ = false;
  bool flushing_ = false;             // What is in the outgoing pipe may be out, wholly or in part.
};

Error TlsStreamImpl::tls_failed() {
  if (!state_->failure) state_->failure = take_tls_error(connection());
  ERR_clear_error();
  return *state_->failure;
}

// ---- The handshake.

Task<Result<void>> TlsStreamImpl::handshake() {
  std::size_t heard = 0;
  for (;;) {
    ERR_clear_error();
    const int done = SSL_do_handshake(connection());
    const int why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(connection(), done);
    std::optional<Error> failed;
    if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) failed = tls_failed();
    // Also after a failure: the other side is to know why.
    auto flushed = co_await flush();
    if (failed) co_return fail(std::move(*failed));
    if (!flushed) co_return fail(flushed.error().code, "the connection ended during the TLS handshake");
    if (why == SSL_ERROR_NONE) break;
    if (why == SSL_ERROR_WANT_WRITE) continue;
    auto more = co_await read_sealed();
    if (!more) co_return fail(more.error().code, "the other side ended the connection during the TLS handshake; its log says why, or it has no "
                                                 "security configured for its links");
    heard += state_->pipes.incoming.content().size();
    if (heard > kHandshakeBytesMax) co_return fail(Errc::protocol, "the TLS handshake has no end");
  }
  auto proven = check_proof();
  if (proven) state_->established = true;
  co_return proven;
}

// What OpenSSL has been told to insist on, once more from its answers.
Result<void> TlsStreamImpl::check_proof() {
  ENSURE(SSL_version(connection()) == TLS1_3_VERSION);
  if (state_->context->proof() == LinkProof::secret) {
    if (SSL_session_reused(connection()) == 1 && SSL_get0_peer_certificate(connection()) == nullptr) return {};
    return fail(Errc::permission, "the other side has not proven that it knows the secret");
  }
  if (SSL_session_reused(connection()) == 0 && SSL_get0_peer_certificate(connection()) && SSL_get_verify_result(connection()) == X509_V_OK) return {};
  return fail(Errc::permission, "the other side has shown no certificate");
}

std::vector<LinkIdentity> TlsStreamImpl::peer_names() const {
  X509* certificate = SSL_get0_peer_certificate(connection());
  return certificate ? nodes_named_by(certificate) : std::vector<LinkIdentity>();
}

// ---- Reading.

Task<Result<std::size_t>> TlsStreamImpl::read_some(std::span<const iovec> into) {
  ENSURE(!reading_);
  struct Reading {
    bool* flag;
    ~Reading() { *flag = false; }
  } reading{&reading_};
  reading_ = true;
  for (;;) {
    if (closed_) co_return fail(Errc::closed);
    auto bytes = take_plain(into);
    if (!bytes) {
      // The other side is to know what is wrong with what it sent.
      if (bytes.error().code != Errc::closed && !writing_) flush_at_once();
      co_return fail(bytes.error());
    }
    if (*bytes > 0) co_return *bytes;
    auto more = co_await read_sealed();
    if (!more) co_return fail(more.error());
  }
}

// As much as is there and has room; zero: more of the stream below is needed first. Errors: closed (said by the other side).
Result<std::size_t> TlsStreamImpl::take_plain(std::span<const iovec> into) {
  if (state_->failure) return fail(*state_->failure);
  std::size_t total = 0;
  for (const iovec& segment : into) {
    for (std::size_t filled = 0; filled < segment.iov_len;) {
      std::size_t bytes = 0;
      ERR_clear_error();
      if (SSL_read_ex(connection(), static_cast<std::byte*>(segment.iov_base) + filled, segment.iov_len - filled, &bytes) == 1) {
        filled += bytes;
        total += bytes;
        continue;
      }
      const int why = SSL_get_error(connection(), 0);
      // An end or an error comes again with the next call: first what came before it.
      if (why == SSL_ERROR_WANT_READ) return total;
      if (why == SSL_ERROR_ZERO_RETURN && total > 0) return total;
      if (why == SSL_ERROR_ZERO_RETURN) return fail(Errc::closed);
      if (why == SSL_ERROR_WANT_WRITE) state_->failure = Error(Errc::protocol, "too much is asked of this side");
      Error failed = tls_failed();
      if (total > 0) return total;
      return fail(std::move(failed));
    }
  }
  return total;
}

// Errors: io_error (the stream below ended; TLS did not), timed_out; closed when it was closed here.
Task<Result<void>> TlsStreamImpl::read_sealed() {
  Pipe& in = state_->pipes.incoming;
  // OpenSSL has taken all there was before it asks for more.
  ENSURE(in.content().empty());
  const MutableBytes room = in.room();
  const iovec segment{room.data(), room.size()};
  auto got = co_await below_->read_some(std::span(&segment, 1));
  if (closed_) co_return fail(Errc::closed);
  if (!got) co_return fail(got.error().code == Errc::closed ? Error(Errc::io_error) : got.error());
  for (std::size_t i = 0; i < *got && state_->first_count < kFirstBytes; ++i) state_->first[state_->first_count++] = room[i];
  in.put(*got);
  co_return Result<void>{};
}

// ---- Writing.

Task<Result<void>> TlsStreamImpl::write_all(std::span<const iovec> from) {
  ENSURE(!writing_);
  if (closed_) co_return fail(Errc::closed);
  struct Writing {
    bool* flag;
    ~Writing() { *flag = false; }
  } writing{&writing_};
  writing_ = true;
  Pieces pieces(from, state_->gathered);
  for (Bytes piece = pieces.next(); !piece.empty(); piece = pieces.next()) {
    if (state_->pipes.outgoing.room().size() < kSealedRecordBytes + kSpareBytes) CO_TRY(co_await flush());
    CO_TRY(seal(piece));
  }
  auto flushed = co_await flush();
  co_return flushed;
}

// One record; there is room for it.
Result<void> TlsStreamImpl::seal(Bytes plain) {
  if (state_->failure) return fail(*state_->failure);
  TRY(change_worn_key());
  std::size_t sealed = 0;
  ERR_clear_error();
  if (SSL_write_ex(connection(), plain.data(), plain.size(), &sealed) == 1 && sealed == plain.size()) {
    ++state_->records;
    return {};
  }
  return fail(tls_failed());
}

Result<void> TlsStreamImpl::change_worn_key() {
  if (state_->records < state_->options.records_per_key) return {};
  ERR_clear_error();
  if (SSL_key_update(connection(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) return fail(tls_failed());
  state_->records = 0;
  return {};
}

// Everything OpenSSL has put out, also what it adds meanwhile. A flow that is destroyed on the way leaves a piece of which nobody
// knows how much is out: sent once more it would be damage to the other side, so that nothing is sent any more.
Task<Result<void>> TlsStreamImpl::flush() {
  Pipe& out = state_->pipes.outgoing;
  if (flushing_) co_return fail(Errc::io_error);
  while (!out.content().empty()) {
    const MutableBytes content = out.content();
    const iovec segment{content.data(), content.size()};
    flushing_ = true;
    auto written = co_await below_->write_all(std::span(&segment, 1));
    if (closed_) co_return fail(Errc::closed);
    if (!written) co_return fail(written.error());
    flushing_ = false;
    out.take(content.size());
  }
  co_return Result<void>{};
}

// What can be said without waiting; the rest is dropped with the stream. Only while nobody writes.
void TlsStreamImpl::flush_at_once() {
  const Task<Result<void>> flushed = flush();
  (void)flushed.await_ready();
}

void TlsStreamImpl::close() {
  if (std::exchange(closed_, true)) return;
  if (state_ && state_->established && !writing_ && !state_->failure) {
    ERR_clear_error();
    SSL_shutdown(connection());  // Says so to the other side; its own word is not waited for.
    ERR_clear_error();
    flush_at_once();
  }
  below_->close();
}

}  // namespace

std::unique_ptr<TlsStream> make_tls_stream(std::unique_ptr<Stream> below, std::shared_ptr<const TlsContext> context, TlsSide side,
                                           TlsStreamOptions options) {
  auto state = std::make_unique<TlsState>();
  state->options = options;
  state->context = std::move(context);
  state->connection.reset(SSL_new(state->context->native()));
  BIO* bio = BIO_new(pipe_method());
  ENSURE(state->connection && bio);
  BIO_set_data(bio, &state->pipes);
  SSL_set_bio(state->connection.get(), bio, bio);
  if (side == TlsSide::dials) SSL_set_connect_state(state->connection.get());
  else SSL_set_accept_state(state->connection.get());
  return std::make_unique<TlsStreamImpl>(std::move(below), std::move(state));
}

}  // namespace holdfast::io

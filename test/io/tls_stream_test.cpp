// Bytes inside of TLS over real sockets: whole in both directions at once, whatever the pieces; cuts and damage are noticed.
#include "io/tls_stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "io/reactor_pool.h"
#include "test/io/link_nodes.h"

namespace holdfast::io {
namespace {

using test::kCluster;
using test::make_reactor;
using test::make_stream_pair;
using test::NodeFiles;
using test::pause_for;
using test::RawTls;
using test::run_beside;
using test::StreamPair;
using test::TestAuthority;

constexpr const char* kSecret = "a secret of more than thirty-two bytes";

// Stands between TLS and the socket, and damages one byte of what is read.
class DamagingStream final : public Stream {
 public:
  DamagingStream(std::unique_ptr<Stream> below, std::uint64_t position) : below_(std::move(below)), position_(position) {}
  Task<Result<std::size_t>> read_some(std::span<const iovec> into) override {
    auto bytes = co_await below_->read_some(into.first(1));
    if (bytes && position_ >= read_ && position_ < read_ + *bytes) static_cast<unsigned char*>(into[0].iov_base)[position_ - read_] ^= 0x10;
    if (bytes) read_ += *bytes;
    co_return bytes;
  }
  Task<Result<void>> write_all(std::span<const iovec> from) override {
    auto written = co_await below_->write_all(from);
    co_return written;
  }
  void close() override { below_->close(); }
  std::string peer_address() const override { return below_->peer_address(); }
  std::string local_address() const override { return below_->local_address(); }
  std::unique_ptr<Stream> move_to(Executor& executor) override {
    return std::make_unique<DamagingStream>(below_->move_to(executor), position_ - read_);
  }
  std::uint64_t read() const { return read_; }

 private:
  std::unique_ptr<Stream> below_;
  std::uint64_t position_, read_ = 0;
};

Task<void> shake(TlsStream* stream, std::optional<Result<void>>* out) {
  auto shaken = co_await stream->handshake();
  *out = std::move(shaken);
}

// Both ends of one connection inside of TLS.
struct TlsEnds {
  explicit TlsEnds(TlsStreamOptions options = {}, std::uint64_t damaged = ~std::uint64_t{0}) {
    StreamPair pair = run_task(*reactor, make_stream_pair(reactor.get()));
    const auto credentials = NodeFiles(1).secret(kSecret).load();
    auto below = std::make_unique<DamagingStream>(std::move(pair.server), damaged);
    damaging = below.get();
    server_below = below.get();
    client_below = pair.client.get();
    client = make_tls_stream(std::move(pair.client), credentials->current(), TlsSide::dials, options);
    server = make_tls_stream(std::move(below), credentials->current(), TlsSide::listens, options);
    Scope scope(*reactor);
    scope.spawn(shake(client.get(), &client_shaken));
    scope.spawn(shake(server.get(), &server_shaken));
    run_task(*reactor, scope.join());
  }
  bool good() const {
    for (const auto* shaken : {&client_shaken, &server_shaken}) EXPECT_TRUE((*shaken)->has_value()) << (*shaken)->error().text();
    return client_shaken->has_value() && server_shaken->has_value();
  }
  std::unique_ptr<Reactor> reactor = make_reactor();
  std::unique_ptr<TlsStream> client, server;
  Stream* client_below = nullptr;
  Stream* server_below = nullptr;
  DamagingStream* damaging = nullptr;
  std::optional<Result<void>> client_shaken, server_shaken;
};

std::byte sample(std::uint64_t position) { return std::byte((position * 2'654'435'761u) >> 13); }

// Pieces of all sizes, in one to three segments, empty ones among them.
Task<void> write_pieces(Stream* stream, std::uint64_t total) {
  std::vector<std::byte> data(120'000);
  std::uint64_t sent = 0;
  for (std::size_t round = 0; sent < total; ++round) {
    const std::size_t bytes = std::min<std::uint64_t>(1 + round * round * 7919 % data.size(), total - sent);
    for (std::size_t i = 0; i < bytes; ++i) data[i] = sample(sent + i);
    const std::size_t first = bytes / 3, second = bytes / 2 - first;
    const std::array<iovec, 4> segments{iovec{data.data(), first}, iovec{data.data(), 0}, iovec{data.data() + first, second},
                                        iovec{data.data() + first + second, bytes - first - second}};
    const auto written = co_await stream->write_all(segments);
    EXPECT_TRUE(written.has_value());
    if (!written) co_return;
    sent += bytes;
  }
}

Task<void> read_pieces(Stream* stream, std::uint64_t total, std::uint64_t* wrong) {
  std::vector<std::byte> data(70'000);
  std::uint64_t received = 0;
  for (std::size_t round = 0; received < total; ++round) {
    const std::size_t first = 1 + round * 104'729 % (data.size() - 2);
    const std::array<iovec, 2> segments{iovec{data.data(), first}, iovec{data.data() + first, data.size() - first}};
    const auto bytes = co_await stream->read_some(segments);
    if (!bytes) {
      ++*wrong;
      co_return;
    }
    for (std::size_t i = 0; i < *bytes; ++i) *wrong += data[i] != sample(received + i);
    received += *bytes;
  }
}

std::uint64_t transfer_both_ways(TlsEnds& ends, std::uint64_t total) {
  std::uint64_t wrong = 0;
  Scope scope(*ends.reactor);
  scope.spawn(write_pieces(ends.client.get(), total));
  scope.spawn(write_pieces(ends.server.get(), total));
  scope.spawn(read_pieces(ends.client.get(), total, &wrong));
  scope.spawn(read_pieces(ends.server.get(), total, &wrong));
  run_task(*ends.reactor, scope.join());
  return wrong;
}

TEST(TlsStream, Bytes_InOddPiecesBothWaysAtOnce_ArriveWhole) {
  TlsEnds ends;
  ASSERT_TRUE(ends.good());
  EXPECT_EQ(transfer_both_ways(ends, 24 << 20), 0u);
}

// A key wears out; here after three records, so that it is changed thousands of times under load.
TEST(TlsStream, Keys_AreChangedInTheMiddleOfATransfer) {
  TlsEnds ends({.records_per_key = 3});
  ASSERT_TRUE(ends.good());
  EXPECT_EQ(transfer_both_ways(ends, 8 << 20), 0u);
}

Task<void> note_bytes(Stream* stream, std::optional<Result<std::size_t>>* out) {
  std::array<std::byte, 100> data;
  const iovec segment{data.data(), data.size()};
  auto bytes = co_await stream->read_some(std::span(&segment, 1));
  *out = std::move(bytes);
}

Errc read_end(Reactor& reactor, Stream& stream) {
  std::optional<Result<std::size_t>> got;
  run_task(reactor, note_bytes(&stream, &got));
  EXPECT_FALSE(got->has_value());
  return got->has_value() ? Errc{} : got->error().code;
}

TEST(TlsStream, Close_IsAnEndInOrder) {
  TlsEnds ends;
  ASSERT_TRUE(ends.good());
  ends.client->close();
  EXPECT_EQ(read_end(*ends.reactor, *ends.server), Errc::closed);
  EXPECT_EQ(read_end(*ends.reactor, *ends.client), Errc::closed);
}

// Whoever cuts the connection below TLS is noticed: the end was not said inside of it.
TEST(TlsStream, CutBelow_IsNoEndInOrder) {
  TlsEnds ends;
  ASSERT_TRUE(ends.good());
  ends.client_below->close();
  EXPECT_EQ(read_end(*ends.reactor, *ends.server), Errc::io_error);
}

TEST(TlsStream, Damage_IsNoticedAsProtocol) {
  std::uint64_t handshake_bytes = 0;
  {
    TlsEnds honest;
    ASSERT_TRUE(honest.good());
    handshake_bytes = honest.damaging->read();
  }
  TlsEnds ends({}, handshake_bytes + 300);
  ASSERT_TRUE(ends.good());
  std::uint64_t wrong = 0;
  Scope scope(*ends.reactor);
  scope.spawn(write_pieces(ends.client.get(), 10'000));
  scope.spawn(read_pieces(ends.server.get(), 10'000, &wrong));
  run_task(*ends.reactor, scope.join());
  EXPECT_EQ(wrong, 1u);  // The end, and not one wrong byte before it.
  EXPECT_EQ(read_end(*ends.reactor, *ends.server), Errc::protocol);
  // And the other side is told.
  EXPECT_NE(read_end(*ends.reactor, *ends.client), Errc::closed);
}

Task<void> close_soon(Reactor* reactor, Stream* stream) {
  co_await pause_for(reactor, 5);
  stream->close();
}

Task<void> note_endless_write(Stream* stream, std::optional<Errc>* out) {
  std::vector<std::byte> data(64 << 20);
  const iovec segment{data.data(), data.size()};
  const auto written = co_await stream->write_all(std::span(&segment, 1));
  if (!written) *out = written.error().code;
}

Task<void> read_to_the_end(Stream* stream, std::optional<Errc>* out) {
  std::vector<std::byte> data(64 << 10);
  while (!*out) {
    const iovec segment{data.data(), data.size()};
    const auto bytes = co_await stream->read_some(std::span(&segment, 1));
    if (!bytes) *out = bytes.error().code;
  }
}

TEST(TlsStream, Close_WithReadAndWritePending_WakesBothAsClosed) {
  TlsEnds ends;
  ASSERT_TRUE(ends.good());
  std::optional<Result<std::size_t>> reading;
  std::optional<Errc> writing;
  Scope scope(*ends.reactor);
  scope.spawn(note_bytes(ends.client.get(), &reading));
  scope.spawn(note_endless_write(ends.client.get(), &writing));
  scope.spawn(close_soon(ends.reactor.get(), ends.client.get()));
  run_task(*ends.reactor, scope.join());
  ASSERT_TRUE(reading && !reading->has_value());
  EXPECT_EQ(reading->error().code, Errc::closed);
  EXPECT_EQ(writing, Errc::closed);
}

// A writer that is destroyed on the way leaves a piece that is out in part. Sent once more with the next one it would be damage.
TEST(TlsStream, Write_ThatIsAbandoned_IsACutForTheOtherSide) {
  TlsEnds ends;
  ASSERT_TRUE(ends.good());
  {
    std::optional<Errc> writing;
    Scope scope(*ends.reactor);
    scope.spawn(note_endless_write(ends.client.get(), &writing));
    run_task(*ends.reactor, pause_for(ends.reactor.get(), 20));
    ASSERT_EQ(scope.running(), 1u);  // The sockets are full.
  }
  // What the sockets hold is read; then there is room for more.
  Scope scope(*ends.reactor);
  std::optional<Errc> end;
  scope.spawn(read_to_the_end(ends.server.get(), &end));
  run_task(*ends.reactor, pause_for(ends.reactor.get(), 20));
  EXPECT_FALSE(end);
  ends.client->close();
  run_task(*ends.reactor, scope.join());
  EXPECT_EQ(end, Errc::io_error);
}

Task<void> count_down(std::unique_ptr<Stream>* stream, std::uint64_t total, std::uint64_t* wrong, std::atomic<bool>* done) {
  co_await write_pieces(stream->get(), total);
  co_await read_pieces(stream->get(), total, wrong);
  done->store(true);
}

// What was received and not read before the move is there after it.
TEST(TlsStream, MovedToAnotherReactor_GoesOnThere) {
  auto pool = ReactorPool::start(1, {.buffer_bytes = 1 << 20});
  ASSERT_TRUE(pool.has_value());
  Reactor& other = (*pool)->reactor(0);
  TlsEnds ends;
  ASSERT_TRUE(ends.good());
  // One byte is read; the rest of its record waits inside of OpenSSL.
  run_task(*ends.reactor, write_pieces(ends.client.get(), 1000));
  std::array<std::byte, 1> first;
  const iovec segment{first.data(), first.size()};
  const auto got = run_task(*ends.reactor, ends.server->read_some(std::span(&segment, 1)));
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(first[0], sample(0));
  std::unique_ptr<Stream> moved = ends.server->move_to(other);
  ends.server.reset();
  std::uint64_t rest_wrong = 0, wrong = 0, far_wrong = 0;
  std::atomic<bool> rest_done = false, done = false;
  std::optional<Scope> scope;
  struct Rest {
    static Task<void> read(std::unique_ptr<Stream>* stream, std::uint64_t* bad, std::atomic<bool>* finished) {
      std::vector<std::byte> data(999);
      for (std::size_t at = 0; at < data.size();) {
        const iovec place{data.data() + at, data.size() - at};
        const auto more = co_await (*stream)->read_some(std::span(&place, 1));
        if (!more) break;
        at += *more;
      }
      for (std::size_t i = 0; i < data.size(); ++i) *bad += data[i] != sample(i + 1);
      finished->store(true);
    }
  };
  other.post_remote([&] {
    scope.emplace(other);
    scope->spawn(Rest::read(&moved, &rest_wrong, &rest_done));
  });
  while (!rest_done.load()) run_task(*ends.reactor, pause_for(ends.reactor.get(), 1));
  EXPECT_EQ(rest_wrong, 0u);
  other.post_remote([&] { scope->spawn(count_down(&moved, 100'000, &far_wrong, &done)); });
  run_task(*ends.reactor, read_pieces(ends.client.get(), 100'000, &wrong));
  run_task(*ends.reactor, write_pieces(ends.client.get(), 100'000));
  while (!done.load()) run_task(*ends.reactor, pause_for(ends.reactor.get(), 1));
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(far_wrong, 0u);
  ReactorPool::run_on(other, [&] {
    scope.reset();
    moved.reset();
  });
}

// ---- Peers that are no nodes.

// A listening side with certificates, and a peer with an OpenSSL of its own.
struct RawLab {
  RawLab() {
    auto made = listen_tcp(*reactor, {"127.0.0.1", 0});
    EXPECT_TRUE(made.has_value());
    listener = std::move(*made);
    credentials = NodeFiles(1).certificate(authority, authority.issue_node(kCluster, 1)).load();
  }
  // Takes the connection that the peer has begun, in the background.
  void serve() { scope.emplace(*reactor), scope->spawn(take(this)); }
  static Task<void> take(RawLab* lab) {
    auto stream = co_await lab->listener->accept();
    if (!stream) co_return;
    lab->server = make_tls_stream(std::move(*stream), lab->credentials->current(), TlsSide::listens, lab->options);
    auto shaken = co_await lab->server->handshake();
    lab->shaken = std::move(shaken);
    if (!*lab->shaken) co_return lab->server->close();
    if (lab->says > 0) co_await write_pieces(lab->server.get(), lab->says);
    std::optional<Result<std::size_t>> got;
    do {
      co_await note_bytes(lab->server.get(), &got);
      if (*got) lab->heard += **got;
    } while (got->has_value());
    lab->end = got->error();
    lab->server->close();
  }
  TestAuthority authority;
  std::unique_ptr<Reactor> reactor = make_reactor();
  std::unique_ptr<TcpListener> listener;
  std::shared_ptr<LinkCredentials> credentials;
  TlsStreamOptions options;
  std::uint64_t says = 0;  // So many bytes, before it listens.
  std::unique_ptr<TlsStream> server;
  std::optional<Result<void>> shaken;
  std::size_t heard = 0;
  std::optional<Error> end;
  std::optional<Scope> scope;
};

TEST(TlsStream, Client_OfTls12_IsRefused) {
  RawLab lab;
  lab.serve();
  RawTls peer(lab.listener->local_endpoint().port);
  SSL_CTX_set_max_proto_version(peer.context(), TLS1_2_VERSION);
  peer.show(lab.authority.issue_node(kCluster, 2));
  const std::string outcome = run_beside(*lab.reactor, [&] { return peer.connect(); });
  EXPECT_NE(outcome.find("protocol version"), std::string::npos) << outcome;
  run_task(*lab.reactor, lab.scope->join());
  ASSERT_TRUE(lab.shaken && !lab.shaken->has_value());
  EXPECT_EQ(lab.shaken->error().code, Errc::protocol);
}

int keys_changed = 0;
void count_key_changes(int sent, int, int type, const void* data, std::size_t bytes, SSL*, void*) {
  if (!sent && type == SSL3_RT_HANDSHAKE && bytes > 0 && *static_cast<const unsigned char*>(data) == SSL3_MT_KEY_UPDATE) ++keys_changed;
}

TEST(TlsStream, Key_ThatIsWorn_IsChanged) {
  RawLab lab;
  lab.options.records_per_key = 4;
  lab.says = 200'000;
  lab.serve();
  RawTls peer(lab.listener->local_endpoint().port);
  peer.show(lab.authority.issue_node(kCluster, 2));
  SSL_CTX_set_msg_callback(peer.context(), count_key_changes);
  keys_changed = 0;
  const std::size_t heard = run_beside(*lab.reactor, [&] {
    EXPECT_EQ(peer.connect(), "");
    std::size_t total = 0;
    while (total < lab.says) {
      const std::string piece = peer.read();
      if (piece.starts_with("error: ")) break;
      total += piece.size();
    }
    SSL_shutdown(peer.connection());
    return total;
  });
  run_task(*lab.reactor, lab.scope->join());
  EXPECT_EQ(heard, lab.says);
  EXPECT_GE(keys_changed, 3);  // 200 kB are at least 13 records.
}

int sessions_given = 0;
int count_session(SSL*, SSL_SESSION*) {
  ++sessions_given;
  return 0;
}

// Nothing can be resumed: each connection proves itself anew, with the certificates of that moment.
TEST(TlsStream, Sessions_AreNotGivenOut) {
  RawLab lab;
  lab.serve();
  RawTls peer(lab.listener->local_endpoint().port);
  sessions_given = 0;
  SSL_CTX_set_session_cache_mode(peer.context(), SSL_SESS_CACHE_CLIENT);
  SSL_CTX_sess_set_new_cb(peer.context(), count_session);
  peer.show(lab.authority.issue_node(kCluster, 2));
  const std::string outcome = run_beside(*lab.reactor, [&] {
    std::string connected = peer.connect();
    if (!connected.empty()) return connected;
    peer.write(as_bytes("hello"));
    SSL_shutdown(peer.connection());
    return peer.read();
  });
  run_task(*lab.reactor, lab.scope->join());
  ASSERT_TRUE(lab.shaken && lab.shaken->has_value()) << outcome;
  EXPECT_EQ(lab.heard, 5u);
  EXPECT_EQ(lab.end->code, Errc::closed);
  EXPECT_EQ(sessions_given, 0);
  EXPECT_EQ(outcome, "error: ended in order");
}

// Each request for a new key is answered with one; a peer that only asks must not fill our memory.
TEST(TlsStream, KeyRequests_WithoutEnd_EndTheConnection) {
  RawLab lab;
  lab.serve();
  RawTls peer(lab.listener->local_endpoint().port);
  peer.show(lab.authority.issue_node(kCluster, 2));
  run_beside(*lab.reactor, [&] {
    if (!peer.connect().empty()) return 0;
    int asked = 0;
    while (asked < 100'000 && SSL_key_update(peer.connection(), SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(peer.connection()) == 1) ++asked;
    return asked;
  });
  run_task(*lab.reactor, lab.scope->join());
  ASSERT_TRUE(lab.shaken && lab.shaken->has_value());
  ASSERT_TRUE(lab.end.has_value());
  EXPECT_EQ(lab.end->code, Errc::protocol) << lab.end->text();
}

}  // namespace
}  // namespace holdfast::io

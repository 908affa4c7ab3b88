#include "io/tcp.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <future>
#include <vector>

#include "base/scope.h"
#include "io/reactor_pool.h"
#include "io/system_error.h"
#include "io/unique_fd.h"
#include "test/io/support.h"

namespace holdfast::io {
namespace {

using test::make_reactor;

struct Pair {
  std::unique_ptr<Stream> client, server;
};

Task<void> accept_into(TcpListener* listener, std::unique_ptr<Stream>* out) {
  auto stream = co_await listener->accept();
  if (stream) *out = std::move(*stream);
}

Task<Pair> make_pair(Reactor* reactor) {
  auto listener = listen_tcp(*reactor, {"127.0.0.1", 0});
  EXPECT_TRUE(listener.has_value());
  Pair pair;
  Scope scope(*reactor);
  scope.spawn(accept_into(listener->get(), &pair.server));
  auto client = co_await connect_tcp(*reactor, (*listener)->local_endpoint());
  EXPECT_TRUE(client.has_value());
  pair.client = std::move(*client);
  co_await scope.join();
  co_return pair;
}

std::byte pattern(std::uint64_t position) { return std::byte((position * 2654435761u) >> 13); }

Task<void> send_all(Stream* stream, std::uint64_t total) {
  std::vector<std::byte> data(300'001);
  std::uint64_t sent = 0;
  for (std::size_t round = 0; sent < total; ++round) {
    const std::size_t bytes = std::min<std::uint64_t>(1 + round * 7919 % data.size(), total - sent);
    for (std::size_t i = 0; i < bytes; ++i) data[i] = pattern(sent + i);
    // Odd segments, an empty one among them.
    const std::size_t cut = bytes / 3;
    const std::array<iovec, 4> segments{iovec{data.data(), cut}, iovec{data.data(), 0}, iovec{data.data() + cut, 1 % (bytes - cut + 1)},
                                        iovec{data.data() + cut + 1 % (bytes - cut + 1), bytes - cut - 1 % (bytes - cut + 1)}};
    const auto written = co_await stream->write_all(segments);
    EXPECT_TRUE(written.has_value());
    sent += bytes;
  }
}

Task<void> receive_all(Stream* stream, std::uint64_t total, std::uint64_t* wrong) {
  std::vector<std::byte> data(100'003);
  std::uint64_t received = 0;
  for (std::size_t round = 0; received < total; ++round) {
    const std::size_t first = 1 + round * 104'729 % (data.size() - 2);
    const std::array<iovec, 2> segments{iovec{data.data(), first}, iovec{data.data() + first, data.size() - first}};
    const auto bytes = co_await stream->read_some(segments);
    if (!bytes) {
      ++*wrong;
      co_return;
    }
    for (std::size_t i = 0; i < *bytes; ++i) *wrong += data[i] != pattern(received + i);
    received += *bytes;
  }
}

Task<void> transfer(Reactor* reactor, std::uint64_t total, std::uint64_t* wrong) {
  Pair pair = co_await make_pair(reactor);
  Scope scope(*reactor);
  scope.spawn(send_all(pair.client.get(), total));
  scope.spawn(receive_all(pair.server.get(), total, wrong));
  co_await scope.join();
}

// A router, or the own kernel after three seconds without an answer to ARP, says so in another way; nobody has answered.
TEST(Tcp, HostThatIsNotThere_IsSilence_HoweverTheKernelSaysSo) {
  for (const int silence : {ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH}) EXPECT_EQ(errc_of(silence), Errc::timed_out) << silence;
  EXPECT_NE(errc_of(ECONNREFUSED), Errc::timed_out) << "its kernel has answered";
}

TEST(Tcp, Transfer_Of64MiBInOddPieces_ArrivesWhole) {
  const auto reactor = make_reactor();
  std::uint64_t wrong = 0;
  run_task(*reactor, transfer(reactor.get(), 64 << 20, &wrong));
  EXPECT_EQ(wrong, 0u);
}

Task<void> note_read_end(Stream* stream, std::optional<Errc>* out) {
  std::array<std::byte, 64> data;
  const iovec segment{data.data(), data.size()};
  const auto bytes = co_await stream->read_some(std::span(&segment, 1));
  if (!bytes) *out = bytes.error().code;
}

Task<void> note_write_end(Stream* stream, std::optional<Errc>* out) {
  std::vector<std::byte> data(64 << 20);
  const iovec segment{data.data(), data.size()};
  const auto written = co_await stream->write_all(std::span(&segment, 1));
  if (!written) *out = written.error().code;
}

// close() wakes a reader and a writer that wait, on both sides of the connection.
Task<void> close_while_pending(Reactor* reactor) {
  Pair pair = co_await make_pair(reactor);
  std::optional<Errc> reading, writing, peer;
  Scope scope(*reactor);
  scope.spawn(note_read_end(pair.client.get(), &reading));
  scope.spawn(note_write_end(pair.client.get(), &writing));
  Timer timer(reactor->clock());
  co_await timer.after(milliseconds(5));
  EXPECT_FALSE(reading || writing);
  pair.client->close();
  pair.client->close();
  co_await scope.join();
  EXPECT_EQ(reading, Errc::closed);
  EXPECT_EQ(writing, Errc::closed);
  const iovec nothing{};
  const auto after = co_await pair.client->write_all(std::span(&nothing, 1));
  EXPECT_TRUE(after.has_value());
}

TEST(Tcp, Close_WithReadAndWritePending_WakesBothAsClosed) {
  const auto reactor = make_reactor();
  run_task(*reactor, close_while_pending(reactor.get()));
}

Task<void> peer_closes(Reactor* reactor) {
  Pair pair = co_await make_pair(reactor);
  std::optional<Errc> reading;
  Scope scope(*reactor);
  scope.spawn(note_read_end(pair.server.get(), &reading));
  pair.client.reset();
  co_await scope.join();
  EXPECT_EQ(reading, Errc::closed);
}

TEST(Tcp, Read_WhenThePeerCloses_IsClosed) {
  const auto reactor = make_reactor();
  run_task(*reactor, peer_closes(reactor.get()));
}

Task<void> destroy_while_waiting(Reactor* reactor) {
  Pair pair = co_await make_pair(reactor);
  {
    std::optional<Errc> reading;
    Scope scope(*reactor);
    scope.spawn(note_read_end(pair.server.get(), &reading));
    co_await Yield{*reactor};
    co_await Yield{*reactor};
  }
  const iovec segment{pair.client.get(), 8};
  const auto written = co_await pair.client->write_all(std::span(&segment, 1));
  EXPECT_TRUE(written.has_value());
  Timer timer(reactor->clock());
  co_await timer.after(milliseconds(2));
}

// A crash of the flow: its frame is gone when the bytes arrive.
TEST(Tcp, Read_WhoseFrameIsDestroyed_IsNeverResumed) {
  const auto reactor = make_reactor();
  run_task(*reactor, destroy_while_waiting(reactor.get()));
}

Task<void> read_into(Stream* stream, iovec into) {
  const auto bytes = co_await stream->read_some(std::span(&into, 1));
  EXPECT_FALSE(bytes.has_value());
}

Task<void> destroy_and_read_again(Reactor* reactor) {
  Pair pair = co_await make_pair(reactor);
  auto lost = std::make_unique<std::array<char, 8>>();
  lost->fill('-');
  {
    const iovec segment{lost->data(), lost->size()};
    Scope scope(*reactor);
    scope.spawn(read_into(pair.server.get(), segment));
    for (int i = 0; i < 3; ++i) co_await Yield{*reactor};
  }
  std::string message = "for whom?";
  const iovec out{message.data(), 8};
  const auto written = co_await pair.client->write_all(std::span(&out, 1));
  EXPECT_TRUE(written.has_value());
  std::array<char, 8> got{};
  const iovec in{got.data(), got.size()};
  const auto bytes = co_await pair.server->read_some(std::span(&in, 1));
  EXPECT_TRUE(bytes.has_value() && *bytes == 8);
  EXPECT_EQ(std::string(got.data(), 8), "for whom");
  EXPECT_EQ(std::string(lost->data(), 8), "--------");
}

// The kernel lets go of the memory before the frame is gone, and the bytes are the next reader's.
TEST(Tcp, Read_WhoseFrameIsDestroyed_LeavesItsBytesToTheNext) {
  const auto reactor = make_reactor();
  run_task(*reactor, destroy_and_read_again(reactor.get()));
}

// The peer says something short and ends at once: both arrive, in this order, though a short read means "wait now".
Task<void> last_words(Reactor* reactor) {
  for (int round = 0; round < 100; ++round) {
    Pair pair = co_await make_pair(reactor);
    std::string words = "bye";
    const iovec out{words.data(), words.size()};
    const auto written = co_await pair.client->write_all(std::span(&out, 1));
    EXPECT_TRUE(written.has_value());
    pair.client.reset();
    std::array<char, 8> got{};
    const iovec in{got.data(), got.size()};
    const auto bytes = co_await pair.server->read_some(std::span(&in, 1));
    EXPECT_TRUE(bytes.has_value() && *bytes == words.size());
    const auto end = co_await pair.server->read_some(std::span(&in, 1));
    EXPECT_FALSE(end.has_value());
  }
}

TEST(Tcp, PeerThatEndsBehindAShortMessage_IsHeardAndItsEndSeen) {
  const auto reactor = make_reactor();
  run_task(*reactor, last_words(reactor.get()));
}

Task<void> accept_end(TcpListener* listener, std::optional<Errc>* out) {
  auto stream = co_await listener->accept();
  if (!stream) *out = stream.error().code;
}

Task<void> close_listener(Reactor* reactor) {
  auto listener = listen_tcp(*reactor, {"127.0.0.1", 0});
  EXPECT_TRUE(listener.has_value());
  const Endpoint endpoint = (*listener)->local_endpoint();
  std::optional<Errc> accepting;
  Scope scope(*reactor);
  scope.spawn(accept_end(listener->get(), &accepting));
  co_await Yield{*reactor};
  (*listener)->close();
  co_await scope.join();
  EXPECT_EQ(accepting, Errc::closed);
  EXPECT_TRUE(listen_tcp(*reactor, endpoint).has_value());
  auto refused = co_await connect_tcp(*reactor, endpoint);
  EXPECT_FALSE(refused.has_value());
}

TEST(Tcp, ListenerClose_WithAcceptPending_WakesItAndFreesThePort) {
  const auto reactor = make_reactor();
  run_task(*reactor, close_listener(reactor.get()));
}

TEST(Tcp, Listen_OnWhatCannotBe_NamesTheAddress) {
  const auto reactor = make_reactor();
  const auto first = listen_tcp(*reactor, {"127.0.0.1", 0});
  ASSERT_TRUE(first);
  const Endpoint taken = (*first)->local_endpoint();
  const auto second = listen_tcp(*reactor, taken);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::busy);
  EXPECT_NE(second.error().message.find(taken.text()), std::string::npos) << second.error().text();
  const auto foreign = listen_tcp(*reactor, {"192.0.2.1", 0});
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, Errc::invalid_argument);
  EXPECT_NE(foreign.error().message.find("192.0.2.1"), std::string::npos) << foreign.error().text();
}

Task<std::string> talk_over_v6(Reactor* reactor) {
  auto listener = listen_tcp(*reactor, {"::1", 0});
  if (!listener) co_return std::string();
  Scope scope(*reactor);
  std::unique_ptr<Stream> server;
  scope.spawn(accept_into(listener->get(), &server));
  auto client = co_await connect_tcp(*reactor, (*listener)->local_endpoint());
  co_await scope.join();
  co_return server->local_address();
}

TEST(Tcp, Ipv6_AddressesAreBracketed) {
  const auto reactor = make_reactor();
  const std::string address = run_task(*reactor, talk_over_v6(reactor.get()));
  if (address.empty()) GTEST_SKIP() << "no IPv6 here";
  EXPECT_TRUE(address.starts_with("[::1]:")) << address;
}

Task<void> echo_once(Stream* stream, std::promise<void>* done) {
  std::array<std::byte, 64> data;
  iovec segment{data.data(), data.size()};
  const auto bytes = co_await stream->read_some(std::span(&segment, 1));
  if (bytes) {
    segment.iov_len = *bytes;
    const auto written = co_await stream->write_all(std::span(&segment, 1));
    EXPECT_TRUE(written.has_value());
  }
  done->set_value();
}

Task<void> ask(Stream* stream, std::string* answer) {
  const std::string question = "are you there?";
  const iovec out{const_cast<char*>(question.data()), question.size()};
  const auto written = co_await stream->write_all(std::span(&out, 1));
  EXPECT_TRUE(written.has_value());
  answer->resize(64);
  const iovec in{answer->data(), answer->size()};
  const auto bytes = co_await stream->read_some(std::span(&in, 1));
  answer->resize(bytes ? *bytes : 0);
}

// A connection is accepted and read on one thread, then its session's volume turns out to live on another.
TEST(Tcp, MoveTo_AnotherReactor_GoesOnThere) {
  auto pool = ReactorPool::start(1, {.buffer_bytes = 1 << 20});
  ASSERT_TRUE(pool.has_value());
  const auto reactor = make_reactor();
  Pair pair = run_task(*reactor, make_pair(reactor.get()));
  std::string answer;
  {
    // It was used here before it moves: the wait is registered with this reactor.
    std::promise<void> done;
    Scope scope(*reactor);
    scope.spawn(echo_once(pair.server.get(), &done));
    run_task(*reactor, ask(pair.client.get(), &answer));
    run_task(*reactor, scope.join());
  }
  EXPECT_EQ(answer, "are you there?");
  Reactor& other = (*pool)->reactor(0);
  std::unique_ptr<Stream> moved = pair.server->move_to(other);
  pair.server.reset();
  std::promise<void> done;
  std::optional<Scope> there;
  other.post_remote([&] {
    there.emplace(other);
    there->spawn(echo_once(moved.get(), &done));
  });
  run_task(*reactor, ask(pair.client.get(), &answer));
  EXPECT_EQ(answer, "are you there?");
  done.get_future().wait();
  ReactorPool::run_on(other, [] {});
  ReactorPool::run_on(other, [&] {
    there.reset();
    moved.reset();
  });
}

Task<void> connect_and_drop(Reactor* reactor, Endpoint endpoint) {
  auto client = co_await connect_tcp(*reactor, endpoint);
  EXPECT_TRUE(client.has_value());
}

Task<Result<std::unique_ptr<Stream>>> connect_limited(Reactor* reactor, Endpoint endpoint) {
  auto client = co_await connect_tcp(*reactor, endpoint, {.connect_timeout_ms = 50});
  co_return client;
}

// A full backlog answers nothing, like a machine that is gone.
TEST(Tcp, Connect_WithoutAnAnswer_IsGivenUpInTime) {
  const auto reactor = make_reactor();
  UniqueFd full(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(0, ::bind(full.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address));
  ASSERT_EQ(0, ::listen(full.get(), 0));
  socklen_t length = sizeof address;
  ASSERT_EQ(0, ::getsockname(full.get(), reinterpret_cast<sockaddr*>(&address), &length));
  const Endpoint endpoint{"127.0.0.1", ntohs(address.sin_port)};
  std::vector<std::unique_ptr<Stream>> waiting;
  std::optional<Error> error;
  const BootNs begin = reactor->clock().now();
  for (int i = 0; i < 8 && !error; ++i) {
    auto client = run_task(*reactor, connect_limited(reactor.get(), endpoint));
    if (client) waiting.push_back(std::move(*client));
    else error = client.error();
  }
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, Errc::timed_out);
  EXPECT_LT(reactor->clock().now() - begin, milliseconds(10'000));  // The kernel's patience is longer.
  EXPECT_NE(error->message.find(endpoint.text()), std::string::npos) << error->text();
}

// systemd hands over a listening socket as descriptor 3 and says so in the environment.
TEST(Tcp, InheritedSocket_IsAdoptedAndAccepts) {
  const auto reactor = make_reactor();
  auto original = listen_tcp(*reactor, {"127.0.0.1", 0});
  ASSERT_TRUE(original);
  const Endpoint endpoint = (*original)->local_endpoint();
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", "2", 1);
  EXPECT_EQ(inherited_listening_sockets(), (std::vector<int>{3, 4}));
  EXPECT_TRUE(inherited_listening_sockets().empty());
  ::setenv("LISTEN_PID", "1", 1);
  ::setenv("LISTEN_FDS", "1", 1);
  EXPECT_TRUE(inherited_listening_sockets().empty());

  EXPECT_FALSE(adopt_tcp_listener(*reactor, 0).has_value());
  const int raw = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(0, ::listen(raw, 4));
  auto adopted = adopt_tcp_listener(*reactor, raw);
  ASSERT_TRUE(adopted) << adopted.error().text();
  std::unique_ptr<Stream> server;
  Scope scope(*reactor);
  scope.spawn(accept_into(adopted->get(), &server));
  run_task(*reactor, connect_and_drop(reactor.get(), {"127.0.0.1", (*adopted)->local_endpoint().port}));
  run_task(*reactor, scope.join());
  EXPECT_TRUE(server);
}

TEST(Endpoint, Parse_AcceptsWhatItPrints) {
  for (const char* text : {"127.0.0.1:3260", "[::1]:3260", "[2001:db8::1]:1", "localhost:65535", "0.0.0.0:0"}) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(endpoint->text(), text);
  }
}

TEST(Endpoint, Kinds_AreToldApart) {
  for (const char* text : {"127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1"}) {
    EXPECT_TRUE(parse_endpoint(text)->is_loopback()) << text;
    EXPECT_TRUE(parse_endpoint(text)->is_numeric()) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "192.0.2.1:1", "128.0.0.1:1", "[fe80::1%eth0]:1", "[::ffff:192.0.2.1]:1"}) {
    EXPECT_FALSE(parse_endpoint(text)->is_loopback()) << text;
    EXPECT_TRUE(parse_endpoint(text)->is_numeric()) << text;
  }
  EXPECT_FALSE(parse_endpoint("localhost:1")->is_loopback());
  EXPECT_FALSE(parse_endpoint("localhost:1")->is_numeric());
}

TEST(Endpoint, Parse_OfNonsense_NamesItAndSaysWhy) {
  for (const char* text : {"", "127.0.0.1", ":3260", "[::1]", "[::1]3260", "[::1:3260", "::1:3260", "a:65536", "a:-1", "a:1x", "a:",
                           "[nonsense]:1", "[]:1"}) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_FALSE(endpoint) << text;
    EXPECT_EQ(endpoint.error().code, Errc::invalid_argument);
    EXPECT_NE(endpoint.error().message.find("\"" + std::string(text) + "\""), std::string::npos) << endpoint.error().text();
  }
}

}  // namespace
}  // namespace holdfast::io

// How connections between nodes come to be: preamble, refusals, bounds and times on the listening side; addresses, names and
// time limits on the dialling one.
#include <gtest/gtest.h>

#include <future>
#include <optional>

#include "base/log.h"
#include "io/link_envelope.h"
#include "io/link_preamble.h"
#include "io/reactor_pool.h"
#include "test/io/link_nodes.h"

namespace holdfast::io {
namespace {

using test::kCluster;
using test::kGroup;
using test::LinkLab;
using test::make_reactor;
using test::NodeFiles;
using test::plain_node;
using test::RawPeer;
using test::run_beside;

constexpr const char* kLinkSecret = "a secret that all nodes of the lab share";

bool says(const std::string& text, std::string_view what) { return text.find(what) != std::string::npos; }

Error expect_refusal(LinkLab& lab, int node = 1, Uuid group = kGroup) {
  auto link = lab.dial(node, group);
  EXPECT_FALSE(link.has_value());
  return link ? Error(Errc::exists) : link.error();
}

// ---- What the preamble refuses.

TEST(LinkListener, UnknownGroup_IsRefusedAndNamed) {
  LinkLab lab(plain_node(1), plain_node(2));
  const Error error = expect_refusal(lab, 1, Uuid{9});
  EXPECT_EQ(error.code, Errc::not_found);
  EXPECT_TRUE(says(error.message, "node 1 has no copy of that group")) << error.text();
  EXPECT_TRUE(says(error.message, lab.listener->local_endpoint().text())) << error.text();
}

// Somebody looks whether the node answers: what is logged of it is no trouble with a volume.
TEST(LinkListener, NoGroup_IsAnsweredAsSuch) {
  LinkLab lab(plain_node(1), plain_node(2));
  const Error error = expect_refusal(lab, 1, Uuid{});
  EXPECT_EQ(error.code, Errc::not_found);
  EXPECT_TRUE(says(error.message, "node 1 answers; no group was asked for")) << error.text();
}

TEST(LinkListener, AnotherCluster_IsRefusedAndBothAreNamed) {
  LinkLab lab(plain_node(1, "prod"), plain_node(2, "test"));
  const Error error = expect_refusal(lab);
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_TRUE(says(error.message, "this is cluster prod, not test")) << error.text();
}

// An address that was another node's. A secret does not say which node this is, so the preamble does: also to a node whose own hello
// is reflected to it.
TEST(LinkListener, AnotherNode_IsRefusedAndBothAreNamed) {
  LinkLab lab(NodeFiles(1).secret(kLinkSecret).load(), NodeFiles(2).secret(kLinkSecret).load());
  const Error error = expect_refusal(lab, 3);
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_TRUE(says(error.message, "this is node 1, not node 3")) << error.text();
}

// What a peer's hand-made first words are answered.
struct Spoken {
  explicit Spoken(LinkLab& lab, Bytes bytes) {
    RawPeer peer(lab.port());
    const std::string heard = run_beside(*lab.reactor, [&] {
      peer.say(bytes);
      return peer.hear_all();
    });
    if (heard.size() < sizeof(PreambleHeader)) return;
    const auto fixed = decode_preamble(as_bytes(heard).first<sizeof(PreambleHeader)>());
    if (!fixed || fixed->kind != PreambleKind::answer) return;
    if (auto decoded = decode_link_answer(as_bytes(heard).subspan(sizeof(PreambleHeader)))) answer = *decoded;
  }
  std::optional<LinkAnswer> answer;
};

TEST(LinkListener, NewerVersion_IsToldWhichIsKnown) {
  LinkLab lab(plain_node(1), nullptr);
  auto hello = encode_hello({kCluster, kGroup, NodeId(2), NodeId(1)});
  hello[4] = std::byte{9};
  const Spoken spoken(lab, hello);
  ASSERT_TRUE(spoken.answer.has_value());
  EXPECT_EQ(spoken.answer->verdict, Verdict::version_too_new);
  EXPECT_TRUE(says(spoken.answer->reason, "version 9 is not known here, the newest is 1")) << spoken.answer->reason;
  EXPECT_EQ(errc_of(spoken.answer->verdict), Errc::version_too_new);
}

TEST(LinkListener, AnAnswerInsteadOfAHello_IsRefused) {
  LinkLab lab(plain_node(1), nullptr);
  const Spoken spoken(lab, encode_link_answer({}));
  ASSERT_TRUE(spoken.answer.has_value());
  EXPECT_EQ(spoken.answer->verdict, Verdict::malformed);
}

TEST(LinkListener, Garbage_IsClosedWithoutAnAnswer) {
  LinkLab lab(plain_node(1), nullptr);
  for (const std::string& garbage : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(600, '\xff'), std::string(16, '\0')}) {
    const Spoken spoken(lab, as_bytes(garbage));
    EXPECT_FALSE(spoken.answer.has_value());
  }
  lab.await_verdicts(3);
  EXPECT_EQ(lab.listener->stats().refused.get(), 3u);
  EXPECT_TRUE(lab.door.arrivals.empty());
}

TEST(LinkListener, GarbageAtATlsListener_IsClosed) {
  LinkLab lab(NodeFiles(1).secret(kLinkSecret).load(), nullptr);
  const std::string endless_record = std::string("\x16\x03\x01\xff\xff", 5) + std::string(70'000, 'x');
  for (const std::string& garbage : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(600, '\xff'), endless_record}) {
    RawPeer peer(lab.port());
    run_beside(*lab.reactor, [&] {
      ::send(peer.fd(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
      return peer.hear_all();
    });
  }
  lab.await_verdicts(3);
  EXPECT_EQ(lab.listener->stats().refused.get(), 3u);
}

// A hello that comes byte by byte is a hello.
TEST(LinkListener, Hello_InSingleBytes_IsWelcome) {
  LinkLab lab(plain_node(1), nullptr);
  const auto hello = encode_hello({kCluster, kGroup, NodeId(2), NodeId(1)});
  RawPeer peer(lab.port());
  run_beside(*lab.reactor, [&] {
    for (const std::byte& byte : hello) peer.say(Bytes(&byte, 1));
    char answer[24];
    return ::recv(peer.fd(), answer, sizeof answer, MSG_WAITALL);
  });
  lab.await_verdicts(1);
  ASSERT_EQ(lab.door.arrivals.size(), 1u);
  EXPECT_EQ(lab.door.arrivals[0].from, NodeId(2));
}

// What follows the hello at once is the link's, not the listener's.
TEST(LinkListener, FrameRightBehindTheHello_IsTheLinks) {
  LinkLab lab(plain_node(1), nullptr);
  auto bytes = encode_hello({kCluster, kGroup, NodeId(2), NodeId(1)});
  const EnvelopeBytes envelope = encode_envelope({Envelope::Kind::frame, 5, 0});
  bytes.insert(bytes.end(), envelope.begin(), envelope.end());
  const Bytes head = as_bytes("hello");
  bytes.insert(bytes.end(), head.begin(), head.end());
  RawPeer peer(lab.port());
  peer.say(bytes);
  lab.await_verdicts(1);
  ASSERT_EQ(lab.door.arrivals.size(), 1u);
  const auto link = make_tcp_link(lab.memory, std::move(lab.door.arrivals[0].stream));
  const auto frame = run_task(*lab.reactor, link->receive());
  ASSERT_TRUE(frame.has_value()) << frame.error().text();
  EXPECT_EQ(as_text(frame->head.bytes()), "hello");
}

// The door of a daemon: streams go to the thread of their group, and the link is made there.
class MovingDoor final : public LinkDoor {
 public:
  explicit MovingDoor(Reactor& group_thread) : there_(&group_thread) {}
  bool has_group(Uuid group) const override { return group == kGroup; }
  void arrived(LinkArrival arrival) override {
    there_->post_remote([this, stream = arrival.stream->move_to(*there_)]() mutable {
      memory_.emplace(*there_, std::size_t{1} << 20);
      link_ = make_tcp_link(*memory_, std::move(stream));
      scope_.emplace(*there_);
      scope_->spawn(echo(link_.get(), &ended_));
    });
  }
  // After the other side has ended the link.
  void take_down() {
    ended_.get_future().wait();
    ReactorPool::run_on(*there_, [this] {
      scope_.reset();
      link_.reset();
      memory_.reset();
    });
  }

 private:
  static Task<void> echo(Link* link, std::promise<void>* ended) {
    for (;;) {
      auto frame = co_await link->receive();
      if (!frame) break;
      const auto sent = co_await link->send(std::move(*frame));
      if (!sent) break;
    }
    ended->set_value();
  }
  Reactor* there_;
  // Of the other thread.
  std::optional<LinkMemory> memory_;
  std::unique_ptr<Link> link_;
  std::optional<Scope> scope_;
  std::promise<void> ended_;
};

TEST(LinkListener, Arrival_OnItsGroupsThread_CarriesFramesInsideOfTls) {
  auto pool = ReactorPool::start(1, {.buffer_bytes = 4 << 20});
  ASSERT_TRUE(pool.has_value());
  const auto reactor = make_reactor();
  LinkMemory memory(*reactor, 1 << 20);
  MovingDoor door((*pool)->reactor(0));
  auto socket = listen_tcp(*reactor, {"127.0.0.1", 0}, kLinkTcpOptions);
  ASSERT_TRUE(socket.has_value());
  auto listener = LinkListener::create(*reactor, std::move(*socket), NodeFiles(1).secret(kLinkSecret).load(), door);
  ASSERT_TRUE(listener.has_value());
  (*listener)->start();
  test::TestBook book;
  book.addresses.endpoints = {(*listener)->local_endpoint()};
  TcpConnector connector(memory, NodeFiles(2).secret(kLinkSecret).load(), book);
  auto link = run_task(*reactor, connector.connect(NodeId(1), kGroup));
  ASSERT_TRUE(link.has_value()) << link.error().text();
  BufferPool outgoing(*reactor, 4 << 20);
  for (unsigned i = 0; i < 50; ++i) {
    const std::size_t payload = i % 7 * 9 * kBlockBytes;
    ASSERT_TRUE(run_task(*reactor, (*link)->send(test::make_frame(outgoing, 30 + i, payload, i))).has_value());
    const auto frame = run_task(*reactor, (*link)->receive());
    ASSERT_TRUE(frame.has_value()) << frame.error().text();
    EXPECT_TRUE(test::is_filled(frame->head, i));
    ASSERT_EQ(frame->payload.size(), payload);
    EXPECT_TRUE(payload == 0 || test::is_filled(frame->payload, i + 1));
  }
  (*link)->close();
  door.take_down();
  run_task(*reactor, connector.stop());
  run_task(*reactor, (*listener)->stop());
}

// ---- Bounds.

// A client that says nothing is given up; so is one that stops in the middle of a TLS handshake.
TEST(LinkListener, SilentClients_AreGivenUpInTime) {
  const LinkListenerOptions quick{.under_way_max = 8, .limit = milliseconds(60)};
  LinkLab plain(plain_node(1), nullptr, quick);
  RawPeer silent(plain.port());
  EXPECT_EQ(run_beside(*plain.reactor, [&] { return silent.hear_all(); }), "");
  plain.await_verdicts(1);
  EXPECT_EQ(plain.listener->stats().timed_out.get(), 1u);
  LinkLab secured(NodeFiles(1).secret(kLinkSecret).load(), nullptr, quick);
  RawPeer halting(secured.port());
  halting.say(std::string_view("\x16\x03\x01\x00\xa0\x01\x00\x00\x9c\x03\x03", 11));
  EXPECT_EQ(run_beside(*secured.reactor, [&] { return halting.hear_all(); }), "");
  secured.await_verdicts(1);
  EXPECT_EQ(secured.listener->stats().timed_out.get(), 1u);
}

// More silent clients than may be under way: the oldest go, and a node gets in at once.
TEST(LinkListener, MoreClientsThanTheBound_KeepNobodyOut) {
  LinkLab lab(NodeFiles(1).secret(kLinkSecret).load(), NodeFiles(2).secret(kLinkSecret).load(), {.under_way_max = 4, .limit = milliseconds(30'000)});
  std::vector<std::unique_ptr<RawPeer>> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(std::make_unique<RawPeer>(lab.port()));
  lab.await_verdicts(16);
  EXPECT_EQ(lab.listener->stats().dropped.get(), 16u);
  const BootNs begin = lab.reactor->clock().now();
  auto link = lab.dial();
  ASSERT_TRUE(link.has_value()) << link.error().text();
  EXPECT_LT(lab.reactor->clock().now() - begin, milliseconds(2'000));
  EXPECT_EQ(lab.listener->stats().dropped.get(), 17u);
  EXPECT_EQ(silent[0]->hear_all(), "");  // Ended.
  char byte;
  EXPECT_EQ(::recv(silent.back()->fd(), &byte, 1, MSG_DONTWAIT), -1);  // Still under way.
  EXPECT_EQ(errno, EAGAIN);
}

// One client is slow; others do not wait for it.
TEST(LinkListener, SlowHandshake_DoesNotBlockOthers) {
  LinkLab lab(NodeFiles(1).secret(kLinkSecret).load(), NodeFiles(2).secret(kLinkSecret).load());
  RawPeer slow(lab.port());
  slow.say(std::string_view("\x16\x03\x01\x00\xa0", 5));
  for (int i = 0; i < 5; ++i) {
    auto link = lab.dial();
    EXPECT_TRUE(link.has_value()) << link.error().text();
  }
  lab.await_verdicts(5);
  EXPECT_EQ(lab.listener->stats().welcomed.get(), 5u);
}

TEST(LinkListener, Stop_EndsWhatIsUnderWayAndFreesThePort) {
  const auto reactor = make_reactor();
  test::TestDoor door;
  auto socket = listen_tcp(*reactor, {"127.0.0.1", 0});
  ASSERT_TRUE(socket.has_value());
  auto listener = LinkListener::create(*reactor, std::move(*socket), plain_node(1), door, {.limit = milliseconds(30'000)});
  ASSERT_TRUE(listener.has_value());
  (*listener)->start();
  const Endpoint endpoint = (*listener)->local_endpoint();
  RawPeer silent(endpoint.port);
  run_task(*reactor, test::pause_for(reactor.get(), 5));
  const BootNs begin = reactor->clock().now();
  run_task(*reactor, (*listener)->stop());
  EXPECT_LT(reactor->clock().now() - begin, milliseconds(10'000));
  EXPECT_EQ(silent.hear_all(), "");
  EXPECT_TRUE(listen_tcp(*reactor, endpoint).has_value());
}

// A flood of refusals is not a flood of lines.
TEST(LinkListener, Refusals_AreLoggedNowAndThen) {
  LinkLab lab(plain_node(1), plain_node(2));
  int lines = 0;
  set_log_sink([&](LogLevel, std::string_view line) { lines += says(std::string(line), "links: 127.0.0.1:"); });
  for (int i = 0; i < 50; ++i) expect_refusal(lab, 1, Uuid{9});
  lab.await_verdicts(50);
  set_log_sink({});
  EXPECT_EQ(lab.listener->stats().refused.get(), 50u);
  EXPECT_EQ(lines, 1);
}

// ---- Who dials.

// A port where nobody listens any more.
Endpoint dead_endpoint(Reactor& reactor) {
  auto socket = listen_tcp(reactor, {"127.0.0.1", 0});
  EXPECT_TRUE(socket.has_value());
  return (*socket)->local_endpoint();
}

TEST(TcpConnector, Addresses_AreTriedInTurn_AndTheGoodOneIsRemembered) {
  LinkLab lab(plain_node(1), plain_node(2));
  const Endpoint good = lab.listener->local_endpoint(), dead = dead_endpoint(*lab.reactor);
  lab.book.addresses.endpoints = {dead, good};
  auto first = lab.dial();
  ASSERT_TRUE(first.has_value()) << first.error().text();
  // A silent address before it would cost its time with each attempt: the one that worked goes first now.
  auto silent = listen_tcp(*lab.reactor, {"127.0.0.1", 0});
  ASSERT_TRUE(silent.has_value());
  lab.book.addresses.endpoints = {(*silent)->local_endpoint(), good};
  const BootNs begin = lab.reactor->clock().now();
  auto second = lab.dial();
  ASSERT_TRUE(second.has_value()) << second.error().text();
  EXPECT_LT(lab.reactor->clock().now() - begin, milliseconds(500));
}

TEST(TcpConnector, Failure_NamesNodeAndEachAddress) {
  LinkLab lab(plain_node(1), plain_node(2));
  const Endpoint dead = dead_endpoint(*lab.reactor), good = lab.listener->local_endpoint();
  lab.book.addresses.endpoints = {dead, {"db1.example", 3261}, good};
  lab.book.addresses.age = milliseconds(60'000);
  const Error error = expect_refusal(lab, 1, Uuid{9});
  EXPECT_EQ(error.code, Errc::not_found);
  EXPECT_TRUE(says(error.message, "node 1 is not reached: ")) << error.text();
  EXPECT_TRUE(says(error.message, dead.text() + ": ")) << error.text();
  EXPECT_TRUE(says(error.message, "refused")) << error.text();
  EXPECT_TRUE(says(error.message, "db1.example:3261: is no IP address")) << error.text();
  EXPECT_TRUE(says(error.message, good.text() + ": the other side refuses")) << error.text();
  EXPECT_TRUE(says(error.message, "out of date")) << error.text();
}

TEST(TcpConnector, NodeWithoutAddresses_IsNotFound) {
  LinkLab lab(plain_node(1), plain_node(2));
  lab.book.addresses.endpoints.clear();
  const Error error = expect_refusal(lab);
  EXPECT_EQ(error.code, Errc::not_found);
  EXPECT_TRUE(says(error.message, "no address")) << error.text();
}

// Somebody accepts and says nothing: a stuck process.
TEST(TcpConnector, SilentListener_IsGivenUpInTime) {
  const auto reactor = make_reactor();
  LinkMemory memory(*reactor, 1 << 20);
  auto silent = listen_tcp(*reactor, {"127.0.0.1", 0});
  ASSERT_TRUE(silent.has_value());
  test::TestBook book;
  book.addresses.endpoints = {(*silent)->local_endpoint()};
  for (const auto& credentials : {plain_node(2), NodeFiles(2).secret(kLinkSecret).load()}) {
    TcpConnector connector(memory, credentials, book, {.handshake_limit = milliseconds(50)});
    const auto link = run_task(*reactor, connector.connect(NodeId(1), kGroup));
    ASSERT_FALSE(link.has_value());
    EXPECT_EQ(link.error().code, Errc::timed_out);
    EXPECT_TRUE(says(link.error().message, "no welcome came within 50 ms")) << link.error().text();
    run_task(*reactor, connector.stop());
  }
}

// The same failure again and again is one line; another one is another line.
TEST(TcpConnector, Failures_AreLoggedWhenTheyChange) {
  LinkLab lab(plain_node(1), plain_node(2));
  const std::vector<Endpoint> good = lab.book.addresses.endpoints, dead{dead_endpoint(*lab.reactor)};
  std::vector<std::string> lines;
  set_log_sink([&](LogLevel, std::string_view line) {
    if (says(std::string(line), "links: node ")) lines.emplace_back(line);
  });
  lab.book.addresses.endpoints = dead;
  for (int i = 0; i < 5; ++i) expect_refusal(lab);
  EXPECT_EQ(lines.size(), 1u);
  lab.book.addresses.endpoints = good;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(lab.dial().has_value());
  lab.book.addresses.endpoints = dead;
  expect_refusal(lab);
  set_log_sink({});
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(says(lines[1], "is reached at " + good[0].text())) << lines[1];
}

Task<void> dial_into(TcpConnector* connector, bool* done) {
  const auto link = co_await connector->connect(NodeId(1), kGroup);
  EXPECT_TRUE(link.has_value());
  if (link) (*link)->close();
  *done = true;
}

// A group ends while one of its connections is being made: its flows are destroyed where they stand, at whatever step that is. The
// link that nobody wants is closed in order.
TEST(TcpConnector, WhoAskedIsDestroyedMeanwhile_AtAnyMoment_NothingIsLeft) {
  LinkLab lab(NodeFiles(1).secret(kLinkSecret).load(), NodeFiles(2).secret(kLinkSecret).load());
  int finished = 0;
  for (int turns = 0; turns < 40; ++turns) {
    bool done = false;
    {
      Scope scope(*lab.reactor);
      scope.spawn(dial_into(lab.connector.get(), &done));
      for (int i = 0; i < turns && !done; ++i) lab.reactor->turn(Reactor::Waiting::poll);
      // A job that resumes it may be waiting; flows that are ready may not: whoever destroys a flow has let those run.
      while (!lab.reactor->idle()) lab.reactor->run_one();
    }
    finished += done;
    // The attempt goes on without whoever asked.
    lab.await_verdicts(static_cast<std::uint64_t>(turns) + 1);
  }
  EXPECT_LT(finished, 40);
  ASSERT_FALSE(lab.door.arrivals.empty());
  for (auto& arrival : lab.door.arrivals) {
    const auto link = make_tcp_link(lab.memory, std::move(arrival.stream));
    const auto end = run_task(*lab.reactor, link->receive());
    ASSERT_FALSE(end.has_value());
    EXPECT_EQ(end.error().code, Errc::closed);
  }
}

TEST(TcpConnector, Stop_TellsWhoWaits) {
  const auto reactor = make_reactor();
  LinkMemory memory(*reactor, 1 << 20);
  auto silent = listen_tcp(*reactor, {"127.0.0.1", 0});
  ASSERT_TRUE(silent.has_value());
  test::TestBook book;
  book.addresses.endpoints = {(*silent)->local_endpoint()};
  TcpConnector connector(memory, plain_node(2), book);
  std::optional<Errc> told;
  struct Dial {
    static Task<void> run(TcpConnector* connector, std::optional<Errc>* out) {
      const auto link = co_await connector->connect(NodeId(1), kGroup);
      if (!link) *out = link.error().code;
    }
  };
  Scope scope(*reactor);
  scope.spawn(Dial::run(&connector, &told));
  run_task(*reactor, test::pause_for(reactor.get(), 10));
  EXPECT_FALSE(told.has_value());
  run_task(*reactor, connector.stop());
  run_task(*reactor, scope.join());
  EXPECT_EQ(told, Errc::closed);
  const auto after = run_task(*reactor, connector.connect(NodeId(1), kGroup));
  ASSERT_FALSE(after.has_value());
  EXPECT_EQ(after.error().code, Errc::closed);
}

}  // namespace
}  // namespace holdfast::io

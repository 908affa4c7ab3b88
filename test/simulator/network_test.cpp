#include "test/sim/network.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace holdfast::sim {
namespace {

constexpr NodeId kA{1}, kB{2};

// Two machines, a connection from A to B, and a flow at B that notes what arrives.
class TwoHosts {
 public:
  explicit TwoHosts(std::uint64_t seed = 1, NetworkOptions options = {})
      : world(seed), network(world, options), a(world), b(world), pool_a(a.executor(), 8 << 20), pool_b(b.executor(), 8 << 20),
        scope_a(std::make_unique<Scope>(a.executor())), scope_b(std::make_unique<Scope>(b.executor())) {
    connector = &network.add(kA, a);
    network.add(kB, b);
    network.process_started(kA, pool_a);
    network.process_started(kB, pool_b);
    network.listen(kB, [this](NodeId from, std::unique_ptr<Link> link) {
      EXPECT_EQ(from, kA);
      at_b = std::move(link);
    });
  }
  ~TwoHosts() {
    scope_a.reset();
    scope_b.reset();
  }

  void connect() { scope_a->spawn(dial(this)); }
  void receive_at_b() { scope_b->spawn(take(this)); }
  void send(std::string text, std::size_t payload_bytes = 0) { scope_a->spawn(put(this, std::move(text), payload_bytes)); }
  void run_for(std::int64_t ms) {
    bool over = false;
    SimHost watch(world);
    world.after(milliseconds(ms), watch, [&] { over = true; });
    while (!over && world.step()) {
    }
  }
  void connected() {
    connect();
    run_for(10);
    ASSERT_TRUE(at_a && at_b);
    receive_at_b();
  }

  SimWorld world;
  SimNetwork network;
  SimHost a, b;
  BufferPool pool_a, pool_b;
  std::unique_ptr<Link> at_a, at_b;
  std::unique_ptr<Scope> scope_a, scope_b;
  Connector* connector = nullptr;
  std::vector<std::string> arrived;
  std::optional<Errc> end_at_b, refused;
  std::size_t sent = 0;
  std::optional<Errc> send_failed;

 private:
  static Task<void> dial(TwoHosts* self) {
    auto link = co_await self->connector->connect(kB, Uuid{});
    if (link) self->at_a = std::move(*link);
    else self->refused = link.error().code;
  }
  static Task<void> take(TwoHosts* self) {
    for (;;) {
      auto frame = co_await self->at_b->receive();
      if (!frame) {
        self->end_at_b = frame.error().code;
        co_return;
      }
      self->arrived.emplace_back(as_text(frame->head.bytes()));
    }
  }
  static Task<void> put(TwoHosts* self, std::string text, std::size_t payload_bytes) {
    Frame frame;
    frame.head = self->pool_a.try_acquire(text.size());
    std::memcpy(frame.head.data(), text.data(), text.size());
    if (payload_bytes > 0) frame.payload = self->pool_a.try_acquire(payload_bytes);
    auto done = co_await self->at_a->send(std::move(frame));
    if (done) ++self->sent;
    else self->send_failed = done.error().code;
  }
};

TEST(SimNetwork, Frames_OfOneDirection_ArriveInOrder) {
  TwoHosts t;
  t.connected();
  for (int i = 0; i < 20; ++i) t.send(std::to_string(i));
  t.run_for(50);
  ASSERT_EQ(t.arrived.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(t.arrived[static_cast<std::size_t>(i)], std::to_string(i));
}

TEST(SimNetwork, Frames_BehindACut_ArriveAfterItIsMended) {
  TwoHosts t;
  t.connected();
  t.network.cut(kA, kB);
  t.send("late");
  t.run_for(1'000);
  EXPECT_TRUE(t.arrived.empty());
  EXPECT_EQ(t.network.counters().held, 1u);
  t.network.mend(kA, kB);
  t.send("later");
  t.run_for(300);
  EXPECT_EQ(t.arrived, (std::vector<std::string>{"late", "later"}));
}

TEST(SimNetwork, Cut_LongerThanUnacknowledgedMax_BreaksTheSender) {
  NetworkOptions options;
  options.unacknowledged_max = milliseconds(500);
  TwoHosts t(1, options);
  t.connected();
  t.network.cut(kA, kB);
  t.send("lost");
  t.run_for(600);
  t.send("refused");
  t.run_for(1);
  EXPECT_EQ(t.send_failed, Errc::io_error);
  EXPECT_FALSE(t.end_at_b.has_value());  // The other side heard nothing.
}

TEST(SimNetwork, Sender_AheadOfTheWindow_WaitsForTheReceiver) {
  NetworkOptions options;
  options.window_bytes = 64 << 10;
  TwoHosts t(1, options);
  t.connect();
  t.run_for(10);
  ASSERT_TRUE(t.at_b);
  for (int i = 0; i < 8; ++i) t.send("x", 32 << 10);
  t.run_for(100);
  EXPECT_LT(t.sent, 3u);
  EXPECT_GT(t.network.counters().waits, 0u);
  t.receive_at_b();
  t.run_for(100);
  EXPECT_EQ(t.sent, 8u);
  EXPECT_EQ(t.arrived.size(), 8u);
}

TEST(SimNetwork, OneWayCut_OfAcknowledgements_StallsTheSender) {
  NetworkOptions options;
  options.window_bytes = 64 << 10;
  TwoHosts t(1, options);
  t.connected();
  t.network.cut(kB, kA);
  for (int i = 0; i < 8; ++i) t.send("x", 32 << 10);
  t.run_for(100);
  EXPECT_LT(t.sent, 8u);
  t.network.mend(kB, kA);
  t.run_for(100);
  EXPECT_EQ(t.sent, 8u);
}

TEST(SimNetwork, KilledProcess_WithOpenLinks_ResetsThemQuickly) {
  TwoHosts t;
  t.connected();
  t.a.crash();
  t.network.process_died(kA, SimNetwork::Death::killed);
  t.scope_a.reset();
  t.at_a.reset();
  t.run_for(5);
  EXPECT_EQ(t.end_at_b, Errc::io_error);
}

TEST(SimNetwork, PowerLoss_WithOpenLinks_IsSilentUntilTheMachineIsBack) {
  TwoHosts t;
  t.connected();
  t.a.crash();
  t.network.process_died(kA, SimNetwork::Death::power_loss);
  t.scope_a.reset();
  t.at_a.reset();
  t.run_for(2'000);
  EXPECT_FALSE(t.end_at_b.has_value());
  t.network.process_started(kA, t.pool_a);
  t.run_for(400);
  EXPECT_EQ(t.end_at_b, Errc::io_error);
}

TEST(SimNetwork, Close_AfterFrames_ArrivesBehindThem) {
  TwoHosts t;
  t.connected();
  t.send("last words");
  t.run_for(0);
  t.at_a->close();
  t.run_for(5);
  EXPECT_EQ(t.arrived.size(), 1u);
  EXPECT_EQ(t.end_at_b, Errc::closed);
}

TEST(SimNetwork, Connect_NobodyListens_IsRefused) {
  TwoHosts t;
  t.network.process_died(kB, SimNetwork::Death::killed);
  t.connect();
  t.run_for(10);
  EXPECT_EQ(t.refused, Errc::io_error);
}

TEST(SimNetwork, Connect_AcrossACut_TimesOut) {
  TwoHosts t;
  t.network.cut(kB, kA);
  t.connect();
  t.run_for(600);
  EXPECT_EQ(t.refused, Errc::timed_out);
  t.run_for(600);
  EXPECT_TRUE(t.at_b);  // The listener believes in a connection that its peer gave up.
}

TEST(SimNetwork, SlowPath_DelaysFrames_AndKeepsThem) {
  TwoHosts t;
  t.connected();
  t.network.set_path(kA, kB, NetworkPath{false, milliseconds(200), milliseconds(100)});
  t.send("1");
  t.send("2");
  t.run_for(190);
  EXPECT_TRUE(t.arrived.empty());
  t.run_for(150);
  EXPECT_EQ(t.arrived, (std::vector<std::string>{"1", "2"}));
}

TEST(SimNetwork, Reset_OfAConnection_IsSeenOnBothSides) {
  TwoHosts t;
  t.connected();
  EXPECT_EQ(t.network.reset(kA, kB), 1u);
  t.run_for(5);
  t.send("no");
  t.run_for(1);
  EXPECT_EQ(t.end_at_b, Errc::io_error);
  EXPECT_EQ(t.send_failed, Errc::io_error);
}

TEST(SimNetwork, PausedReceiver_FramesWait_UntilItGoesOn) {
  TwoHosts t;
  t.connected();
  t.b.pause();
  t.send("patience");
  t.run_for(500);
  EXPECT_TRUE(t.arrived.empty());
  t.b.resume();
  t.run_for(1);
  EXPECT_EQ(t.arrived.size(), 1u);
}

}  // namespace
}  // namespace holdfast::sim

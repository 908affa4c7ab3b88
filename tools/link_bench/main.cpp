// link_bench [seconds a case]: frames from one thread to another over loopback, plain and inside of TLS. The two take turns, so that
// the ratio means something also on a machine that is not at rest. CPU is that of both ends.
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <optional>
#include <string_view>
#include <vector>

#include "base/scope.h"
#include "io/link_tcp.h"
#include "io/reactor_pool.h"
#include "io/run_task.h"
#include "io/tls_stream.h"

namespace {

using namespace holdfast;
using io::LinkMemory;
using io::Reactor;
using io::ReactorPool;

constexpr std::size_t kBufferBytes = std::size_t{32} << 20;
constexpr int kTurns = 3;  // Of plain and TLS, for each load.

struct Load {
  const char* name;
  std::size_t head_bytes, payload_bytes;
  bool echoed;  // One frame at a time, there and back: a round trip.
};
constexpr Load kLoads[] = {{"beat there and back", 88, 0, true},  {"beats", 88, 0, false},
                           {"4 KiB", 128, 4096, false},           {"64 KiB", 248, 65'536, false},
                           {"1 MiB", 2168, std::size_t{1} << 20, false}};

struct Figures {
  double frames_per_s = 0, bytes_per_s = 0, cpu_us = 0;  // cpu_us: of one frame.
};

double cpu_us() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& t) { return double(t.tv_sec) * 1e6 + double(t.tv_usec); };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

[[noreturn]] void give_up(std::string_view what) {
  std::fprintf(stderr, "link_bench: %.*s\n", int(what.size()), what.data());
  std::exit(1);
}

struct Streams {
  std::unique_ptr<Stream> near, far;
};

Task<void> accept_into(io::TcpListener* listener, std::unique_ptr<Stream>* out) {
  auto stream = co_await listener->accept();
  if (!stream) give_up(stream.error().text());
  *out = std::move(*stream);
}

Task<void> shake(io::TlsStream* stream) {
  const auto shaken = co_await stream->handshake();
  if (!shaken) give_up(shaken.error().text());
}

Task<Streams> connect_streams(Reactor* reactor, std::shared_ptr<const io::TlsContext> tls) {
  auto listener = io::listen_tcp(*reactor, {"127.0.0.1", 0}, io::kLinkTcpOptions);
  if (!listener) give_up(listener.error().text());
  Streams streams;
  Scope scope(*reactor);
  scope.spawn(accept_into(listener->get(), &streams.far));
  auto near = co_await io::connect_tcp(*reactor, (*listener)->local_endpoint(), io::kLinkTcpOptions);
  if (!near) give_up(near.error().text());
  co_await scope.join();
  streams.near = std::move(*near);
  if (!tls) co_return streams;
  auto dials = io::make_tls_stream(std::move(streams.near), tls, io::TlsSide::dials);
  auto listens = io::make_tls_stream(std::move(streams.far), tls, io::TlsSide::listens);
  scope.spawn(shake(dials.get()));
  scope.spawn(shake(listens.get()));
  co_await scope.join();
  streams.near = std::move(dials);
  streams.far = std::move(listens);
  co_return streams;
}

// ---- The far end, on a thread of its own.

struct FarEnd {
  std::optional<LinkMemory> memory;
  std::unique_ptr<Link> link;
  std::optional<Scope> scope;
  std::uint64_t frames = 0;
  std::promise<void> ended;
};

Task<void> take_all(FarEnd* end, bool echoed) {
  for (;;) {
    auto frame = co_await end->link->receive();
    if (!frame) break;
    ++end->frames;
    if (!echoed) continue;
    const auto sent = co_await end->link->send(std::move(*frame));
    if (!sent) break;
  }
  end->ended.set_value();
}

// ---- The near end.

Task<void> send_until(Link* link, BufferPool* pool, Load load, Clock* clock, BootNs until) {
  Buffer head = co_await pool->acquire(load.head_bytes);
  std::memset(head.data(), 1, head.size());
  Buffer payload;
  if (load.payload_bytes > 0) {
    payload = co_await pool->acquire(load.payload_bytes);
    std::memset(payload.data(), 2, payload.size());
  }
  for (unsigned i = 0; i % 16 != 0 || clock->now() < until; ++i) {
    Frame frame;
    frame.head = head;
    frame.payload = payload;
    const auto sent = co_await link->send(std::move(frame));
    if (!sent) give_up(sent.error().text());
    if (!load.echoed) continue;
    const auto back = co_await link->receive();
    if (!back) give_up(back.error().text());
  }
}

Figures measure(Reactor& near, Reactor& far, const Load& load, std::shared_ptr<const io::TlsContext> tls, std::int64_t ms) {
  Streams streams = io::run_task(near, connect_streams(&near, std::move(tls)));
  std::unique_ptr<Stream> moved = streams.far->move_to(far);
  FarEnd end;
  ReactorPool::run_on(far, [&] {
    end.memory.emplace(far);
    end.link = io::make_tcp_link(*end.memory, std::move(moved));
    end.scope.emplace(far);
    end.scope->spawn(take_all(&end, load.echoed));
  });
  LinkMemory memory(near);
  auto link = io::make_tcp_link(memory, std::move(streams.near));
  const double cpu_before = cpu_us();
  const BootNs begin = near.clock().now();
  io::run_task(near, send_until(link.get(), &near.buffers(), load, &near.clock(), begin + milliseconds(ms)));
  link->close();
  end.ended.get_future().wait();
  const double seconds = double((near.clock().now() - begin).value) / 1e9;
  const double cpu = cpu_us() - cpu_before;
  ReactorPool::run_on(far, [&] {
    end.scope.reset();
    end.link.reset();
    end.memory.reset();
  });
  const double frames = double(end.frames);
  return {frames / seconds, frames * double(load.head_bytes + load.payload_bytes) / seconds, cpu / frames};
}

Figures best(const std::vector<Figures>& of) {
  return *std::ranges::max_element(of, {}, [](const Figures& f) { return f.frames_per_s; });
}

bool run(Reactor& near, Reactor& far, const Load& load, const std::shared_ptr<const io::TlsContext>& tls, std::int64_t seconds) {
  std::vector<Figures> plain, secured;
  for (int turn = 0; turn < kTurns; ++turn) {
    plain.push_back(measure(near, far, load, nullptr, seconds * 1000 / kTurns));
    secured.push_back(measure(near, far, load, tls, seconds * 1000 / kTurns));
  }
  const Figures p = best(plain), s = best(secured);
  std::printf("%-20s plain %9.0f frames/s %7.0f MB/s %6.2f us   TLS %9.0f frames/s %7.0f MB/s %6.2f us   TLS/plain: speed %4.2f, CPU %4.2f\n",
              load.name, p.frames_per_s, p.bytes_per_s / 1e6, p.cpu_us, s.frames_per_s, s.bytes_per_s / 1e6, s.cpu_us,
              s.frames_per_s / p.frames_per_s, s.cpu_us / p.cpu_us);
  std::fflush(stdout);
  return p.frames_per_s > 0 && s.frames_per_s > 0;
}

bool parse(std::string_view text, std::int64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= 1 && out <= 3600;
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t seconds = 3;
  if (argc > 2 || (argc > 1 && !parse(argv[1], seconds))) {
    std::fprintf(stderr, "usage: link_bench [seconds a case, 3]\n");
    return 2;
  }
  auto near = Reactor::create({.buffer_bytes = kBufferBytes});
  if (!near) give_up(near.error().text());
  auto far = ReactorPool::start(1, {.buffer_bytes = kBufferBytes});
  if (!far) give_up(far.error().text());
  const auto tls = io::TlsContext::of_secrets({"what is measured is not kept secret"}, "bench");
  if (!tls) give_up(tls.error().text());
  bool good = true;
  for (const Load& load : kLoads) good = run(**near, (*far)->reactor(0), load, *tls, seconds) && good;
  return good ? 0 : 1;
}

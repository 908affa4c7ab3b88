#include "test/torture/cable.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "test/sim/random.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"

namespace holdfast::torture {
namespace {

constexpr std::size_t kFrameBytesMax = 2048;
constexpr std::size_t kIpSource = 26, kIpDestination = 30;  // In an Ethernet frame.
constexpr int kFramesInOneGo = 64;

io::UniqueFd make_tap(const NetNamespace& where, const std::string& name) {
  io::UniqueFd fd;
  where.inside([&] {
    fd = io::UniqueFd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    require_call(fd.get() >= 0, "/dev/net/tun");
    ifreq request{};
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    require_call(::ioctl(fd.get(), TUNSETIFF, &request) == 0, "TAP device " + name);
  });
  return fd;
}

bool is_ipv4(const std::vector<char>& frame) { return frame.size() >= 34 && frame[12] == 8 && frame[13] == 0; }

}  // namespace

Cable::Cable(const NetNamespace& machine, const std::string& inner, const NetNamespace& switch_side, const std::string& outer)
    : inner_(make_tap(machine, inner)), outer_(make_tap(switch_side, outer)), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  carrier_ = std::thread([this] { carry(); });
}

Cable::~Cable() {
  ending_ = true;
  const std::uint64_t one = 1;
  std::ignore = ::write(wake_.get(), &one, sizeof one);
  carrier_.join();
}

void Cable::lengthen(const std::string& peer, DurationNs delay, DurationNs jitter, CableWay way) {
  Rule rule{0, delay, jitter, way};
  if (!peer.empty()) require(::inet_pton(AF_INET, peer.c_str(), &rule.peer) == 1, peer + " is no address");
  const std::lock_guard lock(mutex_);
  rules_.push_back(rule);
}

void Cable::shorten() {
  const std::lock_guard lock(mutex_);
  rules_.clear();
}

DurationNs Cable::delay_of(const Lane& lane, const std::vector<char>& frame) {
  const std::lock_guard lock(mutex_);
  if (rules_.empty() || !is_ipv4(frame)) return {};
  std::uint32_t peer = 0;
  std::memcpy(&peer, frame.data() + lane.peer_at, sizeof peer);
  for (const Rule& rule : rules_) {
    if ((rule.peer != 0 && rule.peer != peer) || (rule.way == CableWay::outgoing && lane.way != rule.way)) continue;
    dice_ = sim::mix(dice_ + 1);
    const std::int64_t more = rule.jitter.value > 0 ? static_cast<std::int64_t>(dice_ % static_cast<std::uint64_t>(rule.jitter.value)) : 0;
    return DurationNs{rule.delay.value + more};
  }
  return {};
}

// One frame off the device. False when there is none.
bool Cable::take(Lane& lane) {
  std::vector<char> frame(kFrameBytesMax);
  const ssize_t size = ::read(lane.from, frame.data(), frame.size());
  if (size <= 0) return false;
  frame.resize(static_cast<std::size_t>(size));
  const DurationNs delay = delay_of(lane, frame);
  if (delay.value > 0) ++held_;
  const BootNs due = now() + delay;
  // Kept by time; equal ones in the order of arrival. A pair's frames do not overtake each other: jitter only ever adds.
  std::uint32_t peer = 0;
  if (is_ipv4(frame)) std::memcpy(&peer, frame.data() + lane.peer_at, sizeof peer);
  BootNs not_before = due;
  for (auto other = lane.waiting.rbegin(); other != lane.waiting.rend(); ++other) {
    std::uint32_t other_peer = 0;
    if (is_ipv4(other->bytes)) std::memcpy(&other_peer, other->bytes.data() + lane.peer_at, sizeof other_peer);
    if (other_peer != peer) continue;
    not_before = std::max(not_before, other->due);
    break;
  }
  const auto at = std::upper_bound(lane.waiting.begin(), lane.waiting.end(), not_before, [](BootNs t, const Frame& f) { return t < f.due; });
  lane.waiting.insert(at, Frame{not_before, std::move(frame)});
  return true;
}

void Cable::deliver(Lane& lane) {
  while (!lane.waiting.empty() && is_over(lane.waiting.front().due)) {
    // A device whose other end is down, or full, loses frames, as a cable does.
    std::ignore = ::write(lane.to, lane.waiting.front().bytes.data(), lane.waiting.front().bytes.size());
    lane.waiting.pop_front();
  }
}

void Cable::carry() {
  Lane lanes[2] = {{CableWay::outgoing, inner_.get(), outer_.get(), kIpDestination, {}}, {CableWay::both, outer_.get(), inner_.get(), kIpSource, {}}};
  while (!ending_) {
    timespec patience{3600, 0};
    for (const Lane& lane : lanes) {
      if (lane.waiting.empty()) continue;
      const std::int64_t left = std::max<std::int64_t>(0, (lane.waiting.front().due - now()).value);
      if (left < std::int64_t{patience.tv_sec} * 1'000'000'000 + patience.tv_nsec) patience = {left / 1'000'000'000, left % 1'000'000'000};
    }
    pollfd any[3] = {{inner_.get(), POLLIN, 0}, {outer_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    ::ppoll(any, 3, &patience, nullptr);
    for (Lane& lane : lanes) {
      for (int i = 0; i < kFramesInOneGo && take(lane); ++i) {
      }
      deliver(lane);
    }
  }
}

}  // namespace holdfast::torture

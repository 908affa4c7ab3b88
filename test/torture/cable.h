// A cable between a machine and the switch that can be made long: frames between chosen machines are held back. For kernels
// without tc netem: two TAP devices and a thread that carries frames, in order, when they are due.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/types.h"
#include "io/unique_fd.h"
#include "test/torture/net_namespace.h"

namespace holdfast::torture {

enum class CableWay : std::uint8_t { both, outgoing };  // As the machine sees it.

class Cable {
 public:
  // Makes the device `inner` in the machine and `outer` at the switch; who calls it gives them addresses and brings them up.
  Cable(const NetNamespace& machine, const std::string& inner, const NetNamespace& switch_side, const std::string& outer);
  ~Cable();
  Cable(const Cable&) = delete;

  // IPv4 between this machine and the peer takes so much longer, each way, and up to `jitter` more. A peer of "": everybody.
  void lengthen(const std::string& peer, DurationNs delay, DurationNs jitter = {}, CableWay way = CableWay::both);
  void shorten();
  // Frames that were held back since the cable was made.
  std::uint64_t held() const { return held_; }

 private:
  struct Rule {
    std::uint32_t peer = 0;  // Network byte order; zero: everybody.
    DurationNs delay, jitter;
    CableWay way = CableWay::both;
  };
  struct Frame {
    BootNs due;
    std::vector<char> bytes;
  };
  struct Lane {
    CableWay way;              // Outgoing, or not.
    int from, to;
    std::uint32_t peer_at;     // Where an IPv4 frame of this direction names the peer.
    std::deque<Frame> waiting;  // Those who are not held back overtake nobody of the same pair: they wait here as well.
  };
  void carry();
  bool take(Lane& lane);
  void deliver(Lane& lane);
  DurationNs delay_of(const Lane& lane, const std::vector<char>& frame);

  io::UniqueFd inner_, outer_, wake_;
  std::mutex mutex_;
  std::vector<Rule> rules_;
  std::uint64_t dice_ = 1;
  std::atomic<std::uint64_t> held_{0};
  std::atomic<bool> ending_{false};
  std::thread carrier_;
};

}  // namespace holdfast::torture

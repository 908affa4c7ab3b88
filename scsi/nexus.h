// One initiator port on one target port (an I_T nexus): its pending unit attentions and what it may do.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/ensure.h"
#include "base/intrusive_list.h"
#include "scsi/sense.h"

namespace holdfast::scsi {

// A reset outranks what was pending: it empties the queue (SAM-5 §5.14). Each condition is kept once, so the bound holds.
class UnitAttentions {
 public:
  void establish(Asc asc) {
    if (static_cast<std::uint16_t>(asc) >> 8 == 0x29) count_ = 0;
    for (std::size_t i = 0; i < count_; ++i)
      if (queue_[i] == asc) return;
    ENSURE(count_ < queue_.size());
    queue_[count_++] = asc;
  }
  // What it points to has been told.
  void withdraw(Asc asc) {
    const auto end = std::remove(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count_), asc);
    count_ = static_cast<std::size_t>(end - queue_.begin());
  }
  bool empty() const { return count_ == 0; }
  std::size_t size() const { return count_; }
  Asc take() {
    ENSURE(count_ > 0);
    const Asc first = queue_[0];
    for (std::size_t i = 1; i < count_; ++i) queue_[i - 1] = queue_[i];
    --count_;
    return first;
  }

 private:
  std::array<Asc, 16> queue_{};  // More than there are conditions.
  std::size_t count_ = 0;
};

// Names an initiator port as a TransportID does (SPC-4 §7.6.4.6), and the target port it talks to.
struct PortPair {
  std::string initiator;               // iqn…, at most 223 bytes.
  std::array<std::byte, 6> isid{};
  std::uint16_t target_port = 0;       // Relative target port identifier.
  bool operator==(const PortPair&) const = default;
};

// The result of the last third-party copy, for RECEIVE COPY RESULTS.
struct CopyOutcome {
  bool known = false;
  std::uint8_t list_id = 0;
  bool failed = false;
  std::uint16_t segments = 0;
  std::uint32_t mib = 0;
};

// A command between execute()'s start and end.
struct Execution : ListNode<Execution> {
  std::uint64_t number = 0;            // In the order of starting, over all nexus of a device server.
};

class Nexus {
 public:
  explicit Nexus(PortPair p) : ports(std::move(p)) {}
  const PortPair ports;
  UnitAttentions attentions;
  // Caches of the reservation state, written by the device server at each change: the path of an I/O looks at nothing else.
  bool registered = false;
  bool holds_reservation = false;
  IntrusiveList<Execution> executions; // Oldest first.
  CopyOutcome copy;
  bool leaves = false;                 // Its session is ending: nobody is there any more.
};

}  // namespace holdfast::scsi

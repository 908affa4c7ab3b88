// One connection to another copy of the group: what goes out, in order, and what comes in.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/link.h"
#include "base/scope.h"
#include "engine/role_messages.h"
#include "rebuild/exchange.h"

namespace holdfast::engine {

// Lives in the flow that runs the connection.
struct Session {
  Session(NodeId n, SessionId i, std::unique_ptr<Link> l, Executor& executor)
      : node(n), id(i), link(std::move(l)), work(executor) {}

  NodeId node;
  SessionId id;
  std::unique_ptr<Link> link;
  bool ended = false;
  BootNs heard{};              // When something came last.
  std::uint64_t free_chunks = ~std::uint64_t{0};  // As it said last; all bits set: enough.

  std::deque<Message> outbox;  // Not sent yet.
  WaitList work;               // Something to send, a record to ship, an ack, or the end.

  // Shipping, as primary: records go out from here on, once the other side's log is matched.
  Epoch epoch;                 // In which this is so.
  Lsn next;                    // Zero: not begun.
  struct InFlight {
    Lsn lsn;
    std::uint64_t bytes;
  };
  std::deque<InFlight> in_flight;  // Sent and not acknowledged.
  std::uint64_t in_flight_bytes = 0;
  DurationNs mended_in_vain{};      // Time that went into blocks that nobody could give.
  std::vector<Frame> shipment;      // Of ship_from_memory(): its memory is kept, what is in it goes with each sending.

  // Rebuild: what was asked, until it is answered.
  struct Asked {
    std::uint64_t id;
    rebuild::Answer* into;
    BootNs until;                // Then it is given up.
    bool answered = false;
    bool late = false;           // It was given up.
    WaitList* wake;
  };
  std::vector<Asked*> asked;
  std::vector<rebuild::Question> questions;  // To be sent.
  std::uint64_t next_question = 1;
  std::size_t given_up = 0;      // Questions whose answers may come yet, and are nobody's.
  std::size_t answering = 0;     // Questions of the other side whose answers are not on their way yet.
  std::deque<rebuild::Answer> answers;  // To be sent.

  void acked(Lsn upto) {
    while (!in_flight.empty() && in_flight.front().lsn <= upto) {
      in_flight_bytes -= in_flight.front().bytes;
      in_flight.pop_front();
    }
    work.notify_all();
  }
};

}  // namespace holdfast::engine

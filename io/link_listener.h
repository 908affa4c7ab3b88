// Where the other nodes' connections come in. TLS and preamble are done here, on one reactor; what is welcome goes, idle, to the
// thread of its group. Silent and slow clients keep nobody out: so many may be under way, for so long, and when there are more, the
// oldest goes.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/counters.h"
#include "base/intrusive_list.h"
#include "base/scope.h"
#include "base/stream.h"
#include "io/link_credentials.h"
#include "io/tcp.h"

namespace holdfast::io {

// A connection that was welcomed.
struct LinkArrival {
  NodeId from;
  Uuid group{};
  std::unique_ptr<Stream> stream;  // Idle, of the listener's thread.
};

// What is behind the listener: this node's groups. Called on the listener's thread, and returns at once.
class LinkDoor {
 public:
  virtual ~LinkDoor() = default;
  virtual bool has_group(Uuid group) const = 0;
  // Moves the stream to the group's thread (Stream::move_to), makes the link there (make_tcp_link) and hands it to the group. The group
  // may have gone since it was asked for: the stream is then dropped.
  virtual void arrived(LinkArrival arrival) = 0;
};

struct LinkListenerOptions {
  std::size_t under_way_max = 64;
  DurationNs limit = milliseconds(2'000);  // From the connection to the welcome.
};

// Written by the listener's thread, readable from any.
struct LinkListenerStats {
  Counter welcomed;
  Counter refused;    // By TLS or by the preamble, or because they made no sense.
  Counter timed_out;
  Counter dropped;    // Made room for others.
};

class LinkListener {
 public:
  // Everything on the reactor's thread; door and reactor outlive it. The socket's options are those of its connections: kLinkTcpOptions
  // (io/link_tcp.h). Errors: those of check_link_security().
  static Result<std::unique_ptr<LinkListener>> create(Reactor& reactor, std::unique_ptr<TcpListener> listener,
                                                      std::shared_ptr<LinkCredentials> credentials, LinkDoor& door,
                                                      LinkListenerOptions options = {});

  void start() { scope_.spawn(accept_all()); }
  // Frees the port, ends what is under way, and returns when nothing is left.
  Task<void> stop();
  Endpoint local_endpoint() const { return listener_->local_endpoint(); }
  const LinkListenerStats& stats() const { return stats_; }

 private:
  struct UnderWay : ListNode<UnderWay> {
    Stream* stream = nullptr;
    bool dropped = false;
  };
  LinkListener(Reactor& reactor, std::unique_ptr<TcpListener> listener, std::shared_ptr<LinkCredentials> credentials, LinkDoor& door,
               LinkListenerOptions options);
  Task<void> accept_all();
  Task<void> welcome(std::unique_ptr<Stream> stream);
  void make_room();
  void tell(const std::string& peer, const Error& error);

  Clock* clock_;
  std::unique_ptr<TcpListener> listener_;
  std::shared_ptr<LinkCredentials> credentials_;
  LinkDoor* door_;
  LinkListenerOptions options_;
  LinkListenerStats stats_;
  IntrusiveList<UnderWay> under_way_;  // The oldest first.
  std::size_t under_way_count_ = 0;
  bool stopping_ = false;
  Timer pause_;                        // After an accept() that failed.
  BootNs told_{};                      // When a refusal was logged last,
  std::uint64_t untold_ = 0;           // and how many were not since.
  Scope scope_;                        // Last: its flows use everything above.
};

}  // namespace holdfast::io

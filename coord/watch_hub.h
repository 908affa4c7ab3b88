// Hints that a key has changed: one stream from etcd for all keys below the prefix, whoever waits for whichever of them. A stream
// that breaks off goes on where it was, with another member; what was compacted meanwhile, or told too late, costs nothing but
// the hint, for nobody decides on it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/intrusive_list.h"
#include "base/sync.h"
#include "coord/etcd_channel.h"

namespace holdfast::coord {

class WatchHub {
 public:
  WatchHub(Loop& loop, HttpClient& http, EtcdChannel& channel, const EtcdOptions& options, EtcdStats& stats);

  // Returns when the key may have changed since `revision`, or after options.watch_timeout_ms.
  Task<void> wait(std::string key, std::uint64_t revision);
  // An answer told of these: a stream that stays behind is given up.
  void seen(std::uint64_t etcd_revision, std::uint64_t key_revision);
  // Streams while somebody waits. Never returns.
  Task<void> run();

 private:
  static constexpr std::size_t kWaitingMax = 4'096;
  static constexpr std::size_t kKeysMax = 16'384;

  struct Waiting : ListNode<Waiting> {
    Waiting(Clock& clock, const std::string* k, std::uint64_t r) : key(k), revision(r), timer(clock) {}
    const std::string* key;
    std::uint64_t revision;
    Timer timer;
  };
  struct Known {
    std::uint64_t revision = 0;
    bool erased = false;
  };
  // The stream under way; ends with the frame of its flow.
  struct Stream {
    explicit Stream(Clock& clock) : wake(clock) {}
    Stream(const Stream&) = delete;
    ~Stream() {
      if (exchange) exchange->cancel();
    }
    Timer wake;
    std::shared_ptr<HttpExchange> exchange;
    std::string where;
    bool created = false;
    bool ended = false;  // By what it said.
    Error error{Errc::closed};
  };

  Task<bool> stream_once();
  void hear(Stream* stream, std::string_view line);
  void hear_cancelled(Stream* stream, const WatchLine& line);
  void changed(const WatchLine::Change& change);
  void reached(std::uint64_t revision);
  void wake_all();
  bool may_go_on(const Stream& stream, BootNs begun);

  Loop* loop_;
  HttpClient* http_;
  EtcdChannel* channel_;
  const EtcdOptions* options_;
  EtcdStats* stats_;
  std::string prefix_;
  IntrusiveList<Waiting> waiting_;
  std::size_t waiting_count_ = 0;
  WaitList wanted_;
  std::map<std::string, Known> known_;  // Keys that the stream told of.
  BootNs last_wanted_{};
  std::uint64_t position_ = 0;          // Everything up to here was told; zero: no stream has begun yet.
  std::uint64_t ahead_ = 0;             // An answer told of this revision, which the stream has not reached yet; zero: none.
  BootNs ahead_since_{};
};

}  // namespace holdfast::coord

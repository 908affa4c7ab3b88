// Where initiators come in: accepts streams, reads the first login request, and hands a normal session over to its
// volume's executor. Discovery sessions are served here. Lives on the accepting thread; at most logins_max strangers are
// known at a time, each for a bounded time, and whoever has not said a word makes way for newcomers.
#pragma once

#include <atomic>
#include <memory>

#include "base/clock.h"
#include "base/counters.h"
#include "base/intrusive_list.h"
#include "base/random.h"
#include "base/scope.h"
#include "base/stream.h"
#include "scsi/login.h"
#include "scsi/target_directory.h"

namespace holdfast::scsi {

struct PortalOptions {
  unsigned logins_max = 128;                            // Logins and discovery sessions in progress, on all threads.
  DurationNs login_timeout = milliseconds(15'000);
  DurationNs discovery_timeout = milliseconds(60'000);  // Of a whole discovery session.
};

class Portal {
 public:
  Portal(const TargetDirectory& directory, Executor& executor, Clock& clock, Random& random, PortalOptions options = {});

  // Accepts until the listener is closed. `listener` outlives it.
  Task<void> run(Listener* listener);
  // One connection, until it is handed over or ended.
  Task<void> serve(std::unique_ptr<Stream> stream);
  // Starts serve() in the portal's own scope.
  void admit(std::unique_ptr<Stream> stream) { scope_.spawn(serve(std::move(stream))); }

  const Counter& refused_for_load() const { return refused_for_load_; }

 private:
  // A connection that has not sent its first request yet.
  struct Silent : ListNode<Silent> {
    Stream* stream = nullptr;
  };

  std::shared_ptr<void> take_slot();
  bool drop_a_silent_one();

  const TargetDirectory* directory_;
  Clock* clock_;
  Random* random_;
  PortalOptions options_;
  std::shared_ptr<std::atomic<unsigned>> logins_;  // Shared with slots that have moved to other threads.
  Counter refused_for_load_;
  IntrusiveList<Silent> silent_;                   // Oldest first.
  Scope scope_;
};

}  // namespace holdfast::scsi

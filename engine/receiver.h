// Following: records of the primary on their way into the log. Each is admitted as a write of a client would be (its space,
// its map pages), its whole chunks are written, and it is appended in its turn.
#pragma once

#include <deque>

#include "base/clock.h"
#include "base/scope.h"
#include "engine/session.h"
#include "engine/tail.h"
#include "engine/wire.h"

namespace holdfast::engine {

class GroupImpl;
class Replica;

class Receiver {
 public:
  Receiver(GroupImpl& group, Replica& replica);

  void start();
  // The records of a frame. False: they do not continue what came before, or contradict themselves; the connection must end.
  bool take(const Session& session, const AppendHead& head, Buffer payload);
  // A session was matched: what comes next follows the end of the log.
  void restart(SessionId session, Lsn end);
  // Nothing that was taken is under way any more. Whoever waits has made sure that nothing more comes.
  Task<void> settle();
  // Something was committed, a session ended, or the role changed.
  void wake() { work_.notify_all(); }
  void stop();
  Task<void> join() { return scope_.join(); }

 private:
  struct Incoming {
    SessionId session;
    Epoch epoch;                 // Of the primary.
    Lsn lsn;
    Lsn commit;                  // As the primary knew it.
    wal::RecordOnWire record;
    std::vector<std::uint64_t> checksums;
    Buffer payload;
  };
  struct Ready {
    SessionId session;
    Epoch epoch;
    std::uint64_t chain;
    std::uint64_t room;
    Tail::Handle record;
    bool prepared = false;
  };

  Task<void> run();
  bool wanted(SessionId session, Epoch epoch) const;
  Task<Result<void>> admit(Incoming* in);
  Tail::Handle make_record(const Incoming& in);
  Task<Result<void>> prepare(TailRecord* record);
  Task<Result<void>> prepare_without_effect(TailRecord* record);
  Task<void> write_chunks(Ready* ready);
  // Waits a while. False: nobody wants the record any more.
  Task<bool> pause(SessionId session, Epoch epoch);
  void append_ready();
  void refuse(SessionId session, std::string why);
  void tell_if_fenced(const Session& session, Epoch epoch, std::size_t records);

  GroupImpl* group_;
  Replica* replica_;
  std::deque<Incoming> incoming_;
  std::deque<Ready> ready_;      // In order; references stay valid while others come and go at the ends.
  SessionId session_;
  Lsn next_;                     // What the session must bring next.
  Lsn barrier_;                  // What follows needs this one's effect: the catalogue's changes.
  Epoch fenced_at_;              // Bound when records of an older one were told of last.
  bool busy_ = false;
  bool stopping_ = false;
  WaitList work_;
  Timer poll_timer_;
  Scope scope_;
};

}  // namespace holdfast::engine

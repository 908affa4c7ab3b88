// Serves the consumers of the log: reads what is committed back from the ring, and logs their positions.
// A position is a record of the log, so it is on every copy; what was confirmed since the last one lives in memory for at most
// consumer_log_ms, and is then logged, unless nothing but such records has come since: those must not keep each other alive.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/intrusive_list.h"
#include "base/sync.h"
#include "engine/log_stream.h"
#include "engine/tail.h"
#include "wal/log_reader.h"

namespace holdfast::engine {

class GroupImpl;

class LogService {
 public:
  explicit LogService(GroupImpl& group);

  std::vector<ConsumerStatus> consumers() const;
  Task<Result<ConsumerStatus>> create(std::string name, ConsumerStart start);
  Task<Result<void>> remove(std::string name);
  Task<Result<void>> confirm(std::string name, Lsn lsn, Confirm when);
  Task<Result<LogBatch>> read(Lsn from, LogReadLimits limits);

  // The group tells. None of it suspends.
  void committed(const TailRecord& record);  // Of a consumer.
  void noted(wal::RecordKind kind, Lsn lsn); // Of any kind.
  void commit_moved() { wake(); }
  void role_changed();
  void close();                                // Ends all waits …
  Task<void> join() { return scope_.join(); }  // … and what goes on by itself.

 private:
  // What was confirmed here and is not logged yet.
  struct Unlogged {
    Lsn lsn;
    std::uint64_t blocks = 0;
  };
  struct Waiting : ListNode<Waiting> {
    explicit Waiting(Clock& clock) : timer(clock) {}
    Timer timer;
  };

  void wake();
  Task<void> await_commit(Lsn lsn, BootNs deadline);
  Task<void> log_later();
  Task<Result<void>> log_position(std::string name, std::uint64_t reign);
  Task<Result<void>> log_change(const snapshot::ConsumerChange* change, std::uint64_t reign);
  ConsumerStatus status_of(const snapshot::StoredConsumer& consumer) const;
  Unlogged position_of(const snapshot::StoredConsumer& consumer) const;
  std::optional<LogGap> gap_from(Lsn from) const;
  std::uint64_t blocks_before(Lsn from) const;
  Task<Result<std::uint64_t>> blocks_up_to(Lsn lsn);

  Task<Result<void>> read_more(LogBatch* batch, LogReadLimits limits);
  Task<Result<LogEntry>> entry_of(const wal::BatchRead* read, std::size_t index, LogReadLimits::Payload payload);
  Task<Result<void>> read_chunk(LogEntry* entry, std::size_t begin, std::uint64_t location, const std::uint64_t* checksums);
  BufferPool* buffers();

  GroupImpl* group_;
  std::map<std::string, Unlogged> unlogged_;
  Lsn newest_entry_;                 // Of the newest committed record that consumers are told of.
  IntrusiveList<Waiting> waiting_;
  Semaphore change_turn_;            // One record of a consumer at a time.
  Semaphore read_turn_;
  std::unique_ptr<BufferPool> buffers_;  // Its own, so that a reader never takes what writers wait for. Made when first needed.
  struct Mark {
    Lsn lsn;
    std::uint64_t blocks = 0;
  };
  static constexpr std::size_t kMarks = 64;
  std::vector<Mark> marks_;          // Where reads ended: what is confirmed next is one of them.
  std::size_t next_mark_ = 0;
  Timer log_timer_;
  bool logging_ = false;
  bool stopping_ = false;
  Scope scope_;
};

}  // namespace holdfast::engine

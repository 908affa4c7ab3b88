// etcd's v3 API as its JSON gateway speaks it: bytes are base64, 64-bit numbers are strings, and what has its default value is
// left out. Building and reading only; what reads believes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace holdfast::coord {

struct Comparison {
  enum class Target : std::uint8_t { modified, version, value };
  Target target = Target::modified;
  std::string key, end;       // `end`: of a range, whose keys must all compare equal; empty: the one key.
  std::uint64_t number = 0;   // Revision or version; zero is that of a key that does not exist.
  std::string value;
};

struct Operation {
  enum class Kind : std::uint8_t { range, put, erase };
  Kind kind = Kind::range;
  std::string key, end;
  std::string value;           // Of a put.
  std::uint64_t limit = 0;     // Of a range; zero: none.
  std::uint64_t revision = 0;  // Of a range: as of then; zero: now.
};

// All comparisons hold: `success`, else `failure`. With nothing but ranges in it, it is a linearizable read.
struct Txn {
  std::vector<Comparison> comparisons;
  std::vector<Operation> success, failure;
};

struct KeyValue {
  std::string key, value;
  std::uint64_t modified = 0;  // Revision; never zero.
};

struct RangeAnswer {
  std::vector<KeyValue> entries;
  bool more = false;  // The limit was reached.
};

struct EtcdHeader {
  std::uint64_t cluster_id = 0;
  std::uint64_t revision = 0;
};

struct TxnAnswer {
  EtcdHeader header;
  bool succeeded = false;
  std::vector<RangeAnswer> ranges;  // One an operation of the branch that was taken; empty for those that are no range.
};

// An answer whose status is not 200.
struct Refusal {
  enum class Kind : std::uint8_t {
    not_now,       // No leader, too busy, timed out: whether something took effect is not known.
    token,         // The token is not valid (any more): nothing took effect.
    permission,    // Nothing took effect.
    auth_is_off,   // Users are not in use.
    compacted,     // The revision that was asked for is gone.
    other,
  };
  Kind kind = Kind::other;
  std::string message;  // etcd's.
};

// A line of the stream of changes.
struct WatchLine {
  std::uint64_t revision = 0;  // Of the etcd; zero: not told.
  struct Change {
    std::string key;
    std::uint64_t revision = 0;
    bool erased = false;
  };
  std::vector<Change> changes;
  bool created = false;
  bool cancelled = false;
  bool more_follows = false;            // A fragment: other changes of the same revision are on their way.
  std::uint64_t compact_revision = 0;   // Not zero: the stream began before what is left.
  std::string reason;                   // Of a cancellation.
};

std::string encode_txn(const Txn& txn);
// where: for the message of an error.
Result<TxnAnswer> decode_txn(const std::string& where, std::string_view body);

std::string encode_watch(const std::string& key, const std::string& end, std::uint64_t from_revision);
Result<WatchLine> decode_watch_line(const std::string& where, std::string_view line);

std::string encode_authenticate(const std::string& user, const std::string& password);
Result<std::string> decode_token(const std::string& where, std::string_view body);

Refusal decode_refusal(unsigned status, std::string_view body);

// The end of the range of all keys that begin with `prefix`.
std::string end_of_prefix(std::string prefix);

}  // namespace holdfast::coord

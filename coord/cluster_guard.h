// Whether what an etcd says may be believed. An etcd that lost its data, or has an older state than this process has seen, or is a
// copy of the one that Holdfast was set up with, is refused: to begin anew on it would forget who has what was acknowledged.
//
// The marker, a key of its own, is written once, when a cluster is set up. It names the cluster, and the etcd that it is kept
// in: a snapshot that was restored into a new etcd has the marker of the old one, which may still be running.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "coord/etcd_messages.h"

namespace holdfast::coord {

struct ClusterMarker {
  std::string id;               // 32 hex digits.
  std::uint64_t etcd_id = 0;    // The etcd's own name for itself.
};

std::string encode_marker(const ClusterMarker& marker);
// Errors: version_too_new, foreign.
Result<ClusterMarker> decode_marker(std::string_view text);

class ClusterGuard {
 public:
  // `expected_id`: empty: the first marker that is seen counts.
  ClusterGuard(std::string marker_key, std::string expected_id) : marker_key_(std::move(marker_key)), id_(std::move(expected_id)) {}

  // What was known when a question was sent: its answer may not be older. Answers that overtake each other are none the worse.
  struct Floor {
    std::uint64_t revision = 0;      // Of the etcd.
    std::uint64_t key_revision = 0;  // Of the key in question.
  };
  Floor floor(const std::string& key) const;

  // Errors: foreign; the message says what is wrong with the etcd at `where`, and what to do.
  // marker: nothing: the etcd has no such key.
  Result<void> accept_marker(const std::string& where, const EtcdHeader& header, const KeyValue* marker);
  // The answer is linearizable, and so is at least as new as `floor`.
  Result<void> accept_revision(const std::string& where, const EtcdHeader& header, const Floor& floor);
  // The key as it is there: zero: it does not exist, which is no proof of anything, as keys may be erased.
  Result<void> accept_key(const std::string& where, const std::string& key, std::uint64_t revision, const Floor& floor);

  // Of an accepted answer.
  void note(const EtcdHeader& header, const std::string& key, std::uint64_t revision);

  const std::string& id() const { return id_; }          // Empty: not known yet.
  bool knows_marker() const { return !marker_.empty(); }
  const std::string& marker() const { return marker_; }  // As it is in etcd.
  std::uint64_t revision() const { return revision_; }   // The newest that was seen.

 private:
  static constexpr std::size_t kKeysMax = 16'384;  // Beyond, the etcd's revision alone has to do.

  std::string marker_key_;
  std::string id_;
  std::string marker_;
  std::uint64_t revision_ = 0;
  std::map<std::string, std::uint64_t> keys_;
};

}  // namespace holdfast::coord

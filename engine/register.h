// The register of a group, as the coordinator keeps it: who leads, and who must have what is acknowledged.
// Only the epoch's primary changes in_sync; only a claim changes the epoch; operators' changes touch neither (rule 1).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace holdfast::engine {

// Zero would let everybody lead at once; an hour is no lease.
inline constexpr std::uint32_t kLeaseMsMax = 3'600'000;

// A node with the store it had: a blank or restored disk has another incarnation and takes over no obligation (rule 19).
struct Copy {
  NodeId node;
  Uuid incarnation{};
  friend bool operator==(const Copy&, const Copy&) = default;
};

struct Register {
  Uuid group{};
  std::uint64_t seq = 0;          // Grows with every change: an older state is recognised.
  Epoch epoch;                    // Zero: nobody has led yet.
  NodeId primary;
  std::uint64_t claim = 0;        // The nonce of the claim that began the epoch (rule 3).
  std::vector<Copy> in_sync;      // By node. Each has every acknowledged write.
  std::vector<NodeId> members;    // By node: who may hold a copy at all.
  std::uint32_t min_in_sync = 1;
  std::uint32_t lease_ms = 600;
  std::uint32_t previous_lease_ms = 600;  // Before the last change: whoever starts waits for the longer one.
  Epoch floor_epoch;              // What was committed at the last change: a claimant's log must reach it.
  Lsn floor_commit;
  Epoch floor_content_epoch;      // The same without the starts of epochs at its end (wal::EpochHistory::Content).
  Lsn floor_content_end;
  Epoch forced_epoch;             // Began by an operator who accepted that data is lost; zero: never.

  friend bool operator==(const Register&, const Register&) = default;

  const Copy* find_in_sync(NodeId node) const;
  bool has_in_sync(const Copy& copy) const;
  void add_in_sync(Copy copy);
  void remove_in_sync(NodeId node);
  bool is_member(NodeId node) const;
};

// Of a group of blank copies, all of them in sync: written once, before the first of them starts.
struct FirstRegister {
  std::uint32_t min_in_sync = 1;
  std::uint32_t lease_ms = 600;
};
Register first_register(const Uuid& group, const std::vector<Copy>& copies, FirstRegister options);

// The coordinator's key of a group.
std::string register_key(const Uuid& group);

inline constexpr std::size_t kMembersMax = 5;
inline constexpr std::size_t kRegisterBytesMax = 4096;

// Lines of `key value`, for people with an etcdctl as much as for us. The grammar is in docs/formats.md.
std::string encode_register(const Register& value);
// Errors: corrupt, version_too_new; the message names the line.
Result<Register> decode_register(std::string_view text);

}  // namespace holdfast::engine

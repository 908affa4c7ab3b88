// What must hold in every state, and when two states are the same.
#include <algorithm>

#include "base/checksum.h"
#include "test/model/model.h"

namespace holdfast::model {
namespace {

bool logs_match(const Node& a, const Node& b) {
  const int both = std::min(a.length, b.length);
  int top = -1;
  for (int k = 0; k < both; ++k)
    if (a.log[k].epoch() == b.log[k].epoch()) top = k;
  return std::equal(a.log.begin(), a.log.begin() + top + 1, b.log.begin());
}

bool applied_agree(const Node& a, const Node& b) {
  const int both = std::min(a.applied, b.applied);
  return std::equal(a.log.begin(), a.log.begin() + both, b.log.begin());
}

Set renamed(Set set, const std::array<int, kNodesMax>& to) {
  Set out = 0;
  for (int i = 0; i < kNodesMax; ++i)
    if (has(set, i)) out |= one(to[i]);
  return out;
}

void rename_node(Node& n, const std::array<int, kNodesMax>& to) {
  n.owed = renamed(n.owed, to);
  n.known = renamed(n.known, to);
  n.promised = renamed(n.promised, to);
  n.old = renamed(n.old, to);
  if (n.pending > claim) n.pending_about = static_cast<u8>(to[n.pending_about]);
  std::array<u8, kNodesMax> acked{};
  for (int j = 0; j < kNodesMax; ++j) acked[to[j]] = n.acked[j];
  n.acked = acked;
}

void rename_cas(Cas& cas, const std::array<int, kNodesMax>& to) {
  cas.node = static_cast<u8>(to[cas.node]);
  if (cas.kind > claim) cas.about = static_cast<u8>(to[cas.about & 7] | (cas.about & 8));
  cas.in_sync = renamed(cas.in_sync, to);
  if (cas.base_epoch) {
    cas.base_primary = static_cast<u8>(to[cas.base_primary]);
    cas.base_in_sync = renamed(cas.base_in_sync, to);
  }
}

}  // namespace

const char* Model::violation(const State& s) const {
  int serving = 0;
  for (int i = 0; i < bounds_.nodes; ++i) serving += may_serve(s, i);
  if (serving > 1) return "two nodes may serve at once";
  // What every possible history has was seen by a client: it is durable on whoever may be promoted.
  int seen = 7;
  for (int q = 0; q < 32; ++q)
    if (s.histories >> q & 1) seen &= q >> 2;
  for (int w = 1; w <= bounds_.writes; ++w) {
    if (!(seen >> (w - 1) & 1)) continue;
    for (int i = 0; i < bounds_.nodes; ++i) {
      const Node& n = s.nodes[i];
      if (!has(s.in_sync, i) || n.replaced) continue;
      const auto end = n.log.begin() + n.durable;
      if (std::none_of(n.log.begin(), end, [&](Record r) { return r.write() == w; }))
        return "a write that a client has seen is not durable on an in-sync node";
    }
  }
  for (int i = 0; i < bounds_.nodes; ++i)
    for (int j = i + 1; j < bounds_.nodes; ++j) {
      if (!logs_match(s.nodes[i], s.nodes[j])) return "two logs agree on an epoch but not on what is before it";
      if (!applied_agree(s.nodes[i], s.nodes[j])) return "applied records differ";
    }
  return nullptr;
}

std::uint64_t Model::fingerprint(const State& state) const {
  static constexpr std::array<std::array<int, kNodesMax>, 6> kNames{{{0, 1, 2}, {1, 0, 2}, {0, 2, 1}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}}};
  std::uint64_t least = ~std::uint64_t{0};
  for (int k = 0; k < (bounds_.nodes == 2 ? 2 : 6); ++k) {
    const auto& to = kNames[k];
    State t = state;
    for (int i = 0; i < kNodesMax; ++i) {
      Node n = state.nodes[i];
      rename_node(n, to);
      t.nodes[to[i]] = n;
    }
    t.leader = static_cast<u8>(to[state.leader]);
    t.in_sync = renamed(state.in_sync, to);
    for (int j = 0; j < t.cas_count; ++j) rename_cas(t.cas[j], to);
    tidy(t);
    least = std::min(least, xxh3(bytes_of(t)));
  }
  return least ? least : 1;
}

}  // namespace holdfast::model

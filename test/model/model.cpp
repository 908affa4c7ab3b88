#include "test/model/model.h"

#include <algorithm>

namespace holdfast::model {

const char* name_of(Step step) {
  static constexpr const char* names[] = {
      "a client writes", "syncs", "ships a record to", "binds to", "matches with", "promises to", "lets promises run out", "commits",
      "ANSWERS A WRITE", "ANSWERS A READ", "tells its commit to", "sends a claim", "CAS LANDS of", "sees the register", "gives its claim up",
      "sends a removal of", "needs the joiner", "sends a join of", "hands over to", "takes the release", "CRASHES", "restarts",
      "forgets without a CAS", "GETS A NEW DISK"};
  return names[static_cast<int>(step)];
}

State Model::initial() const {
  State s;
  std::memset(static_cast<void*>(&s), 0, sizeof s);
  s.epoch = 1;
  s.in_sync = static_cast<Set>((1u << bounds_.nodes) - 1);
  s.leader_owns = 1;
  for (int i = 0; i < bounds_.nodes; ++i) {
    Node& n = s.nodes[i];
    n.up = n.fresh = n.waited = n.matched = n.bound = n.length = n.durable = n.applied = 1;
    n.log[0] = Record::of(1, 0);
  }
  Node& p = s.nodes[0];
  p.role = primary;
  p.bound_as_primary = p.open = p.start = 1;
  p.owed = p.known = s.in_sync;
  for (int j = 1; j < bounds_.nodes; ++j) p.acked[j] = 1;
  s.histories = 1;
  tidy(s);
  return s;
}

// Forgets what no longer matters, so that equal states are equal.
void Model::tidy(State& s) const {
  const auto less = [](const Cas& a, const Cas& b) { return std::memcmp(&a, &b, sizeof a) < 0; };
  std::sort(s.cas.begin(), s.cas.begin() + s.cas_count, less);
  const auto end = std::unique(s.cas.begin(), s.cas.begin() + s.cas_count);
  s.cas_count = static_cast<u8>(end - s.cas.begin());
  std::fill(end, s.cas.end(), Cas{});
  for (Node& n : s.nodes) {
    std::fill(n.log.begin() + n.length, n.log.end(), Record{});
    if (n.role == primary) {
      n.matched = 0;
    } else {
      n.owed = n.known = n.open = n.promised = n.old = n.start = 0;
      n.acked = {};
    }
    if (n.pending == none) n.pending_about = 0;
  }
}

bool Model::may_serve(const State& s, int i) const {
  const Node& n = s.nodes[i];
  if (!n.up || n.role != primary || !n.open) return false;
  Set needed = n.owed & static_cast<Set>(~one(i));
  if (broken(Broken::join_no_promise)) needed &= n.known;
  return (n.promised & needed) == needed;
}

// Writes that were begun may take effect at any time before they are answered.
Histories Model::closed(Histories h, int invoked) const {
  for (bool changed = true; changed;) {
    changed = false;
    for (int i = 0; i < 32; ++i) {
      if (!(h >> i & 1)) continue;
      for (int w = 1; w <= invoked; ++w) {
        const int done = i >> 2;
        if (done >> (w - 1) & 1) continue;
        const int next = (done | 1 << (w - 1)) << 2 | w;
        if (h >> next & 1) continue;
        h |= Histories{1} << next;
        changed = true;
      }
    }
  }
  return h;
}

void Model::add_cas(State& s, Cas cas) const {
  for (int k = 0; k < s.cas_count; ++k)
    if (s.cas[k] == cas) return;
  s.cas[s.cas_count++] = cas;
}

Cas Model::cas_of(const State& s, int node, Kind kind, u8 about, Set in_sync) const {
  Cas cas{static_cast<u8>(node), kind, about, in_sync, 1, 0, 0, 0};
  if (broken(Broken::value_cas)) {
    cas.base_epoch = s.epoch;
    cas.base_primary = s.leader;
    cas.base_in_sync = s.in_sync;
  }
  return cas;
}

namespace {

void demote(Node& n) {
  n.role = follower;
  n.open = n.promised = n.owed = n.matched = 0;
  if (n.pending != claim) n.pending = none;
}

enum class Which : u8 { all, claims };
// Nobody takes up what the node has sent so far (rule 3).
void disown(State& s, int i, Which which) {
  for (int k = 0; k < s.cas_count; ++k)
    if (s.cas[k].node == i && (which == Which::all || s.cas[k].kind == claim)) s.cas[k].owned = 0;
}

Move move_of(State to, Step step, int node, int other = 0, int detail = 0, const char* violation = nullptr) {
  return Move{to, step, static_cast<u8>(node), static_cast<u8>(other), static_cast<u8>(detail), violation};
}

}  // namespace

void Model::become_primary(State& s, int i) const {
  Node& n = s.nodes[i];
  n.bound = s.epoch;
  n.bound_as_primary = 1;
  n.role = primary;
  n.open = broken(Broken::open_early);
  n.owed = s.in_sync | one(i);
  n.known = s.in_sync;
  n.acked = {};
  n.promised = n.pending = n.matched = n.released = 0;
  n.durable = n.length;
  n.log[n.length++] = Record::of(n.bound, 0);
  n.start = n.length;
}

void Model::go_down(const State& s, int i, const Emit& emit) const {
  if (s.crashes >= bounds_.crashes) return;
  State t = s;
  Node& n = t.nodes[i];
  const char* wrong = n.applied > n.durable ? "a crash loses an applied record" : nullptr;
  if (n.role != primary) n.durable = n.length;  // A follower acknowledges only what is durable, and has nothing else.
  n.length = n.durable;
  const u8 as_primary = n.bound_as_primary;
  demote(n);
  n.pending = n.up = n.fresh = n.waited = n.granted = n.matched = n.released = 0;
  n.bound_as_primary = as_primary;
  disown(t, i, Which::all);
  if (t.leader == i) t.leader_owns = 0;
  ++t.crashes;
  emit(move_of(t, Step::crash, i, 0, 0, wrong));
}

void Model::come_up(const State& s, int i, const Emit& emit) const {
  State t = s;
  Node& n = t.nodes[i];
  n.up = 1;
  n.fresh = 0;
  n.waited = broken(Broken::skip_restart_wait);
  if (broken(Broken::bound_not_durable)) {
    n.bound = n.length ? n.log[n.length - 1].epoch() : u8{1};
    n.bound_as_primary = 0;
  }
  emit(move_of(t, Step::restart, i));
  if (s.wipes >= bounds_.wipes) return;
  Node& blank = t.nodes[i];
  blank.length = blank.durable = blank.applied = blank.bound = blank.bound_as_primary = 0;
  blank.up = 1;
  blank.fresh = blank.waited = 0;
  blank.replaced = !broken(Broken::wipe_keeps_membership);
  ++t.wipes;
  for (int j = 0; j < bounds_.nodes; ++j)
    if (j != i && t.nodes[j].role == primary && t.nodes[j].up) t.nodes[j].old |= one(i);
  emit(move_of(t, Step::replace_disk, i));
}

void Model::look_at_register(const State& s, int i, const Emit& emit) const {
  const Node& p = s.nodes[i];
  const bool settles = p.fresh && ((p.pending == join && broken(Broken::unknown_join_by_read)) ||
                                   (p.pending == claim && broken(Broken::unknown_claim_by_read)));
  if (p.fresh && !settles) return;
  State t = s;
  Node& n = t.nodes[i];
  n.fresh = 1;
  if (settles) {
    if (n.pending == join) n.owed = n.known = s.in_sync;
    n.pending = none;
    return emit(move_of(t, Step::see_register, i, 9));
  }
  if (n.role == primary) {
    if (s.epoch != n.bound || s.leader != i) {
      demote(n);
    } else {
      n.pending = none;
      n.owed = n.known = s.in_sync;
    }
    return emit(move_of(t, Step::see_register, i));
  }
  const bool mine = s.leader == i && s.epoch > n.bound && (s.leader_owns || broken(Broken::adopt_any_claim));
  if (mine) {
    if (n.length >= kLogMax) return;
    t.leader_owns = 1;
    become_primary(t, i);
    return emit(move_of(t, Step::see_register, i, 1));
  }
  const bool old_life = s.leader == i && !s.leader_owns && n.bound_as_primary && n.bound == s.epoch;
  if (broken(Broken::readopt_same_epoch) && old_life) {
    n.role = primary;
    n.owed = n.known = s.in_sync;
    n.acked = {};
    n.promised = n.pending = 0;
    n.start = n.length;
    n.open = n.applied >= n.length;
    t.leader_owns = 1;
    return emit(move_of(t, Step::see_register, i, 2));
  }
  n.pending = none;
  emit(move_of(t, Step::see_register, i));
}

void Model::follow(const State& s, int i, const Emit& emit) const {
  const Node& p = s.nodes[i];
  if (p.granted || !p.waited) {
    State t = s;
    for (int j = 0; j < bounds_.nodes; ++j) t.nodes[j].promised &= static_cast<Set>(~one(i));
    t.nodes[i].granted = 0;
    t.nodes[i].waited = 1;
    emit(move_of(t, Step::run_out, i));
  }
  if (p.released) {
    State t = s;
    Node& n = t.nodes[i];
    if (n.released == n.bound) {
      n.granted = 0;
      n.waited = 1;
    }
    n.released = 0;
    emit(move_of(t, Step::take_release, i));
  }
  const bool fit = (has(s.in_sync, i) && !p.replaced) || broken(Broken::promote_outside);
  const bool leads = s.leader == i && s.leader_owns;
  if (p.fresh && !p.pending && fit && !leads && s.epoch < bounds_.epochs && s.cas_count < bounds_.cas_in_flight) {
    const bool bound_as_it = s.leader == i && p.bound_as_primary && p.bound == s.epoch;
    const bool allowed = (!p.granted && (p.waited || bound_as_it)) || broken(Broken::no_lease_wait) ||
                         (broken(Broken::reclaim_no_wait) && s.leader == i && !p.granted) ||
                         (broken(Broken::reclaim_wait_skip_alone) && s.in_sync == one(i) && !p.granted);
    // Without the old primary after a failure, with it after a hand-over: both are legal at any time.
    const int variants = s.leader != i && has(s.in_sync, s.leader) ? 2 : 1;
    for (int v = 0; allowed && v < variants; ++v) {
      State t = s;
      Set in_sync = s.in_sync | one(i);
      if (s.leader != i && v == 0) in_sync &= static_cast<Set>(~one(s.leader));
      add_cas(t, cas_of(s, i, claim, 0, in_sync));
      t.nodes[i].pending = claim;
      emit(move_of(t, Step::send_claim, i, in_sync));
    }
  }
  if (p.pending == claim) {
    State t = s;
    t.nodes[i].pending = none;
    disown(t, i, Which::claims);
    if (t.leader == i && t.leader_owns && t.epoch > p.bound) t.leader_owns = 0;
    emit(move_of(t, Step::abandon_claim, i));
  }
}

void Model::serve_clients(const State& s, int i, const Emit& emit) const {
  const Node& p = s.nodes[i];
  if (p.open && s.writes < bounds_.writes && p.length < kLogMax) {
    State t = s;
    ++t.writes;
    t.nodes[i].log[t.nodes[i].length++] = Record::of(p.bound, t.writes);
    emit(move_of(t, Step::write, i, t.writes));
  }
  const auto narrow = [&](Step step, int detail, const char* wrong, auto keep) {
    const Histories all = closed(s.histories, s.writes);
    Histories left = 0;
    for (int q = 0; q < 32; ++q)
      if ((all >> q & 1) && keep(q)) left |= Histories{1} << q;
    if (left == s.histories) return;
    State t = s;
    t.histories = left;
    emit(move_of(t, step, i, detail, 0, left ? nullptr : wrong));
  };
  for (int k = 0; k < p.applied; ++k) {
    const Record r = p.log[k];
    if (r.epoch() != p.bound || r.write() == 0 || !may_serve(s, i)) continue;
    narrow(Step::answer, r.write(), "an answer is not linearizable", [&](int q) { return ((q >> 2) >> (r.write() - 1) & 1) != 0; });
  }
  if (may_serve(s, i) || (broken(Broken::read_no_lease) && p.open)) {
    int value = 0;
    for (int k = p.applied - 1; k >= 0 && !value; --k) value = p.log[k].write();
    narrow(Step::read, value, "a read is not linearizable", [&](int q) { return (q & 3) == value; });
  }
}

void Model::lead(const State& s, int i, const Emit& emit) const {
  const Node& p = s.nodes[i];
  if (p.durable < p.length) {
    State t = s;
    t.nodes[i].durable = p.length;
    emit(move_of(t, Step::sync, i));
  }
  int everywhere = broken(Broken::own_not_durable) ? p.length : p.durable;
  if (!broken(Broken::commit_own_only))
    for (int j = 0; j < bounds_.nodes; ++j)
      if (j != i && has(p.owed, j)) everywhere = std::min<int>(everywhere, p.acked[j]);
  if (everywhere > p.applied) {
    State t = s;
    t.nodes[i].applied = static_cast<u8>(everywhere);
    if (everywhere >= p.start) t.nodes[i].open = 1;
    emit(move_of(t, Step::commit, i, everywhere));
  }
  serve_clients(s, i, emit);
  for (int j = 0; j < bounds_.nodes; ++j) {
    if (j == i) continue;
    change_set(s, i, j, emit);
    if (s.nodes[j].up) reach(s, i, j, emit);
  }
}

void Model::change_set(const State& s, int i, int j, const Emit& emit) const {
  const Node &p = s.nodes[i], &q = s.nodes[j];
  const bool can_swap = p.fresh && !p.pending && s.cas_count < bounds_.cas_in_flight && s.epoch == p.bound;
  const auto swap = [&](Kind kind, u8 about, Set in_sync, Step step) {
    State t = s;
    add_cas(t, cas_of(s, i, kind, about, in_sync));
    t.nodes[i].pending = kind;
    t.nodes[i].pending_about = static_cast<u8>(j);
    if (kind == removal && broken(Broken::remove_at_send)) t.nodes[i].owed &= static_cast<Set>(~one(j));
    emit(move_of(t, step, i, j));
  };
  if (can_swap && has(p.owed, j) && has(s.in_sync, j))
    swap(removal, static_cast<u8>(j), s.in_sync & static_cast<Set>(~one(j)), Step::send_removal);
  if (broken(Broken::remove_no_cas) && has(p.owed, j)) {
    State t = s;
    t.nodes[i].owed &= static_cast<Set>(~one(j));
    emit(move_of(t, Step::forget_member, i, j));
  }
  // First its acks and its promise are needed, then the register may say so (18).
  const bool has_all = p.acked[j] >= p.applied && (p.acked[j] >= p.start || broken(Broken::join_at_commit));
  const bool caught_up = p.acked[j] > 0 && (has_all || broken(Broken::join_not_caught_up));
  const bool this_disk = !has(p.old, j) || broken(Broken::ack_old_session);
  if (!has(p.owed, j) && caught_up && !broken(Broken::join_no_ack) && this_disk && !(p.pending == removal && p.pending_about == j)) {
    State t = s;
    t.nodes[i].owed |= one(j);
    emit(move_of(t, Step::require_joiner, i, j));
  }
  const bool ready = has(p.owed, j) || (broken(Broken::join_no_ack) && p.acked[j] > 0 && p.acked[j] >= p.applied && p.acked[j] >= p.start);
  if (can_swap && !has(s.in_sync, j) && ready) {
    const bool new_disk = q.replaced && !has(p.old, j);
    swap(join, static_cast<u8>(j | (new_disk ? 8 : 0)), s.in_sync | one(j), Step::send_join);
  }
  // Also before it is open: somebody with a longer log is heard only now.
  if (has(p.owed, j) && q.up && !q.released) {
    State t = s;
    t.nodes[j].released = p.bound;
    if (!broken(Broken::release_resume)) {
      Node& n = t.nodes[i];
      demote(n);
      disown(t, i, Which::all);
      if (t.leader == i && t.epoch == n.bound) t.leader_owns = 0;
    }
    emit(move_of(t, Step::hand_over, i, j));
  }
}

// What the primary and a node that is up do to each other.
void Model::reach(const State& s, int i, int j, const Emit& emit) const {
  const Node &p = s.nodes[i], &q = s.nodes[j];
  if (q.bound < p.bound) {
    State t = s;
    Node& n = t.nodes[j];
    if (n.role == primary) demote(n);
    n.bound = p.bound;
    n.bound_as_primary = n.matched = 0;
    emit(move_of(t, Step::bind, j, i));
  }
  if (q.bound == p.bound && q.role == follower) reach_bound(s, i, j, emit);
  if (broken(Broken::accept_stale) && q.bound > p.bound && q.role == follower) {
    State t = s;
    Node& n = t.nodes[j];
    if (q.length < p.length) {
      n.log[n.length] = p.log[n.length];
      n.durable = ++n.length;
      t.nodes[i].acked[j] = n.length;
      emit(move_of(t, Step::replicate, i, j, 100 + n.length));
    } else if (p.acked[j] < p.length) {
      t.nodes[i].acked[j] = p.length;
      emit(move_of(t, Step::replicate, i, j, 200));
    }
  }
}

void Model::reach_bound(const State& s, int i, int j, const Emit& emit) const {
  const Node &p = s.nodes[i], &q = s.nodes[j];
  if (!q.matched || p.acked[j] == 0 || has(p.old, j)) {
    State t = s;
    t.nodes[i].old &= static_cast<Set>(~one(j));
    Node& n = t.nodes[j];
    const char* wrong = nullptr;
    int shared = 0;
    if (broken(Broken::match_by_length)) {
      shared = n.length;
      t.nodes[i].acked[j] = std::min(n.length, p.length);
    } else {
      const int both = std::min(p.length, n.length);
      while (shared < both && p.log[shared].epoch() == n.log[shared].epoch()) ++shared;
      if (shared < n.applied) wrong = "an applied record is cut";
      n.length = n.durable = static_cast<u8>(shared);
      t.nodes[i].acked[j] = static_cast<u8>(shared);
    }
    n.matched = 1;
    // What a new disk acknowledges does not count for the old one (19).
    if (n.replaced && has(p.owed, j)) {
      t.nodes[i].acked[j] = 0;
      t.nodes[i].old |= one(j);
    }
    if (!same(t, s)) emit(move_of(t, Step::match, j, i, shared, wrong));
  }
  if (q.matched && q.length < p.length) {
    State t = s;
    Node& n = t.nodes[j];
    n.log[n.length] = p.log[n.length];
    n.durable = ++n.length;
    if (!(n.replaced && has(p.old, j))) t.nodes[i].acked[j] = n.length;
    if (broken(Broken::apply_before_commit)) n.applied = n.length;
    emit(move_of(t, Step::replicate, i, j, n.length));
  }
  if (q.matched || broken(Broken::apply_unmatched)) {
    const u8 upto = std::min(p.applied, q.length);
    if (upto > q.applied) {
      State t = s;
      t.nodes[j].applied = upto;
      emit(move_of(t, Step::tell_commit, i, j, upto));
    }
  }
  const bool claiming = q.pending == claim && !broken(Broken::grant_while_claiming);
  const bool for_the_old = q.replaced && has(s.in_sync, j) && has(p.owed, j);
  if (!claiming && (!has(p.promised, j) || !q.granted) && !for_the_old) {
    State t = s;
    t.nodes[i].promised |= one(j);
    t.nodes[j].granted = 1;
    emit(move_of(t, Step::grant, j, i));
  }
}

void Model::land(const State& s, int k, const Emit& emit) const {
  const Cas cas = s.cas[k];
  const bool by_value = broken(Broken::value_cas);
  if (by_value && !(cas.base_epoch == s.epoch && cas.base_primary == s.leader && cas.base_in_sync == s.in_sync)) return;
  State t = s;
  if (cas.kind == claim) {
    ++t.epoch;
    t.leader = cas.node;
    t.leader_owns = cas.owned;
  }
  t.in_sync = cas.in_sync;
  for (int i = 0; i < bounds_.nodes; ++i) t.nodes[i].fresh = 0;
  if (cas.kind == join && (cas.about & 8)) t.nodes[cas.about & 7].replaced = 0;  // The new disk is what joined.
  if (by_value) {
    for (int j = k; j + 1 < t.cas_count; ++j) t.cas[j] = t.cas[j + 1];
    t.cas[--t.cas_count] = Cas{};
  } else {
    t.cas = {};  // All others were based on the revision that is gone.
    t.cas_count = 0;
  }
  emit(move_of(t, Step::cas_lands, cas.node, cas.kind, cas.in_sync));
}

void Model::moves(const State& s, const Emit& emit) const {
  const Emit tidied = [&](const Move& move) {
    Move m = move;
    tidy(m.to);
    emit(m);
  };
  for (int i = 0; i < bounds_.nodes; ++i) {
    if (!s.nodes[i].up) {
      come_up(s, i, tidied);
      continue;
    }
    go_down(s, i, tidied);
    look_at_register(s, i, tidied);
    if (s.nodes[i].role == follower) follow(s, i, tidied);
    else lead(s, i, tidied);
  }
  for (int k = 0; k < s.cas_count; ++k) land(s, k, tidied);
}

}  // namespace holdfast::model

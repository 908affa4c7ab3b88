// The steps of the protocol, and what must hold after each.
#pragma once

#include <functional>

#include "test/model/rules.h"
#include "test/model/state.h"

namespace holdfast::model {

enum class Step : u8 {
  write, sync, replicate, bind, match, grant, run_out, commit, answer, read, tell_commit, send_claim, cas_lands, see_register,
  abandon_claim, send_removal, require_joiner, send_join, hand_over, take_release, crash, restart, forget_member, replace_disk,
};
const char* name_of(Step step);

struct Move {
  State to;
  Step step;
  u8 node, other, detail;
  const char* violation;  // What the step itself does wrong, or nullptr.
};

class Model {
 public:
  Model(Bounds bounds, Rules rules) : bounds_(bounds), rules_(rules) {}

  State initial() const;
  // Everything that may happen next.
  void moves(const State& from, const std::function<void(const Move&)>& emit) const;
  // What is wrong with the state, or nullptr.
  const char* violation(const State& state) const;
  // The same for states that differ by the nodes' names, or by what no longer matters.
  std::uint64_t fingerprint(const State& state) const;
  const Bounds& bounds() const { return bounds_; }

 private:
  using Emit = std::function<void(const Move&)>;
  bool broken(Broken rule) const { return rules_.broken(rule); }
  void tidy(State& state) const;
  bool may_serve(const State& s, int i) const;
  Histories closed(Histories histories, int invoked) const;
  void add_cas(State& s, Cas cas) const;
  Cas cas_of(const State& s, int node, Kind kind, u8 about, Set in_sync) const;
  void become_primary(State& s, int i) const;

  void go_down(const State& s, int i, const Emit& emit) const;
  void come_up(const State& s, int i, const Emit& emit) const;
  void look_at_register(const State& s, int i, const Emit& emit) const;
  void follow(const State& s, int i, const Emit& emit) const;
  void lead(const State& s, int i, const Emit& emit) const;
  void serve_clients(const State& s, int i, const Emit& emit) const;
  void change_set(const State& s, int i, int j, const Emit& emit) const;
  void reach(const State& s, int i, int j, const Emit& emit) const;
  void reach_bound(const State& s, int i, int j, const Emit& emit) const;
  void land(const State& s, int k, const Emit& emit) const;

  Bounds bounds_;
  Rules rules_;
};

}  // namespace holdfast::model

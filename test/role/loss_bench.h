// What the tests of a copy that lost the end of its log have in common.
#pragma once

#include "test/role/machine_bench.h"

namespace holdfast::role_test {

inline Hello hello_from(MachineBench& bench, NodeId node, std::uint64_t end, std::uint64_t applied) {
  Hello hello = MachineBench::hello_of(copy_of(node), Bound{bench.machine->bound().epoch, bench.machine->bound().claim, false}, end, {{Epoch(4), Lsn(1)}});
  hello.applied = Lsn(applied);
  return hello;
}

// The register's CAS of whoever asks for one is applied. True when `node` is gone from the set.
inline bool takes_out(MachineBench& bench, NodeId node, std::uint64_t& revision) {
  const SwapRegister* swap = bench.asked<SwapRegister>();
  if (!swap) return false;
  const Register wanted = swap->value;
  bench.forget();
  bench.view = wanted;
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, ++revision, wanted);
  return !wanted.find_in_sync(node);
}

// Whoever asks for the register gets it.
inline void answer_read(MachineBench& bench, std::uint64_t revision, const Register& view) {
  if (!bench.asked<ReadRegister>()) return;
  bench.forget();
  bench.read(revision, view);
}

// Time passes, and the register stays as it is, until a CAS is asked for. Nothing: none was.
inline const SwapRegister* await_swap(MachineBench& bench, std::uint64_t revision, const Register& view, int ms = 60'000) {
  const SwapRegister* swap = nullptr;
  for (int passed = 0; passed < ms && !swap; passed += 50) {
    bench.pass_ms(50);
    answer_read(bench, revision, view);
    swap = bench.asked<SwapRegister>();
  }
  return swap;
}

}  // namespace holdfast::role_test

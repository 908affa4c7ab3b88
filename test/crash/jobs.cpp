#include "test/crash/jobs.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include "base/ensure.h"

namespace holdfast::crash {
namespace {

struct Worker {
  std::atomic<std::uint64_t> current;   // Item under way.
  Tally tally;
};

struct Shared {
  std::atomic<std::uint64_t> next;
  std::atomic<std::uint64_t> done;
  std::atomic<std::uint64_t> failures;
  std::atomic<std::uint64_t> first_failure;
  Worker workers[64];
};

void note_failure(Shared& shared, std::uint64_t item) {
  shared.failures.fetch_add(1);
  std::uint64_t smallest = shared.first_failure.load();
  while (item < smallest && !shared.first_failure.compare_exchange_weak(smallest, item)) {
  }
}

[[noreturn]] void work_until_done(Shared& shared, Worker& worker, std::uint64_t end, bool keep_going,
                                  const std::function<std::string(std::uint64_t, Tally&)>& work) {
  for (;;) {
    const std::uint64_t item = shared.next.fetch_add(1);
    if (item >= end || (!keep_going && shared.failures.load() > 0)) break;
    worker.current.store(item);
    const std::string wrong = work(item, worker.tally);
    if (!wrong.empty()) {
      note_failure(shared, item);
      std::fprintf(stdout, "%s\n", wrong.c_str());
      std::fflush(stdout);
    }
    shared.done.fetch_add(1);
  }
  std::_Exit(0);
}

}  // namespace

JobsResult run_jobs(std::uint64_t first, std::uint64_t count, unsigned jobs, bool keep_going,
                    const std::function<std::string(std::uint64_t, Tally&)>& work,
                    const std::function<void(std::uint64_t, const Tally&)>& progress) {
  ENSURE(jobs >= 1 && jobs <= 64);
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ENSURE(memory != MAP_FAILED);
  Shared& shared = *new (memory) Shared{};
  shared.next = first;
  shared.first_failure = ~std::uint64_t{0};
  std::vector<pid_t> pids(jobs, -1);  // Not shared: a child must not see, nor change, its own.
  const auto launch = [&](unsigned i) {
    std::fflush(stdout);
    pids[i] = fork();
    ENSURE(pids[i] >= 0);
    if (pids[i] == 0) work_until_done(shared, shared.workers[i], first + count, keep_going, work);
  };
  const auto sum = [&] {
    Tally total{};
    for (unsigned i = 0; i < jobs; ++i)
      for (std::size_t j = 0; j < Tally::kCounts; ++j) total.counts[j] += shared.workers[i].tally.counts[j];
    return total;
  };
  for (unsigned i = 0; i < jobs; ++i) launch(i);
  unsigned alive = jobs;
  unsigned ticks = 0;
  while (alive > 0) {
    for (unsigned i = 0; i < jobs; ++i) {
      int status = 0;
      if (pids[i] < 0 || waitpid(pids[i], &status, WNOHANG) != pids[i]) continue;
      pids[i] = -1;
      --alive;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
      const std::uint64_t item = shared.workers[i].current.load();
      std::fprintf(stdout, "%llu FAILED: the process died of signal %d (an invariant trapped; see above)\n",
                   static_cast<unsigned long long>(item), WIFSIGNALED(status) ? WTERMSIG(status) : 0);
      note_failure(shared, item);
      shared.done.fetch_add(1);
      if (!keep_going) continue;
      launch(i);
      ++alive;
    }
    if (++ticks % 100 == 0) progress(shared.done.load(), sum());
    usleep(10'000);
  }
  JobsResult result{shared.done.load(), shared.failures.load(), shared.first_failure.load(), sum()};
  munmap(memory, sizeof(Shared));
  return result;
}

}  // namespace holdfast::crash

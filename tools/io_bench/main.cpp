// io_bench FILE [seconds a case] [spin µs]: random 4 KiB reads and durable writes at depth 1 and 32 through the reactor and
// the io_uring disk. FILE is written over; compare with
//   fio --name=x --filename=FILE --ioengine=io_uring --fixedbufs --registerfiles --direct=1 --bs=4k --rw=randwrite --sync=dsync
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/scope.h"
#include "io/reactor.h"
#include "io/run_task.h"
#include "io/uring_disk.h"

namespace {

using namespace holdfast;
using io::Reactor;
using io::UringDisk;

struct Load {
  const char* name;
  DiskOp op;
  unsigned depth;
};

struct Figures {
  std::vector<std::int64_t> latencies_ns;
  bool failed = false;
};

double cpu_us() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& t) { return double(t.tv_sec) * 1e6 + double(t.tv_usec); };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

// One of `depth` flows: a request after the other until the time is up.
Task<void> worker(Reactor* reactor, UringDisk* disk, DiskOp op, std::uint64_t seed, BootNs until, Figures* figures) {
  Buffer buffer = co_await reactor->buffers().acquire(kBlockBytes);
  std::memset(buffer.data(), int(seed & 0xff), buffer.size());
  const std::uint64_t blocks = disk->size_bytes() / kBlockBytes;
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  for (BootNs begin = reactor->clock().now(); begin < until && !figures->failed;) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const std::uint64_t offset = (state >> 20) % blocks * kBlockBytes;
    Result<void> result;
    if (op == DiskOp::read) {
      result = co_await disk->read(offset, buffer.bytes());
    } else {
      result = co_await disk->write(offset, buffer.bytes(), Durability::durable);
    }
    if (!result) {
      std::fprintf(stderr, "io_bench: %s\n", result.error().text().c_str());
      figures->failed = true;
    }
    const BootNs end = reactor->clock().now();
    figures->latencies_ns.push_back((end - begin).value);
    begin = end;
  }
}

// Writes the file once, so that the cases overwrite allocated blocks, as a store in use does.
Task<Result<void>> precondition(Reactor* reactor, UringDisk* disk) {
  Buffer buffer = co_await reactor->buffers().acquire(BufferPool::kLargestBytes);
  std::memset(buffer.data(), 1, buffer.size());
  for (std::uint64_t offset = 0; offset < disk->size_bytes(); offset += buffer.size()) {
    const std::size_t bytes = std::min<std::uint64_t>(buffer.size(), disk->size_bytes() - offset);
    const Result<void> written = co_await disk->write(offset, buffer.bytes().first(bytes), Durability::cached);
    if (!written) co_return fail(written.error());
  }
  Result<void> synced = co_await disk->sync();
  co_return synced;
}

bool run(Reactor& reactor, UringDisk& disk, const Load& load, std::int64_t seconds) {
  Figures figures;
  figures.latencies_ns.reserve(4'000'000);
  const double cpu_before = cpu_us();
  const auto enters_before = reactor.stats().enters.get();
  const auto blocks_before = reactor.stats().blocks.get();
  const BootNs begin = reactor.clock().now();
  {
    Scope scope(reactor);
    for (unsigned i = 0; i < load.depth; ++i)
      scope.spawn(worker(&reactor, &disk, load.op, i + 1, begin + milliseconds(seconds * 1000), &figures));
    io::run_task(reactor, scope.join());
  }
  const double wall_s = double((reactor.clock().now() - begin).value) / 1e9;
  auto& all = figures.latencies_ns;
  if (figures.failed || all.empty()) return false;
  std::ranges::sort(all);
  const auto percentile = [&all](double p) { return double(all[std::size_t(double(all.size() - 1) * p)]) / 1e3; };
  const auto count = double(all.size());
  std::printf("%-14s %9.0f IOPS  p50 %7.1f µs  p99 %7.1f µs  CPU %5.2f µs  enters %4.2f  waits %4.2f\n", load.name,
              count / wall_s, percentile(0.5), percentile(0.99), (cpu_us() - cpu_before) / count,
              double(reactor.stats().enters.get() - enters_before) / count,
              double(reactor.stats().blocks.get() - blocks_before) / count);
  std::fflush(stdout);
  return true;
}

bool parse(std::string_view text, std::int64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= 0 && out <= 3600;
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t seconds = 3;
  std::int64_t spin_us = 0;
  if (argc < 2 || argc > 4 || (argc > 2 && !parse(argv[2], seconds)) || (argc > 3 && !parse(argv[3], spin_us))) {
    std::fprintf(stderr, "usage: io_bench FILE [seconds a case, 3] [spin µs, 0]\nFILE is written over.\n");
    return 2;
  }
  auto reactor = Reactor::create({.buffer_bytes = std::size_t{8} << 20, .spin = microseconds(spin_us)});
  if (!reactor) return std::fprintf(stderr, "io_bench: %s\n", reactor.error().text().c_str()), 1;
  auto disk = UringDisk::open(**reactor, argv[1]);
  if (!disk) return std::fprintf(stderr, "io_bench: %s\n", disk.error().text().c_str()), 1;
  const auto prepared = io::run_task(**reactor, precondition(reactor->get(), disk->get()));
  if (!prepared) return std::fprintf(stderr, "io_bench: %s\n", prepared.error().text().c_str()), 1;
  constexpr Load kLoads[] = {{"write depth 1", DiskOp::write, 1}, {"write depth 32", DiskOp::write, 32},
                             {"read depth 1", DiskOp::read, 1}, {"read depth 32", DiskOp::read, 32}};
  for (const Load& load : kLoads) {
    if (!run(**reactor, **disk, load, seconds)) return 1;
  }
  return 0;
}

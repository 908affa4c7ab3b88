// The disk port alone, on a real file: what the ring and the reactor add to the device.
//   disk_bench FILE [SECONDS]      FILE is preallocated and overwritten.
#include <cstdlib>
#include <cstring>

#include "io/reactor.h"
#include "io/run_task.h"
#include "io/store_file.h"
#include "io/uring_disk.h"
#include "test/perf/closed_loop.h"

namespace holdfast::test {
namespace {

constexpr std::uint64_t kFileBytes = 512ULL << 20;

struct Bench {
  io::Reactor* reactor;
  Disk* disk;
  bool writes;
};

Task<bool> one_operation(Bench* bench, std::uint64_t number) {
  const std::uint64_t block = number * 2654435761ULL % (kFileBytes / kBlockBytes);
  Buffer buffer = bench->reactor->buffers().try_acquire(kBlockBytes);
  if (bench->writes) {
    const auto written = co_await bench->disk->write(block * kBlockBytes, buffer.bytes(), Durability::durable);
    co_return written.has_value();
  }
  const auto read = co_await bench->disk->read(block * kBlockBytes, buffer.bytes());
  co_return read.has_value();
}

Task<bool> write_once(Disk* disk, Buffer buffer) {
  for (std::uint64_t at = 0; at < kFileBytes; at += buffer.size()) {
    const auto written = co_await disk->write(at, buffer.bytes(), Durability::cached);
    if (!written) co_return false;
  }
  const auto synced = co_await disk->sync();
  co_return synced.has_value();
}

int run(const char* path, int seconds) {
  auto reactor = io::Reactor::create();
  if (!reactor) return std::fprintf(stderr, "%s\n", reactor.error().text().c_str()), 1;
  if (auto made = io::create_store_file(path, kFileBytes); !made) return std::fprintf(stderr, "%s\n", made.error().text().c_str()), 1;
  auto disk = io::UringDisk::open(**reactor, path);
  if (!disk) return std::fprintf(stderr, "%s\n", disk.error().text().c_str()), 1;
  Buffer buffer = (*reactor)->buffers().try_acquire(1u << 20);
  std::memset(buffer.data(), 0x5a, buffer.size());
  if (!io::run_task(**reactor, write_once(disk->get(), buffer))) return std::fprintf(stderr, "cannot write %s\n", path), 1;
  for (const bool writes : {true, false}) {
    for (const unsigned depth : {1u, 32u}) {
      Bench bench{reactor->get(), disk->get(), writes};
      ClosedLoop loop(**reactor, (*reactor)->clock(), [&bench](std::uint64_t n) { return one_operation(&bench, n); }, depth);
      print(writes ? "durable 4k write" : "4k read", depth,
            loop.run(milliseconds(seconds * 1000), [&] { (*reactor)->turn(io::Reactor::Waiting::block); }));
    }
  }
  disk->reset();
  return io::remove_store_file(path) ? 0 : 1;
}

}  // namespace
}  // namespace holdfast::test

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: disk_bench FILE [SECONDS]\n"), 2;
  return holdfast::test::run(argv[1], argc > 2 ? std::atoi(argv[2]) : 3);
}

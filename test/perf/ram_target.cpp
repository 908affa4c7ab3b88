// The initiator's door over a volume in memory: what iSCSI and SCSI cost without a store.
//   ram_target [SIZE_MIB]     Prints its URL and serves on loopback until it is told to end.
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "io/reactor.h"
#include "io/run_task.h"
#include "io/tcp.h"
#include "scsi/device_server.h"
#include "scsi/portal.h"
#include "scsi/target.h"
#include "test/support/manual_executor.h"
#include "test/support/ram_volume.h"

namespace holdfast::test {
namespace {

constexpr const char* kVolume = "ram";

void end(int) { std::_Exit(0); }

int run(std::uint64_t size_mib) {
  auto reactor = io::Reactor::create({.buffer_bytes = std::size_t{256} << 20});
  if (!reactor) return std::fprintf(stderr, "%s\n", reactor.error().text().c_str()), 1;
  io::Reactor* serving = reactor->get();
  CountingRandom random;
  RamVolume volume(*serving, serving->clock(), serving->buffers(), kVolume, BlockCount((size_mib << 20) / kBlockBytes));
  scsi::TargetTable table;
  scsi::TargetOptions options;
  options.volume = kVolume;
  auto target = std::make_shared<scsi::Target>(options, scsi::make_device_server(volume, {}), table,
                                               *serving, serving->clock(), serving->buffers(), random);
  auto listener = io::listen_tcp(*serving, io::Endpoint{.host = "127.0.0.1", .port = 0});
  if (!listener) return std::fprintf(stderr, "%s\n", listener.error().text().c_str()), 1;
  const std::string address = "127.0.0.1:" + std::to_string((*listener)->local_endpoint().port);
  scsi::TargetEntry entry;
  entry.name = target->name();
  entry.executor = serving;
  entry.target = target;
  entry.portals.push_back({.address = address});
  table.put(entry);
  scsi::Portal portal(table, *serving, serving->clock(), random);
  std::printf("iscsi://%s/%s/0\n", address.c_str(), target->name().c_str());
  std::fflush(stdout);
  std::signal(SIGTERM, end);
  std::signal(SIGINT, end);
  io::run_task(*serving, portal.run(listener->get()));
  return 0;
}

}  // namespace
}  // namespace holdfast::test

int main(int argc, char** argv) { return holdfast::test::run(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1024); }

// A whole connection driven by bytes: a login that is known to succeed, then whatever the fuzzer sends, in reads of the
// sizes it chooses. Its first byte says which digests and burst rules are in force.
#include <cstdint>
#include <memory>

#include "scsi/portal.h"
#include "scsi/target.h"
#include "test/support/fake_device_server.h"
#include "test/support/fake_stream.h"
#include "test/support/manual_executor.h"

namespace {

using namespace holdfast;

constexpr std::size_t kDiskBytes = 32 << 10;  // Small: an input is to take little time.

std::string login(std::uint8_t choice) {
  std::string text = "InitiatorName=iqn.host";
  const auto add = [&text](std::string_view pair) { text.append(1, '\0').append(pair); };
  add("TargetName=iqn.2026-11.io.holdfast:pg");
  if (choice & 1) add("InitialR2T=No");
  if (choice & 2) add("ImmediateData=No");
  if (choice & 4) add("MaxRecvDataSegmentLength=512");
  if (choice & 8) add("MaxBurstLength=1024");
  if (choice & 16) add("MaxOutstandingR2T=4");
  if (choice & 32) add("DataDigest=CRC32C");
  text.append(1, '\0');
  scsi::Header header;
  header.set8(0, 0x43).set8(1, 0x87).set32(16, 1).set_data_bytes(static_cast<std::uint32_t>(text.size()));
  text.resize(scsi::padded(text.size()));
  return std::string(as_text(header.raw)) + text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  constexpr std::size_t kPoolBytes = 16 << 20;
  test::ManualExecutor executor;
  test::ManualClock clock(executor);
  test::CountingRandom random;
  BufferPool pool(executor, kPoolBytes);
  scsi::TargetTable table;
  auto server = std::make_unique<test::FakeDeviceServer>(executor, clock, pool, kDiskBytes);
  test::FakeDeviceServer* disk = server.get();
  scsi::TargetOptions options;
  options.volume = "pg";
  {
    auto target = std::make_shared<scsi::Target>(options, std::move(server), table, executor, clock, pool, random);
    scsi::TargetEntry entry;
    entry.name = target->name();
    entry.executor = &executor;
    entry.target = target;
    table.put(entry);
    scsi::Portal portal(table, executor, clock, random);
    auto wire = std::make_shared<test::FakeWire>(executor);
    portal.admit(std::make_unique<test::FakeStream>(wire));
    wire->send(login(data[0]));
    ENSURE(executor.run());
    ENSURE(target->session_count() == 1);

    wire->read_bytes_max = data[1] == 0 ? ~std::size_t{0} : data[1];
    disk->hold((data[0] & 64) != 0);      // Commands stay at the volume: aborts have something to wait for.
    wire->allow_writes((data[0] & 128) == 0);
    wire->send(std::string_view(reinterpret_cast<const char*>(data) + 2, size - 2));
    ENSURE(executor.run());
    wire->hang_up();
    ENSURE(executor.run());
    disk->hold(false);
    ENSURE(executor.run());
    clock.advance(milliseconds(60'000));
    // Whatever was said: nothing is left behind.
    ENSURE(target->session_count() == 0);
    ENSURE(disk->nexuses.empty());
    ENSURE(pool.free_bytes() == kPoolBytes);
  }
  return 0;
}

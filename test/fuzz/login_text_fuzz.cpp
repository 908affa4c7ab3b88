// The login and discovery phases driven by bytes, against a target that wants CHAP: whatever comes, nobody gets in who
// has not proved himself. Then the same bytes as text for each parser.
#include <cstdint>
#include <memory>

#include "scsi/portal.h"
#include "scsi/target.h"
#include "scsi/text_exchange.h"
#include "test/support/fake_device_server.h"
#include "test/support/fake_stream.h"
#include "test/support/manual_executor.h"

namespace {

using namespace holdfast;

constexpr std::size_t kDiskBytes = 32 << 10;  // Small: an input is to take little time.

void drive_login(std::string_view bytes) {
  test::ManualExecutor executor;
  test::ManualClock clock(executor);
  test::CountingRandom random;
  BufferPool pool(executor, 1 << 20);
  scsi::TargetTable table;
  auto auth = std::make_shared<scsi::TargetAuth>();
  auth->chap = scsi::ChapCredentials{"host", "a secret of enough bits"};
  auth->mutual = scsi::ChapCredentials{"target", "another secret of ours!"};
  scsi::TargetOptions options;
  options.volume = "pg";
  auto target = std::make_shared<scsi::Target>(
      options, std::make_unique<test::FakeDeviceServer>(executor, clock, pool, kDiskBytes), table, executor, clock, pool, random);
  scsi::TargetEntry entry;
  entry.name = target->name();
  entry.executor = &executor;
  entry.target = target;
  entry.auth = auth;
  entry.portals = {{"0.0.0.0:3260", 1}};
  table.put(entry);
  scsi::Portal portal(table, executor, clock, random);
  auto wire = std::make_shared<test::FakeWire>(executor);
  portal.admit(std::make_unique<test::FakeStream>(wire));
  wire->send(bytes);
  ENSURE(executor.run());
  ENSURE(target->counters().logins.get() == 0);
  wire->hang_up();
  ENSURE(executor.run());
  clock.advance(milliseconds(120'000));
}

// Each line of the input as the text of one PDU that continues, the last as the end.
void drive_machine(std::string_view bytes) {
  test::CountingRandom random;
  scsi::LoginMachine machine;
  scsi::Header header;
  header.set8(0, 0x43).set8(1, 0x87);
  auto step = machine.on_request(header, bytes, random);
  if (step == scsi::LoginMachine::Step::need_target) step = machine.on_target(scsi::TargetFacts{}, random);
  if (step == scsi::LoginMachine::Step::need_session) machine.on_session(scsi::LoginStatus::success, 1);
  ENSURE(machine.reply_text().size() <= scsi::kSegmentBytesDefault);
}

void drive_text(std::string_view bytes) {
  scsi::TargetTable table;
  scsi::TextExchange exchange({&table, "iqn.host", "", "192.0.2.1:3260"});
  scsi::Header header;
  header.set8(0, 0x44).set8(1, 0x80).set32(20, scsi::kNoTag);
  std::uint32_t segment_bytes = 512;
  (void)exchange.on_request(header, bytes, &segment_bytes);
  ENSURE(segment_bytes >= 512);
  (void)scsi::decode_binary(bytes);
  (void)scsi::normal_name(bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  drive_login(bytes);
  drive_machine(bytes);
  drive_text(bytes);
  return 0;
}

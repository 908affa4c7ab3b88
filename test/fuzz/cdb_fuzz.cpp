// Any CDBs with any data, one after another, against a volume in memory: nothing hangs, leaks, wraps or lies about lengths.
#include <cstddef>
#include <cstdint>

#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

constexpr std::uint64_t kFuzzBlocks = 4096;
constexpr std::size_t kStepHeader = 4;
constexpr std::size_t kCommandsMax = 32;
constexpr std::uint64_t kLuns[] = {0, 0, 0, 0x4000000000000000, 0xc101000000000000, 0x0001000000000000};
constexpr Errc kFaults[] = {Errc::io_error, Errc::no_space, Errc::corrupt, Errc::fenced, Errc::overloaded};

class Input {
 public:
  explicit Input(Bytes bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  Bytes take(std::size_t count) {
    const Bytes taken = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  Bytes rest_;
};

// Four bytes of circumstances: direction and nexus, unit and fault, length announced; then the CDB and its data.
void one_command(ScsiBench& bench, Input& input) {
  const Bytes circumstances = input.take(kStepHeader);
  if (circumstances.size() < kStepHeader) return;
  const auto how = std::to_integer<unsigned>(circumstances[0]);
  const auto where = std::to_integer<unsigned>(circumstances[1]);
  const std::uint32_t announced = load_be<std::uint16_t>(&circumstances[2]) * ((how & 0x08) != 0 ? 512U : 1U);
  Exchange x;
  x.command.nexus = (how & 0x04) != 0 ? bench.a : bench.b;
  x.command.wants_read = (how & 0x01) != 0;
  x.command.wants_write = (how & 0x02) != 0;
  x.command.expected_bytes = announced;
  x.command.lun = kLuns[where % std::size(kLuns)];
  if ((how & 0x10) != 0) bench.device->logical_unit_reset(bench.a);
  bench.volume.clear_faults();
  if ((how & 0x20) != 0)
    bench.volume.fail_with(FakeVolume::Operation(where >> 4 & 7), kFaults[where % std::size(kFaults)]);
  const Bytes cdb = input.take(16);
  std::copy(cdb.begin(), cdb.end(), x.command.cdb.begin());

  x.plan = bench.device->plan(x.command);
  if (!x.plan.execute) {
    ENSURE(x.status() != scsi::Status::good);
    return;
  }
  ENSURE(x.plan.data_out_bytes <= x.command.expected_bytes || x.plan.data_out_bytes == 0);
  ENSURE(x.plan.data_out_bytes <= scsi::kTransferBytesMax);
  const Bytes given = input.take(x.plan.data_out_bytes);
  Octets data(given.begin(), given.end());
  data.resize(x.plan.data_out_bytes, std::byte{0x5a});
  bench.execute(x, data);
  ENSURE(x.finished);
  ENSURE(x.command.sense.length <= x.command.sense.bytes.size());
  if (x.status() == scsi::Status::good && !x.command.close_connection && x.command.wants_read) {
    const std::size_t owed = std::min(x.command.data_in_bytes, x.command.expected_bytes);
    ENSURE(x.data().size() == owed);
  }
}

}  // namespace
}  // namespace holdfast::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace holdfast::test;
  ScsiBench bench({}, 24u << 20);
  bench.volume.set_capacity(holdfast::BlockCount(kFuzzBlocks));
  const std::size_t free_bytes = bench.buffers.free_bytes();
  Input input(std::as_bytes(std::span(data, size)));
  for (std::size_t i = 0; i < kCommandsMax && !input.empty(); ++i) one_command(bench, input);
  ENSURE(bench.buffers.free_bytes() == free_bytes);
  bench.restart();  // What was stored can be read.
  return 0;
}

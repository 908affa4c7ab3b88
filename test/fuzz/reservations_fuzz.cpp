// The reservation state from any bytes, and any sequence of PERSISTENT RESERVE OUT on it: it is refused or it is sound.
#include <cstddef>
#include <cstdint>

#include "base/checksum.h"
#include "base/ensure.h"
#include "scsi/reservation_format.h"

namespace holdfast::scsi {
namespace {

enum class Mode : std::uint8_t { as_is, resealed, commands };

void check_sound(const ReservationState& state) {
  ENSURE(state.registrations.size() <= kRegistrationsMax);
  ENSURE(!state.holder || state.find(*state.holder) != nullptr);
  for (const Registration& r : state.registrations) ENSURE(r.key != 0 && state.find(r.ports) == &r);
  const auto again = decode_reservations(encode_reservations(state));
  ENSURE(again.has_value() && *again == state);
  const std::vector<std::byte> full = pr_in_read_full_status(state);
  ENSURE(load_be<std::uint32_t>(&full[4]) == full.size() - 8);
}

void run_commands(Bytes input) {
  constexpr std::size_t kHeader = 4;
  const PortPair nexus[] = {{"iqn.a", {}, 1}, {"iqn.b", {}, 1}, {"iqn.a", {}, 2}};
  ReservationState state;
  while (input.size() > kHeader) {
    const auto who = std::to_integer<std::size_t>(input[0]) % std::size(nexus);
    std::array<std::byte, 16> cdb{};
    cdb[0] = std::byte{0x5f};
    cdb[1] = input[1];
    cdb[2] = input[2];
    const std::size_t length = std::min<std::size_t>(std::to_integer<std::size_t>(input[3]), input.size() - kHeader);
    const DecodedPrOut decoded = decode_pr_out(cdb.data(), input.subspan(kHeader, length));
    input = input.subspan(kHeader + length);
    if (!decoded.verdict.ok()) continue;
    PrOutcome outcome = apply_pr_out(state, nexus[who], decoded.request, {1, 2});
    if (!outcome.verdict.ok() || !outcome.changed) continue;
    state = std::move(outcome.state);
    check_sound(state);
  }
}

}  // namespace
}  // namespace holdfast::scsi

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace holdfast;
  using namespace holdfast::scsi;
  if (size == 0) return 0;
  const auto mode = Mode(data[0] % 3);
  const Bytes input = std::as_bytes(std::span(data, size)).subspan(1);
  if (mode == Mode::commands) {
    run_commands(input);
    return 0;
  }
  std::vector<std::byte> blob(input.begin(), input.end());
  if (mode == Mode::resealed && blob.size() >= 8) store_le<std::uint64_t>(blob.data(), xxh3(Bytes(blob).subspan(8)));
  if (const auto state = decode_reservations(blob)) check_sound(*state);
  return 0;
}

#include "scsi/reservation_format.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"

namespace holdfast::scsi {
namespace {

constexpr std::size_t kChecksumBytes = sizeof(std::uint64_t);

template <class T>
void append(std::vector<std::byte>& out, const T& value) {
  const Bytes bytes = bytes_of(value);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

Result<Registration> take_registration(Bytes& bytes) {
  RegistrationRecord record;
  if (bytes.size() < sizeof record) return fail(Errc::corrupt, "reservations: a registration is cut short");
  std::memcpy(&record, bytes.data(), sizeof record);
  bytes = bytes.subspan(sizeof record);
  const bool clean = std::all_of(std::begin(record.reserved), std::end(record.reserved), [](auto b) { return b == 0; });
  if (!clean || record.key == 0) return fail(Errc::corrupt, "reservations: a registration is malformed");
  if (record.name_bytes == 0 || record.name_bytes > kInitiatorNameBytesMax || record.name_bytes > bytes.size())
    return fail(Errc::corrupt, "reservations: an initiator's name has an impossible length");
  Registration r;
  r.key = record.key;
  r.ports.target_port = record.target_port;
  for (std::size_t i = 0; i < r.ports.isid.size(); ++i) r.ports.isid[i] = std::byte{record.isid[i]};
  r.ports.initiator.assign(as_text(bytes.first(record.name_bytes)));
  bytes = bytes.subspan(record.name_bytes);
  return r;
}

// A holder there must be for the types that have one, and none otherwise.
bool holder_fits(const ReservationBlobHeader& header) {
  if (header.type == 0) return header.holder == kNoHolder;
  if (!is_reservation_type(header.type) || header.registrations == 0) return false;
  if (all_registrants(ReservationType(header.type))) return header.holder == kNoHolder;
  return header.holder < header.registrations;
}

}  // namespace

std::vector<std::byte> encode_reservations(const ReservationState& state) {
  ENSURE(state.registrations.size() <= kRegistrationsMax);
  ReservationBlobHeader header{};
  header.magic = kReservationMagic;
  header.format_version = kReservationVersion;
  header.type = static_cast<std::uint8_t>(state.type);
  header.flags = state.aptpl ? 1 : 0;
  header.generation = state.generation;
  header.registrations = static_cast<std::uint16_t>(state.registrations.size());
  header.holder = kNoHolder;
  for (std::uint16_t i = 0; state.holder && i < header.registrations; ++i)
    if (state.registrations[i].ports == *state.holder) header.holder = i;
  ENSURE(holder_fits(header));

  std::vector<std::byte> out;
  append(out, header);
  for (const Registration& r : state.registrations) {
    ENSURE(!r.ports.initiator.empty() && r.ports.initiator.size() <= kInitiatorNameBytesMax);
    RegistrationRecord record{};
    record.key = r.key;
    record.target_port = r.ports.target_port;
    for (std::size_t i = 0; i < r.ports.isid.size(); ++i) record.isid[i] = std::to_integer<std::uint8_t>(r.ports.isid[i]);
    record.name_bytes = static_cast<std::uint16_t>(r.ports.initiator.size());
    append(out, record);
    const Bytes name = as_bytes(r.ports.initiator);
    out.insert(out.end(), name.begin(), name.end());
  }
  store_le<std::uint64_t>(out.data(), xxh3(Bytes(out).subspan(kChecksumBytes)));
  return out;
}

Result<ReservationState> decode_reservations(Bytes bytes) {
  ReservationState state;
  if (bytes.empty()) return state;
  ReservationBlobHeader header;
  if (bytes.size() < sizeof header || bytes.size() > Volume::kReservationBytesMax)
    return fail(Errc::corrupt, "reservations: impossible length");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kReservationMagic) return fail(Errc::foreign, "reservations: not written by holdfast");
  if (header.xxh3 != xxh3(bytes.subspan(kChecksumBytes))) return fail(Errc::corrupt, "reservations: checksum mismatch");
  if (header.format_version > kReservationVersion) return fail(Errc::version_too_new, "reservations: newer format");
  if (header.format_version == 0 || header.flags > 1 || header.registrations > kRegistrationsMax || !holder_fits(header))
    return fail(Errc::corrupt, "reservations: malformed header");
  state.generation = header.generation;
  state.aptpl = header.flags == 1;
  state.type = ReservationType(header.type);
  bytes = bytes.subspan(sizeof header);
  for (std::uint16_t i = 0; i < header.registrations; ++i) {
    Result<Registration> r = take_registration(bytes);
    if (!r) return fail(std::move(r).error());
    if (state.find(r->ports)) return fail(Errc::corrupt, "reservations: a nexus is registered twice");
    state.registrations.push_back(std::move(*r));
  }
  if (!bytes.empty()) return fail(Errc::corrupt, "reservations: bytes after the end");
  if (header.holder != kNoHolder) state.holder = state.registrations[header.holder].ports;
  return state;
}

}  // namespace holdfast::scsi

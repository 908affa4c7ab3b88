// How the reservation state is kept in a volume's log (docs/formats.md): little-endian, versioned, checksummed, bounded.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "engine/volume.h"
#include "scsi/reservations.h"

namespace holdfast::scsi {

struct ReservationBlobHeader {
  std::uint64_t xxh3;              // Covers everything that follows.
  std::uint32_t magic;
  std::uint16_t format_version;
  std::uint8_t type;               // ReservationType
  std::uint8_t flags;              // Bit 0: APTPL.
  std::uint32_t generation;
  std::uint16_t registrations;
  std::uint16_t holder;            // Index of a registration, or kNoHolder.
};
static_assert(sizeof(ReservationBlobHeader) == 24);
static_assert(std::has_unique_object_representations_v<ReservationBlobHeader>);

struct RegistrationRecord {        // Followed by the initiator's name, without padding.
  std::uint64_t key;
  std::uint16_t target_port;
  std::uint8_t isid[6];
  std::uint16_t name_bytes;
  std::uint8_t reserved[6];        // Zero on write, checked on read.
};
static_assert(sizeof(RegistrationRecord) == 24);
static_assert(std::has_unique_object_representations_v<RegistrationRecord>);

inline constexpr std::uint32_t kReservationMagic = 0x52504648;  // "HFPR"
inline constexpr std::uint16_t kReservationVersion = 1;
inline constexpr std::uint16_t kNoHolder = 0xffff;

static_assert(sizeof(ReservationBlobHeader) +
                  kRegistrationsMax * (sizeof(RegistrationRecord) + kInitiatorNameBytesMax) <=
              Volume::kReservationBytesMax);

std::vector<std::byte> encode_reservations(const ReservationState& state);
// Empty bytes are the state of a fresh volume. Errors: version_too_new, corrupt, foreign.
Result<ReservationState> decode_reservations(Bytes bytes);

}  // namespace holdfast::scsi

// Envelopes of frames on the wire, and back. Whatever comes is refused before a length in it is believed.
#pragma once

#include <array>

#include "base/bytes.h"
#include "base/result.h"
#include "io/link_format.h"

namespace holdfast::io {

struct Envelope {
  enum class Kind : std::uint8_t { frame, end };
  Kind kind = Kind::end;
  std::size_t head_bytes = 0;     // Zero in an end.
  std::size_t payload_bytes = 0;  // Likewise.
};

using EnvelopeBytes = std::array<std::byte, sizeof(EnvelopeOnWire)>;

// The lengths are a frame's (base/link.h).
EnvelopeBytes encode_envelope(const Envelope& envelope);
// Errors: protocol; the message says what is wrong.
Result<Envelope> decode_envelope(std::span<const std::byte, sizeof(EnvelopeOnWire)> bytes);

}  // namespace holdfast::io

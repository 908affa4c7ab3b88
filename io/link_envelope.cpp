#include "io/link_envelope.h"

#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/text.h"

namespace holdfast::io {
namespace {

constexpr std::size_t kCheckedBytes = offsetof(EnvelopeOnWire, check_xxh3);

constexpr bool head_fits(std::size_t bytes) { return bytes >= 1 && bytes <= kLinkHeadBytesMax; }
constexpr bool payload_fits(std::size_t bytes) { return bytes <= kLinkPayloadBytesMax && bytes % kBlockBytes == 0; }

std::unexpected<Error> bad_envelope(std::string what) { return fail(Errc::protocol, "what came is no frame: " + std::move(what)); }

}  // namespace

EnvelopeBytes encode_envelope(const Envelope& envelope) {
  const bool frame = envelope.kind == Envelope::Kind::frame;
  if (frame) {
    ENSURE(head_fits(envelope.head_bytes));
    ENSURE(payload_fits(envelope.payload_bytes));
  } else {
    ENSURE(envelope.head_bytes == 0 && envelope.payload_bytes == 0);
  }
  EnvelopeOnWire wire{};
  wire.magic = kEnvelopeMagic;
  wire.version = kEnvelopeVersion;
  wire.flags = frame ? 0 : kEnvelopeEnd;
  wire.head_bytes = static_cast<std::uint32_t>(envelope.head_bytes);
  wire.payload_bytes = static_cast<std::uint32_t>(envelope.payload_bytes);
  wire.check_xxh3 = xxh3(holdfast::bytes_of(wire).first(kCheckedBytes));
  EnvelopeBytes bytes;
  std::memcpy(bytes.data(), &wire, sizeof wire);
  return bytes;
}

Result<Envelope> decode_envelope(std::span<const std::byte, sizeof(EnvelopeOnWire)> bytes) {
  EnvelopeOnWire wire;
  std::memcpy(&wire, bytes.data(), sizeof wire);
  if (wire.magic != kEnvelopeMagic) return bad_envelope("its envelope has another magic number");
  if (wire.check_xxh3 != xxh3(bytes.first(kCheckedBytes))) return bad_envelope("its envelope is damaged");
  if (wire.version != kEnvelopeVersion) return bad_envelope(concat("its envelope has version ", wire.version));
  Envelope envelope;
  if (wire.flags == kEnvelopeEnd) {
    if (wire.head_bytes != 0 || wire.payload_bytes != 0) return bad_envelope("an end has lengths");
    return envelope;
  }
  if (wire.flags != 0) return bad_envelope("its envelope has unknown flags");
  if (!head_fits(wire.head_bytes)) return bad_envelope(concat("a head of ", wire.head_bytes, " bytes is not allowed"));
  if (!payload_fits(wire.payload_bytes)) return bad_envelope(concat("a payload of ", wire.payload_bytes, " bytes is not allowed"));
  envelope.kind = Envelope::Kind::frame;
  envelope.head_bytes = wire.head_bytes;
  envelope.payload_bytes = wire.payload_bytes;
  return envelope;
}

}  // namespace holdfast::io

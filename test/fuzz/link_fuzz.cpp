// The first words of a link and the envelopes of its frames: any bytes are refused with a message, or decoded to something that
// encodes to the same bytes. The first byte of an input says what the rest is.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "io/link_envelope.h"
#include "io/link_preamble.h"
#include "io/link_security.h"

using namespace holdfast;

namespace {

bool same(Bytes a, Bytes b) { return std::ranges::equal(a, b); }

void try_envelope(Bytes input) {
  if (input.size() < sizeof(io::EnvelopeOnWire)) return;
  io::EnvelopeBytes bytes;
  std::memcpy(bytes.data(), input.data(), bytes.size());
  const auto raw = io::decode_envelope(bytes);
  ENSURE(raw || !raw.error().message.empty());
  // The fuzzer cannot guess a checksum: it is put right, and then what is behind it is reached.
  const std::uint64_t check = xxh3(Bytes(bytes).first(offsetof(io::EnvelopeOnWire, check_xxh3)));
  std::memcpy(bytes.data() + offsetof(io::EnvelopeOnWire, check_xxh3), &check, sizeof check);
  const auto envelope = io::decode_envelope(bytes);
  if (!envelope) return;
  ENSURE(envelope->head_bytes <= kLinkHeadBytesMax && envelope->payload_bytes <= kLinkPayloadBytesMax);
  ENSURE(same(bytes, io::encode_envelope(*envelope)));
}

void try_preamble(Bytes input) {
  constexpr std::size_t kFixed = sizeof(io::PreambleHeader);
  if (input.size() < kFixed) return;
  const auto fixed = io::decode_preamble(input.first<kFixed>());
  if (!fixed) {
    ENSURE(!fixed.error().message.empty());
    return;
  }
  ENSURE(fixed->body_bytes <= io::kPreambleBodyBytesMax);
  const Bytes body = input.subspan(kFixed, std::min(fixed->body_bytes, input.size() - kFixed));
  if (fixed->kind == io::PreambleKind::hello) {
    const auto hello = io::decode_hello(body);
    ENSURE(hello || !hello.error().message.empty());
    if (hello) ENSURE(same(body, Bytes(io::encode_hello(*hello)).subspan(kFixed)));
    return;
  }
  const auto answer = io::decode_link_answer(body);
  ENSURE(answer || !answer.error().message.empty());
  if (!answer) return;
  ENSURE(std::ranges::all_of(answer->reason, [](char c) { return c >= ' ' && c <= '~'; }));
  (void)io::errc_of(answer->verdict);
  const auto again = io::decode_link_answer(Bytes(io::encode_link_answer(*answer)).subspan(kFixed));
  ENSURE(again && again->verdict == answer->verdict && again->reason == answer->reason);
}

void try_name(Bytes input) {
  const std::string_view text = as_text(input);
  if (const auto node = io::parse_node_uri(text)) ENSURE(io::node_uri(*node) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes input = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 3) {
    case 0: try_envelope(input); break;
    case 1: try_preamble(input); break;
    default: try_name(input); break;
  }
  return 0;
}

// How a connection begins: who dials says who it is and whom it wants, who listens answers. Whatever comes is checked here, whole.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "io/link_format.h"

namespace holdfast::io {

// Which copy of which group of which cluster, and who asks.
struct LinkHello {
  std::string cluster;
  Uuid group{};
  NodeId from;
  NodeId to;
};

struct LinkAnswer {
  Verdict verdict = Verdict::welcome;
  std::string reason;  // Empty in a welcome. What came from outside holds printable ASCII only.
};

std::vector<std::byte> encode_hello(const LinkHello& hello);
// A reason that is too long is cut.
std::vector<std::byte> encode_link_answer(const LinkAnswer& answer);

struct Preamble {
  PreambleKind kind = PreambleKind::hello;
  std::uint16_t version = 0;
  std::size_t body_bytes = 0;
};

// The fixed part: how much follows. Errors: protocol. A newer version is no error here, for it must be answered.
Result<Preamble> decode_preamble(std::span<const std::byte, sizeof(PreambleHeader)> bytes);
// The bodies, of body_bytes. Errors: protocol; the message says which field.
Result<LinkHello> decode_hello(Bytes body);
Result<LinkAnswer> decode_link_answer(Bytes body);

// The refusal as the dialer reports it.
Errc errc_of(Verdict verdict);

}  // namespace holdfast::io

#include "io/link_preamble.h"

#include <algorithm>
#include <cstring>

#include "base/ensure.h"
#include "base/text.h"
#include "io/link_security.h"

namespace holdfast::io {
namespace {

std::unexpected<Error> bad_preamble(std::string what) { return fail(Errc::protocol, "what came is no link's beginning: " + std::move(what)); }

template <class T>
void put_struct(std::vector<std::byte>& out, const T& value) {
  const Bytes bytes = holdfast::bytes_of(value);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

std::vector<std::byte> begin_preamble(PreambleKind kind, std::size_t body_bytes) {
  ENSURE(body_bytes <= kPreambleBodyBytesMax);
  PreambleHeader header{};
  header.magic = kPreambleMagic;
  header.version = kPreambleVersion;
  header.kind = static_cast<std::uint16_t>(kind);
  header.body_bytes = static_cast<std::uint32_t>(body_bytes);
  std::vector<std::byte> out;
  out.reserve(sizeof header + body_bytes);
  put_struct(out, header);
  return out;
}

void put_text(std::vector<std::byte>& out, std::string_view text) {
  const Bytes bytes = as_bytes(text);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

bool all_zero(std::span<const std::uint8_t> bytes) {
  return std::ranges::all_of(bytes, [](std::uint8_t b) { return b == 0; });
}

bool is_node_number(std::uint64_t number) { return number >= 1 && number <= kNodeNumberMax; }

}  // namespace

std::vector<std::byte> encode_hello(const LinkHello& hello) {
  ENSURE(check_cluster_name(hello.cluster).has_value());
  ENSURE(is_node_number(hello.from.value) && is_node_number(hello.to.value) && hello.from != hello.to);
  HelloOnWire wire{};
  std::memcpy(wire.group, hello.group.data(), sizeof wire.group);
  wire.from_node = hello.from.value;
  wire.to_node = hello.to.value;
  wire.cluster_bytes = static_cast<std::uint16_t>(hello.cluster.size());
  auto out = begin_preamble(PreambleKind::hello, sizeof wire + hello.cluster.size());
  put_struct(out, wire);
  put_text(out, hello.cluster);
  return out;
}

std::vector<std::byte> encode_link_answer(const LinkAnswer& answer) {
  const bool welcome = answer.verdict == Verdict::welcome;
  const std::string_view reason = welcome ? std::string_view() : std::string_view(answer.reason).substr(0, kReasonBytesMax);
  AnswerOnWire wire{};
  wire.verdict = static_cast<std::uint16_t>(answer.verdict);
  wire.reason_bytes = static_cast<std::uint16_t>(reason.size());
  auto out = begin_preamble(PreambleKind::answer, sizeof wire + reason.size());
  put_struct(out, wire);
  put_text(out, reason);
  return out;
}

Result<Preamble> decode_preamble(std::span<const std::byte, sizeof(PreambleHeader)> bytes) {
  PreambleHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kPreambleMagic) return bad_preamble("it has another magic number");
  if (header.version == 0) return bad_preamble("it has no version");
  if (header.kind != static_cast<std::uint16_t>(PreambleKind::hello) && header.kind != static_cast<std::uint16_t>(PreambleKind::answer))
    return bad_preamble(concat("it is of unknown kind ", header.kind));
  if (header.body_bytes > kPreambleBodyBytesMax) return bad_preamble(concat("it names a body of ", header.body_bytes, " bytes"));
  if (header.reserved != 0) return bad_preamble("its reserved field is used");
  return Preamble{static_cast<PreambleKind>(header.kind), header.version, header.body_bytes};
}

Result<LinkHello> decode_hello(Bytes body) {
  HelloOnWire wire;
  if (body.size() < sizeof wire) return bad_preamble("a hello is too short");
  std::memcpy(&wire, body.data(), sizeof wire);
  if (wire.cluster_bytes > kClusterNameBytesMax || body.size() != sizeof wire + wire.cluster_bytes)
    return bad_preamble("a hello's lengths contradict each other");
  if (!all_zero(wire.reserved)) return bad_preamble("a hello's reserved bytes are used");
  if (!is_node_number(wire.from_node) || !is_node_number(wire.to_node)) return bad_preamble("a hello names an impossible node");
  if (wire.from_node == wire.to_node) return bad_preamble("a hello comes from the node that it is for");
  LinkHello hello;
  hello.cluster = as_text(body.subspan(sizeof wire));
  if (!check_cluster_name(hello.cluster)) return bad_preamble("a hello's cluster is no name");
  std::memcpy(hello.group.data(), wire.group, sizeof wire.group);
  hello.from = NodeId(wire.from_node);
  hello.to = NodeId(wire.to_node);
  return hello;
}

Result<LinkAnswer> decode_link_answer(Bytes body) {
  AnswerOnWire wire;
  if (body.size() < sizeof wire) return bad_preamble("an answer is too short");
  std::memcpy(&wire, body.data(), sizeof wire);
  if (wire.reason_bytes > kReasonBytesMax || body.size() != sizeof wire + wire.reason_bytes)
    return bad_preamble("an answer's lengths contradict each other");
  if (wire.reserved != 0) return bad_preamble("an answer's reserved field is used");
  if (wire.verdict == 0) return bad_preamble("an answer says nothing");
  const bool welcome = wire.verdict == static_cast<std::uint16_t>(Verdict::welcome);
  if (welcome && wire.reason_bytes != 0) return bad_preamble("a welcome has a reason");
  LinkAnswer answer;
  // A verdict of times to come is a refusal whose reason says all there is to say.
  answer.verdict = static_cast<Verdict>(wire.verdict);
  answer.reason = as_text(body.subspan(sizeof wire));
  // It goes to logs and terminals.
  std::ranges::replace_if(answer.reason, [](char c) { return c < ' ' || c > '~'; }, '?');
  return answer;
}

Errc errc_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::unknown_group: return Errc::not_found;
    case Verdict::version_too_new: return Errc::version_too_new;
    case Verdict::malformed: return Errc::protocol;
    default: return Errc::permission;
  }
}

}  // namespace holdfast::io

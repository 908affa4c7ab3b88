#include "io/link_handshake.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"
#include "io/tls_stream.h"

namespace holdfast::io {
namespace {

Task<Result<void>> read_exactly(Stream* stream, MutableBytes into) {
  while (!into.empty()) {
    const iovec segment{into.data(), into.size()};
    auto got = co_await stream->read_some(std::span(&segment, 1));
    if (!got) co_return fail(got.error());
    into = into.subspan(*got);
  }
  co_return Result<void>{};
}

Task<Result<void>> write_bytes(Stream* stream, std::vector<std::byte> bytes) {
  const iovec segment{bytes.data(), bytes.size()};
  auto written = co_await stream->write_all(std::span(&segment, 1));
  co_return written;
}

struct ReceivedPreamble {
  Preamble fixed;
  std::vector<std::byte> body;
};

// Not a byte more than the preamble is taken from the stream.
Task<Result<ReceivedPreamble>> read_preamble(Stream* stream, std::array<std::byte, sizeof(PreambleHeader)>* first) {
  CO_TRY(co_await read_exactly(stream, *first));
  const auto fixed = decode_preamble(*first);
  if (!fixed) co_return fail(fixed.error());
  ReceivedPreamble received;
  received.fixed = *fixed;
  received.body.resize(fixed->body_bytes);
  CO_TRY(co_await read_exactly(stream, received.body));
  co_return received;
}

// The stream inside of TLS takes the place of the one below it.
TlsStream* wrap(std::unique_ptr<Stream>* stream, std::shared_ptr<const TlsContext> context, TlsSide side) {
  auto wrapped = make_tls_stream(std::move(*stream), std::move(context), side);
  TlsStream* tls = wrapped.get();
  *stream = std::move(wrapped);
  return tls;
}

bool proves(const std::vector<LinkIdentity>& names, const LinkIdentity& claimed) { return std::ranges::find(names, claimed) != names.end(); }

// A record of a TLS handshake (RFC 8446 §5.1).
bool looks_like_tls(Bytes first) { return first.size() >= 2 && first[0] == std::byte{22} && first[1] == std::byte{3}; }
bool looks_plain(Bytes first) {
  return first.size() >= sizeof kPreambleMagic && load_le<std::uint32_t>(first.data()) == kPreambleMagic;
}

}  // namespace

// ---- Who dials.

Task<Result<void>> greet(std::unique_ptr<Stream>* stream, LinkCredentials* credentials, NodeId node, Uuid group) {
  const LinkIdentity& self = credentials->self();
  if (auto context = credentials->current()) {
    TlsStream* tls = wrap(stream, std::move(context), TlsSide::dials);
    CO_TRY(co_await tls->handshake());
    const auto names = tls->peer_names();
    const LinkIdentity wanted{self.cluster, node};
    if (credentials->proof() == LinkProof::certificate && !proves(names, wanted))
      co_return fail(Errc::permission, concat("the other side's certificate names ", node_uris(names), ", not ", node_uri(wanted),
                                              ": is this the right address?"));
  } else {
    CO_TRY(check_both_loopback((*stream)->local_address(), (*stream)->peer_address()));
  }
  auto hello = encode_hello({self.cluster, group, self.node, node});
  CO_TRY(co_await write_bytes(stream->get(), std::move(hello)));
  std::array<std::byte, sizeof(PreambleHeader)> first;
  auto received = co_await read_preamble(stream->get(), &first);
  if (!received && (received.error().code == Errc::closed || received.error().code == Errc::io_error))
    co_return fail(received.error().code, "the other side ended the connection instead of answering; its log says why");
  if (!received) co_return fail(received.error());
  if (received->fixed.kind != PreambleKind::answer) co_return fail(Errc::protocol, "the other side did not answer but asked itself");
  const auto answer = decode_link_answer(received->body);
  if (!answer) co_return fail(answer.error());
  if (answer->verdict == Verdict::welcome) co_return Result<void>{};
  co_return fail(errc_of(answer->verdict), concat("the other side refuses the connection: ", answer->reason));
}

// ---- Who listens.

namespace {

LinkAnswer judge(const LinkHello& hello, const std::vector<LinkIdentity>& names, const LinkCredentials& credentials, const LinkDoor& door) {
  const LinkIdentity& self = credentials.self();
  if (hello.cluster != self.cluster)
    return {Verdict::wrong_cluster, concat("this is cluster ", self.cluster, ", not ", hello.cluster)};
  if (hello.to != self.node) return {Verdict::not_this_node, concat("this is node ", self.node.value, ", not node ", hello.to.value)};
  const LinkIdentity claimed{hello.cluster, hello.from};
  if (credentials.proof() == LinkProof::certificate && !proves(names, claimed))
    return {Verdict::not_proven, concat("your certificate names ", node_uris(names), ", not ", node_uri(claimed))};
  if (hello.group == Uuid{}) return {Verdict::unknown_group, concat("node ", self.node.value, " answers; no group was asked for")};
  if (!door.has_group(hello.group)) return {Verdict::unknown_group, concat("node ", self.node.value, " has no copy of that group")};
  return {};
}

Task<Result<void>> refuse_plainly(Stream* below) {
  LinkAnswer answer;
  answer.verdict = Verdict::needs_security;
  answer.reason = "links are secured here: configure this node's secret_file, or its ca_file, certificate_file and key_file";
  auto encoded = encode_link_answer(answer);
  CO_TRY(co_await write_bytes(below, std::move(encoded)));
  co_return fail(Errc::permission, "a node whose links are not secured was refused");
}

// The names that TLS proves; none without certificates.
Task<Result<std::vector<LinkIdentity>>> secure_guest(std::unique_ptr<Stream>* stream, LinkCredentials* credentials) {
  auto context = credentials->current();
  if (!context) {
    CO_TRY(check_both_loopback((*stream)->local_address(), (*stream)->peer_address()));
    co_return std::vector<LinkIdentity>();
  }
  TlsStream* tls = wrap(stream, std::move(context), TlsSide::listens);
  auto shaken = co_await tls->handshake();
  if (!shaken && looks_plain(tls->first_bytes())) {
    auto refused = co_await refuse_plainly(&tls->below());
    co_return fail(refused.error());
  }
  if (!shaken) co_return fail(shaken.error());
  co_return tls->peer_names();
}

}  // namespace

Task<Result<Guest>> receive_guest(std::unique_ptr<Stream>* stream, LinkCredentials* credentials, const LinkDoor* door) {
  const auto names = co_await secure_guest(stream, credentials);
  if (!names) co_return fail(names.error());
  std::array<std::byte, sizeof(PreambleHeader)> first{};
  auto received = co_await read_preamble(stream->get(), &first);
  if (!received && looks_like_tls(first))
    co_return fail(Errc::permission, "the other side's links are secured and this node's are not: configure both alike");
  if (!received) co_return fail(received.error());
  LinkAnswer answer;
  Guest guest;
  if (received->fixed.version > kPreambleVersion) {
    answer = {Verdict::version_too_new, concat("version ", received->fixed.version, " is not known here, the newest is ", kPreambleVersion,
                                               ": upgrade this node")};
  } else if (received->fixed.kind != PreambleKind::hello) {
    answer = {Verdict::malformed, "this is no hello"};
  } else {
    const auto hello = decode_hello(received->body);
    if (hello) answer = judge(*hello, *names, *credentials, *door);
    else answer = {Verdict::malformed, hello.error().message};
    if (hello) guest = {hello->from, hello->group};
  }
  auto encoded = encode_link_answer(answer);
  CO_TRY(co_await write_bytes(stream->get(), std::move(encoded)));
  if (answer.verdict != Verdict::welcome) co_return fail(errc_of(answer.verdict), answer.reason);
  co_return guest;
}

}  // namespace holdfast::io

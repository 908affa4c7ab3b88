#include "engine/wire.h"

#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/link.h"
#include "engine/register.h"

namespace holdfast::engine {
namespace {

using wal::FrameHeader;
using wal::FrameKind;

// Whatever is encoded here, a link carries.
static_assert(wal::kFrameHeadBytesMax <= kLinkHeadBytesMax);
static_assert(wal::kRecordBlocksMax * kBlockBytes <= kLinkPayloadBytesMax);
static_assert(rebuild::kAnswerBlocksMax * kBlockBytes <= kLinkPayloadBytesMax);

template <class T>
void put(std::vector<std::byte>& out, const T& value) {
  const Bytes bytes = bytes_of(value);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// Reads structs off the front; false when there is not enough left.
class Reader {
 public:
  explicit Reader(Bytes bytes) : left_(bytes) {}
  template <class T>
  bool take(T& value) {
    if (left_.size() < sizeof value) return false;
    std::memcpy(&value, left_.data(), sizeof value);
    left_ = left_.subspan(sizeof value);
    return true;
  }
  bool at_end() const { return left_.empty(); }
  std::size_t left() const { return left_.size(); }

 private:
  Bytes left_;
};

std::size_t begin_frame(std::vector<std::byte>& out) {
  const std::size_t begin = out.size();
  put(out, FrameHeader{});
  return begin;
}

void end_frame(std::vector<std::byte>& out, std::size_t begin, FrameKind kind, std::uint32_t payload_blocks) {
  FrameHeader header{};
  header.magic = wal::kFrameMagic;
  header.format_version = wal::kFrameVersion;
  header.kind = static_cast<std::uint16_t>(kind);
  header.head_bytes = static_cast<std::uint32_t>(out.size() - begin);
  header.payload_blocks = payload_blocks;
  ENSURE(header.head_bytes <= wal::kFrameHeadBytesMax);
  std::memcpy(out.data() + begin, &header, sizeof header);
  header.head_xxh3 = xxh3(Bytes(out).subspan(begin + 16));
  std::memcpy(out.data() + begin, &header, sizeof header);
}

FrameKind put_body(std::vector<std::byte>& out, const Hello& hello) {
  wal::HelloBody body{};
  std::memcpy(body.group, hello.group.data(), sizeof body.group);
  std::memcpy(body.incarnation, hello.copy.incarnation.data(), sizeof body.incarnation);
  body.node = hello.copy.node.value;
  body.bound_epoch = hello.bound.epoch.value;
  body.bound_claim = hello.bound.claim;
  body.end_lsn = hello.end.value;
  body.applied_lsn = hello.applied.value;
  body.epoch_count = hello.history.epochs().size();
  body.flags = (hello.needs_rebuild ? wal::kHelloNeedsRebuild : 0) | (hello.unfit ? wal::kHelloUnfit : 0) | (hello.maps_lost ? wal::kHelloMapsLost : 0);
  body.log_blocks = hello.log_blocks;
  body.forgotten_epoch = hello.history.forgotten().epoch.value;
  body.forgotten_lsn = hello.history.forgotten().end.value;
  ENSURE(body.epoch_count <= wal::kEpochsOnWireMax);
  put(out, body);
  for (const wal::EpochBegin& e : hello.history.epochs()) put(out, wal::EpochOnWire{e.epoch.value, e.first.value});
  return FrameKind::hello;
}

FrameKind put_body(std::vector<std::byte>& out, const Beat& beat) {
  wal::BeatBody body{};
  body.epoch = beat.epoch.value;
  body.claim = beat.claim;
  body.sent_ns = beat.sent.value;
  body.echo_ns = beat.echo.value;
  body.commit_lsn = beat.commit.value;
  body.lease_ms = beat.lease_ms;
  body.free_chunks = beat.free_chunks;
  body.flags = (beat.leads ? wal::kBeatLeads : 0) | (beat.grants ? wal::kBeatGrants : 0) |
               (beat.coordinator_reached ? wal::kBeatReachesCoordinator : 0) | (beat.needed ? wal::kBeatNeeded : 0) | (beat.fit ? wal::kBeatFit : 0);
  put(out, body);
  return FrameKind::beat;
}

FrameKind put_body(std::vector<std::byte>& out, const MatchAt& match) {
  put(out, wal::MatchBody{match.epoch.value, match.lsn.value, match.end.value});
  return FrameKind::match;
}
FrameKind put_body(std::vector<std::byte>& out, const Ack& ack) {
  put(out, wal::AckBody{ack.epoch.value, ack.durable.value, ack.free_chunks, ack.fit ? wal::kAckFit : 0});
  return FrameKind::ack;
}
FrameKind put_body(std::vector<std::byte>& out, const Release& release) {
  put(out, wal::EpochBody{release.epoch.value});
  return FrameKind::release;
}
FrameKind put_body(std::vector<std::byte>& out, const Fenced& fenced) {
  put(out, wal::EpochBody{fenced.bound.value});
  return FrameKind::fenced;
}

FrameKind put_body(std::vector<std::byte>& out, const Lagging& lagging) {
  put(out, wal::MatchBody{lagging.epoch.value, lagging.shared.value, 0});
  return FrameKind::lagging;
}

FrameKind put_body(std::vector<std::byte>& out, const Leaving& leaving) {
  put(out, wal::EpochBody{leaving.epoch.value});
  return FrameKind::leaving;
}

FrameKind put_body(std::vector<std::byte>& out, const AskView& ask) {
  put(out, wal::AskViewBody{ask.epoch.value, ask.claim, ask.question});
  return FrameKind::ask_view;
}

FrameKind put_body(std::vector<std::byte>& out, const TellView& tell) {
  ENSURE(tell.view.members.size() <= wal::kViewMembersMax);
  put(out, wal::TellViewBody{tell.epoch.value, tell.claim, tell.question, tell.view.primary.value, tell.view.members.size()});
  for (const GroupView::Member& member : tell.view.members) put(out, wal::MemberOnWire{member.node.value, member.in_sync ? wal::kMemberInSync : 0});
  return FrameKind::tell_view;
}

std::unexpected<Error> bad(std::string what) { return fail(Errc::protocol, "frame: " + std::move(what)); }

// A history as a log can have it: epochs and LSNs grow, and none begins behind the end. None at all: it was cut to before what it knew.
bool history_is_sane(const std::vector<wal::EpochBegin>& epochs, Lsn end) {
  for (std::size_t i = 0; i < epochs.size(); ++i) {
    if (epochs[i].epoch == Epoch() || epochs[i].first == Lsn() || epochs[i].first > end) return false;
    if (i > 0 && (epochs[i].epoch <= epochs[i - 1].epoch || epochs[i].first <= epochs[i - 1].first)) return false;
  }
  return true;
}

Result<Message> read_hello(Reader reader) {
  wal::HelloBody body;
  if (!reader.take(body)) return bad("a hello is too short");
  if ((body.flags & ~(wal::kHelloNeedsRebuild | wal::kHelloUnfit | wal::kHelloMapsLost)) != 0) return bad("a hello makes no sense");
  if (body.epoch_count > wal::kEpochsOnWireMax) return bad("a hello names too many epochs");
  std::vector<wal::EpochBegin> epochs;
  for (std::uint64_t i = 0; i < body.epoch_count; ++i) {
    wal::EpochOnWire one;
    if (!reader.take(one)) return bad("a hello's history is cut off");
    epochs.push_back({Epoch(one.epoch), Lsn(one.first_lsn)});
  }
  if (!reader.at_end()) return bad("something follows a hello");
  Hello hello;
  std::memcpy(hello.group.data(), body.group, sizeof body.group);
  std::memcpy(hello.copy.incarnation.data(), body.incarnation, sizeof body.incarnation);
  hello.copy.node = NodeId(body.node);
  hello.bound = Bound{Epoch(body.bound_epoch), body.bound_claim, false};
  hello.end = Lsn(body.end_lsn);
  hello.applied = Lsn(body.applied_lsn);
  hello.needs_rebuild = (body.flags & wal::kHelloNeedsRebuild) != 0;
  hello.unfit = (body.flags & wal::kHelloUnfit) != 0;
  hello.maps_lost = (body.flags & wal::kHelloMapsLost) != 0;
  hello.log_blocks = body.log_blocks;
  if (hello.copy.node == NodeId() || hello.applied > hello.end) return bad("a hello contradicts itself");
  if (!history_is_sane(epochs, hello.end)) return bad("a hello's history makes no sense");
  const wal::EpochHistory::Content forgotten{Epoch(body.forgotten_epoch), Lsn(body.forgotten_lsn)};
  const bool before_all = epochs.empty() ? forgotten.end.value <= body.end_lsn
                                         : forgotten.epoch < epochs.front().epoch && forgotten.end < epochs.front().first;
  if (!before_all) return bad("a hello's history forgets what it has");
  hello.history = wal::EpochHistory(std::move(epochs), forgotten);
  return hello;
}

Result<Message> read_beat(Reader reader) {
  wal::BeatBody body;
  if (!reader.take(body) || !reader.at_end()) return bad("a beat has another length");
  constexpr std::uint32_t kKnown = wal::kBeatLeads | wal::kBeatGrants | wal::kBeatReachesCoordinator | wal::kBeatNeeded | wal::kBeatFit;
  if ((body.flags & ~kKnown) != 0 || body.sent_ns < 0 || body.echo_ns < 0 || body.lease_ms > kLeaseMsMax)
    return bad("a beat makes no sense");
  Beat beat;
  beat.epoch = Epoch(body.epoch);
  beat.claim = body.claim;
  beat.sent = BootNs{body.sent_ns};
  beat.echo = BootNs{body.echo_ns};
  beat.commit = Lsn(body.commit_lsn);
  beat.lease_ms = body.lease_ms;
  beat.free_chunks = body.free_chunks;
  beat.leads = (body.flags & wal::kBeatLeads) != 0;
  beat.grants = (body.flags & wal::kBeatGrants) != 0;
  beat.coordinator_reached = (body.flags & wal::kBeatReachesCoordinator) != 0;
  beat.needed = (body.flags & wal::kBeatNeeded) != 0;
  beat.fit = (body.flags & wal::kBeatFit) != 0;
  if (beat.leads && beat.grants) return bad("a beat leads and promises");
  return beat;
}

template <class T, class Make>
Result<Message> read_fixed(Reader reader, Make make) {
  T body;
  if (!reader.take(body) || !reader.at_end()) return bad("a message has another length");
  return Message(make(body));
}

Result<Message> read_ack(Reader reader) {
  wal::AckBody body;
  if (!reader.take(body) || !reader.at_end()) return bad("a message has another length");
  if ((body.flags & ~wal::kAckFit) != 0) return bad("an ack makes no sense");
  return Message(Ack{Epoch(body.epoch), Lsn(body.durable_lsn), body.free_chunks, (body.flags & wal::kAckFit) != 0});
}

Result<Message> read_lagging(Reader reader) {
  wal::MatchBody body;
  if (!reader.take(body) || !reader.at_end()) return bad("a message has another length");
  if (body.end_lsn != 0) return bad("a refusal of what the log had already makes no sense");
  return Message(Lagging{Epoch(body.epoch), Lsn(body.lsn)});
}

Result<Message> read_ask_view(Reader reader) {
  wal::AskViewBody body;
  if (!reader.take(body) || !reader.at_end()) return bad("a message has another length");
  if (body.question == 0) return bad("a question about the group has no number");
  return Message(AskView{Epoch(body.epoch), body.claim, body.question});
}

Result<Message> read_tell_view(Reader reader) {
  wal::TellViewBody body;
  if (!reader.take(body)) return bad("a view is too short");
  if (body.question == 0 || body.member_count > wal::kViewMembersMax) return bad("a view makes no sense");
  TellView tell{Epoch(body.epoch), body.claim, body.question, {NodeId(body.primary), {}}};
  std::uint64_t before = 0;
  bool leads = false;
  for (std::uint64_t i = 0; i < body.member_count; ++i) {
    wal::MemberOnWire member;
    if (!reader.take(member)) return bad("a view is cut off");
    if (member.node <= before || (member.flags & ~wal::kMemberInSync) != 0) return bad("a view's members make no sense");
    before = member.node;
    leads = leads || member.node == body.primary;
    tell.view.members.push_back({NodeId(member.node), (member.flags & wal::kMemberInSync) != 0});
  }
  if (!reader.at_end() || !leads) return bad("a view contradicts itself");
  return Message(std::move(tell));
}

Result<FrameHeader> check_head(Bytes head) {
  auto header = peek_frame(head);
  if (!header) return header;
  if (head.size() != header->head_bytes) return bad("the head has another length");
  if (xxh3(head.subspan(16)) != header->head_xxh3) return bad("the checksum is wrong");
  return header;
}

}  // namespace

void encode_message(const Message& message, std::vector<std::byte>& out) {
  const std::size_t begin = begin_frame(out);
  const FrameKind kind = std::visit([&](const auto& m) { return put_body(out, m); }, message);
  end_frame(out, begin, kind, 0);
}

Result<FrameHeader> peek_frame(Bytes first_bytes) {
  FrameHeader header;
  if (first_bytes.size() < sizeof header) return bad("too short");
  std::memcpy(&header, first_bytes.data(), sizeof header);
  if (header.magic != wal::kFrameMagic) return bad("no holdfast speaks here: the magic number is missing");
  if (header.format_version > wal::kFrameVersion) return fail(Errc::version_too_new, "frame: the other node speaks a newer protocol");
  if (header.format_version < wal::kFrameVersion) return bad("the other node speaks an older protocol, or a bit has flipped in its version");
  if (header.reserved != 0) return bad("the header makes no sense");
  if (header.head_bytes <= sizeof header || header.head_bytes > wal::kFrameHeadBytesMax) return bad("the head's length is impossible");
  const FrameKind kind = static_cast<FrameKind>(header.kind);
  const std::size_t most = kind == FrameKind::append ? wal::kRecordBlocksMax : kind == FrameKind::answer ? rebuild::kAnswerBlocksMax : 0;
  if (header.payload_blocks > most) return bad("the payload's length is impossible");
  return header;
}

Result<Message> decode_message(Bytes head) {
  const auto header = check_head(head);
  if (!header) return fail(header.error());
  const Reader body(head.subspan(sizeof(FrameHeader)));
  switch (static_cast<FrameKind>(header->kind)) {
    case FrameKind::hello: return read_hello(body);
    case FrameKind::beat: return read_beat(body);
    case FrameKind::match: return read_fixed<wal::MatchBody>(body, [](const auto& b) { return MatchAt{Epoch(b.epoch), Lsn(b.lsn), Lsn(b.end_lsn)}; });
    case FrameKind::ack: return read_ack(body);
    case FrameKind::release: return read_fixed<wal::EpochBody>(body, [](const auto& b) { return Release{Epoch(b.epoch)}; });
    case FrameKind::fenced: return read_fixed<wal::EpochBody>(body, [](const auto& b) { return Fenced{Epoch(b.epoch)}; });
    case FrameKind::lagging: return read_lagging(body);
    case FrameKind::leaving: return read_fixed<wal::EpochBody>(body, [](const auto& b) { return Leaving{Epoch(b.epoch)}; });
    case FrameKind::ask_view: return read_ask_view(body);
    case FrameKind::tell_view: return read_tell_view(body);
    case FrameKind::append:
    case FrameKind::question:
    case FrameKind::answer: break;
  }
  return bad("an unknown kind of message");
}

void encode_question(const rebuild::Question& question, std::vector<std::byte>& out) {
  const std::size_t begin = begin_frame(out);
  put(out, rebuild::body_of(question));
  end_frame(out, begin, FrameKind::question, 0);
}

void encode_answer(const rebuild::Answer& answer, std::vector<std::byte>& out) {
  const std::size_t begin = begin_frame(out);
  put(out, rebuild::body_of(answer));
  end_frame(out, begin, FrameKind::answer, static_cast<std::uint32_t>(answer.payload.size() / kBlockBytes));
}

Result<rebuild::Question> decode_question(Bytes head) {
  const auto header = check_head(head);
  if (!header) return fail(header.error());
  Reader reader(head.subspan(sizeof(FrameHeader)));
  rebuild::QuestionBody body;
  if (!reader.take(body) || !reader.at_end()) return bad("a question has another length");
  return rebuild::question_of(body);
}

Result<rebuild::Answer> decode_answer(Bytes head, Buffer payload) {
  const auto header = check_head(head);
  if (!header) return fail(header.error());
  Reader reader(head.subspan(sizeof(FrameHeader)));
  rebuild::AnswerBody body;
  if (!reader.take(body) || !reader.at_end()) return bad("an answer has another length");
  if (payload.size() != header->payload_blocks * kBlockBytes) return bad("an answer's payload has another length");
  return rebuild::answer_of(body, std::move(payload));
}

Result<AppendHead> decode_append(Bytes head) {
  const auto header = check_head(head);
  if (!header) return fail(header.error());
  if (header->kind != static_cast<std::uint16_t>(FrameKind::append)) return bad("not an append");
  Reader reader(head.subspan(sizeof(FrameHeader)));
  AppendHead append;
  if (!reader.take(append.body)) return bad("an append is too short");
  const wal::AppendBody& body = append.body;
  if (body.record_count == 0 || body.record_count > wal::kBatchRecordsMax) return bad("an append has an impossible number of records");
  if (body.epoch == 0 || body.previous_lsn > ~std::uint64_t{0} - body.record_count) return bad("an append makes no sense");
  std::uint64_t blocks = 0, epoch = body.previous_epoch;
  for (std::uint64_t i = 0; i < body.record_count; ++i) {
    wal::RecordOnWire record;
    if (!reader.take(record)) return bad("an append is cut off");
    if (record.epoch < epoch || record.epoch == 0 || record.epoch > body.epoch || (record.flags & ~wal::kRecordElided) != 0)
      return bad("a record's epoch makes no sense");
    epoch = record.epoch;
    blocks += record.payload_blocks;
    if (blocks > wal::kRecordBlocksMax) return bad("an append has too much payload");
    for (std::uint64_t b = 0; b < record.payload_blocks; ++b) {
      std::uint64_t checksum;
      if (!reader.take(checksum)) return bad("an append's checksums are cut off");
      append.checksums.push_back(checksum);
    }
    append.records.push_back(record);
  }
  if (!reader.at_end() || blocks != header->payload_blocks) return bad("an append's lengths contradict each other");
  return append;
}

void encode_append(const wal::AppendBody& body, std::span<const wal::RecordOnWire> records, std::span<const std::uint64_t> checksums,
                   std::vector<std::byte>& out) {
  ENSURE(body.record_count == records.size());
  const std::size_t begin = begin_frame(out);
  put(out, body);
  std::size_t used = 0;
  for (const wal::RecordOnWire& record : records) {
    put(out, record);
    const Bytes sums = std::as_bytes(checksums.subspan(used, record.payload_blocks));
    out.insert(out.end(), sums.begin(), sums.end());
    used += record.payload_blocks;
  }
  ENSURE(used == checksums.size());
  end_frame(out, begin, FrameKind::append, static_cast<std::uint32_t>(used));
}

}  // namespace holdfast::engine

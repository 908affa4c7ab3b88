#include "scsi/text_exchange.h"

#include <algorithm>

namespace holdfast::scsi {
namespace {

// "0.0.0.0:3260" seen through a connection to "192.0.2.1:3260".
std::string concrete_address(const std::string& portal, const std::string& local) {
  const bool wildcard = portal.starts_with("0.0.0.0:") || portal.starts_with("[::]:") || portal.starts_with("*:");
  if (!wildcard) return portal;
  const auto host_end = local.rfind(':');
  if (host_end == std::string::npos) return portal;
  return local.substr(0, host_end) + portal.substr(portal.rfind(':'));
}

}  // namespace

void TextExchange::reset() {
  request_.clear();
  answer_.clear();
  answered_ = 0;
  ttt_ = kNoTag;
}

Result<TextReply> TextExchange::on_request(const Header& header, std::string_view text,
                                           std::uint32_t* segment_bytes_max) {
  const bool more = (header.flags() & 0x40) != 0;
  const Turn turn = header.final() ? Turn::ours_may_end : Turn::theirs_goes_on;
  if (header.ttt() == kNoTag) reset();  // A new exchange; whatever was pending is given up (§11.10.4).
  else if (header.ttt() != ttt_) return fail(Errc::protocol);
  if ((more && header.final()) || request_.size() + text.size() > kTextBytesMax) {
    reset();
    return fail(Errc::protocol);
  }
  if (answered_ < answer_.size()) {
    if (text.empty() && !more) return next_piece(*segment_bytes_max, turn);
    reset();
    return fail(Errc::protocol);
  }
  request_.append(text);
  // The initiator has more to say. A final answer to what is not final would be a protocol error (§11.11.1).
  if (more || turn == Turn::theirs_goes_on) {
    ttt_ = next_ttt_++;
    return TextReply{.final = false, .more_of_text = false, .ttt = ttt_, .text = {}};
  }
  if (const auto answered = answer(segment_bytes_max); !answered) {
    reset();
    return fail(answered.error());
  }
  return next_piece(*segment_bytes_max, turn);
}

Result<void> TextExchange::answer(std::uint32_t* segment_bytes_max) {
  const auto pairs = parse_text(request_);
  if (!pairs) return fail(pairs.error());
  TextBuilder out;
  for (const TextPair& pair : *pairs) {
    if (pair.key == "SendTargets") {
      send_targets(pair.value, out);
    } else if (pair.key == "MaxRecvDataSegmentLength") {
      const auto bytes = parse_number(pair.value, 512, (1 << 24) - 1);
      if (bytes) *segment_bytes_max = static_cast<std::uint32_t>(*bytes);
      else out.add(pair.key, "Reject");
    } else if (pair.key != "InitiatorAlias") {
      // Login keys come too late here, and any other key is unknown: both may be told so (§6.2).
      TextBuilder probe;
      Negotiator negotiator;
      (void)negotiator.offer(pair, probe);
      const bool unknown = probe.take().ends_with(std::string_view("=NotUnderstood\0", 15));
      out.add(pair.key, unknown ? "NotUnderstood" : "Reject");
    }
    if (out.size() > 16 * kTextBytesMax) return fail(Errc::protocol);
  }
  request_.clear();
  answer_ = out.take();
  answered_ = 0;
  return {};
}

void TextExchange::send_targets(std::string_view which, TextBuilder& out) const {
  const bool discovery = context_.target.empty();
  if (discovery && which == "All") {
    for (const TargetEntry& entry : context_.directory->list())
      if (!entry.auth || entry.auth->admits(context_.initiator)) add_target(entry, out);
    return;
  }
  // A normal session learns about its own target only; hosts ask by "All", by nothing and by name.
  std::string wanted(which);
  if (!discovery && (which.empty() || which == "All")) wanted = context_.target;
  const auto name = normal_name(wanted);
  if (!name || (!discovery && *name != context_.target)) return out.add("SendTargets", "Reject");
  const auto entry = context_.directory->find(*name);
  if (!entry) {
    if (!discovery) out.add("SendTargets", "Reject");
    return;
  }
  if (!entry->auth || entry->auth->admits(context_.initiator)) add_target(*entry, out);
}

void TextExchange::add_target(const TargetEntry& entry, TextBuilder& out) const {
  out.add("TargetName", entry.name);
  for (const PortalAddress& portal : entry.portals)
    out.add("TargetAddress",
            concrete_address(portal.address, context_.local_address) + "," + std::to_string(portal.portal_group));
}

TextReply TextExchange::next_piece(std::uint32_t segment_bytes_max, Turn turn) {
  TextReply reply;
  const std::size_t left = answer_.size() - answered_;
  const std::size_t bytes = std::min<std::size_t>(left, segment_bytes_max);
  reply.text = std::string_view(answer_).substr(answered_, bytes);
  answered_ += bytes;
  if (bytes < left || turn == Turn::theirs_goes_on) {
    reply.final = false;
    reply.more_of_text = bytes < left;
    ttt_ = next_ttt_++;
    reply.ttt = ttt_;
  } else {
    ttt_ = kNoTag;
  }
  return reply;
}

}  // namespace holdfast::scsi

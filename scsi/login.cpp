#include "scsi/login.h"

#include <algorithm>

#include "base/ensure.h"

namespace holdfast::scsi {
namespace {

constexpr std::uint8_t kTransit = 0x80;
constexpr std::uint8_t kContinue = 0x40;

std::uint8_t current_stage(const Header& h) { return h.flags() >> 2 & 3; }
std::uint8_t next_stage(const Header& h) { return h.flags() & 3; }
bool transits(const Header& h) { return (h.flags() & kTransit) != 0; }
bool continues(const Header& h) { return (h.flags() & kContinue) != 0; }

Isid isid_of(const Header& h) {
  Isid isid;
  std::copy_n(h.raw.begin() + 8, isid.size(), isid.begin());
  return isid;
}
std::uint16_t tsih_of(const Header& h) { return h.u16(14); }
std::uint16_t cid_of(const Header& h) { return h.u16(20); }

bool is_identity_key(std::string_view key) {
  return key == "InitiatorName" || key == "SessionType" || key == "TargetName";
}

std::optional<std::string_view> value_of(const std::vector<TextPair>& pairs, std::string_view key) {
  const auto found = std::ranges::find(pairs, key, &TextPair::key);
  if (found == pairs.end()) return std::nullopt;
  return found->value;
}

}  // namespace

LoginStatus LoginMachine::check_header(const Header& header) const {
  if (header.opcode() != Opcode::login || header.ahs_bytes() != 0) return LoginStatus::invalid_during_login;
  if (header.u8(3) > 0) return LoginStatus::unsupported_version;  // Version-min: we speak 0.
  const std::uint8_t current = current_stage(header);
  if (current > 1) return LoginStatus::initiator_error;
  if (transits(header)) {
    if (continues(header)) return LoginStatus::initiator_error;
    const std::uint8_t next = next_stage(header);
    if (next == 2 || next <= current) return LoginStatus::initiator_error;
  }
  if (!started_) return LoginStatus::success;
  if (header.itt() != itt_ || isid_of(header) != identity_.isid || tsih_of(header) != identity_.tsih ||
      cid_of(header) != identity_.cid)
    return LoginStatus::initiator_error;
  if (current != static_cast<std::uint8_t>(stage_)) return LoginStatus::initiator_error;
  return LoginStatus::success;
}

LoginMachine::Step LoginMachine::on_request(const Header& header, std::string_view text, Random& random) {
  ENSURE(stage_ != Stage::full_feature);
  request_ = header;
  if (const LoginStatus status = check_header(header); status != LoginStatus::success) return refuse(status);
  if (++requests_ > kRequestsMax) return refuse(LoginStatus::initiator_error);
  if (!started_) {
    started_ = true;
    stage_ = static_cast<Stage>(current_stage(header));
    itt_ = header.itt();
    cmd_sn_ = header.cmd_sn();
    identity_.isid = isid_of(header);
    identity_.tsih = tsih_of(header);
    identity_.cid = cid_of(header);
  }
  if (text_.size() + text.size() > kTextBytesMax) return refuse(LoginStatus::initiator_error);
  text_.append(text);
  if (continues(header)) return reply(static_cast<std::uint8_t>(current_stage(header) << 2), {});
  if (identified_) return negotiate(random);

  const auto pairs = parse_text(text_);
  if (!pairs) return refuse(LoginStatus::initiator_error);
  if (const LoginStatus status = identify(*pairs); status != LoginStatus::success) return refuse(status);
  identified_ = true;
  negotiator_.set_session_type(identity_.type);
  return Step::need_target;
}

LoginStatus LoginMachine::identify(const std::vector<TextPair>& pairs) {
  for (const std::string_view key : {"InitiatorName", "SessionType", "TargetName"})
    if (std::ranges::count(pairs, key, &TextPair::key) > 1) return LoginStatus::initiator_error;

  const auto initiator = value_of(pairs, "InitiatorName");
  if (!initiator) return LoginStatus::missing_parameter;
  auto initiator_name = normal_name(*initiator);
  if (!initiator_name) return LoginStatus::initiator_error;
  identity_.initiator = std::move(*initiator_name);

  const auto type = value_of(pairs, "SessionType").value_or("Normal");
  if (type == "Discovery") {
    // A discovery session is never resumed.
    identity_.type = SessionType::discovery;
    return identity_.tsih == 0 ? LoginStatus::success : LoginStatus::session_does_not_exist;
  }
  if (type != "Normal") return LoginStatus::session_type_not_supported;

  const auto target = value_of(pairs, "TargetName");
  if (!target) return LoginStatus::missing_parameter;
  auto target_name = normal_name(*target);
  if (!target_name) return LoginStatus::not_found;
  identity_.target = std::move(*target_name);
  return LoginStatus::success;
}

LoginMachine::Step LoginMachine::on_target(std::optional<TargetFacts> facts, Random& random) {
  ENSURE(identified_);
  if (!facts) return refuse(LoginStatus::not_found);
  facts_ = std::move(*facts);
  if (facts_.auth && !facts_.auth->admits(identity_.initiator)) return refuse(LoginStatus::authorization_failure);
  authenticator_ = Authenticator(facts_.auth);
  // Beginning in the operational stage says "no authentication" (§6.3.2): where it is required that is a bypass.
  if (stage_ == Stage::operational && !authenticator_.done()) return refuse(LoginStatus::authentication_failure);
  return negotiate(random);
}

LoginStatus LoginMachine::answer_keys(TextBuilder& answer, Random& random) {
  const auto pairs = parse_text(text_);
  if (!pairs) return LoginStatus::initiator_error;
  std::vector<TextPair> security;
  for (const TextPair& pair : *pairs) {
    if (is_identity_key(pair.key)) {
      // Said once, at the beginning: a change of mind after authentication must not go through.
      if (answered_first_) return LoginStatus::initiator_error;
    } else if (Authenticator::owns(pair.key)) {
      if (stage_ != Stage::security) return LoginStatus::initiator_error;
      security.push_back(pair);
    } else if (!negotiator_.offer(pair, answer)) {
      return LoginStatus::initiator_error;
    }
  }
  if (stage_ == Stage::security &&
      authenticator_.step(security, answer, random) == Authenticator::Verdict::refused)
    return LoginStatus::authentication_failure;
  return LoginStatus::success;
}

LoginMachine::Step LoginMachine::negotiate(Random& random) {
  TextBuilder answer;
  if (!answered_first_ && identity_.type == SessionType::normal)
    answer.add("TargetPortalGroupTag", facts_.portal_group);
  if (const LoginStatus status = answer_keys(answer, random); status != LoginStatus::success) return refuse(status);
  answered_first_ = true;
  text_.clear();
  if (stage_ == Stage::operational && !segment_declared_) {
    segment_declared_ = true;
    answer.add("MaxRecvDataSegmentLength",
               identity_.type == SessionType::normal ? kReceiveSegmentBytes : kSegmentBytesDefault);
  }
  // More answers than fit into what every initiator takes means more keys than any honest one has.
  if (answer.size() > kSegmentBytesDefault) return refuse(LoginStatus::initiator_error);
  return grant(answer);
}

LoginMachine::Step LoginMachine::grant(TextBuilder& answer) {
  const auto current = static_cast<std::uint8_t>(static_cast<unsigned>(stage_) << 2);
  if (!transits(request_)) return reply(current, answer.take());
  if (stage_ == Stage::security && !authenticator_.done()) {
    // Wishing to move on with the method or the challenge just agreed is premature, not wrong; with nothing agreed
    // it is an attempt to skip authentication.
    return answer.empty() || !authenticator_.under_way() ? refuse(LoginStatus::authentication_failure)
                                                         : reply(current, answer.take());
  }
  const std::uint8_t next = next_stage(request_);
  const auto flags = static_cast<std::uint8_t>(kTransit | current | next);
  if (next == static_cast<std::uint8_t>(Stage::operational)) {
    stage_ = Stage::operational;
    return reply(flags, answer.take());
  }
  negotiator_.settle();
  reply(flags, answer.take());
  return Step::need_session;
}

LoginMachine::Step LoginMachine::on_session(LoginStatus verdict, std::uint16_t tsih) {
  if (verdict != LoginStatus::success) {
    --stat_sn_;  // The answer that was prepared is not sent.
    return refuse(verdict);
  }
  ENSURE(tsih != 0);
  stage_ = Stage::full_feature;
  reply_header_.set16(14, tsih);
  return Step::complete;
}

LoginMachine::Step LoginMachine::reply(std::uint8_t flags, std::string text) {
  reply_text_ = std::move(text);
  Header h;
  h.set_opcode(Opcode::login_response).set8(1, flags);  // Versions max and active: 0.
  std::copy_n(request_.raw.begin() + 8, 8, h.raw.begin() + 8);  // ISID, TSIH.
  h.set_data_bytes(static_cast<std::uint32_t>(reply_text_.size()));
  h.set32(16, request_.itt());
  h.set_stat_sn(stat_sn_++);
  h.set_window(cmd_sn_, cmd_sn_ + kCommandWindow - 1);
  reply_header_ = h;
  return Step::reply;
}

LoginMachine::Step LoginMachine::refuse(LoginStatus status) {
  reply(static_cast<std::uint8_t>(request_.flags() & 0x0c), {});
  reply_header_.set16(36, static_cast<std::uint16_t>(status));
  return Step::refused;
}

}  // namespace holdfast::scsi

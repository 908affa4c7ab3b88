#include "scsi/authentication.h"

#include <algorithm>

namespace holdfast::scsi {
namespace {

// The only value of `key`; none when it is missing or given twice.
std::optional<std::string_view> only(const std::vector<TextPair>& keys, std::string_view key) {
  if (std::ranges::count(keys, key, &TextPair::key) != 1) return std::nullopt;
  return std::ranges::find(keys, key, &TextPair::key)->value;
}

}  // namespace

Authenticator::Verdict Authenticator::step(const std::vector<TextPair>& keys, TextBuilder& answer, Random& random) {
  if (keys.empty()) {
    // Silence is an empty request: fine where we wait for the initiator to begin, a bypass in the midst of CHAP.
    return state_ == State::start || state_ == State::done ? Verdict::go_on : Verdict::refused;
  }
  switch (state_) {
    case State::start:
    case State::done:
      if (keys.size() == 1 && keys[0].key == "AuthMethod" && !method_asked_)
        return agree_method(keys[0].value, answer);
      return Verdict::refused;
    case State::method_agreed:
      if (keys.size() == 1 && keys[0].key == "CHAP_A") return challenge(keys[0].value, answer, random);
      return Verdict::refused;
    case State::challenged:
      return verify(keys, answer);
  }
  return Verdict::refused;
}

Authenticator::Verdict Authenticator::agree_method(std::string_view offered, TextBuilder& answer) {
  method_asked_ = true;
  const std::string_view wanted = required() ? "CHAP" : "None";
  if (!any_in_list(offered, [&](std::string_view one) { return one == wanted; })) return Verdict::refused;
  answer.add("AuthMethod", wanted);
  if (required()) state_ = State::method_agreed;
  return Verdict::go_on;
}

Authenticator::Verdict Authenticator::challenge(std::string_view offered, TextBuilder& answer, Random& random) {
  const bool found = any_in_list(offered, [&](std::string_view one) {
    const auto number = parse_number(one, 0, 255);
    if (!number) return false;
    const auto known = std::ranges::find(auth_->algorithms, static_cast<ChapAlgorithm>(*number));
    if (known == auth_->algorithms.end()) return false;
    algorithm_ = *known;
    return true;
  });
  if (!found) return Verdict::refused;
  challenge_.resize(kChapChallengeBytes);
  random.fill(challenge_);
  id_ = static_cast<std::uint8_t>(random.next_u64());
  answer.add("CHAP_A", static_cast<std::uint64_t>(algorithm_));
  answer.add("CHAP_I", id_);
  answer.add("CHAP_C", encode_hex(challenge_));
  state_ = State::challenged;
  return Verdict::go_on;
}

Authenticator::Verdict Authenticator::verify(const std::vector<TextPair>& keys, TextBuilder& answer) {
  const auto name = only(keys, "CHAP_N");
  const auto response = only(keys, "CHAP_R");
  const auto their_id = only(keys, "CHAP_I");
  const auto their_challenge = only(keys, "CHAP_C");
  const std::size_t known = their_id || their_challenge ? 4 : 2;
  if (!name || !response || keys.size() != known) return Verdict::refused;
  if (their_id.has_value() != their_challenge.has_value()) return Verdict::refused;
  const auto given = decode_binary(*response);
  if (!given) return Verdict::refused;
  const auto expected = chap_response(algorithm_, id_, auth_->chap->secret, challenge_);
  // Both are compared before either is judged, so that a wrong name costs the same time as a wrong secret.
  const bool name_fits = equal_in_constant_time(as_bytes(*name), as_bytes(auth_->chap->user));
  const bool response_fits = equal_in_constant_time(*given, expected);
  if (!name_fits || !response_fits) return Verdict::refused;
  if (their_id && prove(*their_id, *their_challenge, answer) == Verdict::refused) return Verdict::refused;
  state_ = State::done;
  return Verdict::go_on;
}

Authenticator::Verdict Authenticator::prove(std::string_view id, std::string_view challenge_text,
                                            TextBuilder& answer) const {
  if (!auth_->mutual) return Verdict::refused;
  const auto id_value = parse_number(id, 0, 255);
  const auto theirs = decode_binary(challenge_text);
  if (!id_value || !theirs) return Verdict::refused;
  // Our own challenge sent back: somebody wants us to compute the response that we asked for (§12.1.3).
  if (equal_in_constant_time(*theirs, challenge_)) return Verdict::refused;
  const auto response =
      chap_response(algorithm_, static_cast<std::uint8_t>(*id_value), auth_->mutual->secret, *theirs);
  if (response.empty()) return Verdict::refused;
  answer.add("CHAP_N", auth_->mutual->user);
  answer.add("CHAP_R", encode_hex(response));
  return Verdict::go_on;
}

}  // namespace holdfast::scsi

// The security stage's conversation as a state machine: keys in, answer or refusal out. No I/O.
//   → AuthMethod=CHAP            ← AuthMethod=CHAP
//   → CHAP_A=7,5                 ← CHAP_A=7 CHAP_I CHAP_C
//   → CHAP_N CHAP_R [CHAP_I CHAP_C]   ← [CHAP_N CHAP_R]
// Nothing may be left out, repeated or swapped: whatever does not fit is a refusal.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "scsi/chap.h"
#include "scsi/text_keys.h"

namespace holdfast::scsi {

class Authenticator {
 public:
  enum class Verdict : std::uint8_t { go_on, refused };

  explicit Authenticator(std::shared_ptr<const TargetAuth> auth = nullptr) : auth_(std::move(auth)) {
    if (!required()) state_ = State::done;
  }

  bool required() const { return auth_ && auth_->chap; }
  // A method is agreed: the conversation goes on.
  bool under_way() const { return state_ == State::method_agreed || state_ == State::challenged; }
  // True: the initiator may leave the security stage.
  bool done() const { return state_ == State::done; }

  static bool owns(std::string_view key) { return key == "AuthMethod" || key.starts_with("CHAP_"); }
  // The security keys of one request, in order.
  Verdict step(const std::vector<TextPair>& keys, TextBuilder& answer, Random& random);

 private:
  enum class State : std::uint8_t { start, method_agreed, challenged, done };

  Verdict agree_method(std::string_view offered, TextBuilder& answer);
  Verdict challenge(std::string_view offered, TextBuilder& answer, Random& random);
  Verdict verify(const std::vector<TextPair>& keys, TextBuilder& answer);
  Verdict prove(std::string_view id, std::string_view challenge, TextBuilder& answer) const;

  std::shared_ptr<const TargetAuth> auth_;
  State state_ = State::start;
  bool method_asked_ = false;
  // Valid from `challenged` on.
  ChapAlgorithm algorithm_ = ChapAlgorithm::md5;
  std::uint8_t id_ = 0;
  std::vector<std::byte> challenge_;
};

}  // namespace holdfast::scsi

// The login phase (RFC 7143 §6.3) as a state machine without I/O: requests in, steps out. It asks for what it does not
// know (the target, the session) and goes on when it is told, so that it can be moved between threads in between.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/random.h"
#include "scsi/authentication.h"
#include "scsi/negotiation.h"
#include "scsi/pdu.h"

namespace holdfast::scsi {

enum class LoginStatus : std::uint16_t {  // Class and detail (§11.13.5).
  success = 0x0000,
  initiator_error = 0x0200,
  authentication_failure = 0x0201,
  authorization_failure = 0x0202,
  not_found = 0x0203,
  unsupported_version = 0x0205,
  too_many_connections = 0x0206,
  missing_parameter = 0x0207,
  cannot_include_in_session = 0x0208,
  session_type_not_supported = 0x0209,
  session_does_not_exist = 0x020a,
  invalid_during_login = 0x020b,
  target_error = 0x0300,
  service_unavailable = 0x0301,
  out_of_resources = 0x0302,
};

using Isid = std::array<std::byte, 6>;

// Who logs in where: valid after the first complete request.
struct LoginIdentity {
  std::string initiator;
  std::string target;  // Empty in a discovery session.
  SessionType type = SessionType::normal;
  Isid isid{};
  std::uint16_t tsih = 0;  // Zero: a new session.
  std::uint16_t cid = 0;
};

struct TargetFacts {
  std::shared_ptr<const TargetAuth> auth;
  std::uint16_t portal_group = 1;
};

class LoginMachine {
 public:
  enum class Step : std::uint8_t {
    reply,         // Send reply(); then wait for the next request.
    need_target,   // Find identity().target and call on_target().
    need_session,  // Ready for the full feature phase: make the session and call on_session().
    refused,       // Send reply(), then close.
    complete,      // Send reply(); the full feature phase begins.
  };

  // One PDU: its header and its text. A PDU that is not a login request is refused.
  Step on_request(const Header& header, std::string_view text, Random& random);
  Step on_target(std::optional<TargetFacts> facts, Random& random);
  Step on_session(LoginStatus verdict, std::uint16_t tsih);
  // Gives up from outside: too many logins, say. Only while a request awaits its answer.
  Step refuse(LoginStatus status);

  const LoginIdentity& identity() const { return identity_; }
  const OperationalParameters& parameters() const { return negotiator_.parameters(); }
  std::uint32_t cmd_sn() const { return cmd_sn_; }    // Of the first command of the session.
  std::uint32_t stat_sn() const { return stat_sn_; }  // Of the next response.
  // Valid after reply, refused and complete.
  const Header& reply_header() const { return reply_header_; }
  const std::string& reply_text() const { return reply_text_; }

 private:
  enum class Stage : std::uint8_t { security = 0, operational = 1, full_feature = 3 };

  LoginStatus check_header(const Header& header) const;
  LoginStatus identify(const std::vector<TextPair>& pairs);
  LoginStatus check_identity_keys(const std::vector<TextPair>& pairs) const;
  Step negotiate(Random& random);
  LoginStatus answer_keys(TextBuilder& answer, Random& random);
  Step grant(TextBuilder& answer);
  Step reply(std::uint8_t flags, std::string text);

  static constexpr unsigned kRequestsMax = 64;

  bool started_ = false;        // A request has come.
  bool identified_ = false;     // The first complete request has been read.
  bool answered_first_ = false; // The first complete answer has been given: TargetPortalGroupTag is in it.
  bool segment_declared_ = false;
  unsigned requests_ = 0;
  Stage stage_ = Stage::security;
  Header request_;              // The one that awaits its answer.
  std::string text_;            // Of the request so far: C bits glue PDUs together.
  LoginIdentity identity_;
  TargetFacts facts_;
  Authenticator authenticator_;
  Negotiator negotiator_;
  std::uint32_t itt_ = 0;
  std::uint32_t cmd_sn_ = 0;
  std::uint32_t stat_sn_ = 1;
  Header reply_header_;
  std::string reply_text_;
};

// How many command numbers a session may have open (MaxCmdSN - ExpCmdSN + 1).
inline constexpr std::uint32_t kCommandWindow = 128;

}  // namespace holdfast::scsi

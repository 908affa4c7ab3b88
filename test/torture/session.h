// One iSCSI session over one TCP connection (RFC 7143, ERL 0), as the kernel's initiator holds one to each portal. It never
// waits: its owner polls the socket and tells it. What it has to say comes as calls of SessionOwner.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"
#include "io/unique_fd.h"
#include "scsi/pdu.h"

namespace holdfast::torture {

struct ScsiRequest {
  std::array<std::byte, 16> cdb{};
  std::span<const std::byte> out;  // What goes to the target; lives until the answer.
  std::uint32_t in_bytes = 0;      // What may come back.
};

struct ScsiAnswer {
  std::uint8_t status = 0;         // GOOD is 0, CHECK CONDITION 2.
  std::uint8_t key = 0;            // Of the sense data; asc has its code in the high byte and the qualifier in the low one.
  std::uint16_t asc = 0;
  std::vector<std::byte> data;
  bool good() const { return status == 0; }
  std::string text() const;
};

using SessionTag = std::uint32_t;

class SessionOwner {
 public:
  virtual void session_up() = 0;
  // The connection is gone, with every command that was under way.
  virtual void session_down(const std::string& why) = 0;
  virtual void command_answered(SessionTag tag, ScsiAnswer answer) = 0;

 protected:
  ~SessionOwner() = default;
};

struct SessionOptions {
  std::string initiator, target;
  std::string address;             // IPv4
  std::uint16_t port = 3260;
  std::uint8_t isid = 1;           // Tells the sessions of one initiator apart.
};

class Session {
 public:
  enum class State : std::uint8_t { closed, connecting, logging_in, up };

  Session(SessionOptions options, SessionOwner& owner) : options_(std::move(options)), owner_(&owner) {}

  void connect();                  // In the network namespace of the calling thread.
  void close(const std::string& why);
  State state() const { return state_; }
  int fd() const { return socket_.get(); }
  short wanted_events() const;
  void handle_events(short events);

  SessionTag send(const ScsiRequest& request);
  void ping();                     // NOP-Out; the answer counts as a word of the target.
  BootNs last_word() const { return last_word_; }  // When anything came.
  // When the connection was tried, or the command went out.
  BootNs began() const { return began_; }
  std::size_t commands_under_way() const { return commands_.size(); }
  BootNs oldest_command() const;
  std::uint16_t port_group() const { return port_group_; }  // As the login told it.

 private:
  struct Command {
    ScsiRequest request;
    BootNs since;
    std::vector<std::byte> in;
  };
  void log_in();
  void take_login_answer(const scsi::Header& header, const std::string& text);
  void take(const scsi::Header& header, std::span<const std::byte> data);
  void take_data_in(const scsi::Header& header, std::span<const std::byte> data);
  void take_response(const scsi::Header& header, std::span<const std::byte> data);
  void send_wanted_data(const scsi::Header& r2t);
  void send_what_fits();
  void put(scsi::Header header, std::span<const std::byte> data);
  void flush();
  void receive();
  void finish(SessionTag tag, ScsiAnswer answer);

  SessionOptions options_;
  SessionOwner* owner_;
  State state_ = State::closed;
  io::UniqueFd socket_;
  std::vector<std::byte> inbound_;
  std::vector<std::byte> outbound_;
  std::size_t outbound_sent_ = 0;
  std::map<SessionTag, Command> commands_;
  std::deque<SessionTag> unsent_;              // Wait for the target's window.
  SessionTag next_tag_ = 1;
  std::uint32_t cmd_sn_ = 1, max_cmd_sn_ = 1, exp_stat_sn_ = 0;
  std::uint32_t first_burst_ = 65536, segment_ = 8192;
  std::uint16_t port_group_ = 0;
  BootNs last_word_{}, began_{};
};

}  // namespace holdfast::torture

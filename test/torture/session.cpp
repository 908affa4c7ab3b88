#include "test/torture/session.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/ensure.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"

namespace holdfast::torture {
namespace {

using scsi::Header;
using scsi::kNoTag;
using scsi::Opcode;

constexpr std::uint32_t kOurSegmentBytes = 1 << 20;
constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::uint32_t kLoginTag = 0;
constexpr std::uint8_t kOperationalToFull = 0x87;
constexpr std::uint8_t kFinal = 0x80, kRead = 0x40, kWrite = 0x20, kSimple = 1;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string value_of(const std::string& text, const std::string& key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::string pair(text.c_str() + at);
    if (pair.starts_with(key + "=")) return pair.substr(key.size() + 1);
    at += pair.size() + 1;
  }
  return {};
}

std::uint32_t number_of(const std::string& text, const std::string& key, std::uint32_t otherwise) {
  const std::string value = value_of(text, key);
  return value.empty() ? otherwise : static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 0));
}

}  // namespace

std::string ScsiAnswer::text() const {
  constexpr char kDigits[] = "0123456789abcdef";
  const auto hex = [&](unsigned v) { return std::string{kDigits[v >> 4 & 15], kDigits[v & 15]}; };
  return "status " + hex(status) + ", sense " + hex(key) + "/" + hex(asc >> 8) + "/" + hex(asc & 0xff);
}

void Session::connect() {
  ENSURE(state_ == State::closed);
  began_ = last_word_ = now();
  inbound_.clear();
  outbound_.clear();
  outbound_sent_ = 0;
  cmd_sn_ = max_cmd_sn_ = 1;
  first_burst_ = 65536;
  segment_ = 8192;
  socket_ = io::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in there{};
  there.sin_family = AF_INET;
  there.sin_port = htons(options_.port);
  require(::inet_pton(AF_INET, options_.address.c_str(), &there.sin_addr) == 1, options_.address + " is no address");
  state_ = State::connecting;
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&there), sizeof there) == 0) return log_in();
  if (errno != EINPROGRESS) close(system_text());
}

void Session::close(const std::string& why) {
  if (state_ == State::closed) return;
  state_ = State::closed;
  socket_.reset();
  commands_.clear();
  unsent_.clear();
  owner_->session_down(why);
}

short Session::wanted_events() const {
  const bool writes = state_ == State::connecting || outbound_sent_ < outbound_.size();
  return static_cast<short>(POLLIN | (writes ? POLLOUT : 0));
}

void Session::handle_events(short events) {
  if (state_ == State::connecting && (events & (POLLOUT | POLLERR | POLLHUP))) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return close(std::strerror(error));
    log_in();
    return;
  }
  if (events & POLLOUT) flush();
  if (state_ != State::closed && (events & (POLLIN | POLLERR | POLLHUP))) receive();
}

void Session::log_in() {
  state_ = State::logging_in;
  std::string text;
  for (const std::string& pair :
       {"InitiatorName=" + options_.initiator, std::string("SessionType=Normal"), "TargetName=" + options_.target, std::string("HeaderDigest=None"),
        std::string("DataDigest=None"), std::string("InitialR2T=No"), std::string("ImmediateData=Yes"),
        "MaxRecvDataSegmentLength=" + std::to_string(kOurSegmentBytes), std::string("MaxBurstLength=1048576"), std::string("FirstBurstLength=262144"),
        std::string("MaxOutstandingR2T=1"), std::string("DefaultTime2Wait=0"), std::string("DefaultTime2Retain=0"), std::string("ErrorRecoveryLevel=0"),
        std::string("MaxConnections=1")})
    text.append(pair).append(1, '\0');
  Header h;
  h.set8(0, 0x43).set8(1, kOperationalToFull);
  h.set8(8, 0x80).set8(11, options_.isid).set8(13, options_.isid);  // ISID of type "random"
  h.set32(16, kLoginTag).set32(24, cmd_sn_);
  put(h, bytes_of(text));
}

void Session::take_login_answer(const Header& header, const std::string& text) {
  if (header.u16(36) != 0) return close("the login was refused with status " + std::to_string(header.u16(36)));
  if ((header.flags() & kOperationalToFull) != kOperationalToFull) return close("the login wants more than one step");
  exp_stat_sn_ = header.u32(24) + 1;
  max_cmd_sn_ = header.u32(32);
  first_burst_ = std::min(number_of(text, "FirstBurstLength", 65536), 262144u);
  segment_ = number_of(text, "MaxRecvDataSegmentLength", 8192);
  port_group_ = static_cast<std::uint16_t>(number_of(text, "TargetPortalGroupTag", 0));
  state_ = State::up;
  owner_->session_up();
}

SessionTag Session::send(const ScsiRequest& request) {
  ENSURE(state_ == State::up);
  const SessionTag tag = next_tag_++;
  if (next_tag_ == kNoTag) next_tag_ = 1;
  commands_[tag] = Command{request, now(), {}};
  unsent_.push_back(tag);
  send_what_fits();
  return tag;
}

BootNs Session::oldest_command() const {
  BootNs oldest = now();
  for (const auto& [tag, command] : commands_) oldest = std::min(oldest, command.since);
  return oldest;
}

void Session::send_what_fits() {
  while (state_ == State::up && !unsent_.empty() && !scsi::serial_before(max_cmd_sn_, cmd_sn_)) {
    const SessionTag tag = unsent_.front();
    unsent_.pop_front();
    const ScsiRequest& request = commands_.at(tag).request;
    const std::size_t bytes = request.out.size();
    const std::size_t immediate = std::min<std::size_t>({bytes, first_burst_, segment_});
    Header h;
    const unsigned direction = bytes > 0 ? kWrite : request.in_bytes > 0 ? kRead : 0;
    h.set_opcode(Opcode::scsi_command).set8(1, static_cast<std::uint8_t>(kFinal | direction | kSimple));
    h.set32(16, tag).set32(20, bytes > 0 ? static_cast<std::uint32_t>(bytes) : request.in_bytes).set32(24, cmd_sn_++).set32(28, exp_stat_sn_);
    std::copy(request.cdb.begin(), request.cdb.end(), h.raw.begin() + 32);
    put(h, request.out.first(immediate));  // The rest is asked for.
  }
}

void Session::ping() {
  Header h;
  h.set8(0, 0x40).set8(1, kFinal).set32(16, next_tag_++).set32(20, kNoTag).set32(24, cmd_sn_).set32(28, exp_stat_sn_);
  put(h, {});
}

void Session::send_wanted_data(const Header& r2t) {
  const auto found = commands_.find(r2t.itt());
  if (found == commands_.end()) return;
  const std::span<const std::byte> all = found->second.request.out;
  std::size_t offset = r2t.u32(40);
  const std::size_t end = offset + r2t.u32(44);
  if (end > all.size()) return close("an R2T asks for more than the command has");
  for (std::uint32_t data_sn = 0; offset < end && state_ == State::up; ++data_sn) {
    const std::size_t piece = std::min<std::size_t>(segment_, end - offset);
    Header h;
    h.set_opcode(Opcode::data_out).set8(1, offset + piece == end ? kFinal : 0);
    h.set32(16, r2t.itt()).set32(20, r2t.ttt()).set32(28, exp_stat_sn_).set32(36, data_sn).set32(40, static_cast<std::uint32_t>(offset));
    put(h, all.subspan(offset, piece));
    offset += piece;
  }
}

void Session::put(Header header, std::span<const std::byte> data) {
  header.set_data_bytes(static_cast<std::uint32_t>(data.size()));
  outbound_.insert(outbound_.end(), header.raw.begin(), header.raw.end());
  outbound_.insert(outbound_.end(), data.begin(), data.end());
  outbound_.resize(outbound_.size() + scsi::padded(data.size()) - data.size());
  flush();
}

void Session::flush() {
  while (outbound_sent_ < outbound_.size()) {
    const ssize_t n = ::send(socket_.get(), outbound_.data() + outbound_sent_, outbound_.size() - outbound_sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) return close(system_text());
    outbound_sent_ += static_cast<std::size_t>(n);
  }
  outbound_.clear();
  outbound_sent_ = 0;
}

void Session::receive() {
  const std::size_t had = inbound_.size();
  inbound_.resize(had + kReadBytes);
  const ssize_t n = ::recv(socket_.get(), inbound_.data() + had, kReadBytes, 0);
  inbound_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  if (n == 0) return close("the target closed the connection");
  if (n < 0 && errno == EAGAIN) return;
  if (n < 0) return close(system_text());
  last_word_ = now();
  std::size_t at = 0;
  while (state_ != State::closed && inbound_.size() - at >= scsi::kHeaderBytes) {
    Header header;
    std::copy_n(inbound_.begin() + static_cast<std::ptrdiff_t>(at), scsi::kHeaderBytes, header.raw.begin());
    const std::size_t start = scsi::kHeaderBytes + header.ahs_bytes(), whole = start + scsi::padded(header.data_bytes());
    if (inbound_.size() - at < whole) break;
    const std::vector<std::byte> data(inbound_.begin() + static_cast<std::ptrdiff_t>(at + start),
                                      inbound_.begin() + static_cast<std::ptrdiff_t>(at + start + header.data_bytes()));
    at += whole;
    take(header, data);
  }
  if (state_ != State::closed) inbound_.erase(inbound_.begin(), inbound_.begin() + static_cast<std::ptrdiff_t>(at));
}

void Session::take(const Header& header, std::span<const std::byte> data) {
  if (header.opcode() == Opcode::login_response)
    return take_login_answer(header, std::string(reinterpret_cast<const char*>(data.data()), data.size()));
  if (!scsi::serial_before(header.u32(32), max_cmd_sn_)) max_cmd_sn_ = header.u32(32);
  const bool counts = header.opcode() == Opcode::data_in ? (header.flags() & 1) != 0 : header.opcode() != Opcode::r2t && header.itt() != kNoTag;
  if (counts || header.opcode() == Opcode::async_message || header.opcode() == Opcode::reject) exp_stat_sn_ = header.u32(24) + 1;
  switch (header.opcode()) {
    case Opcode::data_in: take_data_in(header, data); break;
    case Opcode::scsi_response: take_response(header, data); break;
    case Opcode::r2t: send_wanted_data(header); break;
    case Opcode::nop_in:
      if (header.ttt() != kNoTag) {
        Header h;
        h.set8(0, 0x40).set8(1, kFinal).set32(16, kNoTag).set32(20, header.ttt()).set32(24, cmd_sn_).set32(28, exp_stat_sn_);
        std::copy_n(header.raw.begin() + 8, 8, h.raw.begin() + 8);
        put(h, {});
      }
      break;
    case Opcode::async_message: close("the target asks to leave (event " + std::to_string(header.u8(36)) + ")"); break;
    case Opcode::reject: close("the target rejected a PDU (reason " + std::to_string(header.u8(2)) + ")"); break;
    default: close("an unexpected PDU of opcode " + std::to_string(static_cast<int>(header.opcode()))); break;
  }
  send_what_fits();
}

void Session::take_data_in(const Header& header, std::span<const std::byte> data) {
  const auto found = commands_.find(header.itt());
  if (found == commands_.end()) return;
  Command& command = found->second;
  const std::size_t offset = header.u32(40);
  if (offset + data.size() > command.request.in_bytes) return close("more data than was asked for");
  if (command.in.size() < offset + data.size()) command.in.resize(offset + data.size());
  std::copy(data.begin(), data.end(), command.in.begin() + static_cast<std::ptrdiff_t>(offset));
  if ((header.flags() & 1) == 0) return;
  ScsiAnswer answer;
  answer.status = header.u8(3);
  finish(header.itt(), std::move(answer));
}

void Session::take_response(const Header& header, std::span<const std::byte> data) {
  ScsiAnswer answer;
  answer.status = header.u8(3);
  if (header.u8(2) != 0) answer.status = 0xff;  // The command did not complete at the target.
  const auto byte = [&](std::size_t at) { return std::to_integer<std::uint8_t>(data[at]); };
  if (data.size() >= 16 && (byte(2) & 0x7f) >= 0x72) {  // Descriptor format.
    answer.key = byte(3) & 0x0f;
    answer.asc = static_cast<std::uint16_t>(byte(4) << 8 | byte(5));
  } else if (data.size() >= 16) {
    answer.key = byte(4) & 0x0f;
    answer.asc = static_cast<std::uint16_t>(byte(14) << 8 | byte(15));
  }
  finish(header.itt(), std::move(answer));
}

void Session::finish(SessionTag tag, ScsiAnswer answer) {
  const auto found = commands_.find(tag);
  if (found == commands_.end()) return;  // Of a command that was given up.
  answer.data = std::move(found->second.in);
  commands_.erase(found);
  owner_->command_answered(tag, std::move(answer));
}

}  // namespace holdfast::torture

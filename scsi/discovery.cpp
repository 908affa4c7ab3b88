#include "scsi/discovery.h"

#include "scsi/login_io.h"
#include "scsi/text_exchange.h"

namespace holdfast::scsi {
namespace {

struct Answer {
  Header header;
  std::string text;
  bool last = false;
};

class Discovery {
 public:
  Discovery(const LoginMachine& machine, const TargetDirectory* directory, std::string local_address)
      : exchange_(TextContext{directory, machine.identity().initiator, {}, std::move(local_address)}),
        segment_bytes_(machine.parameters().send_segment_bytes), exp_cmd_sn_(machine.cmd_sn()),
        stat_sn_(machine.stat_sn()) {}

  // Errc::protocol: close. An answer without an opcode is silence.
  Result<std::optional<Answer>> on_pdu(const Header& header, std::string_view text) {
    if (!header.immediate()) {
      if (header.cmd_sn() != exp_cmd_sn_) return fail(Errc::protocol);
      ++exp_cmd_sn_;
    }
    switch (header.opcode()) {
      case Opcode::text: return on_text(header, text);
      case Opcode::nop_out: {
        if (header.itt() == kNoTag) return std::nullopt;
        Answer answer = numbered(Opcode::nop_in, 0x80, header.itt());
        answer.header.set32(20, kNoTag);
        answer.text = text.substr(0, segment_bytes_);
        return answer;
      }
      case Opcode::logout: {
        Answer answer = numbered(Opcode::logout_response, 0x80, header.itt());
        answer.last = true;
        return answer;
      }
      default: return fail(Errc::protocol);  // Nothing else is allowed here (RFC 7143 §4.3): close.
    }
  }

 private:
  Result<std::optional<Answer>> on_text(const Header& header, std::string_view text) {
    const auto reply = exchange_.on_request(header, text, &segment_bytes_);
    if (!reply) return fail(reply.error());
    const auto flags = static_cast<std::uint8_t>((reply->final ? 0x80 : 0) | (reply->more_of_text ? 0x40 : 0));
    Answer answer = numbered(Opcode::text_response, flags, header.itt());
    answer.header.set32(20, reply->ttt);
    answer.text = reply->text;
    return answer;
  }

  Answer numbered(Opcode opcode, std::uint8_t flags, std::uint32_t itt) {
    Answer answer;
    answer.header = response_header(opcode, flags, itt);
    answer.header.set_stat_sn(stat_sn_++).set_window(exp_cmd_sn_, exp_cmd_sn_ + kCommandWindow - 1);
    return answer;
  }

  TextExchange exchange_;
  std::uint32_t segment_bytes_;
  std::uint32_t exp_cmd_sn_;
  std::uint32_t stat_sn_;
};

}  // namespace

Task<void> serve_discovery(Stream* stream, const LoginMachine* machine, const TargetDirectory* directory) {
  Discovery discovery(*machine, directory, stream->local_address());
  for (;;) {
    const auto pdu = co_await read_simple_pdu(stream);
    if (!pdu) co_return;
    const auto answer = discovery.on_pdu(pdu->header, pdu->text);
    if (!answer) co_return;
    if (!answer->has_value()) continue;
    const auto written = co_await write_simple_pdu(stream, (*answer)->header, (*answer)->text);
    if (!written || (*answer)->last) co_return;
  }
}

}  // namespace holdfast::scsi

// Text requests of the full feature phase (RFC 7143 §11.10): gathers a request over its C bits, answers SendTargets, and
// hands out a long answer in pieces, each asked for with the target transfer tag of the one before. No I/O.
#pragma once

#include <string>
#include <string_view>

#include "scsi/login.h"
#include "scsi/target_directory.h"

namespace holdfast::scsi {

struct TextReply {
  bool final = true;
  bool more_of_text = false;  // C bit: a key=value pair may go on in the next piece.
  std::uint32_t ttt = kNoTag;
  std::string_view text;      // Valid until the next request.
};

struct TextContext {
  const TargetDirectory* directory;
  std::string initiator;
  std::string target;         // The session's; empty: a discovery session.
  std::string local_address;  // Of the connection.
};

class TextExchange {
 public:
  explicit TextExchange(TextContext context) : context_(std::move(context)) {}

  // Errc::protocol: to be rejected; the exchange is as before the first request. segment_bytes_max: how much the
  // initiator takes in one PDU; a MaxRecvDataSegmentLength in the text changes it.
  Result<TextReply> on_request(const Header& header, std::string_view text, std::uint32_t* segment_bytes_max);

 private:
  Result<void> answer(std::uint32_t* segment_bytes_max);
  void send_targets(std::string_view which, TextBuilder& out) const;
  void add_target(const TargetEntry& entry, TextBuilder& out) const;
  enum class Turn : std::uint8_t { ours_may_end, theirs_goes_on };  // The initiator's F bit.
  TextReply next_piece(std::uint32_t segment_bytes_max, Turn turn);
  void reset();

  TextContext context_;
  std::string request_;
  std::string answer_;
  std::size_t answered_ = 0;      // Bytes of answer_ handed out.
  std::uint32_t ttt_ = kNoTag;    // What the next request of this exchange must carry.
  std::uint32_t next_ttt_ = 1;
};

}  // namespace holdfast::scsi

// Messages as frames, and back. Whatever comes over a link is checked here, whole, before anybody acts on it.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "engine/role_messages.h"
#include "rebuild/exchange.h"
#include "wal/frame_format.h"

namespace holdfast::engine {

// Appends the frame to `out`.
void encode_message(const Message& message, std::vector<std::byte>& out);

// The fixed part of a frame: how much follows. Errors: protocol, version_too_new.
Result<wal::FrameHeader> peek_frame(Bytes first_bytes);
// A whole head (header.head_bytes of it) that is no append. Errors: protocol; the message says which field.
Result<Message> decode_message(Bytes head);

// An append as the receiver sees it; the spans are of the head that was decoded.
struct AppendHead {
  wal::AppendBody body;
  std::vector<wal::RecordOnWire> records;
  std::vector<std::uint64_t> checksums;  // Of all records' blocks, in order.
};
Result<AppendHead> decode_append(Bytes head);
// Appends the frame's head to `out`; the payload blocks follow it on the link. checksums: one a payload block.
void encode_append(const wal::AppendBody& body, std::span<const wal::RecordOnWire> records, std::span<const std::uint64_t> checksums,
                   std::vector<std::byte>& out);

// Of the rebuild. An answer's payload follows its head.
void encode_question(const rebuild::Question& question, std::vector<std::byte>& out);
void encode_answer(const rebuild::Answer& answer, std::vector<std::byte>& out);
Result<rebuild::Question> decode_question(Bytes head);
Result<rebuild::Answer> decode_answer(Bytes head, Buffer payload);

}  // namespace holdfast::engine

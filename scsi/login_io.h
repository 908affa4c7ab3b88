// Login PDUs on a stream: read exactly, so that nothing is left over when the stream moves to another thread. No digests
// are in force yet (RFC 7143 §6.3).
#pragma once

#include <string>

#include "base/stream.h"
#include "scsi/login.h"
#include "scsi/pdu.h"

namespace holdfast::scsi {

struct SimplePdu {
  Header header;
  std::string text;
};

// Errc::protocol when the data segment is longer than the default of 8192 bytes.
Task<Result<SimplePdu>> read_simple_pdu(Stream* stream);
Task<Result<void>> write_simple_pdu(Stream* stream, Header header, std::string text);
// What the machine has prepared.
Task<Result<void>> write_login_reply(Stream* stream, const LoginMachine* machine);

// Answers requests until the machine asks for something or ends; the result is the step that the caller has to handle.
// `first`: the step that awaits handling now.
Task<Result<LoginMachine::Step>> converse(Stream* stream, LoginMachine* machine, LoginMachine::Step first,
                                          Random* random);
// Reads one request into the machine.
Task<Result<LoginMachine::Step>> next_request(Stream* stream, LoginMachine* machine, Random* random);

}  // namespace holdfast::scsi

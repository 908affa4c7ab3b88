// What OpenSSL's error queue means to an operator. Internal to this room.
#pragma once

#include <string>

#include "base/result.h"

struct ssl_st;

namespace holdfast::io {

// The newest error of this thread's queue in OpenSSL's words; the queue is empty afterwards.
std::string take_tls_reason();

// Why a connection failed, and what to do. Empties the queue. Codes: permission (one side does not accept the other), protocol
// (what came is no TLS, or is damaged).
Error take_tls_error(const ssl_st* connection);

}  // namespace holdfast::io

// Result<T>: how hostile input, full disks and lost peers are reported. Our own bugs trap instead (ensure.h).
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace holdfast {

enum class Errc : std::uint8_t {
  io_error = 1,      // The device answered with an error.
  sync_failed,       // A flush failed: final for that store, never retried.
  out_of_range,      // Beyond the end of a volume, buffer or file.
  no_space,          // Backing space cannot be reserved (SCSI 07/27/07).
  corrupt,           // A checksum does not match; no good copy is known.
  damaged,           // A log record that was durable is unreadable: refuse to serve.
  fenced,            // The epoch has moved on.
  closed,            // The peer or the owner closed it.
  cancelled,         // Given up before it took effect.
  invalid_argument,  // The caller's value is not acceptable; the message names it.
  not_found,
  exists,
  busy,
  locked,            // Another process holds it.
  permission,
  unsupported,
  version_too_new,   // Written by a newer format than this program knows.
  foreign,           // Not ours: no or another magic, another store's id.
  truncated,         // Shorter than its own superblock says.
  timed_out,
  miscompare,        // COMPARE AND WRITE found other data.
  protocol,          // The peer broke the protocol.
  overloaded,        // A bound was reached; try again later.
};

std::string_view errc_name(Errc code);

// The message says what is wrong, where, and what to do. It is empty on the I/O path, where nothing is allocated.
struct Error {
  Errc code;
  std::string message;

  Error(Errc c) : code(c) {}  // NOLINT: an Errc is an Error.
  Error(Errc c, std::string m) : code(c), message(std::move(m)) {}
  std::string text() const;
};

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Errc code) { return std::unexpected<Error>(Error(code)); }
inline std::unexpected<Error> fail(Errc code, std::string message) {
  return std::unexpected<Error>(Error(code, std::move(message)));
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(std::move(error)); }

}  // namespace holdfast

// Passes an error on to the caller. In a coroutine use CO_TRY.
#define HF_CONCAT_(a, b) a##b
#define HF_CONCAT(a, b) HF_CONCAT_(a, b)
#define TRY(expression)                                                         \
  if (auto HF_CONCAT(try_, __LINE__) = (expression); !HF_CONCAT(try_, __LINE__)) \
  return ::holdfast::fail(std::move(HF_CONCAT(try_, __LINE__)).error())
#define CO_TRY(expression)                                                      \
  if (auto HF_CONCAT(try_, __LINE__) = (expression); !HF_CONCAT(try_, __LINE__)) \
  co_return ::holdfast::fail(std::move(HF_CONCAT(try_, __LINE__)).error())

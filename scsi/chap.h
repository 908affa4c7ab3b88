// CHAP (RFC 7143 §12.1, RFC 1994): secrets, responses and the text form of binary values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace holdfast::scsi {

enum class ChapAlgorithm : std::uint8_t { md5 = 5, sha1 = 6, sha256 = 7, sha3_256 = 8 };

inline constexpr std::size_t kChapChallengeBytes = 32;
inline constexpr std::size_t kChapBinaryBytesMax = 1024;  // §12.1.3
inline constexpr std::size_t kChapSecretBytesMin = 12;    // 96 bits (§9.2.1).

struct ChapCredentials {
  std::string user;
  std::string secret;
};

// Who may log in to a target (or list targets). Checked when it is configured, by check_auth().
struct TargetAuth {
  std::optional<ChapCredentials> chap;    // What initiators prove; absent: no authentication.
  std::optional<ChapCredentials> mutual;  // What we prove when an initiator asks.
  std::vector<ChapAlgorithm> algorithms{ChapAlgorithm::md5, ChapAlgorithm::sha1, ChapAlgorithm::sha256,
                                        ChapAlgorithm::sha3_256};
  std::vector<std::string> initiators;    // Allowed initiator names, in lower case; empty: all.
  bool short_secrets_allowed = false;     // For tests and old hosts.

  bool admits(std::string_view initiator) const;
};

// What is wrong with a configuration: a secret under 96 bits, the same secret both ways, no algorithm, mutual alone.
Result<void> check_auth(const TargetAuth& auth);

// H(id | secret | challenge).
std::vector<std::byte> chap_response(ChapAlgorithm algorithm, std::uint8_t id, std::string_view secret,
                                     Bytes challenge);

// In a time that does not depend on where they differ.
bool equal_in_constant_time(Bytes a, Bytes b);

std::string encode_hex(Bytes bytes);                                    // "0x…"
std::optional<std::vector<std::byte>> decode_binary(std::string_view text);  // "0x…" or "0b…", 1 … 1024 bytes.

}  // namespace holdfast::scsi

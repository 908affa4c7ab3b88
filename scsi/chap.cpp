#include "scsi/chap.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "base/ensure.h"

namespace holdfast::scsi {
namespace {

const EVP_MD* digest_of(ChapAlgorithm algorithm) {
  switch (algorithm) {
    case ChapAlgorithm::md5: return EVP_md5();
    case ChapAlgorithm::sha1: return EVP_sha1();
    case ChapAlgorithm::sha256: return EVP_sha256();
    case ChapAlgorithm::sha3_256: return EVP_sha3_256();
  }
  return nullptr;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

std::optional<std::vector<std::byte>> decode_hex(std::string_view digits) {
  std::vector<std::byte> bytes;
  unsigned value = 0;
  // An odd number of digits means a leading zero.
  for (std::size_t i = 0, place = digits.size() % 2; i < digits.size(); ++i, ++place) {
    const int nibble = hex_value(digits[i]);
    if (nibble < 0) return std::nullopt;
    value = value << 4 | static_cast<unsigned>(nibble);
    if (place % 2 == 1) bytes.push_back(std::byte(value & 0xff));
  }
  return bytes;
}

std::optional<std::vector<std::byte>> decode_base64(std::string_view digits) {
  std::size_t pads = 0;
  while (!digits.empty() && digits.back() == '=' && pads < 2) {
    digits.remove_suffix(1);
    ++pads;
  }
  if ((digits.size() + pads) % 4 != 0) return std::nullopt;
  std::vector<std::byte> bytes;
  unsigned value = 0;
  unsigned bits = 0;
  for (const char c : digits) {
    const int six = base64_value(c);
    if (six < 0) return std::nullopt;
    value = value << 6 | static_cast<unsigned>(six);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push_back(std::byte(value >> bits & 0xff));
    }
  }
  return bytes;
}

}  // namespace

bool TargetAuth::admits(std::string_view initiator) const {
  return initiators.empty() || std::ranges::find(initiators, initiator) != initiators.end();
}

Result<void> check_auth(const TargetAuth& auth) {
  if (auth.mutual && !auth.chap) return fail(Errc::invalid_argument, "mutual CHAP needs CHAP as well");
  if (auth.chap && auth.algorithms.empty()) return fail(Errc::invalid_argument, "CHAP needs at least one algorithm");
  for (const auto* credentials : {&auth.chap, &auth.mutual}) {
    if (!*credentials) continue;
    if ((*credentials)->user.empty() || (*credentials)->user.size() > 255)
      return fail(Errc::invalid_argument, "a CHAP user name has 1 to 255 characters");
    const std::size_t secret_bytes = (*credentials)->secret.size();
    if (secret_bytes == 0 || secret_bytes > 255)
      return fail(Errc::invalid_argument, "a CHAP secret has at most 255 characters, and at least one");
    if (secret_bytes < kChapSecretBytesMin && !auth.short_secrets_allowed)
      return fail(Errc::invalid_argument, "a CHAP secret has at least 12 characters (96 bits, RFC 7143 section 9.2.1)");
  }
  if (auth.chap && auth.mutual && auth.chap->secret == auth.mutual->secret)
    return fail(Errc::invalid_argument, "the two CHAP secrets must differ, or a challenge can be reflected");
  return {};
}

std::vector<std::byte> chap_response(ChapAlgorithm algorithm, std::uint8_t id, std::string_view secret,
                                     Bytes challenge) {
  const std::byte id_byte{id};
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned digest_bytes = 0;
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ENSURE(context != nullptr);
  const bool done = EVP_DigestInit_ex(context, digest_of(algorithm), nullptr) == 1 &&
                    EVP_DigestUpdate(context, &id_byte, 1) == 1 &&
                    EVP_DigestUpdate(context, secret.data(), secret.size()) == 1 &&
                    EVP_DigestUpdate(context, challenge.data(), challenge.size()) == 1 &&
                    EVP_DigestFinal_ex(context, digest.data(), &digest_bytes) == 1;
  EVP_MD_CTX_free(context);
  if (!done) return {};  // A FIPS library has no MD5: an empty response matches nothing.
  const auto bytes = std::as_bytes(std::span(digest.data(), digest_bytes));
  return {bytes.begin(), bytes.end()};
}

bool equal_in_constant_time(Bytes a, Bytes b) {
  return a.size() == b.size() && !a.empty() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string encode_hex(Bytes bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "0x";
  for (const std::byte b : bytes) {
    text += kDigits[std::to_integer<unsigned>(b) >> 4];
    text += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

std::optional<std::vector<std::byte>> decode_binary(std::string_view text) {
  if (text.size() < 3 || text.size() > 2 + 2 * kChapBinaryBytesMax || text[0] != '0') return std::nullopt;
  const std::string_view digits = text.substr(2);
  std::optional<std::vector<std::byte>> bytes;
  if (text[1] == 'x' || text[1] == 'X') bytes = decode_hex(digits);
  else if (text[1] == 'b' || text[1] == 'B') bytes = decode_base64(digits);
  if (!bytes || bytes->empty() || bytes->size() > kChapBinaryBytesMax) return std::nullopt;
  return bytes;
}

}  // namespace holdfast::scsi

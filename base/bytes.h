// Fixed-endian loads and stores. Disk formats are little-endian, SCSI and iSCSI big-endian.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace holdfast {

static_assert(std::endian::native == std::endian::little, "The disk formats are laid out for little-endian hosts.");

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

constexpr std::uint16_t byte_swap(std::uint16_t v) { return __builtin_bswap16(v); }
constexpr std::uint32_t byte_swap(std::uint32_t v) { return __builtin_bswap32(v); }
constexpr std::uint64_t byte_swap(std::uint64_t v) { return __builtin_bswap64(v); }

template <std::unsigned_integral T>
T load_be(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  if constexpr (sizeof(T) == 1) return v;
  else return byte_swap(v);
}

template <std::unsigned_integral T>
void store_be(std::byte* p, T v) {
  if constexpr (sizeof(T) > 1) v = byte_swap(v);
  std::memcpy(p, &v, sizeof v);
}

template <std::unsigned_integral T>
T load_le(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <std::unsigned_integral T>
void store_le(std::byte* p, T v) { std::memcpy(p, &v, sizeof v); }

inline std::uint32_t load_be24(const std::byte* p) {
  return std::to_integer<std::uint32_t>(p[0]) << 16 | std::to_integer<std::uint32_t>(p[1]) << 8 |
         std::to_integer<std::uint32_t>(p[2]);
}
inline void store_be24(std::byte* p, std::uint32_t v) {
  p[0] = std::byte(v >> 16);
  p[1] = std::byte(v >> 8);
  p[2] = std::byte(v);
}

inline Bytes as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

template <class T>
Bytes bytes_of(const T& value) { return std::as_bytes(std::span<const T, 1>(&value, 1)); }

}  // namespace holdfast

// What a volume may be called and how large it may be: the same rules for the API, the CLI and the registry on disk.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast::admin {

inline constexpr std::size_t kVolumeNameBytesMax = 63;
inline constexpr std::uint64_t kVolumeSizeUnit = 64ULL << 10;
inline constexpr std::uint64_t kVolumeSizeMin = 1ULL << 20;
inline constexpr std::uint64_t kVolumeSizeMax = 1ULL << 50;
inline constexpr std::uint64_t kLogSizeUnit = 4096;
inline constexpr std::uint64_t kLogSizeMin = 4ULL << 20;
inline constexpr std::uint64_t kLogSizeMax = 64ULL << 30;

// Errors start with the field: "name: …", "size: …", "log_size: …", "device: …".
Result<void> check_volume_name(std::string_view name);
Result<void> check_volume_size(std::uint64_t bytes);
Result<void> check_log_size(std::uint64_t bytes);
Result<void> check_device_path(std::string_view path);

// Text of strangers in messages and logs: printable ASCII stays, everything else becomes \xNN, and it is cut at 80 bytes.
std::string printable(std::string_view text);

std::string uuid_text(const std::array<std::uint8_t, 16>& uuid);

}  // namespace holdfast::admin

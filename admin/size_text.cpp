#include "admin/size_text.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <span>

#include "admin/names.h"

namespace holdfast::admin {
namespace {

struct Scale {
  std::string_view unit;
  std::uint64_t factor;
};
constexpr std::array<Scale, 6> kSizes{{{"B", 1},
                                       {"KiB", 1ULL << 10},
                                       {"MiB", 1ULL << 20},
                                       {"GiB", 1ULL << 30},
                                       {"TiB", 1ULL << 40},
                                       {"PiB", 1ULL << 50}}};
constexpr std::array<Scale, 4> kDurations{{{"ms", 1}, {"s", 1000}, {"min", 60'000}, {"h", 3'600'000}}};
constexpr std::size_t kTextBytesMax = 64;

std::string quoted(std::string_view text) {
  if (text.size() > kTextBytesMax) return "a text of " + std::to_string(text.size()) + " characters";
  return "\"" + printable(text) + "\"";
}

std::string units(std::span<const Scale> scales) {
  std::string out;
  for (const Scale& scale : scales) out.append(out.empty() ? "" : ", ").append(scale.unit);
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// What the unit should have been, for the units that people write instead.
std::string hint(std::string_view unit) {
  if (unit == "K" || unit == "k" || unit == "KB" || unit == "kB" || unit == "kb") return " (did you mean KiB?)";
  if (unit == "M" || unit == "MB" || unit == "Mb" || unit == "mb" || unit == "m") return " (did you mean MiB?)";
  if (unit == "G" || unit == "GB" || unit == "Gb" || unit == "gb" || unit == "g") return " (did you mean GiB?)";
  if (unit == "T" || unit == "TB" || unit == "tb" || unit == "t") return " (did you mean TiB?)";
  if (unit == "P" || unit == "PB" || unit == "pb" || unit == "p") return " (did you mean PiB?)";
  return "";
}

struct What {
  std::string_view noun;     // "size"
  std::string_view example;  // "256MiB"
};

Result<std::uint64_t> parse_scaled(std::string_view text, std::span<const Scale> scales, What what) {
  const auto wrong = [&](std::string_view why) {
    std::string message = quoted(text);
    message.append(" ").append(why).append("; write a whole number and one of ").append(units(scales));
    message.append(", like \"").append(what.example).append("\"");
    return fail(Errc::invalid_argument, std::move(message));
  };
  if (text.empty()) return wrong("is empty");
  if (text.front() == '-') return wrong("is negative");
  std::size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) ++digits;
  if (digits == 0) return wrong("does not start with a number");
  std::string_view unit = text.substr(digits);
  if (unit.starts_with('.') || unit.starts_with(',')) return wrong("is not a whole number");
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  if (unit.empty()) return wrong("has no unit");
  std::uint64_t factor = 0;
  for (const Scale& scale : scales) {
    if (scale.unit == unit) factor = scale.factor;
  }
  if (factor == 0) return wrong("has an unknown unit" + (scales.front().unit == "B" ? hint(unit) : std::string()));
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (error != std::errc() || end != text.data() + digits || number > std::numeric_limits<std::uint64_t>::max() / factor) {
    return wrong("is beyond every possible " + std::string(what.noun));
  }
  return number * factor;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  return parse_scaled(text, kSizes, {.noun = "size", .example = "256MiB"});
}

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  auto ms = parse_scaled(text, kDurations, {.noun = "duration", .example = "5s"});
  if (!ms) return fail(std::move(ms).error());
  constexpr std::uint64_t kHundredYearsMs = 100ULL * 366 * 24 * 3'600'000;
  if (*ms > kHundredYearsMs) return fail(Errc::invalid_argument, quoted(text) + " is longer than a hundred years");
  return static_cast<std::int64_t>(*ms);
}

std::string size_text(std::uint64_t bytes) {
  const Scale* scale = &kSizes.front();
  for (const Scale& candidate : kSizes) {
    if (bytes >= candidate.factor) scale = &candidate;
  }
  const std::uint64_t whole = bytes / scale->factor;
  // Down, so that 1023.99 MiB never reads as 1024 MiB; a factor of 1 has no tenths.
  const auto tenths =
      static_cast<unsigned>(static_cast<double>(bytes % scale->factor) / static_cast<double>(scale->factor) * 10.0);
  std::string out = std::to_string(whole);
  if (tenths > 0) out.append(".").append(std::to_string(tenths));
  return out.append(" ").append(scale->unit);
}

std::string exact_size_text(std::uint64_t bytes) {
  const Scale* scale = &kSizes.front();
  for (const Scale& candidate : kSizes) {
    if (bytes > 0 && bytes % candidate.factor == 0) scale = &candidate;
  }
  return std::to_string(bytes / scale->factor).append(scale->unit);
}

std::string duration_text(std::uint64_t ms) {
  char out[48];
  const std::uint64_t s = ms / 1000;
  if (ms < 1000) {
    std::snprintf(out, sizeof out, "%llu ms", static_cast<unsigned long long>(ms));
  } else if (s < 60) {
    std::snprintf(out, sizeof out, "%llu s", static_cast<unsigned long long>(s));
  } else if (s < 3600) {
    std::snprintf(out, sizeof out, "%llu min %llu s", static_cast<unsigned long long>(s / 60),
                  static_cast<unsigned long long>(s % 60));
  } else if (s < 86400) {
    std::snprintf(out, sizeof out, "%llu h %llu min", static_cast<unsigned long long>(s / 3600),
                  static_cast<unsigned long long>(s / 60 % 60));
  } else {
    std::snprintf(out, sizeof out, "%llu d %llu h", static_cast<unsigned long long>(s / 86400),
                  static_cast<unsigned long long>(s / 3600 % 24));
  }
  return out;
}

}  // namespace holdfast::admin

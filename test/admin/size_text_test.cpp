#include "admin/size_text.h"

#include <gtest/gtest.h>

namespace holdfast::admin {
namespace {

TEST(SizeText, Parse_EveryUnit_IsAPowerOf1024) {
  EXPECT_EQ(parse_size("1B").value(), 1u);
  EXPECT_EQ(parse_size("3KiB").value(), 3072u);
  EXPECT_EQ(parse_size("256MiB").value(), 256ULL << 20);
  EXPECT_EQ(parse_size("10 GiB").value(), 10ULL << 30);
  EXPECT_EQ(parse_size("16383PiB").value(), 16383ULL << 50);
}

TEST(SizeText, Parse_WrongText_IsRefused) {
  for (const char* text : {"", " ", "5", "5GB", "5gib", "-5GiB", "+5GiB", "1.5GiB", "1,5GiB", "0x10MiB", "5GiB ", "5  GiB",
                           "16384PiB", "18446744073709551616B", "GiB", "5 GiBB"}) {
    EXPECT_FALSE(parse_size(text).has_value()) << text;
  }
}

TEST(SizeText, Text_RoundsDown_AndNeverShowsTheNextUnit) {
  EXPECT_EQ(size_text(0), "0 B");
  EXPECT_EQ(size_text(1023), "1023 B");
  EXPECT_EQ(size_text(1536), "1.5 KiB");
  EXPECT_EQ(size_text((1ULL << 30) - 1), "1023.9 MiB");
  EXPECT_EQ(size_text(10ULL << 30), "10 GiB");
}

TEST(SizeText, ExactText_IsReadBackUnchanged) {
  for (const std::uint64_t bytes : {1ULL, 4096ULL, 1536ULL << 20, (1ULL << 50) - 1, ~0ULL}) {
    EXPECT_EQ(parse_size(exact_size_text(bytes)).value(), bytes);
  }
}

TEST(DurationText, Parse_Units_AreMilliseconds) {
  EXPECT_EQ(parse_duration_ms("250ms").value(), 250);
  EXPECT_EQ(parse_duration_ms("5s").value(), 5000);
  EXPECT_EQ(parse_duration_ms("2min").value(), 120'000);
  EXPECT_EQ(parse_duration_ms("1h").value(), 3'600'000);
  EXPECT_FALSE(parse_duration_ms("5").has_value());
  EXPECT_FALSE(parse_duration_ms("5m").has_value());
  EXPECT_FALSE(parse_duration_ms("9999999999999h").has_value());
}

}  // namespace
}  // namespace holdfast::admin

#include "base/base64.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(Base64, AllLengths_ThereAndBack) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 70; ++i) {
    const auto back = from_base64(to_base64(bytes));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, bytes);
    bytes.push_back(static_cast<std::byte>(i * 37));
  }
  for (const char* wrong : {"A", "AAA", "A=AA", "AA*A"}) EXPECT_FALSE(from_base64(wrong)) << wrong;
}

}  // namespace
}  // namespace holdfast

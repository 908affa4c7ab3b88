#include "base/checksum.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace holdfast {
namespace {

// RFC 7143 Appendix A.4 / RFC 3720 B.4: the CRC of 32 bytes of zeros, of ones, and of 0 … 31.
TEST(Crc32c, Rfc7143Vectors_WholeBuffer_Match) {
  std::array<std::byte, 32> data{};
  EXPECT_EQ(crc32c(data), 0x8a9136aaU);
  data.fill(std::byte{0xff});
  EXPECT_EQ(crc32c(data), 0x62a8ab43U);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = std::byte(i);
  EXPECT_EQ(crc32c(data), 0x46dd794eU);
}

TEST(Crc32c, DataInPieces_SeededWithThePrevious_EqualsTheWhole) {
  std::vector<std::byte> data(1000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = std::byte(i * 7);
  const auto first = crc32c(Bytes(data).first(333));
  EXPECT_EQ(crc32c(Bytes(data).subspan(333), first), crc32c(data));
}

}  // namespace
}  // namespace holdfast

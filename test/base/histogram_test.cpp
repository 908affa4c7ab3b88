#include "base/histogram.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(LatencyHistogram, Values_FallIntoTheirBuckets) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.quantile_us(50), 0u);
  histogram.add(DurationNs{-5});
  histogram.add(DurationNs{999});
  histogram.add(microseconds(1));
  histogram.add(microseconds(1'000));
  histogram.add(milliseconds(3'600'000));
  EXPECT_EQ(histogram.in_bucket(0), 2u);
  EXPECT_EQ(histogram.in_bucket(1), 1u);
  EXPECT_EQ(histogram.in_bucket(10), 1u);  // 512 to 1023 µs.
  EXPECT_EQ(histogram.in_bucket(LatencyHistogram::kBuckets - 1), 1u);
  EXPECT_EQ(histogram.count(), 5u);
  EXPECT_EQ(histogram.sum_us(), 3'600'001'001u);
  EXPECT_EQ(histogram.longest_us(), 3'600'000'000u);
  EXPECT_EQ(histogram.quantile_us(40), 1u);
  EXPECT_EQ(histogram.quantile_us(60), 2u);
  EXPECT_EQ(histogram.quantile_us(80), 1024u);
}

}  // namespace
}  // namespace holdfast

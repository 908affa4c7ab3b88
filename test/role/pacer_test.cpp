// A rate for work in the background.
#include "engine/pacer.h"

#include <gtest/gtest.h>

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kPerMs = 1'000;
constexpr BootNs kBegin{1'000'000'000};

std::int64_t ms(DurationNs time) { return time.value / 1'000'000; }

TEST(Pace, NoRate_NobodyWaits) {
  Pacer pacer(0);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(pacer.take(kBegin, 1 << 30), DurationNs{});
  EXPECT_EQ(pacer.debt(kBegin), DurationNs{});
}

TEST(Pace, MuchIsTakenAtOnce_EachWaitsForAllBefore) {
  Pacer pacer(kPerMs * 1'000);
  EXPECT_EQ(ms(pacer.take(kBegin, 100 * kPerMs)), 0);
  EXPECT_EQ(ms(pacer.take(kBegin, 100 * kPerMs)), 100 - Pacer::kBurstMs);
  EXPECT_EQ(ms(pacer.take(kBegin, 100 * kPerMs)), 200 - Pacer::kBurstMs);
  EXPECT_EQ(ms(pacer.debt(kBegin)), 300 - Pacer::kBurstMs);
}

// An hour of rest is no licence for an hour's bytes.
TEST(Pace, Rest_IsNotSavedUpBeyondTheBurst) {
  Pacer pacer(kPerMs * 1'000);
  (void)pacer.take(kBegin, 100 * kPerMs);
  const BootNs later = kBegin + milliseconds(3'600'000);
  EXPECT_EQ(pacer.debt(later), DurationNs{});
  EXPECT_EQ(ms(pacer.take(later, 100 * kPerMs)), 0);
  EXPECT_EQ(ms(pacer.take(later, 1)), 100 - Pacer::kBurstMs);
}

}  // namespace
}  // namespace holdfast::engine

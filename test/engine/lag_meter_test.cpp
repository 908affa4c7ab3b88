#include "engine/lag_meter.h"

#include <gtest/gtest.h>

namespace holdfast::engine {
namespace {

BootNs at_ms(std::int64_t ms) { return BootNs{ms * 1'000'000}; }

TEST(LagMeter, CopyThatHasEverything_IsNotBehind) {
  LagMeter meter;
  meter.note(at_ms(0), {Lsn(10), 100});
  EXPECT_EQ(meter.lag_of(Lsn(10), at_ms(50), {Lsn(10), 100}).bytes, 0u);
  EXPECT_EQ(meter.lag_of(Lsn(12), at_ms(50), {Lsn(10), 100}).age.value, 0);
}

// Ten records a second of two blocks each; a copy that stopped at record 30 lacks seven seconds of them after ten.
TEST(LagMeter, CopyThatStopped_IsBehindByWhatWasWrittenSince) {
  LagMeter meter;
  for (std::uint64_t n = 1; n <= 100; ++n) meter.note(at_ms(static_cast<std::int64_t>(n) * 100), {Lsn(n), 2 * n});
  const auto lag = meter.lag_of(Lsn(30), at_ms(10'000), {Lsn(100), 200});
  EXPECT_EQ(lag.bytes, 140 * kBlockBytes);
  EXPECT_EQ(lag.age.value, at_ms(6'900).value);
}

TEST(LagMeter, BetweenTwoNotes_BytesAreInProportion) {
  LagMeter meter;
  meter.note(at_ms(0), {Lsn(100), 1'000});
  meter.note(at_ms(100), {Lsn(200), 2'000});
  EXPECT_EQ(meter.lag_of(Lsn(150), at_ms(100), {Lsn(200), 2'000}).bytes, 500 * kBlockBytes);
  EXPECT_EQ(meter.lag_of(Lsn(210), at_ms(130), {Lsn(220), 2'200}).bytes, 100 * kBlockBytes) << "what came after the last note counts";
}

TEST(LagMeter, NotesOfHours_StayFewAndTellAboutRight) {
  LagMeter meter;
  constexpr std::int64_t kHourMs = 3'600'000, kStepMs = 25;
  std::uint64_t n = 1;
  for (std::int64_t ms = 0; ms <= 2 * kHourMs; ms += kStepMs) meter.note(at_ms(ms), {Lsn(n), n}), ++n;
  for (const std::uint64_t behind : {n / 2, n / 20, n / 1000}) {
    const auto lag = meter.lag_of(Lsn(n - 1 - behind), at_ms(2 * kHourMs), {Lsn(n - 1), n - 1});
    const double age = static_cast<double>(behind) * static_cast<double>(kStepMs) * 1e6, bytes = static_cast<double>(behind * kBlockBytes);
    EXPECT_NEAR(static_cast<double>(lag.age.value), age, age / 10) << behind;
    EXPECT_NEAR(static_cast<double>(lag.bytes), bytes, bytes / 100) << behind;
  }
}

TEST(LagMeter, LogIsCut_NothingIsToldOfWhatWasThere) {
  LagMeter meter;
  meter.note(at_ms(0), {Lsn(10), 10});
  meter.note(at_ms(100), {Lsn(20), 20});
  meter.note(at_ms(200), {Lsn(15), 15});
  EXPECT_EQ(meter.lag_of(Lsn(10), at_ms(300), {Lsn(15), 15}).bytes, 5 * kBlockBytes);
  EXPECT_EQ(meter.lag_of(Lsn(10), at_ms(300), {Lsn(15), 15}).age.value, at_ms(100).value);
}

// As many records as before the cut, and fewer blocks: also between the cut and the next note.
TEST(LagMeter, LogIsCutAndFilledAgain_FewerBlocksAreNoUnderflow) {
  LagMeter meter;
  meter.note(at_ms(0), {Lsn(10), 10});
  meter.note(at_ms(100), {Lsn(20), 500});
  for (const bool noted : {false, true}) {
    if (noted) meter.note(at_ms(200), {Lsn(20), 20});
    for (const std::uint64_t has : {5, 10, 15, 19}) EXPECT_LE(meter.lag_of(Lsn(has), at_ms(300), {Lsn(20), 20}).bytes, 20 * kBlockBytes) << has << noted;
    EXPECT_LE(meter.lag_of(Lsn(20), at_ms(300), {Lsn(21), 21}).bytes, 21 * kBlockBytes) << noted;
  }
}

}  // namespace
}  // namespace holdfast::engine

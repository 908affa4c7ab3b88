// A store so simple that it is plainly right: everything in memory, and a journal with one durable write an operation.
// The harness must find nothing in it, and must find each of its bugs. It is never shipped.
#pragma once

#include "test/crash/process.h"

namespace holdfast::crash {

enum class FakeBug : std::uint8_t {
  none,
  not_durable,        // The journal is written without being made durable.
  checksum_ignored,   // A torn entry is taken as whole.
  early_ack,          // Answers before the journal is written.
  stale_read,         // Sometimes reads a block as it was before.
  compare_races,      // Compares, suspends, and then writes.
};
inline FakeBug fake_bug = FakeBug::none;

extern const StoreMaker kFakeStore;

}  // namespace holdfast::crash

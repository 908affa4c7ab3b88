// The role machine alone, many of it, against a network, disks, clocks and a register that misbehave. Logs are lists of
// (epoch, value) here, so that a seed costs a millisecond: what is wrong with the decisions is found in this world first.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/role.h"
#include "test/sim/random.h"

namespace holdfast::protocol {

using engine::Bound;
using engine::RoleMachine;
using engine::SessionId;

// True time in nanoseconds; each node's clock drifts from it.
using TrueNs = std::int64_t;
constexpr TrueNs kMs = 1'000'000;

struct Shape {
  std::uint64_t seed = 1;
  unsigned nodes = 3;
  TrueNs chaos = 20'000 * kMs;
  bool narrate = false;
};

struct Tally {
  std::uint64_t events = 0, crashes = 0, power_losses = 0, pauses = 0, breaks = 0, partitions = 0, one_way = 0, wipes = 0,
                register_outages = 0, unknown_swaps = 0, take_overs = 0, hand_overs = 0, acks = 0, reads = 0, removals = 0, joins = 0,
                slow_disks = 0;
  void add(const Tally& other);
};

struct Verdict {
  std::optional<std::string> failure;
  std::uint64_t trace = 0;   // Hash of everything that happened: the same seed gives the same.
  Tally tally;
  TrueNs time = 0;
};

// One life of one cluster: chaos, then healing, then it must be well.
Verdict live(const Shape& shape);

}  // namespace holdfast::protocol

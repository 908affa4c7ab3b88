// One seed: a cluster is set up, lives through the swarm, is left in peace, and must then be well, answer, and have lost nothing.
#pragma once

#include <string>

#include "test/cluster/swarm.h"

namespace holdfast::cluster {

struct LifeOptions {
  PlanChoices choices;
  Swarm::Enabled faults = Swarm::as_the_table_says();
};

struct LifeReport {
  bool ok = true;
  std::string failure;               // One sentence.
  std::string story;                 // What led to it.
  std::uint64_t trace = 0;           // Equal for equal seeds.
  std::int64_t lived_ms = 0, healed_ms = 0;
  std::uint64_t steps = 0, checks = 0, operations = 0, done = 0, refused = 0, unknown = 0, undecided = 0, lives = 0, views = 0;
  Cluster::Figures figures;
  std::array<std::uint64_t, kFaults> faults{};
  sim::NetworkCounters network;
  sim::CoordinatorCounters coordinator;
};

LifeReport live(std::uint64_t seed, const LifeOptions& options);

}  // namespace holdfast::cluster

#include "test/cluster/log_follower.h"

#include <algorithm>

#include "test/cluster/call.h"
#include "test/sim/text.h"

namespace holdfast::cluster {

bool LogFollower::create(ConsumerStart start) {
  const auto node = cluster_->serving();
  if (!node) return false;
  auto made = call(*cluster_, *node, cluster_->node(*node).group()->create_consumer(name_, start));
  if (!made || !*made) return false;
  last_confirmed = (*made)->confirmed;
  next = last_confirmed.next();
  return true;
}

bool LogFollower::follow() {
  const auto node = cluster_->serving();
  if (!node) return false;
  Group* group = cluster_->node(*node).group();
  auto batch = call(*cluster_, *node, group->read_log(next, {}));
  if (!batch || !*batch) return false;
  if ((*batch)->gap) ++gaps;
  for (const LogEntry& entry : (*batch)->entries) {
    if (entry.lsn < next || entry.lsn > (*batch)->commit) wrong = sim::format("LSN {} came where {} was asked for", entry.lsn.value, next.value);
    told.push_back({entry.lsn, entry.epoch, entry.kind, entry.first, entry.count});
    next = entry.lsn.next();
  }
  next = (*batch)->next;
  if (!cluster_->node(*node).is_open() || cluster_->node(*node).group() != group) return false;
  const Lsn last(next.value - 1);
  auto confirmed = call(*cluster_, *node, group->confirm_consumer(name_, last, Confirm::durably));
  if (confirmed && *confirmed) last_confirmed = last;
  return true;
}

bool LogFollower::run(DurationNs time) {
  const BootNs end = cluster_->now() + time;
  while (cluster_->now() < end && !cluster_->violation()) {
    follow();
    cluster_->run_for(milliseconds(5));
  }
  return !cluster_->violation();
}

bool LogFollower::catch_up() {
  constexpr int kCallsMax = 10'000;
  for (int i = 0; i < kCallsMax; ++i) {
    const auto node = cluster_->serving();
    if (!node || !follow()) return false;
    if (next > cluster_->node(*node).group()->status().commit_lsn) return true;
  }
  return false;
}

bool LogFollower::kept(const ConsumerStatus& found) const {
  return std::none_of(told.begin(), told.end(), [&](const Told& entry) { return entry.lsn > found.confirmed && entry.lsn <= last_confirmed; });
}

std::optional<ConsumerStatus> LogFollower::status() const {
  const auto node = cluster_->serving();
  if (!node) return std::nullopt;
  for (const ConsumerStatus& consumer : cluster_->node(*node).group()->consumers())
    if (consumer.name == name_) return consumer;
  return std::nullopt;
}

}  // namespace holdfast::cluster

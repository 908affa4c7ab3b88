// A call of one node's group, from outside of the world: the world runs until there is an answer, or the node has died.
#pragma once

#include <memory>
#include <optional>

#include "test/cluster/cluster.h"

namespace holdfast::cluster {

template <class T>
Task<void> keep_answer(Task<Result<T>> task, std::shared_ptr<std::optional<Result<T>>> answer) {
  auto value = co_await std::move(task);
  answer->emplace(std::move(value));
}

template <class T>
std::optional<Result<T>> call(Cluster& cluster, NodeId id, Task<Result<T>> task, DurationNs within = milliseconds(10'000)) {
  auto answer = std::make_shared<std::optional<Result<T>>>();
  ClusterNode& node = cluster.node(id);
  node.process().scope().spawn(keep_answer(std::move(task), answer));
  const std::uint64_t life = node.lives();
  cluster.run_until([&] { return answer->has_value() || node.lives() != life || !node.is_up(); }, within);
  return *answer;
}

}  // namespace holdfast::cluster

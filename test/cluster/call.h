// A call of a node's group, made by hand: it dies with the node's process.
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

// Runs the world until it is answered. Nothing: it was not, or the process is gone.
template <class T>
std::optional<Result<T>> call(Cluster& cluster, NodeId node, Task<Result<T>> task) {
  auto answer = std::make_shared<std::optional<Result<T>>>();
  cluster.node(node).process().scope().spawn(keep_answer(std::move(task), answer));
  const std::uint64_t life = cluster.node(node).lives();
  const auto over = [&] { return answer->has_value() || cluster.node(node).lives() != life || !cluster.node(node).is_up(); };
  cluster.run_until(over, milliseconds(10'000));
  return *answer;
}

}  // namespace holdfast::cluster

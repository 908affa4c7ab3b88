// Runs a reactor on the calling thread until one task has finished: for tools, start-up and tests.
#pragma once

#include <optional>
#include <utility>

#include "base/scope.h"
#include "base/task.h"
#include "io/reactor.h"

namespace holdfast::io {

namespace detail {
template <class T>
Task<void> run_into(Task<T> task, std::optional<T>* out) {
  T value = co_await std::move(task);
  out->emplace(std::move(value));
}
}  // namespace detail

template <class T>
T run_task(Reactor& reactor, Task<T> task) {
  std::optional<T> result;
  Scope scope(reactor);
  scope.spawn(detail::run_into(std::move(task), &result));
  while (scope.running() > 0) reactor.turn(Reactor::Waiting::block);
  return std::move(*result);
}

inline void run_task(Reactor& reactor, Task<void> task) {
  Scope scope(reactor);
  scope.spawn(std::move(task));
  while (scope.running() > 0) reactor.turn(Reactor::Waiting::block);
}

}  // namespace holdfast::io

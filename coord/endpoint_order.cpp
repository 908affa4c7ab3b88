#include "coord/endpoint_order.h"

#include <algorithm>

#include "base/ensure.h"

namespace holdfast::coord {

std::vector<std::size_t> EndpointOrder::at(BootNs now) const {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < endpoints_.size(); ++i) order.push_back((preferred_ + i) % endpoints_.size());
  const auto shunned = [&](std::size_t i) { return endpoints_[i].failures > 0 && now < endpoints_[i].shunned_until; };
  const auto first_shunned = std::stable_partition(order.begin(), order.end(), [&](std::size_t i) { return !shunned(i); });
  // If all of them are, whoever may come back first.
  std::stable_sort(first_shunned, order.end(), [&](std::size_t a, std::size_t b) { return endpoints_[a].shunned_until < endpoints_[b].shunned_until; });
  return order;
}

void EndpointOrder::answered(std::size_t endpoint) {
  ENSURE(endpoint < endpoints_.size());
  endpoints_[endpoint].failures = 0;
  preferred_ = endpoint;
}

void EndpointOrder::failed(std::size_t endpoint, BootNs now) {
  ENSURE(endpoint < endpoints_.size());
  Endpoint& e = endpoints_[endpoint];
  const std::int64_t ms = std::min(kShunnedMsMin << std::min(e.failures, 5u), kShunnedMsMax);
  ++e.failures;
  e.shunned_until = now + milliseconds(ms);
}

}  // namespace holdfast::coord

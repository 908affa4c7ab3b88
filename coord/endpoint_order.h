// In which order a cluster's members are asked: first who answered last, and whoever has just failed at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/types.h"

namespace holdfast::coord {

class EndpointOrder {
 public:
  explicit EndpointOrder(std::size_t count) : endpoints_(count) {}

  std::vector<std::size_t> at(BootNs now) const;
  void answered(std::size_t endpoint);
  void failed(std::size_t endpoint, BootNs now);
  std::size_t preferred() const { return preferred_; }
  std::size_t size() const { return endpoints_.size(); }

 private:
  static constexpr std::int64_t kShunnedMsMin = 1'000, kShunnedMsMax = 30'000;
  struct Endpoint {
    unsigned failures = 0;     // In a row.
    BootNs shunned_until{};
  };
  std::size_t preferred_ = 0;
  std::vector<Endpoint> endpoints_;
};

}  // namespace holdfast::coord

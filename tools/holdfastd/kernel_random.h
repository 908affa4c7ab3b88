// The Random port in production.
#pragma once

#include "base/random.h"

namespace holdfast::daemon {

class KernelRandom final : public Random {
 public:
  void fill(MutableBytes bytes) override;
};

}  // namespace holdfast::daemon

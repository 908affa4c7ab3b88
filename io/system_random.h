// The Random port from the kernel.
#pragma once

#include "base/random.h"

namespace holdfast::io {

class SystemRandom final : public Random {
 public:
  void fill(MutableBytes bytes) override;
};

}  // namespace holdfast::io

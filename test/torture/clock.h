// One clock for everything that is measured: BOOTTIME.
#pragma once

#include <functional>

#include "base/types.h"

namespace holdfast::torture {

BootNs now();
double to_ms(DurationNs d);
inline bool is_over(BootNs deadline) { return now() >= deadline; }

void pause_for(DurationNs d);
// Asks every few milliseconds. False when it did not hold within `patience`.
bool eventually(DurationNs patience, const std::function<bool()>& holds, DurationNs interval = milliseconds(20));

}  // namespace holdfast::torture

// Who has which chunk of a copy's store. What is wrong here reads as a checksum error later, which read-repair would hide.
#pragma once

#include <optional>
#include <string>

#include "engine/group.h"

namespace holdfast::cluster {

// The first chunk that lies where another one does, or at a place that counts as free; looks at the map pages in memory.
std::optional<std::string> wrong_owner(Group* group);

}  // namespace holdfast::cluster

// The groups of the catalogue, each in a file of its own.
#pragma once

#include <vector>

#include "test/torture/scenario.h"

namespace holdfast::torture {

std::vector<Scenario> single_scenarios();  // One node: what must hold before there are copies.

}  // namespace holdfast::torture

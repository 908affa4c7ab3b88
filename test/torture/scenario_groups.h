// The groups of the catalogue, each in a file of its own.
#pragma once

#include <vector>

#include "test/torture/scenario.h"

namespace holdfast::torture {

std::vector<Scenario> failure_scenarios();      // F
std::vector<Scenario> fault_scenarios();        // F9, F11
std::vector<Scenario> consistency_scenarios();  // C
std::vector<Scenario> node_scenarios();         // HS, HP
std::vector<Scenario> operation_scenarios();    // W, O
std::vector<Scenario> input_scenarios();        // O7
std::vector<Scenario> single_scenarios();       // S: one node, without copies

}  // namespace holdfast::torture

// Completion of the command line for shells.
#pragma once

#include <string_view>

namespace holdfast::cli {

// To be sourced: holdfast completion bash > /etc/bash_completion.d/holdfast
std::string_view bash_completion();

}  // namespace holdfast::cli

// Small files that are there whole or not at all after a crash: written beside, synced, renamed, and the folder synced.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast::daemon {

Result<void> write_durably(const std::string& path, std::string_view text);
// not_found when there is no such file.
Result<std::string> read_whole(const std::string& path, std::size_t bytes_max);
Result<void> sync_folder(const std::string& path);
// Creates the folder (its parent exists) if it is missing, durably.
Result<void> ensure_folder(const std::string& path);

}  // namespace holdfast::daemon

// The log port's sink: spdlog to stderr, as text or as one JSON object a line.
#pragma once

#include "tools/holdfastd/config.h"

namespace holdfast::daemon {

// Before any other thread runs. Text has no time stamps when systemd's journal adds its own (JOURNAL_STREAM is set).
void start_logging(const LogConfig& config);

}  // namespace holdfast::daemon

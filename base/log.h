// The log port: operators' lines. Never on the path of an I/O. The sink is set once at start (spdlog in production).
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace holdfast {

enum class LogLevel : unsigned char { debug, info, warning, error };

using LogSink = std::function<void(LogLevel, std::string_view)>;
void set_log_sink(LogSink sink);  // Before any other thread runs.
void log_line(LogLevel level, std::string_view line);

inline void log_info(std::string_view line) { log_line(LogLevel::info, line); }
inline void log_warning(std::string_view line) { log_line(LogLevel::warning, line); }
inline void log_error(std::string_view line) { log_line(LogLevel::error, line); }

}  // namespace holdfast

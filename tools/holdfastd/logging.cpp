// The one file that compiles spdlog.
#include "tools/holdfastd/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <boost/json.hpp>

#include <cstdlib>
#include <memory>

#include "base/log.h"

namespace holdfast::daemon {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::err;
}

spdlog::level::level_enum level_of(LogThreshold threshold) { return level_of(static_cast<LogLevel>(threshold)); }
static_assert(static_cast<int>(LogThreshold::error) == static_cast<int>(LogLevel::error));

}  // namespace

void start_logging(const LogConfig& config) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("holdfastd", std::move(sink));
  logger->set_level(level_of(config.level));
  logger->flush_on(spdlog::level::debug);
  const bool json = config.format == LogFormat::json;
  if (json) {
    logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":%v})");
  } else {
    logger->set_pattern(std::getenv("JOURNAL_STREAM") ? "%l: %v" : "%Y-%m-%d %H:%M:%S.%e %l: %v");
  }
  set_log_sink([logger, json](LogLevel level, std::string_view line) {
    const std::string text = json ? boost::json::serialize(boost::json::string(line)) : std::string(line);
    logger->log(level_of(level), spdlog::string_view_t(text.data(), text.size()));
  });
}

}  // namespace holdfast::daemon

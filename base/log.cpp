#include "base/log.h"

#include <utility>

namespace holdfast {
namespace {
LogSink& sink() {
  static LogSink instance;
  return instance;
}
}  // namespace

void set_log_sink(LogSink s) { sink() = std::move(s); }
void log_line(LogLevel level, std::string_view line) {
  if (sink()) sink()(level, line);
}

}  // namespace holdfast

// The configuration: any text is read whole or refused with at least one message that names the file.
#include "base/ensure.h"
#include "tools/holdfastd/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto result = holdfast::daemon::parse_config({reinterpret_cast<const char*>(data), size}, "h.toml");
  if (result) {
    ENSURE(!result->config.node.data_dir.empty());
    ENSURE(result->config.admin.listen.is_loopback() || !result->config.admin.token.empty());
    ENSURE(result->config.store.log_bytes % 4096 == 0 && result->config.store.log_bytes > 0);
    return 0;
  }
  ENSURE(!result.error().empty());
  for (const auto& error : result.error()) ENSURE(error.text().starts_with("h.toml") && !error.message.empty());
  return 0;
}

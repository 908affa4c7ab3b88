// The registry file: what is read is written back as the same registry, and everything else is refused.
#include "admin/names.h"
#include "base/ensure.h"
#include "tools/holdfastd/registry.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace holdfast::daemon;
  const auto entries = parse_registry({reinterpret_cast<const char*>(data), size});
  if (!entries) {
    ENSURE(!entries.error().message.empty());
    return 0;
  }
  const std::string text = registry_text(*entries);
  const auto again = parse_registry(text);
  ENSURE(again.has_value() && registry_text(*again) == text);
  return 0;
}

// A group's register as the coordinator has it: any text is refused with a message, or read whole.
#include "base/ensure.h"
#include "engine/register.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto value = holdfast::engine::decode_register({reinterpret_cast<const char*>(data), size});
  if (!value) {
    ENSURE(!value.error().message.empty());
    return 0;
  }
  const auto again = holdfast::engine::decode_register(holdfast::engine::encode_register(*value));
  ENSURE(again && *again == *value);
  return 0;
}

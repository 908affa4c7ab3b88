// Frames from another node: any bytes are refused or decoded to something that encodes to the same bytes.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "engine/wire.h"

using namespace holdfast;

namespace {

// The fuzzer cannot guess a checksum: it is put right, and then what is behind it is reached.
std::vector<std::byte> with_checksum(Bytes input) {
  std::vector<std::byte> frame(input.begin(), input.end());
  if (frame.size() < sizeof(wal::FrameHeader)) return frame;
  const std::uint64_t sum = xxh3(Bytes(frame).subspan(16));
  std::memcpy(frame.data() + offsetof(wal::FrameHeader, head_xxh3), &sum, sizeof sum);
  return frame;
}

void same(const std::vector<std::byte>& frame, const std::vector<std::byte>& again) {
  ENSURE(std::equal(frame.begin(), frame.end(), again.begin(), again.end()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::byte> frame = with_checksum(std::as_bytes(std::span(data, size)));
  std::vector<std::byte> again;
  if (const auto message = engine::decode_message(frame)) {
    engine::encode_message(*message, again);
    same(frame, again);
  }
  again.clear();
  if (const auto append = engine::decode_append(frame)) {
    engine::encode_append(append->body, append->records, append->checksums, again);
    same(frame, again);
  }
  return 0;
}

// What a child tells its parent through the pipe, in the order in which it happens: a fixed message, then `extra_bytes` more.
// What was written before a kill -9 stays in the pipe; a message that is cut short at the end never happened.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "base/types.h"

namespace holdfast::crash {

enum class Word : std::uint32_t {
  started = 1,     // The process runs: opening begins.
  opened,          // Recovered; count: records replayed.
  verifying,       // The reads that follow are the verification …
  verified,        // … and this is its end: the load begins.
  began,           // An operation is about to be called. Reads count as well.
  ended,           // It was answered. A read brings an 8-byte hash, then a 4-byte stamp, of each block.
  checkpointed,
  all_checked,     // verify_all: count blocks.
  stopped,         // An orderly end.
  complaint,       // Something that must not be; the text follows.
};

struct Message {
  Word word;
  std::uint32_t op = 0;           // The ledger's number; parent and child count alike.
  std::uint32_t kind = 0;         // OpKind.
  std::uint32_t volume = 0;
  std::uint64_t first_block = 0;
  std::uint64_t count = 0;
  std::uint32_t zeros = 0;        // A write_same of zeros.
  std::uint32_t refused = 0;      // Of `ended`.
  std::uint64_t unsynced = 0;     // Blocks that a power loss would drop now.
  std::uint64_t early = 0;        // Unsynced blocks that reached the file before any sync asked for it.
  std::uint64_t extra_bytes = 0;
};
static_assert(std::is_trivially_copyable_v<Message> && sizeof(Message) == 64);
inline constexpr std::uint64_t kExtraBytesMax = 1 << 20;

// One volume of the load: parent and child know it by its index.
struct RealVolume {
  std::string name;
  Uuid uuid;
  BlockCount capacity;
};

// What a child is to do with its life.
enum class RealLife : std::uint8_t {
  create,   // Format, create the volumes, stop.
  load,     // Recover, verify, then load the store until the kill.
  finish,   // Recover, verify, verify_all, stop.
};

struct RealOrders {
  RealLife life = RealLife::load;
  std::string path;
  std::vector<RealVolume> volumes;
  std::uint64_t seed = 1;
  std::uint32_t next_op = 1;
  std::uint64_t log_bytes = 0;
  bool expect_clean = false;   // Nothing may be left to replay.
  int pipe = -1;
};

// Runs the life on the calling process, which is a fork without threads. Returns the exit code of an orderly end.
int run_real_child(const RealOrders& orders);

}  // namespace holdfast::crash

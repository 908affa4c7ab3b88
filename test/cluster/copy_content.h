// What copies hold, byte by byte: read past the door, and compared chunk by chunk.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "test/cluster/cluster.h"

namespace holdfast::cluster {

// By volume.
using CopyContent = std::vector<std::vector<std::byte>>;

// What the node has committed. Nothing: it cannot be read.
std::optional<CopyContent> content_of(Cluster& cluster, NodeId id);
std::uint64_t digest_of(const CopyContent& content);

struct ChunkCount {
  std::uint64_t chunks = 0;
  std::uint64_t with_data = 0;  // Of them, those that are not all zeros now.
};
// The chunks of `now` that are not as they were before. Nothing before: all of it was zeros.
ChunkCount changed_chunks(const CopyContent& before, const CopyContent& now);

}  // namespace holdfast::cluster

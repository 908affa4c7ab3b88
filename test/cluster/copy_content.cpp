#include "test/cluster/copy_content.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "test/cluster/call.h"
#include "test/cluster/replica_read.h"

namespace holdfast::cluster {
namespace {

Task<Result<std::vector<std::byte>>> read_volume(ClusterNode* node, std::string volume, std::uint64_t blocks) {
  std::vector<std::byte> bytes;
  for (std::uint64_t at = 0; at < blocks;) {
    const BlockRange range{Lba(at), BlockCount(std::min(blocks - at, Volume::kTransferBlocksMax))};
    Buffer into = co_await node->process().pool().acquire(range.count.value * kBlockBytes);
    auto done = co_await read_replica(node->group(), volume, range, into);
    if (!done) co_return fail(done.error());
    bytes.insert(bytes.end(), into.data(), into.data() + into.size());
    at += range.count.value;
  }
  co_return bytes;
}

bool is_zeros(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

std::optional<CopyContent> content_of(Cluster& cluster, NodeId id) {
  CopyContent content;
  for (std::uint32_t volume = 0; volume < cluster.plan().clients.volumes; ++volume) {
    ClusterNode& node = cluster.node(id);
    if (!node.is_open()) return std::nullopt;
    auto bytes = call(cluster, id, read_volume(&node, Clients::volume_name(volume), cluster.plan().clients.volume_blocks), milliseconds(60'000));
    if (!bytes || !*bytes) return std::nullopt;
    content.push_back(std::move(**bytes));
  }
  return content;
}

std::uint64_t digest_of(const CopyContent& content) {
  std::vector<std::uint64_t> digests;
  for (const auto& volume : content) digests.push_back(xxh3(volume));
  return xxh3(std::as_bytes(std::span(digests)));
}

ChunkCount changed_chunks(const CopyContent& before, const CopyContent& now) {
  ChunkCount count;
  for (std::size_t volume = 0; volume < now.size(); ++volume)
    for (std::size_t at = 0; at < now[volume].size(); at += kChunkBytes) {
      const Bytes chunk = Bytes(now[volume]).subspan(at, std::min<std::size_t>(kChunkBytes, now[volume].size() - at));
      const bool was_there = volume < before.size();
      const bool same = was_there ? std::memcmp(before[volume].data() + at, chunk.data(), chunk.size()) == 0 : is_zeros(chunk);
      if (same) continue;
      ++count.chunks;
      count.with_data += !is_zeros(chunk);
    }
  return count;
}

}  // namespace holdfast::cluster

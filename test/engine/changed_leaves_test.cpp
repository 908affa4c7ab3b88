// What the map says of changes since an LSN: the base of a delta rebuild. What was emptied counts as changed, also when the
// pages that said so were dropped and made anew.
#include <map>

#include "engine/group_impl.h"
#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

constexpr std::uint64_t kLeafBlocks = snapshot::kLeafChunks * kChunkBlocks;
constexpr std::uint64_t kLeafBytes = kLeafBlocks * kBlockBytes;

class ChangedLeaves : public ::testing::Test {
 protected:
  engine::GroupImpl& group() { return static_cast<engine::GroupImpl&>(*node.group); }
  snapshot::PageTree& map() { return *group().store().volumes().front()->map; }
  void checkpoint() { ASSERT_TRUE(node.run(group().checkpoint())); }
  Lsn now() { return group().status().commit_lsn; }
  // The leaves that changed since, and whether each is a hole.
  std::map<std::uint64_t, bool> changed(Lsn since, std::uint64_t leaves) {
    std::map<std::uint64_t, bool> found;
    for (std::uint64_t at = 0; at < leaves;) {
      const auto next = node.run(map().next_changed(at, leaves, since));
      EXPECT_TRUE(next.has_value());
      for (std::uint64_t i = 0; i < next->count; ++i) found[next->first + i] = next->hole;
      at = next->first + std::max<std::uint64_t>(next->count, 1);
    }
    return found;
  }
  OneNode node;
};

TEST_F(ChangedLeaves, OnlyWhatChangedSince_IsNamed) {
  Volume* volume = node.serve(200 * kLeafBytes);
  ASSERT_TRUE(node.write(volume, 0, 1, 1));
  ASSERT_TRUE(node.write(volume, 150 * kLeafBlocks, 1, 2));
  const Lsn base = now();
  ASSERT_TRUE(node.write(volume, 150 * kLeafBlocks + 3, 1, 3));
  checkpoint();
  EXPECT_EQ(changed(base, 200), (std::map<std::uint64_t, bool>{{150, false}}));
}

TEST_F(ChangedLeaves, WhatWasEmptied_IsNamed_AlsoWhenItsPageCameAnew) {
  Volume* volume = node.serve(200 * kLeafBytes);
  for (const std::uint64_t leaf : {3, 7, 150, 151}) ASSERT_TRUE(node.write(volume, leaf * kLeafBlocks, 1, 1));
  checkpoint();
  const Lsn base = now();
  for (const std::uint64_t leaf : {3, 7, 150, 151}) ASSERT_TRUE(node.unmap(volume, leaf * kLeafBlocks, kLeafBlocks));
  checkpoint();  // All pages of the map go.
  for (const std::uint64_t leaf : {3, 7, 150, 151}) EXPECT_TRUE(changed(base, 200)[leaf]) << leaf;
  ASSERT_TRUE(node.write(volume, 3 * kLeafBlocks, 1, 2));
  ASSERT_TRUE(node.write(volume, 150 * kLeafBlocks, 1, 2));
  checkpoint();  // They come again.
  auto found = changed(base, 200);
  EXPECT_FALSE(found[3]);
  EXPECT_FALSE(found[150]);
  ASSERT_TRUE(found.contains(7));
  ASSERT_TRUE(found.contains(151));
  EXPECT_TRUE(found[7]);
  EXPECT_TRUE(found[151]);
}

}  // namespace
}  // namespace holdfast::engine_test

// How a group goes: as soon as stop() returns, or open() fails, its owner may destroy it; nothing of it may be woken afterwards.
#include "engine/group_impl.h"
#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

Task<Result<void>> stop_and_destroy(std::unique_ptr<Group>* group) {
  auto stopped = co_await (*group)->stop();
  group->reset();
  co_return stopped;
}

TEST(Stop, OfAFailedGroup_LeavesNothingInTheQueue) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  node.disk.faults.fail_next_write = true;
  ASSERT_FALSE(node.write(volume, 0, 1, 1));
  ASSERT_TRUE(node.group->status().failed);
  EXPECT_FALSE(node.run(stop_and_destroy(&node.group)));
  for (int i = 0; i < 1'000 && node.world.step(); ++i) {
  }
}

TEST(Stop, OfAGroupThatServes_LeavesNothingInTheQueue) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 1, 1));
  EXPECT_TRUE(node.run(stop_and_destroy(&node.group)));
  for (int i = 0; i < 1'000 && node.world.step(); ++i) {
  }
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.value_at(node.volume(), 0), 1);
}

// The system tells once that a sync has lost data: here it tells whoever extends the file.
TEST(Growth, ItsSyncFails_NothingIsMadeToRestOnWhatMayBeLost) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 1, 1));
  auto& store = static_cast<engine::GroupImpl&>(*node.group).store();
  node.disk.faults.fail_next_grow = true;
  EXPECT_FALSE(node.run(store.space().reserve(store.space().capacity_chunks() + 1, 0)));
  EXPECT_FALSE(node.run(node.group->checkpoint()));
  EXPECT_TRUE(node.group->status().failed);
}

// A bad sector in a part of the log's ring that holds nothing.
TEST(UnreadableSector, InTheFreeRing_TheStoreOpens) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 1, 1));
  node.power_loss();
  node.disk.spoil(snapshot::kLogOffset + kLogBytes - 5 * kBlockBytes);
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.value_at(node.volume(), 0), 1);
}

TEST(UnreadableSector, WhereTheLogGoesOn_ASingleCopyRefusesRatherThanGuess) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(node.write(volume, static_cast<std::uint64_t>(i), 1, i));
  node.power_loss();
  node.disk.spoil(snapshot::kLogOffset + 6 * kBlockBytes);
  const auto opened = node.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::io_error) << opened.error().text();
}

}  // namespace
}  // namespace holdfast::engine_test

// The memory of a thread is full of what waits for a copy, and the copy that comes back needs some of it to be caught up.
#include "test/cluster/bulk_fixture.h"

namespace holdfast::cluster {
namespace {

constexpr std::size_t kMiB = 1 << 20;
enum class Load { all_of_the_pool, half_of_it };

class FullPool : public BulkFixture, public testing::WithParamInterface<Load> {};

// Three copies, of which two have to be in sync. One has been away for a while; then the second one dies, and what hosts write waits, in all of
// the thread's memory that there is for payload but a little. The one that was away comes back: it is caught up from the log, and everything
// goes on.
TEST_P(FullPool, WritesWaitForACopy_TheOneThatComesBackIsCaughtUp) {
  ASSERT_TRUE(cluster.change_register("min_in_sync 2", [](engine::Register& r) { return engine::set_min_in_sync(r, 2); }));
  cluster.run_for(milliseconds(2'000));
  ASSERT_TRUE(cluster.serving());
  source = *cluster.serving();
  away = NodeId(source.value % 3 + 1);
  lose(away);
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(write("bulk", kChunksWritten * kChunkBlocks, 15 * kChunkBlocks, i)) << i;
  const NodeId other = third();
  cluster.die(other, Death::killed);
  (void)wait_until([&] { return !cluster.truth().find_in_sync(other); }, 20'000);
  cluster.run_for(milliseconds(500));
  ASSERT_EQ(cluster.serving(), source) << story();
  auto& pool = cluster.node(source).process().pool();
  std::vector<std::shared_ptr<std::optional<Result<void>>>> answers;
  for (int i = 0; i < 128; ++i) {
    if (GetParam() == Load::all_of_the_pool) {
      constexpr std::size_t kBytes = 129 * kBlockBytes;  // A buffer of 1 MiB each.
      if (answers.size() < pool.memory().size() / 2 / kBytes && pool.free_bytes() > kMiB) answers.push_back(begin_write(0, 129));
    } else if (pool.free_bytes() > pool.memory().size() / 2) {
      answers.push_back(begin_write(0, 16));
    }
    cluster.run_for(milliseconds(1));
  }
  cluster.run_for(milliseconds(500));
  const std::size_t free = pool.free_bytes();
  if (GetParam() == Load::all_of_the_pool) {
    ASSERT_LT(free, 2 * kMiB) << "the memory is not full";
  }
  std::size_t done = 0;
  for (const auto& answer : answers) done += answer->has_value();
  EXPECT_EQ(done, 0U) << "they wait";
  cluster.start(away);
  const bool back = wait_until([&] { return in_sync(away); }, 60'000);
  EXPECT_TRUE(back) << "a minute after it has come back; of " << (pool.memory().size() >> 10) << " KiB of memory " << (free >> 10) << " were free; " << answers.size() << " commands; " << story();
  EXPECT_TRUE(wait_until([&] {
    for (const auto& answer : answers) if (!answer->has_value()) return false;
    return true;
  }, 60'000)) << "commands hang";
}
INSTANTIATE_TEST_SUITE_P(All, FullPool, testing::Values(Load::all_of_the_pool));
INSTANTIATE_TEST_SUITE_P(Half, FullPool, testing::Values(Load::half_of_it));

}  // namespace
}  // namespace holdfast::cluster

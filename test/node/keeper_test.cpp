// A keeper's change whose answer is lost, and an operator who is faster than its second try.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <utility>

#include "base/scope.h"
#include "test/support/manual_executor.h"
#include "tools/holdfastd/keeper.h"

namespace holdfast::daemon {
namespace {

using coord::DefinitionState;
using coord::MemberDefinition;
using coord::VolumeDefinition;

Uuid id_of(std::uint8_t n) {
  Uuid out{};
  out[0] = n;
  return out;
}

class Entries final : public Coordinator, public ClusterDirectory {
 public:
  Task<Result<CoordinatorEntry>> get(std::string key) override { co_return entries[key]; }
  Task<CasOutcome> compare_and_swap(std::string key, std::uint64_t base, std::string value) override {
    CoordinatorEntry& entry = entries[key];
    if (entry.revision != base) co_return CasOutcome{CasStatus::conflict, entry};
    entry = {++revisions, std::move(value)};
    if (key == lost && !std::exchange(lost, {}).empty()) {
      meanwhile();
      co_return CasOutcome{};  // It was applied, and the answer is lost.
    }
    co_return CasOutcome{CasStatus::applied, entry};
  }
  Task<void> until_changed(std::string, std::uint64_t) override { co_return; }
  std::string cluster_id() const override { return "c"; }
  Task<Result<std::vector<DirectoryEntry>>> list(std::string) override { co_return std::vector<DirectoryEntry>{}; }
  Task<CasOutcome> erase(std::string, std::uint64_t) override { co_return CasOutcome{}; }

  void put(const std::string& key, std::string value) { entries[key] = {++revisions, std::move(value)}; }
  std::map<std::string, CoordinatorEntry> entries;
  std::uint64_t revisions = 0;
  std::string lost;
  std::function<void()> meanwhile;
};

class ServingHost final : public KeeperHost {
 public:
  std::vector<std::string> kept() const override { return {"pg"}; }
  Task<Look> look(std::string) override {
    Look out;
    out.replica = {EntryState::ready, id_of(200), id_of(1), true, true, true, true};
    co_return out;
  }
  Task<Result<void>> format(VolumeDefinition) override { co_return fail(Errc::unsupported); }
  Result<void> mark_ready(const std::string&) override { return fail(Errc::unsupported); }
  Task<Result<void>> open(std::string) override { co_return fail(Errc::unsupported); }
  Task<Result<void>> create_volume(VolumeDefinition) override { co_return fail(Errc::unsupported); }
  Task<Result<void>> open_door(VolumeDefinition) override { co_return fail(Errc::unsupported); }
  Task<Result<void>> hand_over(std::string) override { co_return fail(Errc::unsupported); }
  Task<Result<void>> close(std::string) override { co_return fail(Errc::unsupported); }
  Task<Result<void>> discard(std::string) override { co_return fail(Errc::unsupported); }
};

Task<void> settle(Keeper* keeper) { (void)co_await keeper->settle("pg"); }

// Nodes 1 (leads), 2 and 3; 4 has replaced 3. Then 5 is to replace 2, and has nothing yet.
TEST(Keeper, EndOfAReplacementIsUnknown_AndTheNextOneHasBegun_NextOneGoesOn) {
  test::ManualExecutor executor;
  test::ManualClock clock(executor);
  Entries entries;
  VolumeDefinition d;
  d.name = "pg";
  d.group = id_of(200);
  d.volume = id_of(201);
  d.size_bytes = 1 << 20;
  d.log_bytes = 4 << 20;
  d.state = DefinitionState::ready;
  d.founder = NodeId(1);
  d.min_in_sync = 2;
  for (std::uint8_t n = 1; n <= 4; ++n) d.members.push_back({NodeId(n), id_of(n), true});
  d.replacement = coord::Replacement{NodeId(3), NodeId(4)};
  entries.put(coord::volume_key("pg"), coord::encode_definition(d));
  std::vector<engine::Copy> copies;
  for (std::uint8_t n = 1; n <= 4; ++n) copies.push_back({NodeId(n), id_of(n)});
  engine::Register r = engine::first_register(d.group, copies, {2, 600});
  r.epoch = Epoch(1);
  r.primary = NodeId(1);
  entries.put(engine::register_key(d.group), engine::encode_register(r));
  entries.lost = coord::volume_key("pg");
  entries.meanwhile = [&] {
    auto now = coord::decode_definition("pg", entries.entries[coord::volume_key("pg")].value);
    ASSERT_TRUE(now);
    ASSERT_FALSE(now->find(NodeId(3)));
    ASSERT_FALSE(now->replacement);
    now->members.push_back({NodeId(5), Uuid{}});
    now->replacement = coord::Replacement{NodeId(2), NodeId(5)};
    entries.put(coord::volume_key("pg"), coord::encode_definition(*now));
  };
  ServingHost host;
  Keeper keeper(clock, NodeId(1), entries, entries, host);
  Scope scope(executor);
  scope.spawn(settle(&keeper));
  executor.run();
  const auto end = coord::decode_definition("pg", entries.entries[coord::volume_key("pg")].value);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->find(NodeId(2))) << "it was to stay until 5 is in sync";
  EXPECT_TRUE(end->replacement.has_value());
  const auto last = engine::decode_register(entries.entries[engine::register_key(d.group)].value);
  ASSERT_TRUE(last);
  EXPECT_TRUE(last->is_member(NodeId(2)));
}

}  // namespace
}  // namespace holdfast::daemon

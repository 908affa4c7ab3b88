// A portal and one target with a fake disk, on one thread that the test turns by hand.
#pragma once

#include <gtest/gtest.h>

#include "scsi/target.h"
#include "test/iscsi/initiator.h"
#include "test/support/fake_device_server.h"

namespace holdfast::test {

class IscsiTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kPoolBytes = 64 << 20;

  static scsi::TargetOptions default_options() {
    scsi::TargetOptions options;
    options.volume = "pg";
    options.portal_group = 3;
    options.sessions_max = 8;
    return options;
  }
  IscsiTest() : IscsiTest(default_options()) {}
  explicit IscsiTest(scsi::TargetOptions options, std::size_t pool_bytes = kPoolBytes) : pool(executor, pool_bytes) {
    auto server = std::make_unique<FakeDeviceServer>(executor, clock, pool);
    disk = server.get();
    target = std::make_shared<scsi::Target>(std::move(options), std::move(server), table, executor, clock, pool, random);
    publish(nullptr);
  }
  ~IscsiTest() override {
    // Every test ends with the books balanced: no session, no buffer, no login slot is left behind.
    for (auto& initiator : initiators) initiator->wire->hang_up();
    disk->hold(false);
    executor.run();
    clock.advance(milliseconds(120'000));
    EXPECT_EQ(target->session_count(), 0U);
    EXPECT_TRUE(disk->nexuses.empty());
    EXPECT_EQ(pool.free_bytes(), pool.memory().size());
  }

  // What one of so many connections may hold for data-out, when there is one volume.
  std::uint64_t data_out_share(std::uint64_t connections) const {
    using Budget = scsi::PayloadBudget;
    return Budget::part(Budget::part(pool.memory().size() / 2, 1), connections);
  }
  void publish(std::shared_ptr<const scsi::TargetAuth> auth) {
    table.put({.name = target->name(), .executor = &executor, .target = target, .auth = std::move(auth),
               .portal_group = 3, .portals = {{"0.0.0.0:3260", 3}, {"192.0.2.2:3260", 4}}});
  }
  Initiator& connect() {
    initiators.push_back(std::make_unique<Initiator>(executor, portal));
    return *initiators.back();
  }
  Initiator& connect_and_login(std::vector<std::string> keys = {}) {
    Initiator& initiator = connect();
    initiator.isid[5] = std::byte(initiators.size());  // A port of its own.
    const Pdu reply = initiator.login(std::move(keys));
    EXPECT_EQ(Initiator::login_status(reply), 0);
    return initiator;
  }

  ManualExecutor executor;
  ManualClock clock{executor};
  CountingRandom random;
  BufferPool pool;
  scsi::TargetTable table;
  FakeDeviceServer* disk = nullptr;
  std::shared_ptr<scsi::Target> target;
  scsi::Portal portal{table, executor, clock, random};
  std::vector<std::unique_ptr<Initiator>> initiators;
};

}  // namespace holdfast::test

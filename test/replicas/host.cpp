#include "test/replicas/host.h"

#include <gtest/gtest.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include <chrono>
#include <cstring>
#include <thread>

namespace holdfast::replicas {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kHostBlockBytes = 4096;
constexpr int kPathTimeoutS = 2;  // As open-iscsi's ping at its shortest.
constexpr auto kHostPatience = std::chrono::seconds(30);
constexpr auto kPathPause = std::chrono::milliseconds(10);

struct TaskFree {
  void operator()(scsi_task* task) const { scsi_free_scsi_task(task); }
};
using HostTask = std::unique_ptr<scsi_task, TaskFree>;

}  // namespace

void Host::Drop::operator()(iscsi_context* path) const { iscsi_destroy_context(path); }

Host::Host(std::vector<std::string> portals, std::string volume) : portals_(std::move(portals)), volume_(std::move(volume)), paths_(portals_.size()) {}
Host::~Host() = default;

Host::Path Host::make_path(std::size_t path) const {
  Path made(iscsi_create_context("iqn.2026-11.io.holdfast:test-host"));
  iscsi_set_targetname(made.get(), ("iqn.2026-11.io.holdfast:" + volume_).c_str());
  iscsi_set_session_type(made.get(), ISCSI_SESSION_NORMAL);
  iscsi_set_header_digest(made.get(), ISCSI_HEADER_DIGEST_NONE_CRC32C);
  iscsi_set_isid_random(made.get(), static_cast<std::uint32_t>(path + 1), 0);
  iscsi_set_timeout(made.get(), kPathTimeoutS);
  iscsi_set_noautoreconnect(made.get(), 1);
  return made;
}

bool Host::connect(std::size_t path) {
  if (paths_[path]) return true;
  Path made = make_path(path);
  if (iscsi_full_connect_sync(made.get(), portals_[path].c_str(), 0) != 0) return false;
  paths_[path] = std::move(made);
  return true;
}

bool Host::logs_in(std::size_t path) {
  paths_[path].reset();
  const Path made = make_path(path);  // Without the TEST UNIT READY of a full connect: a standby is not ready.
  return iscsi_connect_sync(made.get(), portals_[path].c_str()) == 0 && iscsi_login_sync(made.get()) == 0;
}

bool Host::write_once(std::size_t path, std::uint64_t block, std::uint64_t stamp) {
  std::vector<unsigned char> data(kHostBlockBytes);
  for (std::size_t at = 0; at < data.size(); at += sizeof stamp) std::memcpy(&data[at], &stamp, sizeof stamp);
  const HostTask task(iscsi_write16_sync(paths_[path].get(), 0, block, data.data(), static_cast<std::uint32_t>(data.size()), kHostBlockBytes, 0, 0, 0, 0, 0));
  if (!task) paths_[path].reset();  // libiscsi takes a connection that broke for one that is logged in.
  return task && task->status == SCSI_STATUS_GOOD;
}

bool Host::read_once(std::size_t path, std::uint64_t block, std::uint64_t* stamp) {
  const HostTask task(iscsi_read16_sync(paths_[path].get(), 0, block, kHostBlockBytes, kHostBlockBytes, 0, 0, 0, 0, 0));
  if (!task) paths_[path].reset();
  if (!task || task->status != SCSI_STATUS_GOOD || task->datain.size != static_cast<int>(kHostBlockBytes)) return false;
  std::memcpy(stamp, task->datain.data, sizeof *stamp);
  for (std::size_t at = 0; at < kHostBlockBytes; at += sizeof *stamp) EXPECT_EQ(std::memcmp(task->datain.data + at, stamp, sizeof *stamp), 0) << "block " << block << " is torn";
  return true;
}

template <class F>
std::int64_t Host::over_any_path(const char* what, F once) {
  const auto began = SteadyClock::now();
  for (std::size_t tries = 1; SteadyClock::now() - began < kHostPatience; ++tries) {
    // A new session hears of its attentions first: those are no failure of the path.
    for (int attentions = 0; attentions < 4 && connect(current_); ++attentions) {
      if (once(current_)) return std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - began).count();
      if (!paths_[current_]) break;
    }
    current_ = (current_ + 1) % paths_.size();
    if (tries % paths_.size() == 0) std::this_thread::sleep_for(kPathPause);
  }
  ADD_FAILURE() << "no path could " << what;
  return -1;
}

std::int64_t Host::write_ms(std::uint64_t block, std::uint64_t stamp) {
  const std::int64_t took = over_any_path("write", [&](std::size_t path) { return write_once(path, block, stamp); });
  ledger_[block] = stamp;
  return took;
}

void Host::expect_ledger() {
  for (const auto& [block, stamp] : ledger_) {
    std::uint64_t seen = 0;
    if (over_any_path("read", [&, at = block](std::size_t path) { return read_once(path, at, &seen); }) < 0) return;
    ASSERT_EQ(seen, stamp) << "block " << block;
  }
}

}  // namespace holdfast::replicas

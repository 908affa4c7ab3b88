#include "test/replicas/steady_load.h"

#include <gtest/gtest.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include <cstring>
#include <memory>
#include <vector>

namespace holdfast::replicas {
namespace {

constexpr std::size_t kLoadBlockBytes = 4096;
constexpr std::uint64_t kLoadBlocks = 256;
constexpr int kLoginPatienceS = 10;

struct LoadTaskFree {
  void operator()(scsi_task* task) const { scsi_free_scsi_task(task); }
};
using LoadTask = std::unique_ptr<scsi_task, LoadTaskFree>;

std::string failure_of(const LoadTask& task, iscsi_context* path) {
  if (!task) return std::string("the connection ended: ") + iscsi_get_error(path);
  if (task->status == SCSI_STATUS_GOOD) return {};
  return "status " + std::to_string(task->status) + ", sense " + std::to_string(task->sense.key) + "/" + std::to_string(task->sense.ascq);
}

}  // namespace

void SteadyLoad::Drop::operator()(iscsi_context* path) const { iscsi_destroy_context(path); }

SteadyLoad::SteadyLoad(LoadKind kind, const std::string& portal, const std::string& volume, int patience_s)
    : kind_(kind), path_(iscsi_create_context("iqn.2026-11.io.holdfast:steady-host")) {
  iscsi_set_targetname(path_.get(), ("iqn.2026-11.io.holdfast:" + volume).c_str());
  iscsi_set_session_type(path_.get(), ISCSI_SESSION_NORMAL);
  iscsi_set_header_digest(path_.get(), ISCSI_HEADER_DIGEST_NONE_CRC32C);
  iscsi_set_isid_random(path_.get(), kind == LoadKind::writes ? 1 : 2, 0);
  iscsi_set_noautoreconnect(path_.get(), 1);
  iscsi_set_timeout(path_.get(), kLoginPatienceS);
  if (iscsi_full_connect_sync(path_.get(), portal.c_str(), 0) != 0) {
    seen_.error = std::string("no login: ") + iscsi_get_error(path_.get());
    return;
  }
  iscsi_set_timeout(path_.get(), patience_s);
  thread_ = std::thread([this] { run(); });
}

SteadyLoad::~SteadyLoad() { stop(); }

void SteadyLoad::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void SteadyLoad::run() {
  for (;;) {
    const SteadyClock::time_point began = SteadyClock::now();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      began_ = began;
    }
    std::string error;
    const bool good = kind_ == LoadKind::writes ? write_next(&error) : read_next(&error);
    note(began, error);
    if (!good) return;
  }
}

void SteadyLoad::note(SteadyClock::time_point began, const std::string& error) {
  const std::lock_guard lock(mutex_);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - began).count();
  seen_.longest_ms = std::max<std::int64_t>(seen_.longest_ms, took);
  if (error.empty()) ++seen_.done;
  else seen_.error = error;
  changed_.notify_all();
}

bool SteadyLoad::write_next(std::string* error) {
  const std::uint64_t stamp = ++serial_, block = stamp % kLoadBlocks;
  std::vector<unsigned char> data(kLoadBlockBytes);
  for (std::size_t at = 0; at < data.size(); at += sizeof stamp) std::memcpy(&data[at], &stamp, sizeof stamp);
  const LoadTask task(iscsi_write16_sync(path_.get(), 0, block, data.data(), static_cast<std::uint32_t>(data.size()), kLoadBlockBytes, 0, 0, 0, 0, 0));
  *error = failure_of(task, path_.get());
  if (error->empty()) ledger_[block] = stamp;
  return error->empty();
}

bool SteadyLoad::read_next(std::string* error) {
  const std::uint64_t block = ++serial_ % kLoadBlocks;
  const LoadTask task(iscsi_read16_sync(path_.get(), 0, block, kLoadBlockBytes, kLoadBlockBytes, 0, 0, 0, 0, 0));
  *error = failure_of(task, path_.get());
  return error->empty();
}

SteadyLoad::Seen SteadyLoad::look() {
  const std::lock_guard lock(mutex_);
  Seen out = seen_;
  seen_.longest_ms = 0;
  return out;
}

std::int64_t SteadyLoad::next_after_ms(SteadyClock::time_point since, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  const std::uint64_t before = seen_.done;
  if (!changed_.wait_for(lock, patience, [&] { return seen_.done > before || !seen_.error.empty(); }) || !seen_.error.empty()) return -1;
  return std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - since).count();
}

bool SteadyLoad::is_held(std::chrono::milliseconds for_at_least) {
  const std::lock_guard lock(mutex_);
  return seen_.error.empty() && SteadyClock::now() - began_ >= for_at_least;
}

void SteadyLoad::expect_ledger() {
  EXPECT_FALSE(ledger_.empty());
  for (const auto& [block, stamp] : ledger_) {
    const LoadTask task(iscsi_read16_sync(path_.get(), 0, block, kLoadBlockBytes, kLoadBlockBytes, 0, 0, 0, 0, 0));
    ASSERT_EQ(failure_of(task, path_.get()), "");
    std::uint64_t seen = 0;
    std::memcpy(&seen, task->datain.data, sizeof seen);
    ASSERT_EQ(seen, stamp) << "block " << block;
  }
}

}  // namespace holdfast::replicas

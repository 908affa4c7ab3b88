// One life of the process under test: its memory, its group, its flows. Killing it destroys all of that without I/O.
#pragma once

#include <memory>
#include <optional>

#include "base/buffer.h"
#include "base/scope.h"
#include "engine/group.h"
#include "test/sim/disk.h"
#include "test/sim/pool_memory.h"

namespace holdfast::crash {

// How a store is made and opened: the real Group, or a fake that proves the harness itself.
struct StoreMaker {
  Task<Result<void>> (*format)(GroupPorts, FormatOptions, Group::Existing);
  Task<Result<std::unique_ptr<Group>>> (*open)(GroupPorts, GroupOptions);
};

enum class Death : std::uint8_t { power_loss, killed };

// The other copies of a group, when there are any.
struct Wiring {
  Coordinator* coordinator = nullptr;
  Connector* connector = nullptr;
};

class Process {
 public:
  Process(sim::SimHost& host, sim::SimDisk& disk, const StoreMaker& maker, std::size_t pool_bytes, Wiring wiring = {})
      : host_(&host), disk_(&disk), maker_(&maker), wiring_(wiring), memory_(pool_bytes), pool_(host.executor(), memory_.bytes()),
        scope_(std::make_unique<Scope>(host.executor())) {}
  Process(const Process&) = delete;
  ~Process() { ENSURE(dead_); }

  Group* group() const { return group_.get(); }
  BufferPool& pool() { return pool_; }
  Scope& scope() { return *scope_; }
  sim::SimHost& host() { return *host_; }
  GroupPorts ports() {
    return GroupPorts{host_->executor(), host_->clock(), host_->world().random(), pool_, *disk_, wiring_.coordinator, wiring_.connector};
  }

  // Started here, answered while the world runs.
  void start_format(FormatOptions options, Group::Existing existing) { scope_->spawn(format(this, options, existing)); }
  void start_open(GroupOptions options) { scope_->spawn(open(this, std::move(options))); }
  void start_stop() { scope_->spawn(stop(this)); }
  std::optional<Result<void>> formatted, opened, stopped;

  // The end of this life. Nothing that it had asked for happens any more.
  void die(Death how) {
    host_->crash();
    if (how == Death::power_loss) disk_->crash();
    else disk_->crash_process_only();
    scope_.reset();
    group_.reset();
    host_->executor().drop_ready();  // Guards that unwound have posted wake-ups to frames that are gone.
    dead_ = true;
  }

 private:
  static Task<void> format(Process* self, FormatOptions options, Group::Existing existing) {
    auto result = co_await self->maker_->format(self->ports(), options, existing);
    self->formatted.emplace(std::move(result));
  }
  static Task<void> open(Process* self, GroupOptions options) {
    auto result = co_await self->maker_->open(self->ports(), options);
    if (result) {
      self->group_ = std::move(*result);
      self->opened.emplace();
    } else {
      self->opened.emplace(fail(result.error()));
    }
  }
  static Task<void> stop(Process* self) {
    auto result = co_await self->group_->stop();
    self->stopped.emplace(std::move(result));
  }

  sim::SimHost* host_;
  sim::SimDisk* disk_;
  const StoreMaker* maker_;
  Wiring wiring_;
  sim::PoolMemory memory_;
  BufferPool pool_;
  std::unique_ptr<Group> group_;
  std::unique_ptr<Scope> scope_;
  bool dead_ = false;
};

}  // namespace holdfast::crash

// A Disk that treats the death of its process as a power loss: what was written without a sync lives in this process's memory
// only. Each unsynced block is, by the seed's dice, lost, kept or torn at 512 bytes. For the crash harness.
//
// A durable write makes itself durable and nothing else. A sync writes everything out first, with no write under way.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "base/disk.h"
#include "base/scope.h"

namespace holdfast::daemon {

class PowerLossDisk final : public Disk {
 public:
  PowerLossDisk(std::unique_ptr<Disk> below, std::uint64_t seed);
  void submit(DiskRequest& request) override;
  std::uint64_t size_bytes() const override { return below_->size_bytes(); }
  std::uint64_t available_bytes() const override { return below_->available_bytes(); }
  bool is_file() const override { return below_->is_file(); }
  void register_memory(MutableBytes memory) override { below_->register_memory(memory); }
  // Blocks that a power loss now would touch.
  std::size_t unsynced_blocks() const { return unsynced_.size(); }

 private:
  struct alignas(kBlockBytes) Block {
    std::byte bytes[kBlockBytes];
  };
  using BlockRef = std::shared_ptr<const Block>;
  enum class Fate : std::uint8_t { lost, kept, torn };

  Task<void> serve(DiskRequest* request);
  Task<Result<void>> serve_read(DiskRequest* request);
  Task<Result<void>> serve_write(DiskRequest* request);
  Task<Result<void>> tear(std::uint64_t offset, BlockRef block);
  Task<Result<void>> serve_sync();
  void patch(const DiskRequest& request, const std::map<std::uint64_t, BlockRef>& blocks) const;
  void forget(std::uint64_t offset, std::uint64_t length);
  std::uint64_t dice();

  std::unique_ptr<Disk> below_;
  std::uint64_t dice_;
  std::map<std::uint64_t, BlockRef> unsynced_;  // By byte offset.
  Semaphore writers_;                           // Writes take one, a sync takes all.
  Scope scope_;
};

}  // namespace holdfast::daemon

// A disk that fails by the rules in a file (io/fault_disk.h), which is read again when it changes: for real processes under torture.
// A rule that was hit counts anew when the file changes. The first faults are logged, so that a test can prove them.
#pragma once

#include <memory>
#include <string>

#include "io/fault_disk.h"

namespace holdfast::daemon {

class FaultyDisk final : public Disk {
 public:
  // A file that is not there has no rules.
  FaultyDisk(Clock& clock, std::unique_ptr<Disk> below, std::string file);
  void submit(DiskRequest& request) override;
  std::uint64_t size_bytes() const override { return below_.size_bytes(); }
  std::uint64_t available_bytes() const override { return below_.available_bytes(); }
  bool is_file() const override { return below_.is_file(); }
  void register_memory(MutableBytes memory) override { below_.register_memory(memory); }

 private:
  void look();
  Clock* clock_;
  std::string file_, rules_;
  BootNs looked_{};
  std::uint64_t told_ = 0;
  io::FaultDisk below_;
};

}  // namespace holdfast::daemon

// Reads over every path on its own, as fast as they are answered, and notes when each node answered with data: who served, and when, by
// the host's own clock.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "test/torture/multipath_host.h"

namespace holdfast::torture {

class Witness {
 public:
  Witness(MultipathHost& host, std::size_t paths);
  ~Witness();
  Witness(const Witness&) = delete;
  // Ends when each path has answered once more, or was lost.
  void stop();

  // Of the path, oldest first. To be asked for any time.
  std::vector<BootNs> answers(std::size_t path) const;

 private:
  void look(std::size_t path);
  MultipathHost& host_;
  mutable std::mutex mutex_;
  std::vector<std::vector<BootNs>> answers_;
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace holdfast::torture

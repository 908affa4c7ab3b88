// How long the machine itself stands still: on a busy one a pause says little about Holdfast.
#pragma once

#include <atomic>
#include <string>
#include <thread>

#include "base/types.h"
#include "io/unique_fd.h"

namespace holdfast::torture {

// Sleeps for 20 ms and makes a block durable, over and over, as long as it lives.
class Metronome {
 public:
  explicit Metronome(const std::string& folder);  // Whose disk is meant.
  ~Metronome();
  Metronome(const Metronome&) = delete;

  // The most that one beat took more than its sleep.
  DurationNs longest_stall() const { return DurationNs{longest_.load()}; }

 private:
  void beat();
  io::UniqueFd file_;
  std::atomic<std::int64_t> longest_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace holdfast::torture

#include "test/torture/witness.h"

#include "test/torture/clock.h"

namespace holdfast::torture {

Witness::Witness(MultipathHost& host, std::size_t paths) : host_(host), answers_(paths) {
  for (std::size_t path = 0; path < paths; ++path) threads_.emplace_back([this, path] { look(path); });
}

Witness::~Witness() { stop(); }

void Witness::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

std::vector<BootNs> Witness::answers(std::size_t path) const {
  const std::lock_guard lock(mutex_);
  return answers_.at(path);
}

void Witness::look(std::size_t path) {
  while (!stopping_) {
    const auto answer = host_.execute_on(path, read_blocks({Lba(0), BlockCount(1)}));
    const BootNs when = now();
    if (!answer || !answer->good()) {
      pause_for(milliseconds(1));
      continue;
    }
    const std::lock_guard lock(mutex_);
    answers_[path].push_back(when);
  }
}

}  // namespace holdfast::torture

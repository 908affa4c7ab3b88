// Memory for a node's buffer pool, used again by the next node: mapping and touching it anew is what a short life costs most.
// What an earlier life left in it stays there: buffers promise no contents.
#pragma once

#include <sys/mman.h>

#include <map>
#include <vector>

#include "base/bytes.h"
#include "base/ensure.h"

namespace holdfast::sim {

class PoolMemory {
 public:
  explicit PoolMemory(std::size_t bytes) : bytes_(take(bytes)) {}
  PoolMemory(const PoolMemory&) = delete;
  PoolMemory& operator=(const PoolMemory&) = delete;
  ~PoolMemory() { free_list(bytes_.size()).push_back(bytes_.data()); }
  MutableBytes bytes() const { return bytes_; }

 private:
  // Kept until the thread ends, and then left to the process's end.
  static std::vector<std::byte*>& free_list(std::size_t bytes) {
    thread_local std::map<std::size_t, std::vector<std::byte*>> lists;
    return lists[bytes];
  }
  static MutableBytes take(std::size_t bytes) {
    auto& list = free_list(bytes);
    if (!list.empty()) {
      std::byte* memory = list.back();
      list.pop_back();
      return {memory, bytes};
    }
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ENSURE(memory != MAP_FAILED);
    return {static_cast<std::byte*>(memory), bytes};
  }
  MutableBytes bytes_;
};

}  // namespace holdfast::sim

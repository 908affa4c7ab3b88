// Objects of one type from a free list: after warm-up nothing is allocated. Single-threaded.
#pragma once

#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/ensure.h"

namespace holdfast {

template <class T>
class ObjectPool {
 public:
  ObjectPool() = default;
  ObjectPool(const ObjectPool&) = delete;
  ObjectPool& operator=(const ObjectPool&) = delete;
  // Objects that are still in use are the owner's to release first, or their memory goes without a destructor call.
  ~ObjectPool() = default;

  template <class... Args>
  T* make(Args&&... args) {
    if (free_.empty()) extend();
    void* place = free_.back();
    free_.pop_back();
    ++in_use_;
    return new (place) T(std::forward<Args>(args)...);
  }
  void release(T* object) {
    object->~T();
    free_.push_back(object);
    ENSURE(in_use_ > 0);
    --in_use_;
  }
  std::size_t in_use() const { return in_use_; }

 private:
  static constexpr std::size_t kSlab = 256;
  struct alignas(T) Place {
    unsigned char bytes[sizeof(T)];
  };
  void extend() {
    slabs_.push_back(std::make_unique<Place[]>(kSlab));
    free_.reserve(slabs_.size() * kSlab);
    for (std::size_t i = 0; i < kSlab; ++i) free_.push_back(&slabs_.back()[i]);
  }
  std::vector<std::unique_ptr<Place[]>> slabs_;
  std::vector<void*> free_;
  std::size_t in_use_ = 0;
};

}  // namespace holdfast

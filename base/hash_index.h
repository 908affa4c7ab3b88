// A hash table whose links live in the items: inserting and removing allocate nothing. Chained, grown only by its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ensure.h"

namespace holdfast {

// T has `std::uint64_t index_key` and `T* index_next`.
template <class T>
class HashIndex {
 public:
  explicit HashIndex(std::size_t buckets_log2 = 10) : buckets_(std::size_t{1} << buckets_log2, nullptr) {}

  T* find(std::uint64_t key) const {
    for (T* item = buckets_[slot(key)]; item; item = item->index_next)
      if (item->index_key == key) return item;
    return nullptr;
  }
  void insert(T& item) {
    if (size_ >= buckets_.size() * 2) grow();
    T*& head = buckets_[slot(item.index_key)];
    item.index_next = head;
    head = &item;
    ++size_;
  }
  void erase(T& item) {
    T** link = &buckets_[slot(item.index_key)];
    while (*link != &item) {
      ENSURE(*link != nullptr);
      link = &(*link)->index_next;
    }
    *link = item.index_next;
    item.index_next = nullptr;
    --size_;
  }
  std::size_t size() const { return size_; }
  template <class F>
  void for_each(F&& f) const {
    for (T* head : buckets_)
      for (T* item = head; item;) {
        T* next = item->index_next;
        f(*item);
        item = next;
      }
  }

 private:
  std::size_t slot(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15ULL) >> 32) & (buckets_.size() - 1);
  }
  void grow() {
    std::vector<T*> old(buckets_.size() * 2, nullptr);
    old.swap(buckets_);
    for (T* head : old)
      while (head) {
        T* next = head->index_next;
        T*& place = buckets_[slot(head->index_key)];
        head->index_next = place;
        place = head;
        head = next;
      }
  }
  std::vector<T*> buckets_;
  std::size_t size_ = 0;
};

}  // namespace holdfast

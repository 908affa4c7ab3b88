// A bitmap with a next-set-bit scan.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace holdfast::snapshot {

class Bitmap {
 public:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  void resize(std::uint64_t bits) {
    bits_ = bits;
    words_.resize((bits + 63) / 64);
  }
  std::uint64_t size() const { return bits_; }
  bool test(std::uint64_t i) const { return words_[i / 64] >> (i % 64) & 1; }
  void set(std::uint64_t i) { words_[i / 64] |= std::uint64_t{1} << (i % 64); }
  void clear(std::uint64_t i) { words_[i / 64] &= ~(std::uint64_t{1} << (i % 64)); }
  // The first set bit at or after `from`, or kNone.
  std::uint64_t next(std::uint64_t from) const {
    if (from >= bits_) return kNone;
    std::uint64_t w = from / 64;
    std::uint64_t word = words_[w] & (~std::uint64_t{0} << (from % 64));
    while (word == 0) {
      if (++w == words_.size()) return kNone;
      word = words_[w];
    }
    return w * 64 + static_cast<std::uint64_t>(std::countr_zero(word));
  }

 private:
  std::uint64_t bits_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace holdfast::snapshot

// Everything a simulation draws comes from one seed: the same seed is the same life, on every machine.
#pragma once

#include <array>
#include <cstdint>

#include "base/ensure.h"
#include "base/random.h"

namespace holdfast::sim {

// SplitMix64 (Steele, Lea, Flood 2014): spreads a small seed, and is a good one-shot hash of a number.
constexpr std::uint64_t split_mix(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15ULL;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
constexpr std::uint64_t mix(std::uint64_t value) { return split_mix(value); }

// xoshiro256** (Blackman, Vigna 2018).
class SimRandom final : public Random {
 public:
  explicit SimRandom(std::uint64_t seed) {
    for (auto& word : state_) word = split_mix(seed);
  }

  std::uint64_t next() {
    const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

  // 0 … bound - 1. The bias of a 64-bit multiply is far below anything a test could see.
  std::uint64_t below(std::uint64_t bound) {
    ENSURE(bound > 0);
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  // low … high, both included.
  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  // True once in `n`.
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  bool per_million(std::uint32_t chance) { return chance != 0 && below(1'000'000) < chance; }
  bool coin() { return (next() >> 63) != 0; }
  template <class T, std::size_t N>
  const T& pick(const std::array<T, N>& from) { return from[below(N)]; }

  void fill(MutableBytes bytes) override {
    for (std::size_t at = 0; at < bytes.size();) {
      const std::uint64_t word = next();
      const std::size_t part = bytes.size() - at < sizeof word ? bytes.size() - at : sizeof word;
      std::memcpy(bytes.data() + at, &word, part);
      at += part;
    }
  }

 private:
  static constexpr std::uint64_t rotate(std::uint64_t v, unsigned by) { return (v << by) | (v >> (64 - by)); }
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace holdfast::sim

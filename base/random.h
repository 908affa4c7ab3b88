// The Random port: ids, nonces, CHAP challenges. In production from the kernel, in simulation from the seed.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/types.h"

namespace holdfast {

class Random {
 public:
  virtual ~Random() = default;
  virtual void fill(MutableBytes bytes) = 0;

  std::uint64_t next_u64() {
    std::uint64_t v;
    fill(std::as_writable_bytes(std::span<std::uint64_t, 1>(&v, 1)));
    return v;
  }
  // A version 4 UUID (RFC 9562 §5.4).
  Uuid next_uuid() {
    Uuid id;
    fill(std::as_writable_bytes(std::span(id)));
    id[6] = static_cast<std::uint8_t>((id[6] & 0x0f) | 0x40);
    id[8] = static_cast<std::uint8_t>((id[8] & 0x3f) | 0x80);
    return id;
  }
};

}  // namespace holdfast

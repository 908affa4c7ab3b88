// Counts what a thread takes from the heap, so that "no malloc after warm-up" is a test and not a hope.
// Linking the library replaces the global operator new and delete. Under a sanitizer it does not: it would hide from it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace holdfast::test {

// False under a sanitizer: coroutine frames are not pooled there either, so such tests skip themselves.
bool allocations_are_counted();

// Counts the allocations of the thread it was made on, from its making on. One at a time on a thread.
class AllocationWatch {
 public:
  AllocationWatch();
  AllocationWatch(const AllocationWatch&) = delete;
  AllocationWatch& operator=(const AllocationWatch&) = delete;
  ~AllocationWatch();

  std::uint64_t allocations() const;
  std::uint64_t bytes() const;
  // Where the first few came from: one line of return addresses each, for `addr2line -Cfipe <program>`.
  std::string sites() const;
};

}  // namespace holdfast::test

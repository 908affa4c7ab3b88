#include "base/frame_pool.h"

#include <array>
#include <new>

namespace holdfast {
namespace {

constexpr std::size_t kClassBytes = 64;
constexpr std::size_t kClasses = 256;  // Frames up to 16 KiB: a read's plan lives in one. Larger ones go to the heap.

struct FreeFrame {
  FreeFrame* next;
};

struct FrameLists {
  std::array<FreeFrame*, kClasses> heads{};
  ~FrameLists() {
    for (FreeFrame* head : heads) {
      while (head) {
        FreeFrame* next = head->next;
        ::operator delete(head);
        head = next;
      }
    }
  }
};

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kPooled = false;  // Let the sanitizer see the end of every frame.
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kPooled = false;
#else
constexpr bool kPooled = true;
#endif
#else
constexpr bool kPooled = true;
#endif

thread_local FrameLists lists;

constexpr std::size_t class_of(std::size_t bytes) { return (bytes + kClassBytes - 1) / kClassBytes; }

}  // namespace

void* frame_allocate(std::size_t bytes) {
  const std::size_t index = class_of(bytes);
  if (!kPooled || index >= kClasses) return ::operator new(bytes);
  FreeFrame*& head = lists.heads[index];
  if (!head) return ::operator new(index * kClassBytes);
  FreeFrame* frame = head;
  head = frame->next;
  return frame;
}

void frame_release(void* frame, std::size_t bytes) noexcept {
  const std::size_t index = class_of(bytes);
  if (!kPooled || index >= kClasses) return ::operator delete(frame);
  lists.heads[index] = new (frame) FreeFrame{lists.heads[index]};
}

}  // namespace holdfast

// Coroutine frames come from per-thread free lists: after warm-up a flow calls no malloc.
#pragma once

#include <cstddef>

namespace holdfast {

void* frame_allocate(std::size_t bytes);
void frame_release(void* frame, std::size_t bytes) noexcept;

}  // namespace holdfast

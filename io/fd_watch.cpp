#include "io/fd_watch.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>

#include "io/reactor.h"

namespace holdfast::io {
namespace {

namespace asio = boost::asio;

// Memory for the one handler that is pending at a time: waiting calls no malloc.
class HandlerMemory {
 public:
  void* take(std::size_t bytes) {
    if (used_ || bytes > sizeof storage_) return ::operator new(bytes);
    used_ = true;
    return storage_;
  }
  void give(void* p) {
    if (p != storage_) return ::operator delete(p);
    used_ = false;
  }

 private:
  alignas(std::max_align_t) std::byte storage_[384];
  bool used_ = false;
};

template <class T>
struct HandlerAllocator {
  using value_type = T;
  HandlerMemory* memory;
  explicit HandlerAllocator(HandlerMemory& m) : memory(&m) {}
  template <class U>
  HandlerAllocator(const HandlerAllocator<U>& other) : memory(other.memory) {}  // NOLINT: rebinding.
  T* allocate(std::size_t n) { return static_cast<T*>(memory->take(n * sizeof(T))); }
  void deallocate(T* p, std::size_t) { memory->give(p); }
  template <class U>
  bool operator==(const HandlerAllocator<U>& other) const { return memory == other.memory; }
};

}  // namespace

struct FdWatch::State {
  struct Side {
    std::coroutine_handle<> waiter;
    bool pending = false;  // Asio has a handler of ours.
    HandlerMemory memory;
  };

  State(Reactor& r, int f) : reactor(&r), fd(f) {}
  ~State() { release(); }

  void release() {
    if (descriptor) descriptor->release();
    descriptor.reset();
  }
  Side& side(Direction direction) { return direction == Direction::read ? reading : writing; }

  Reactor* reactor;
  int fd;
  bool closed = false;
  std::optional<asio::posix::stream_descriptor> descriptor;  // From the first wait on.
  Side reading, writing;
};

namespace {

struct WaitHandler {
  using allocator_type = HandlerAllocator<void>;
  std::shared_ptr<FdWatch::State> state;
  FdWatch::Direction direction;
  allocator_type get_allocator() const { return allocator_type(state->side(direction).memory); }
  void operator()(const boost::system::error_code&) const {
    auto& side = state->side(direction);
    side.pending = false;
    if (side.waiter) state->reactor->post(std::exchange(side.waiter, {}));
  }
};

}  // namespace

FdWatch::FdWatch(Reactor& reactor, int fd) : state_(std::make_shared<State>(reactor, fd)) {}
FdWatch::~FdWatch() { close(); }

bool FdWatch::closed() const { return state_->closed; }

void FdWatch::close() {
  if (state_->closed) return;
  state_->closed = true;
  for (auto* side : {&state_->reading, &state_->writing}) {
    if (side->waiter) state_->reactor->post(std::exchange(side->waiter, {}));
  }
  state_->release();
}

FdWatch::Awaiter::~Awaiter() {
  if (state_) state_->side(direction_).waiter = {};
}

bool FdWatch::Awaiter::await_ready() const noexcept { return state_->closed; }

void FdWatch::Awaiter::await_suspend(std::coroutine_handle<> h) {
  auto& side = state_->side(direction_);
  ENSURE(!side.waiter);
  side.waiter = h;
  if (side.pending) return;
  if (!state_->descriptor) state_->descriptor.emplace(state_->reactor->io_context(), state_->fd);
  side.pending = true;
  state_->descriptor->async_wait(direction_ == Direction::read ? asio::posix::stream_descriptor::wait_read
                                                               : asio::posix::stream_descriptor::wait_write,
                                 WaitHandler{state_, direction_});
}

struct FdSignal::State {
  State(asio::io_context& ioc, int fd) : descriptor(ioc, fd) {}
  asio::posix::stream_descriptor descriptor;
  std::uint64_t value = 0;
  bool signalled = false;
  bool closed = false;
  HandlerMemory memory;
};

namespace {

template <class State>
struct SignalHandler {
  using allocator_type = HandlerAllocator<void>;
  std::shared_ptr<State> state;
  allocator_type get_allocator() const { return allocator_type(state->memory); }
  void operator()(const boost::system::error_code&, std::size_t) const {
    if (state->closed) return;
    state->signalled = true;
    start(state);
  }
  // Reading clears the descriptor and waits for its next edge, without rearming it in epoll.
  static void start(const std::shared_ptr<State>& state) {
    state->descriptor.async_read_some(asio::buffer(&state->value, sizeof state->value), SignalHandler{state});
  }
};

}  // namespace

FdSignal::FdSignal(asio::io_context& ioc, int fd) : state_(std::make_shared<State>(ioc, fd)) {
  SignalHandler<State>::start(state_);
}

FdSignal::~FdSignal() {
  state_->closed = true;
  state_->descriptor.release();
}

bool FdSignal::take() { return std::exchange(state_->signalled, false); }

}  // namespace holdfast::io

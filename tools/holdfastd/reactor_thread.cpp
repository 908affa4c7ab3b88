#include "tools/holdfastd/reactor_thread.h"

#include <pthread.h>

namespace holdfast::daemon {

Result<std::unique_ptr<ReactorThread>> ReactorThread::create(std::string name, io::ReactorOptions options) {
  auto reactor = io::Reactor::create(options);
  if (!reactor) return fail(std::move(reactor).error());
  return std::unique_ptr<ReactorThread>(new ReactorThread(std::move(name), std::move(*reactor)));
}

ReactorThread::ReactorThread(std::string name, std::unique_ptr<io::Reactor> reactor)
    : name_(std::move(name)), reactor_(std::move(reactor)),
      payload_budgets_(std::make_shared<scsi::PayloadBudgets>(*reactor_, reactor_->buffers())), scope_(*reactor_) {}

ReactorThread::~ReactorThread() { stop(); }

void ReactorThread::start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), name_.c_str());
    reactor_->run();
  });
}

void ReactorThread::stop() {
  if (!thread_.joinable()) return;
  reactor_->stop();
  thread_.join();
}

}  // namespace holdfast::daemon

#include "scsi/portal.h"

#include "scsi/discovery.h"
#include "scsi/login_io.h"
#include "scsi/login_watch.h"
#include "scsi/target.h"

namespace holdfast::scsi {

Portal::Portal(const TargetDirectory& directory, Executor& executor, Clock& clock, Random& random,
               PortalOptions options)
    : directory_(&directory), clock_(&clock), random_(&random), options_(options),
      logins_(std::make_shared<std::atomic<unsigned>>(0)), scope_(executor) {}

// The slot of whoever is dropped comes free at the thread's next turn; until then there is one more.
std::shared_ptr<void> Portal::take_slot() {
  if (logins_->fetch_add(1) >= options_.logins_max && !drop_a_silent_one()) {
    logins_->fetch_sub(1);
    return nullptr;
  }
  return {logins_.get(), [counter = logins_](void*) { counter->fetch_sub(1); }};
}

bool Portal::drop_a_silent_one() {
  if (silent_.empty()) return false;
  silent_.pop_front().stream->close();
  refused_for_load_.add();
  return true;
}

Task<void> Portal::run(Listener* listener) {
  for (;;) {
    auto stream = co_await listener->accept();
    if (stream) {
      admit(std::move(*stream));
      continue;
    }
    if (stream.error().code == Errc::closed) co_return;
    // Out of descriptors, say: give it time rather than spin.
    Timer pause(*clock_);
    co_await pause.after(milliseconds(100));
  }
}

Task<void> Portal::serve(std::unique_ptr<Stream> stream) {
  auto slot = take_slot();
  if (!slot) {
    // Not a word: an answer would need a request to be read first.
    refused_for_load_.add();
    stream->close();
    co_return;
  }
  auto watch = std::make_shared<LoginWatch>(*clock_, stream.get());
  scope_.spawn(watch_login(watch, options_.login_timeout));
  Silent silent;
  silent.stream = stream.get();
  silent_.push_back(silent);
  LoginMachine machine;
  auto step = co_await next_request(stream.get(), &machine, random_);
  silent.unlink();
  if (step) step = co_await converse(stream.get(), &machine, *step, random_);
  if (step && *step == LoginMachine::Step::need_target && machine.identity().type == SessionType::normal) {
    const auto entry = directory_->find(machine.identity().target);
    if (entry) {
      watch->let_go();
      LoginHandoff handoff{stream->move_to(*entry->executor), std::move(machine),
                           TargetFacts{entry->auth, entry->portal_group}, clock_->now(), std::move(slot)};
      entry->executor->post_remote([target = entry->target, handoff = std::move(handoff)]() mutable {
        // A target that has gone meanwhile: the stream closes, and the initiator asks again.
        if (const auto alive = target.lock()) alive->admit(std::move(handoff));
      });
      co_return;
    }
    step = machine.on_target(std::nullopt, *random_);
  }
  if (step && *step == LoginMachine::Step::need_target) {
    const auto discovery = machine.on_target(TargetFacts{directory_->discovery_auth(), 0}, *random_);
    step = co_await converse(stream.get(), &machine, discovery, random_);
  }
  if (step && *step == LoginMachine::Step::need_session) step = machine.on_session(LoginStatus::success, 1);
  bool answered = false;
  if (step) {
    const auto written = co_await write_login_reply(stream.get(), &machine);
    answered = written.has_value();
  }
  watch->let_go();
  if (answered && *step == LoginMachine::Step::complete) {
    watch = std::make_shared<LoginWatch>(*clock_, stream.get());
    scope_.spawn(watch_login(watch, options_.discovery_timeout));
    co_await serve_discovery(stream.get(), &machine, directory_);
    watch->let_go();
  }
  stream->close();
}

}  // namespace holdfast::scsi

// The logs of the node's volumes, and their consumers: flows on the volumes' own threads.
#include "admin/names.h"
#include "tools/holdfastd/node.h"
#include "tools/holdfastd/remote.h"

namespace holdfast::daemon {
namespace {

Task<Result<std::vector<ConsumerStatus>>> consumers_of(Group* group) { co_return group->consumers(); }

// Coroutines take no references: the names are copied into the frame.
Task<Result<LogBatch>> read_from(Group* group, ReadLog request) {
  Lsn from = request.from;
  if (from == Lsn()) {
    for (const ConsumerStatus& consumer : group->consumers())
      if (consumer.name == request.consumer) from = consumer.confirmed.next();
    if (from == Lsn()) co_return fail(Errc::not_found, "consumer: there is no consumer \"" + admin::printable(request.consumer) + "\" of this log");
  }
  auto batch = co_await group->read_log(from, request.limits);
  co_return batch;
}

}  // namespace

template <class T>
void Node::with_volume(std::string name, VolumeFlow<T> flow, Done<T> done) {
  control_.post_remote([this, name = std::move(name), flow = std::move(flow), done = std::move(done)]() mutable {
    scope_.spawn(run_with_volume<T>(std::move(name), std::move(flow), std::move(done)));
  });
}

// What is neither stopping nor busy when the flow is handed over is stopped after it has begun, and then waits for it.
template <class T>
Task<void> Node::run_with_volume(std::string name, VolumeFlow<T> flow, Done<T> done) {
  const auto found = slots_.find(name);
  if (found == slots_.end()) co_return done(fail(Errc::not_found, "name: there is no volume \"" + admin::printable(name) + "\""));
  const Slot& slot = found->second;
  if (stopping_) co_return done(fail(Errc::closed, "the node is stopping"));
  if (slot.busy) co_return done(fail(Errc::busy, "name: volume " + name + " is being created or deleted just now"));
  if (!slot.volume) co_return done(fail(Errc::io_error, "volume " + name + " cannot be served: " + slot.failure));
  auto running = run_in<Result<T>>(control_, slot.thread->scope(),
                                   [volume = slot.volume.get(), flow = std::move(flow)]() mutable { return flow(volume); });
  Result<T> result = co_await running;
  done(std::move(result));
}

void Node::consumers(std::string volume, Done<std::vector<ConsumerStatus>> done) {
  with_volume<std::vector<ConsumerStatus>>(std::move(volume), [](HostedVolume* v) { return consumers_of(&v->group()); }, std::move(done));
}

void Node::create_consumer(ConsumerName which, ConsumerStart start, Done<ConsumerStatus> done) {
  with_volume<ConsumerStatus>(which.volume, [which, start](HostedVolume* v) { return v->group().create_consumer(which.consumer, start); },
                              std::move(done));
}

void Node::drop_consumer(ConsumerName which, Done<void> done) {
  with_volume<void>(which.volume, [which](HostedVolume* v) { return v->group().delete_consumer(which.consumer); }, std::move(done));
}

void Node::confirm_consumer(ConsumerName which, Lsn lsn, Confirm when, Done<void> done) {
  with_volume<void>(which.volume, [which, lsn, when](HostedVolume* v) { return v->group().confirm_consumer(which.consumer, lsn, when); },
                    std::move(done));
}

void Node::read_log(ReadLog request, Done<LogBatch> done) {
  with_volume<LogBatch>(request.volume, [request](HostedVolume* v) { return read_from(&v->group(), request); }, std::move(done));
}

}  // namespace holdfast::daemon

#include "test/cluster/door.h"

#include <algorithm>

#include "test/crash/content.h"
#include "test/sim/text.h"

namespace holdfast::cluster {

void Door::accept(ExchangePtr exchange) {
  open_.push_back(exchange);
  process_->scope().spawn(serve(this, std::move(exchange)));
}

void Door::accept(InquiryPtr inquiry) { process_->scope().spawn(look(this, std::move(inquiry))); }

Task<void> Door::look(Door* self, InquiryPtr inquiry) {
  Volume* volume = self->process_->group()->find(inquiry->volume_name);
  if (!volume) co_return self->owner_->answer(self->node_, inquiry);
  self->hear(*volume);
  auto view = co_await volume->confirmed_cluster_view();
  if (view) {
    for (const PortGroup& group : view->groups)
      if (group.state == PortGroupState::active_optimized) inquiry->named = NodeId(group.id);
    if (inquiry->named) self->owner_->told_view(self->node_, *inquiry);
    else self->owner_->violation(sim::format("node {} confirms that nobody is active", self->node_.value));
  }
  self->owner_->answer(self->node_, inquiry);
}

void Door::initiator_heard(BootNs when) {
  for (Volume* volume : process_->group()->volumes()) volume->initiator_heard(when);
}

void Door::drop_all(Errc why) {
  for (const ExchangePtr& exchange : std::exchange(open_, {})) {
    exchange->outcome = Outcome::unknown;
    exchange->error = why;
    owner_->answer(node_, exchange);
  }
}

void Door::volume_event(VolumeEvent event) {
  if (event == VolumeEvent::ask_initiators) return owner_->ask_initiators(node_);
  if (event == VolumeEvent::begins_to_serve) return owner_->begins_to_serve();
  if (event != VolumeEvent::stopped_serving && event != VolumeEvent::ceases_to_serve) return;
  ++times_dropped_;
  disconnect();
  drop_all(Errc::fenced);
}

void Door::hear(Volume& volume) {
  const auto is_new = [who = VolumeId(&volume, volume.identity().uuid)](std::vector<VolumeId>& known) {
    const bool found = std::find(known.begin(), known.end(), who) != known.end();
    if (!found) known.push_back(who);
    return !found;
  };
  if (is_new(observed_)) volume.add_observer(*this);
  if (!is_new(connected_)) return;  // What a client says of its own accord is no word: it may have been lying in a buffer.
  volume.initiator_attached();
  volume.initiator_heard(volume.clock().now());
}

void Door::disconnect() {
  const std::vector<VolumeId> were = std::exchange(connected_, {});
  for (Volume* volume : process_->group()->volumes())
    if (std::find(were.begin(), were.end(), VolumeId(volume, volume->identity().uuid)) != were.end()) {
      volume->initiator_lost();
      volume->initiator_left();
    }
}

void Door::finish(const ExchangePtr& exchange, Outcome outcome, Errc error) {
  const auto found = std::find(open_.begin(), open_.end(), exchange);
  if (found == open_.end()) return;  // Its connection was dropped meanwhile.
  open_.erase(found);
  exchange->outcome = outcome;
  exchange->error = error;
  if (outcome == Outcome::done) owner_->acknowledged(node_, *exchange);
  owner_->answer(node_, exchange);
}

Task<void> Door::serve(Door* self, ExchangePtr exchange) {
  Group* group = self->process_->group();
  Volume* volume = group->find(exchange->volume_name);
  if (!volume) co_return self->finish(exchange, Outcome::refused, Errc::not_found);
  self->hear(*volume);
  if (volume->local_state() != PortGroupState::active_optimized) co_return self->finish(exchange, Outcome::refused, Errc::fenced);
  auto done = co_await self->carry_out(volume, exchange.get());
  if (done) co_return self->finish(exchange, Outcome::done, Errc{});
  const Errc code = done.error().code;
  // WRITE SAME is carried out in pieces: when space runs out, some may be there.
  const bool in_pieces = exchange->kind == OpKind::write_same && code == Errc::no_space;
  const bool harmless = !in_pieces && (code == Errc::no_space || code == Errc::miscompare || code == Errc::overloaded ||
                                       code == Errc::out_of_range);
  self->finish(exchange, harmless ? Outcome::refused : Outcome::unknown, code);
}

Task<Result<void>> Door::carry_out(Volume* volume, Exchange* exchange) {
  if (exchange->kind == OpKind::read) {
    auto done = co_await read(volume, exchange);
    co_return done;
  }
  if (exchange->kind == OpKind::unmap) {
    auto done = co_await volume->unmap(exchange->range);
    co_return done;
  }
  if (exchange->kind == OpKind::compare_and_write) {
    auto done = co_await compare_and_write(volume, exchange);
    co_return done;
  }
  if (exchange->kind == OpKind::reserve) {
    auto done = co_await volume->store_reservations(owner_->history().reservations_of(exchange->id));
    co_return done;
  }
  if (exchange->kind == OpKind::read_reservations) {
    auto done = co_await read_reservations(volume, exchange);
    co_return done;
  }
  auto done = co_await write(volume, exchange);
  co_return done;
}

Task<Result<void>> Door::read(Volume* volume, Exchange* exchange) {
  Buffer into = co_await process_->pool().acquire(exchange->range.count.value * kBlockBytes);
  auto done = co_await volume->read(exchange->range, into);
  if (!done) co_return done;
  if (owner_->history().is_bits(exchange->range)) {
    exchange->seen_bits = History::bits_of(into);
    co_return Result<void>{};
  }
  if (auto wrong = owner_->history().recognise(exchange->volume, exchange->range, into, &exchange->seen)) owner_->violation("a read: " + *wrong);
  co_return Result<void>{};
}

Task<Result<void>> Door::write(Volume* volume, Exchange* exchange) {
  const std::uint64_t blocks = exchange->kind == OpKind::write_same ? 1 : exchange->range.count.value;
  Buffer from = co_await process_->pool().acquire(blocks * kBlockBytes);
  owner_->history().fill(exchange->id, from);
  if (exchange->kind == OpKind::write_same) {
    auto same = co_await volume->write_same(exchange->range, from);
    co_return same;
  }
  if (exchange->kind == OpKind::or_write) {
    auto ored = co_await volume->or_write(exchange->range, from);
    co_return ored;
  }
  auto done = co_await volume->write(exchange->range, from);
  co_return done;
}

Task<Result<void>> Door::compare_and_write(Volume* volume, Exchange* exchange) {
  const std::uint64_t bytes = exchange->range.count.value * kBlockBytes;
  Buffer expected = co_await process_->pool().acquire(bytes);
  Buffer desired = co_await process_->pool().acquire(bytes);
  for (std::uint64_t i = 0; i < exchange->range.count.value; ++i) {
    std::byte* block = expected.data() + i * kBlockBytes;
    const OpId writer = exchange->expected[i];
    if (writer == 0) {
      std::memset(block, 0, kBlockBytes);
      continue;
    }
    const ClientOp& by = owner_->history().ops()[writer];
    const std::uint64_t index = by.kind == OpKind::write_same ? 0 : exchange->range.first.value + i - by.range.first.value;
    crash::stamp_block(block, writer, index);
  }
  owner_->history().fill(exchange->id, desired);
  auto done = co_await volume->compare_and_write(exchange->range, expected, desired);
  if (!done) co_return fail(done.error());
  exchange->mismatch_block = done->mismatch_offset / kBlockBytes;
  if (!done->matched) co_return fail(Errc::miscompare);
  exchange->seen = exchange->expected;
  co_return Result<void>{};
}

// As the device server does it.
Task<Result<void>> Door::read_reservations(Volume* volume, Exchange* exchange) {
  const std::vector<std::byte> state = volume->reservations();
  if (auto wrong = owner_->history().recognise_reservations(exchange->volume, state, &exchange->seen)) owner_->violation(*wrong);
  auto served = co_await volume->confirm_served();
  co_return served;
}

}  // namespace holdfast::cluster

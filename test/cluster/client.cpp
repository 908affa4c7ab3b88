#include "test/cluster/client.h"

#include <algorithm>

#include "snapshot/store_format.h"

namespace holdfast::cluster {

void Clients::start() {
  stopping_ = false;
  for (std::uint32_t i = 1; i <= options_.clients; ++i) {
    ++running_;
    scope_.spawn(run(this, i));
  }
}

Task<void> Clients::run(Clients* self, std::uint32_t number) {
  Client client{number, self->preferred_};
  Timer pause(self->host_.clock());
  while (!self->stopping_) {
    ExchangePtr exchange = self->draw(number);
    const std::uint64_t done_before = self->counters_.done;
    if (exchange->kind == OpKind::compare_and_write) {
      co_await self->compare_and_write(&client, exchange);
    } else {
      ExchangePtr finished = co_await self->operate(&client, exchange);
    }
    (void)co_await pause.after(self->draw_up_to(self->options_.think_max));
    if (self->counters_.done == done_before) (void)co_await pause.after(self->options_.retry_delay);
  }
  --self->running_;
}

ExchangePtr Clients::draw(std::uint32_t) {
  auto exchange = std::make_shared<Exchange>();
  sim::SimRandom& random = world_->random();
  const std::uint32_t total = options_.write + options_.read + options_.unmap + options_.write_same + options_.compare_and_write;
  auto draw = static_cast<std::uint32_t>(random.below(total));
  const auto takes = [&draw](std::uint32_t weight) {
    const bool taken = draw < weight;
    draw -= taken ? 0 : weight;
    return taken;
  };
  exchange->kind = takes(options_.read)         ? OpKind::read
                   : takes(options_.unmap)      ? OpKind::unmap
                   : takes(options_.write_same) ? OpKind::write_same
                   : takes(options_.compare_and_write) ? OpKind::compare_and_write
                                                       : OpKind::write;
  exchange->range = draw_range();
  if (exchange->kind == OpKind::compare_and_write) exchange->range.count = BlockCount(std::min<std::uint64_t>(exchange->range.count.value, 2));
  if (bytes_written_ > options_.write_bytes_max) exchange->kind = OpKind::read;
  if (exchange->kind == OpKind::unmap && random.one_in(3)) exchange->range = draw_map_page();
  if (exchange->kind == OpKind::write) bytes_written_ += exchange->range.count.value * kBlockBytes;
  exchange->volume = static_cast<std::uint32_t>(random.below(options_.volumes));
  exchange->volume_name = volume_name(exchange->volume);
  return exchange;
}

BlockRange Clients::draw_range() {
  sim::SimRandom& random = world_->random();
  const bool hot = random.below(100) < options_.hot_percent;
  const std::uint64_t space = hot ? std::min(options_.hot_blocks, options_.volume_blocks) : options_.volume_blocks;
  std::uint64_t count = random.coin() ? 1 : random.between(1, 8);
  std::uint64_t at = random.below(space);
  if (random.one_in(options_.large_one_in)) {
    count = random.between(1, Volume::kTransferBlocksMax);
    if (random.coin()) {  // Whole chunks.
      count = round_up(count, kChunkBlocks);
      at = at / kChunkBlocks * kChunkBlocks;
    }
  }
  count = std::min({count, options_.volume_blocks - at, Volume::kTransferBlocksMax});
  return BlockRange{Lba(at), BlockCount(count)};
}

// All that one page of the map maps.
BlockRange Clients::draw_map_page() {
  constexpr std::uint64_t kPageBlocks = snapshot::kLeafChunks * kChunkBlocks;
  const std::uint64_t at = world_->random().below(divide_up(options_.volume_blocks, kPageBlocks)) * kPageBlocks;
  return BlockRange{Lba(at), BlockCount(std::min(kPageBlocks, options_.volume_blocks - at))};
}

// One command, on one path.
Task<ExchangePtr> Clients::operate(Client* client, ExchangePtr exchange) {
  ClientOp op;
  op.kind = exchange->kind;
  op.client = client->number;
  op.volume = exchange->volume;
  op.range = exchange->range;
  op.node = client->path;
  op.invoked_at = world_->now();
  if (exchange->kind == OpKind::compare_and_write) op.seen = exchange->expected;
  const OpId id = history_->begin(std::move(op));
  exchange->id = id;
  Timer timer(host_.clock());
  exchange->waiter = &timer;
  network_->send(client->path, exchange);
  const DurationNs spread{options_.patience_max.value - options_.patience_min.value};
  (void)co_await timer.after(DurationNs{options_.patience_min.value + draw_up_to(spread).value});
  exchange->waiter = nullptr;
  const Outcome outcome = exchange->answered ? exchange->outcome : Outcome::unknown;
  if (exchange->kind == OpKind::read && outcome == Outcome::done) history_->op(id).seen = exchange->seen;
  history_->end(id, outcome, world_->now());
  note(*exchange);
  network_->answered(*exchange, history_->ops()[id]);
  choose_path(*client, *exchange);
  co_return exchange;
}

void Clients::note(const Exchange& exchange) {
  ++counters_.operations;
  if (!exchange.answered) ++counters_.timed_out;
  if (exchange.error == Errc::no_space) ++counters_.no_space;
  if (exchange.error == Errc::miscompare) ++counters_.miscompares;
  const Outcome outcome = exchange.answered ? exchange.outcome : Outcome::unknown;
  ++(outcome == Outcome::done ? counters_.done : outcome == Outcome::refused ? counters_.refused : counters_.unknown);
}

void Clients::choose_path(Client& client, const Exchange& exchange) {
  if (exchange.answered && exchange.outcome == Outcome::done) {
    preferred_ = client.path;
    return;
  }
  if (exchange.error == Errc::no_space || exchange.error == Errc::miscompare) return;
  ++counters_.path_changes;
  if (client.path != preferred_ && world_->random().coin()) client.path = preferred_;
  else client.path = NodeId(1 + world_->random().below(network_->node_count()));
}

// Reads what is there, and replaces it if it is still there.
Task<void> Clients::compare_and_write(Client* client, ExchangePtr exchange) {
  auto look = std::make_shared<Exchange>(*exchange);
  look->kind = OpKind::read;
  ExchangePtr seen = co_await operate(client, look);
  if (!seen->answered || seen->outcome != Outcome::done) co_return;
  exchange->expected = seen->seen;
  ExchangePtr done = co_await operate(client, exchange);
}

ExchangePtr Clients::start_one(NodeId path, OpKind kind, std::uint32_t volume, BlockRange range) {
  auto exchange = std::make_shared<Exchange>();
  exchange->kind = kind;
  exchange->volume = volume;
  exchange->volume_name = volume_name(volume);
  exchange->range = range;
  ++running_;
  scope_.spawn(run_one(this, path, exchange));
  return exchange;
}

Task<void> Clients::run_one(Clients* self, NodeId path, ExchangePtr exchange) {
  Client client{0, path};
  (void)co_await self->operate(&client, exchange);
  --self->running_;
}

void Clients::start_reading_all() {
  ++running_;
  scope_.spawn(read_all(this));
}

Task<void> Clients::read_all(Clients* self) {
  Client client{0, self->preferred_};
  constexpr int kTriesMax = 1'000;
  for (std::uint32_t volume = 0; volume < self->options_.volumes; ++volume) {
    int tries = 0;
    for (std::uint64_t at = 0; at < self->options_.volume_blocks && tries < kTriesMax;) {
      auto exchange = std::make_shared<Exchange>();
      exchange->kind = OpKind::read;
      exchange->volume = volume;
      exchange->volume_name = volume_name(volume);
      const std::uint64_t most = self->world_->random().between(1, Volume::kTransferBlocksMax);
      exchange->range = BlockRange{Lba(at), BlockCount(std::min(most, self->options_.volume_blocks - at))};
      ExchangePtr finished = co_await self->operate(&client, exchange);
      ++tries;
      if (finished->answered && finished->outcome == Outcome::done) at += finished->range.count.value;
    }
  }
  --self->running_;
}

}  // namespace holdfast::cluster

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
    const bool failed = self->counters_.done == done_before;
    if (self->options_.asks && (failed || self->world_->random().one_in(16))) co_await self->ask(&client);
    if (failed) (void)co_await pause.after(self->options_.retry_delay);
  }
  --self->running_;
}

ExchangePtr Clients::draw(std::uint32_t) {
  auto exchange = std::make_shared<Exchange>();
  sim::SimRandom& random = world_->random();
  if (!draw_special(exchange.get())) {
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
  }
  exchange->volume = static_cast<std::uint32_t>(random.below(options_.volumes));
  if (!guests_.empty() && random.one_in(3)) exchange->volume = guests_[random.below(guests_.size())];
  exchange->volume_name = volume_name(exchange->volume);
  return exchange;
}

// What is not reading and writing blocks of content. Draws nothing where there is none of it.
bool Clients::draw_special(Exchange* exchange) {
  const std::uint32_t bits = options_.or_write + options_.or_write / 2, state = options_.reserve + options_.reserve / 2;
  if (bits + state == 0) return false;
  sim::SimRandom& random = world_->random();
  const auto draw = static_cast<std::uint32_t>(random.below(100));
  if (draw >= bits + state) return false;
  const bool may_write = bytes_written_ <= options_.write_bytes_max;
  if (draw >= bits) {
    exchange->kind = draw - bits < options_.reserve && may_write ? OpKind::reserve : OpKind::read_reservations;
    exchange->range = history_->reservations_range();
    return true;
  }
  exchange->kind = draw < options_.or_write && history_->can_set_bits() && may_write ? OpKind::or_write : OpKind::read;
  const std::uint64_t at = random.below(History::kBitBlocks);
  const std::uint64_t count = std::min(random.one_in(4) ? History::kBitBlocks : random.between(1, 3), History::kBitBlocks - at);
  exchange->range = BlockRange{Lba(options_.volume_blocks + at), BlockCount(count)};
  return true;
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
  const bool reads = exchange->kind == OpKind::read || exchange->kind == OpKind::read_reservations;
  if (reads && outcome == Outcome::done) {
    history_->op(id).seen = exchange->seen;
    history_->op(id).seen_bits = exchange->seen_bits;
  }
  if (exchange->answered && exchange->error == Errc::miscompare) history_->op(id).differs_at = exchange->mismatch_block;
  history_->end(id, outcome, world_->now());
  note(*exchange);
  network_->answered(*exchange, history_->ops()[id]);
  choose_path(*client, *exchange);
  co_return exchange;
}

Task<void> Clients::ask(Client* client) {
  auto inquiry = std::make_shared<Inquiry>();
  inquiry->volume_name = volume_name(0);
  Timer timer(host_.clock());
  inquiry->waiter = &timer;
  network_->send(client->path, inquiry);
  (void)co_await timer.after(options_.patience_max);
  inquiry->waiter = nullptr;
  if (!inquiry->named) co_return;
  ++counters_.views;
  client->path = *inquiry->named;
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
  if (exchange.error == Errc::not_found && exchange.volume >= options_.volumes) return;  // It has gone, or is not there yet.
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
  for (std::uint32_t volume = 0; volume < self->options_.volumes; ++volume) co_await self->read_volume(&client, volume);
  const std::vector<std::uint32_t> guests = self->guests_;
  for (const std::uint32_t volume : guests) co_await self->read_volume(&client, volume);
  --self->running_;
}

// To its end, and what is behind it.
Task<void> Clients::read_volume(Client* client, std::uint32_t volume) {
  constexpr int kTriesMax = 1'000;
  const std::uint64_t end = options_.capacity().value;
  const auto is_done = [](const Exchange& exchange) { return exchange.answered && exchange.outcome == Outcome::done; };
  int tries = 0;
  for (std::uint64_t at = 0; at < end && tries < kTriesMax; ++tries) {
    auto exchange = std::make_shared<Exchange>();
    exchange->kind = OpKind::read;
    exchange->volume = volume;
    exchange->volume_name = volume_name(volume);
    const std::uint64_t most = world_->random().between(1, Volume::kTransferBlocksMax);
    const std::uint64_t part_end = at < options_.volume_blocks ? options_.volume_blocks : end;  // Content, or bits.
    exchange->range = BlockRange{Lba(at), BlockCount(std::min(most, part_end - at))};
    ExchangePtr finished = co_await operate(client, exchange);
    if (is_done(*finished)) at += finished->range.count.value;
  }
  for (bool read = options_.reserve == 0; !read && tries < kTriesMax; ++tries) {
    auto exchange = std::make_shared<Exchange>();
    exchange->kind = OpKind::read_reservations;
    exchange->volume = volume;
    exchange->volume_name = volume_name(volume);
    exchange->range = history_->reservations_range();
    ExchangePtr finished = co_await operate(client, exchange);
    read = is_done(*finished);
  }
}

}  // namespace holdfast::cluster

// The process that gets killed: a group on a real file, below it a disk whose unsynced data dies with the process.
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/clock.h"
#include "base/scope.h"
#include "engine/group.h"
#include "io/power_loss_disk.h"
#include "io/reactor.h"
#include "io/run_task.h"
#include "io/system_random.h"
#include "io/uring_disk.h"
#include "test/crash/content.h"
#include "test/crash/real_wire.h"
#include "test/sim/text.h"

namespace holdfast::crash {
namespace {

constexpr unsigned kClients = 12;
constexpr std::size_t kPoolBytes = std::size_t{48} << 20;
constexpr std::int64_t kLockPatienceMs = 10'000;

class Child {
 public:
  Child(const RealOrders& orders, io::Reactor& reactor)
      : orders_(&orders), reactor_(&reactor), random_(orders.seed), scope_(reactor), next_op_(orders.next_op) {}

  Task<bool> live();

 private:
  void tell(Message message, Bytes extra = {});
  void complain(const std::string& text);
  void end(OpId op, bool refused = false) { tell(Message{.word = Word::ended, .op = op, .refused = refused ? 1u : 0u}); }
  OpId begin(OpKind kind, std::uint32_t volume, BlockRange range, bool zeros = false);
  void settle_write(OpId op, OpKind kind, BlockRange range, const Result<void>& done);

  Task<bool> open();
  Task<void> verify();
  Task<bool> finish();
  Task<void> read(std::uint32_t volume, BlockRange range);
  Task<void> write(std::uint32_t volume, BlockRange range);
  Task<void> write_same(std::uint32_t volume, BlockRange range);
  Task<void> unmap(std::uint32_t volume, BlockRange range);
  Task<void> one_operation();
  static Task<void> client(Child* self);
  static Task<void> checkpoints(Child* self);

  GroupPorts ports() { return GroupPorts{*reactor_, reactor_->clock(), system_random_, reactor_->buffers(), *disk_}; }
  GroupOptions draw_options();
  io::PowerLossOptions draw_power_loss();
  BlockRange pick_range(std::uint32_t volume);

  const RealOrders* orders_;
  io::Reactor* reactor_;
  sim::SimRandom random_;
  io::SystemRandom system_random_;
  std::unique_ptr<io::PowerLossDisk> disk_;
  std::unique_ptr<Group> group_;
  std::vector<Volume*> volumes_;
  Scope scope_;
  OpId next_op_;
};

// The pipe is read by somebody who only waits for it: blocking here is backpressure, no more.
void write_all(int fd, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) _exit(4);  // The parent is gone.
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void Child::tell(Message message, Bytes extra) {
  if (disk_) {
    message.unsynced = disk_->unsynced_blocks();
    message.early = disk_->early_writes();
  }
  message.extra_bytes = extra.size();
  write_all(orders_->pipe, std::as_bytes(std::span(&message, 1)));
  write_all(orders_->pipe, extra);
}

void Child::complain(const std::string& text) {
  tell(Message{.word = Word::complaint}, std::as_bytes(std::span(text.data(), text.size())));
}

OpId Child::begin(OpKind kind, std::uint32_t volume, BlockRange range, bool zeros) {
  tell(Message{.word = Word::began, .op = next_op_, .kind = static_cast<std::uint32_t>(kind), .volume = volume,
               .first_block = range.first.value, .count = range.count.value, .zeros = zeros ? 1u : 0u});
  return next_op_++;
}

// Every life has other tunables: few frames and short batches make rare paths common.
GroupOptions Child::draw_options() {
  GroupOptions options;
  options.map_cache_bytes = random_.coin() ? 256u << 10 : 4u << 20;
  options.apply_backlog_bytes = random_.coin() ? 2u << 20 : 8u << 20;
  options.log_batches_in_flight = static_cast<std::uint32_t>(random_.between(1, 8));
  options.log_batch_bytes_max = random_.coin() ? 1u << 20 : 64u << 10;
  options.checkpoint_interval_ms = static_cast<std::int64_t>(random_.between(5, 200));
  options.checkpoint_log_percent = static_cast<std::uint32_t>(random_.between(20, 70));
  return options;
}

io::PowerLossOptions Child::draw_power_loss() {
  constexpr std::array<unsigned, 4> early{0, 5, 20, 60};
  io::PowerLossOptions options;
  options.early_percent = random_.pick(early);
  options.tearing = random_.coin() ? io::Tearing::sectors : io::Tearing::whole_blocks;
  options.seed = random_.next();
  return options;
}

Task<bool> Child::open() {
  // A file system without O_DIRECT will do: a killed process loses nothing that lies in the page cache.
  const io::UringDiskOptions options{io::Caching::allow_page_cache};
  auto inner = co_await io::UringDisk::open_patiently(reactor_, orders_->path, milliseconds(kLockPatienceMs), options);
  if (!inner) {
    complain(inner.error().text());
    co_return false;
  }
  disk_ = std::make_unique<io::PowerLossDisk>(std::move(*inner), draw_power_loss());
  if (orders_->life == RealLife::create) {
    auto formatted = co_await Group::format(ports(), FormatOptions{orders_->log_bytes}, Group::Existing::refuse);
    if (!formatted) {
      complain("format: " + formatted.error().text());
      co_return false;
    }
  }
  auto group = co_await Group::open(ports(), draw_options());
  if (!group) {
    complain("the store does not open: " + group.error().text());
    co_return false;
  }
  group_ = std::move(*group);
  const std::uint64_t replayed = group_->status().recovered_records;
  if (orders_->expect_clean && replayed > 0) complain("records to replay after an orderly stop");
  tell(Message{.word = Word::opened, .count = replayed});
  co_return true;
}

Task<bool> Child::live() {
  tell(Message{.word = Word::started});
  const bool opened = co_await open();
  if (!opened) co_return false;
  for (const RealVolume& known : orders_->volumes) {
    if (orders_->life == RealLife::create) {
      auto made = co_await group_->create_volume(known.name, known.uuid, known.capacity);
      if (!made) complain("create: " + made.error().text());
    }
    Volume* volume = group_->find(known.name);
    if (!volume || volume->capacity() != known.capacity || volume->identity().uuid != known.uuid) {
      complain("volume " + known.name + " is gone or another one");
      co_return false;
    }
    volumes_.push_back(volume);
  }
  co_await verify();
  if (orders_->life != RealLife::load) {
    const bool fine = co_await finish();
    co_return fine;
  }
  for (unsigned i = 0; i < kClients; ++i) scope_.spawn(client(this));
  scope_.spawn(checkpoints(this));
  co_await scope_.join();  // Never: the kill comes first.
  co_return false;
}

Task<void> Child::verify() {
  tell(Message{.word = Word::verifying});
  for (std::uint32_t volume = 0; volume < volumes_.size(); ++volume) {
    const std::uint64_t end = orders_->volumes[volume].capacity.value;
    for (std::uint64_t at = 0; at < end; at += Volume::kTransferBlocksMax)
      co_await read(volume, BlockRange{Lba(at), BlockCount(std::min(Volume::kTransferBlocksMax, end - at))});
  }
  tell(Message{.word = Word::verified});
}

Task<bool> Child::finish() {
  auto checked = co_await group_->verify_all();
  if (!checked) complain("verify_all: " + checked.error().text());
  else tell(Message{.word = Word::all_checked, .count = *checked});
  auto stopped = co_await group_->stop();
  if (!stopped) complain("stop: " + stopped.error().text());
  group_.reset();
  co_await disk_->settle();
  if (disk_->unsynced_blocks() > 0) complain("an orderly stop left unsynced blocks");
  tell(Message{.word = Word::stopped});
  disk_.reset();
  co_return checked && stopped;
}

Task<void> Child::read(std::uint32_t volume, BlockRange range) {
  Buffer into = co_await reactor_->buffers().acquire(range.count.value * kBlockBytes);
  const OpId op = begin(OpKind::read, volume, range);
  auto done = co_await volumes_[volume]->read(range, into);
  if (!done) {
    complain(sim::format("read of blocks {}+{} failed: {}", range.first.value, range.count.value, done.error().text()));
    co_return end(op, true);
  }
  const auto hashes = hashes_of(into.bytes());
  const auto stamps = stamps_of(into.bytes());
  std::vector<std::byte> extra(hashes.size() * 8 + stamps.size() * 4);
  std::memcpy(extra.data(), hashes.data(), hashes.size() * 8);
  std::memcpy(extra.data() + hashes.size() * 8, stamps.data(), stamps.size() * 4);
  tell(Message{.word = Word::ended, .op = op}, extra);
}

void Child::settle_write(OpId op, OpKind kind, BlockRange range, const Result<void>& done) {
  if (done) return end(op);
  if (done.error().code == Errc::overloaded) return end(op, true);
  complain(sim::format("{} of blocks {}+{} failed: {}", op_kind_name(kind), range.first.value, range.count.value, done.error().text()));
}

Task<void> Child::write(std::uint32_t volume, BlockRange range) {
  Buffer from = co_await reactor_->buffers().acquire(range.count.value * kBlockBytes);
  for (std::uint64_t i = 0; i < range.count.value; ++i) stamp_block(from.data() + i * kBlockBytes, next_op_, i);
  const OpId op = begin(OpKind::write, volume, range);
  auto done = co_await volumes_[volume]->write(range, from);
  settle_write(op, OpKind::write, range, done);
}

Task<void> Child::write_same(std::uint32_t volume, BlockRange range) {
  const bool zeros = random_.one_in(4);
  Buffer block = co_await reactor_->buffers().acquire(kBlockBytes);
  if (zeros) std::memset(block.data(), 0, kBlockBytes);
  else stamp_block(block.data(), next_op_, 0);
  const OpId op = begin(OpKind::write_same, volume, range, zeros);
  auto done = co_await volumes_[volume]->write_same(range, block);
  settle_write(op, OpKind::write_same, range, done);
}

Task<void> Child::unmap(std::uint32_t volume, BlockRange range) {
  const OpId op = begin(OpKind::unmap, volume, range);
  auto done = co_await volumes_[volume]->unmap(range);
  settle_write(op, OpKind::unmap, range, done);
}

// Mostly short ones, many of them on a few hot blocks; one in eight is long, and half of those are whole chunks.
BlockRange Child::pick_range(std::uint32_t volume) {
  const std::uint64_t capacity = orders_->volumes[volume].capacity.value;
  std::uint64_t length = random_.between(1, random_.coin() ? 1 : 12);
  if (random_.one_in(8)) length = random_.between(12, Volume::kTransferBlocksMax);
  const std::uint64_t at = random_.below(capacity - length + 1);
  if (random_.one_in(3)) return BlockRange{Lba(random_.below(4) * 5), BlockCount(length)};
  if (length < kChunkBlocks || random_.coin()) return BlockRange{Lba(at), BlockCount(length)};
  return BlockRange{Lba(at / kChunkBlocks * kChunkBlocks), BlockCount(length / kChunkBlocks * kChunkBlocks)};
}

Task<void> Child::one_operation() {
  const auto volume = static_cast<std::uint32_t>(random_.below(volumes_.size()));
  const BlockRange range = pick_range(volume);
  const std::uint64_t draw = random_.below(100);
  if (draw < 70) co_await write(volume, range);
  else if (draw < 85) co_await read(volume, range);
  else if (draw < 95) co_await unmap(volume, range);
  else co_await write_same(volume, range);
}

Task<void> Child::client(Child* self) {
  for (;;) co_await self->one_operation();
}

Task<void> Child::checkpoints(Child* self) {
  Timer timer(self->reactor_->clock());
  for (;;) {
    (void)co_await timer.after(microseconds(static_cast<std::int64_t>(self->random_.between(1'000, 60'000))));
    auto done = co_await self->group_->checkpoint();
    if (!done) self->complain("checkpoint: " + done.error().text());
    else self->tell(Message{.word = Word::checkpointed});
  }
}

}  // namespace

int run_real_child(const RealOrders& orders) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto reactor = io::Reactor::create({.buffer_bytes = kPoolBytes});
  if (!reactor) {
    const std::string text = reactor.error().text();
    const Message message{.word = Word::complaint, .extra_bytes = text.size()};
    write_all(orders.pipe, std::as_bytes(std::span(&message, 1)));
    write_all(orders.pipe, std::as_bytes(std::span(text.data(), text.size())));
    return 3;
  }
  Child child(orders, **reactor);
  return io::run_task(**reactor, child.live()) ? 0 : 1;
}

}  // namespace holdfast::crash

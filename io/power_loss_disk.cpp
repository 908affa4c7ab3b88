#include "io/power_loss_disk.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace holdfast::io {
namespace {

constexpr std::size_t kSectorBytes = 512;
constexpr std::uint64_t kRunBlocksMax = 256;

// One request of our own to the inner disk; returns its errno, which Disk's awaiters hide.
struct RawRequest {
  Disk* disk;
  DiskRequest request{};
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    request.waiter = h;
    disk->submit(request);
  }
  int await_resume() const noexcept { return request.error; }
};

RawRequest raw(Disk* disk, DiskOp op, std::uint64_t offset, std::uint64_t length, std::span<const iovec> segments,
               Durability durability = Durability::cached) {
  RawRequest result{disk};
  result.request.op = op;
  result.request.offset = offset;
  result.request.length = length;
  result.request.segments = segments;
  result.request.durability = durability;
  return result;
}

// Calls visit(block index, address) for each 4 KiB of a transfer; segments are multiples of 4096.
template <class Visit>
void for_each_block(const DiskRequest& request, Visit visit) {
  std::uint64_t index = request.offset / kBlockBytes;
  for (const iovec& segment : request.segments) {
    for (std::size_t at = 0; at < segment.iov_len; at += kBlockBytes)
      visit(index++, static_cast<std::byte*>(segment.iov_base) + at);
  }
}

}  // namespace

struct PowerLossDisk::Block {
  alignas(kBlockBytes) std::array<std::byte, kBlockBytes> bytes;  // Aligned as O_DIRECT wants it.
};

Result<PowerLossOptions> parse_power_loss_options(std::string_view text) {
  PowerLossOptions options;
  while (!text.empty()) {
    const auto space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    text = space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
    if (word.empty()) continue;
    const auto equals = std::min(word.find('='), word.size());
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = word.substr(std::min(equals + 1, word.size()));
    const auto number = [&](auto& out) {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
      return error == std::errc() && end == value.data() + value.size();
    };
    const bool understood = (key == "early_percent" && number(options.early_percent) && options.early_percent <= 100) ||
                            (key == "seed" && number(options.seed)) ||
                            (key == "tear" && (value == "sectors" || value == "blocks"));
    if (!understood)
      return fail(Errc::invalid_argument, "power loss: \"" + std::string(word) +
                                              "\" is not early_percent=0…100, tear=blocks|sectors or seed=<number>");
    if (key == "tear") options.tearing = value == "sectors" ? Tearing::sectors : Tearing::whole_blocks;
  }
  return options;
}

PowerLossDisk::PowerLossDisk(std::unique_ptr<Disk> inner, PowerLossOptions options)
    : Disk(inner->executor()), options_(options), random_state_(options.seed), freed_(inner->executor()),
      flows_(inner->executor()), inner_(std::move(inner)) {}

// SplitMix64: reproducible from the seed, good enough to choose victims.
std::uint64_t PowerLossDisk::next_random() {
  std::uint64_t z = random_state_ += 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

void PowerLossDisk::submit(DiskRequest& request) {
  const bool in_range = request.offset <= size_bytes() && request.length <= size_bytes() - request.offset;
  if (request.op != DiskOp::grow && request.op != DiskOp::allocate && !in_range) return finish(request, EINVAL);
  switch (request.op) {
    case DiskOp::read: return flows_.spawn(serve_read(this, &request));
    case DiskOp::sync: return flows_.spawn(serve_sync(this, &request));
    case DiskOp::punch: return flows_.spawn(serve_punch(this, &request));
    case DiskOp::allocate:
    case DiskOp::grow: return inner_->submit(request);
    case DiskOp::write: break;
  }
  put(request);
  if (request.durability == Durability::durable) return flows_.spawn(serve_durable_write(this, &request, unsynced(run_of(request))));
  if (next_random() % 100 < options_.early_percent) {
    auto victim = overlay_.lower_bound(next_random() % (size_bytes() / kBlockBytes));
    if (victim == overlay_.end()) victim = overlay_.begin();
    flows_.spawn(write_early(this, victim->first));
  }
  finish(request, 0);
}

void PowerLossDisk::finish(DiskRequest& request, int error) {
  request.error = error;
  executor().post(request.waiter);
}

void PowerLossDisk::put(const DiskRequest& request) {
  for_each_block(request, [this](BlockIndex index, const std::byte* from) {
    auto block = std::make_shared<Block>();
    std::memcpy(block->bytes.data(), from, kBlockBytes);
    overlay_[index] = std::move(block);
  });
}

PowerLossDisk::Run PowerLossDisk::run_of(const DiskRequest& request) {
  return Run{request.offset / kBlockBytes, request.length / kBlockBytes};
}

PowerLossDisk::Overlay PowerLossDisk::unsynced(Run run) const {
  return Overlay(overlay_.lower_bound(run.first), overlay_.lower_bound(run.first + run.count));
}

bool PowerLossDisk::is_busy(Run run) const {
  const auto first = busy_.lower_bound(run.first);
  return first != busy_.end() && *first < run.first + run.count;
}

Task<void> PowerLossDisk::take(PowerLossDisk* disk, Run run) {
  while (disk->is_busy(run)) co_await disk->freed_.wait();
  for (std::uint64_t i = 0; i < run.count; ++i) disk->busy_.insert(run.first + i);
}

void PowerLossDisk::set_free(Run run) {
  busy_.erase(busy_.lower_bound(run.first), busy_.lower_bound(run.first + run.count));
  freed_.notify_all();
}

// What was unsynced when the read began covers what the inner disk has; what is written meanwhile may be seen or not.
Task<void> PowerLossDisk::serve_read(PowerLossDisk* disk, DiskRequest* request) {
  const Overlay newer = disk->unsynced(run_of(*request));
  RawRequest below = raw(disk->inner_.get(), DiskOp::read, request->offset, request->length, request->segments);
  const int error = co_await below;
  if (error == 0) {
    for_each_block(*request, [&newer](BlockIndex index, std::byte* into) {
      const auto found = newer.find(index);
      if (found != newer.end()) std::memcpy(into, found->second->bytes.data(), kBlockBytes);
    });
  }
  disk->finish(*request, error);
}

// ours: what the request itself has put into the overlay; a later write's blocks stay there.
Task<void> PowerLossDisk::serve_durable_write(PowerLossDisk* disk, DiskRequest* request, Overlay ours) {
  const Run run = run_of(*request);
  co_await take(disk, run);
  RawRequest below = raw(disk->inner_.get(), DiskOp::write, request->offset, request->length, request->segments,
                         Durability::durable);
  const int error = co_await below;
  disk->set_free(run);
  for (const auto& [index, block] : ours) {
    const auto now = disk->overlay_.find(index);
    if (now != disk->overlay_.end() && now->second == block) disk->overlay_.erase(now);
  }
  disk->finish(*request, error);
}

std::vector<PowerLossDisk::Run> PowerLossDisk::unsynced_runs() const {
  std::vector<Run> runs;
  for (const auto& [index, block] : overlay_) {
    const bool extends = !runs.empty() && runs.back().first + runs.back().count == index && runs.back().count < kRunBlocksMax;
    if (extends) ++runs.back().count;
    else runs.push_back({index, 1});
  }
  return runs;
}

// Writes what the overlay has of a run now; a durable write may have taken some of it out since the run was listed.
Task<int> PowerLossDisk::write_through(PowerLossDisk* disk, Run run, std::vector<std::shared_ptr<Block>>* written) {
  co_await take(disk, run);
  int error = 0;
  for (BlockIndex at = run.first; at < run.first + run.count && error == 0;) {
    std::vector<iovec> segments;
    const BlockIndex first = at;
    for (; at < run.first + run.count; ++at) {
      const auto found = disk->overlay_.find(at);
      if (found == disk->overlay_.end()) break;
      written->push_back(found->second);
      segments.push_back({found->second->bytes.data(), kBlockBytes});
    }
    if (segments.empty()) {
      ++at;
      continue;
    }
    RawRequest below = raw(disk->inner_.get(), DiskOp::write, first * kBlockBytes, segments.size() * kBlockBytes, segments);
    error = co_await below;
  }
  disk->set_free(run);
  co_return error;
}

Task<void> PowerLossDisk::serve_sync(PowerLossDisk* disk, DiskRequest* request) {
  const std::vector<Run> runs = disk->unsynced_runs();
  std::vector<std::shared_ptr<Block>> written;
  int error = 0;
  for (const Run run : runs) {
    error = co_await write_through(disk, run, &written);
    if (error != 0) break;
  }
  if (error == 0) {
    RawRequest below = raw(disk->inner_.get(), DiskOp::sync, 0, 0, {});
    error = co_await below;
  }
  if (error == 0) {
    std::ranges::sort(written);
    std::erase_if(disk->overlay_, [&written](const auto& entry) { return std::ranges::binary_search(written, entry.second); });
  }
  disk->finish(*request, error);
}

Task<void> PowerLossDisk::serve_punch(PowerLossDisk* disk, DiskRequest* request) {
  const Run run = run_of(*request);
  disk->overlay_.erase(disk->overlay_.lower_bound(run.first), disk->overlay_.lower_bound(run.first + run.count));
  co_await take(disk, run);
  RawRequest below = raw(disk->inner_.get(), DiskOp::punch, request->offset, request->length, {});
  const int error = co_await below;
  disk->set_free(run);
  disk->finish(*request, error);
}

// The block stays in the overlay: whether it survives a power loss is open until a sync.
Task<void> PowerLossDisk::write_early(PowerLossDisk* disk, BlockIndex index) {
  co_await take(disk, Run{index, 1});
  const auto found = disk->overlay_.find(index);
  if (found != disk->overlay_.end()) {
    const std::shared_ptr<Block> block = found->second;
    const auto mixed = std::make_unique<Block>();  // On the heap: a coroutine frame does not keep its alignment.
    const iovec segment{mixed->bytes.data(), kBlockBytes};
    RawRequest old = raw(disk->inner_.get(), DiskOp::read, index * kBlockBytes, kBlockBytes, std::span(&segment, 1));
    const int read_error = co_await old;
    const std::uint64_t chosen = disk->options_.tearing == Tearing::sectors ? disk->next_random() : ~std::uint64_t{0};
    for (std::size_t sector = 0; sector < kBlockBytes / kSectorBytes; ++sector) {
      if (!(chosen >> sector & 1)) continue;
      std::memcpy(mixed->bytes.data() + sector * kSectorBytes, block->bytes.data() + sector * kSectorBytes, kSectorBytes);
    }
    if (read_error == 0) {
      RawRequest below = raw(disk->inner_.get(), DiskOp::write, index * kBlockBytes, kBlockBytes, std::span(&segment, 1));
      const int ignored = co_await below;
      (void)ignored;
      ++disk->early_writes_;
    }
  }
  disk->set_free(Run{index, 1});
}

}  // namespace holdfast::io

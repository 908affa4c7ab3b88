#include "test/sim/disk.h"

#include <algorithm>
#include <cerrno>

#include "base/checksum.h"

namespace holdfast::sim {
namespace {

std::uint64_t block_of(std::uint64_t offset) { return offset / kBlockBytes; }

// Calls visit(block index within the request, address of the block) for each 4 KiB of the segments.
template <class Visit>
void for_each_block(const DiskRequest& request, Visit visit) {
  std::uint64_t index = 0;
  for (const iovec& segment : request.segments) {
    ENSURE(segment.iov_len % kBlockBytes == 0);
    auto* at = static_cast<std::byte*>(segment.iov_base);
    for (std::size_t offset = 0; offset < segment.iov_len; offset += kBlockBytes) visit(index++, at + offset);
  }
  ENSURE(index * kBlockBytes == request.length);
}

}  // namespace

SimDisk::SimDisk(SimHost& host, std::uint64_t size_bytes)
    : Disk(host.executor()), host_(&host), size_bytes_(size_bytes) {}

SimDisk::SimDisk(SimHost& host, std::uint64_t size_bytes, Image image)
    : Disk(host.executor()), host_(&host), media_(std::move(image)), size_bytes_(size_bytes) {
  back(0, block_of(size_bytes));
}

void SimDisk::become_block_device(std::uint64_t size_bytes) {
  ENSURE(events_ == 0 && backed_blocks_ == 0);
  is_file_ = false;
  size_bytes_ = size_bytes;
  back(0, block_of(size_bytes));
}

int SimDisk::check(const DiskRequest& request) const {
  ENSURE(request.offset % kBlockBytes == 0);
  ENSURE(request.length % kBlockBytes == 0);
  ENSURE(request.segments.size() <= kDiskSegmentsMax);
  if (request.op == DiskOp::sync || request.op == DiskOp::grow || request.op == DiskOp::allocate) return 0;
  ENSURE(request.length > 0);
  return request.offset + request.length <= size_bytes_ ? 0 : EINVAL;
}

DurationNs SimDisk::draw_latency(const DiskRequest& request) {
  std::uint32_t us = latency.allocate_us;
  if (request.op == DiskOp::read) us = latency.read_us;
  if (request.op == DiskOp::sync) us = latency.sync_us;
  if (request.op == DiskOp::write)
    us = request.durability == Durability::durable ? latency.durable_us : latency.write_us;
  std::uint64_t ns = us * random().between(500, 1500);
  if (random().per_million(faults.slow_ppm)) {
    ns *= 100;
    ++counters_.slow;
  }
  return DurationNs{static_cast<std::int64_t>(ns)};
}

// Which error this request will end with, decided when it starts.
int SimDisk::draw_error(const DiskRequest& request) {
  const auto strike = [&](std::uint32_t ppm, bool& next, std::uint64_t& counter) {
    if (!next && !random().per_million(ppm)) return 0;
    next = false;
    ++counter;
    return EIO;
  };
  bool never = false;
  switch (request.op) {
    case DiskOp::read:
      if (meets_bad_block(request)) return ++counters_.read_errors, EIO;
      return strike(faults.read_error_ppm, faults.fail_next_read, counters_.read_errors);
    case DiskOp::write: return strike(faults.write_error_ppm, faults.fail_next_write, counters_.write_errors);
    case DiskOp::sync: return strike(faults.sync_error_ppm, faults.fail_next_sync, counters_.sync_errors);
    case DiskOp::allocate: return strike(faults.allocate_error_ppm, never, counters_.write_errors);
    case DiskOp::grow: return strike(0, faults.fail_next_grow, counters_.sync_errors);
    default: return 0;
  }
}

bool SimDisk::meets_bad_block(const DiskRequest& request) const {
  const auto first = faults.bad_blocks.lower_bound(block_of(request.offset));
  return first != faults.bad_blocks.end() && *first < block_of(request.offset + request.length);
}

void SimDisk::submit(DiskRequest& request) {
  const std::uint64_t id = next_id_++;
  Flight flight{&request, block_of(request.offset)};
  flight.error = check(request);
  if (flight.error != 0) ++counters_.out_of_bounds;
  else flight.error = draw_error(request);
  flight.sync_horizon = media_.sync_horizon();
  ++events_;
  host_->world().trace(id ^ static_cast<std::uint64_t>(request.op) << 56 ^ request.offset << 8 ^ request.length);
  if (request.op == DiskOp::write && flight.error != EINVAL) start_write(id, flight);
  else if (request.op == DiskOp::punch && flight.error != EINVAL) start_punch(id, request);
  else if (observer) observer->disk_submitted(id, request, {});
  const DurationNs delay = draw_latency(request);
  flights_.emplace(id, flight);
  host_->world().after(delay, *host_, [this, id] { finish(id); });
}

void SimDisk::start_write(std::uint64_t id, Flight& flight) {
  const DiskRequest& request = *flight.request;
  std::vector<PageRef> pages;
  pages.reserve(request.length / kBlockBytes);
  for_each_block(request, [&](std::uint64_t, const std::byte* block) { pages.emplace_back(block); });
  if (observer) observer->disk_submitted(id, request, pages);
  if (random().per_million(faults.lost_write_ppm)) {
    flight.lost = true;
    ++counters_.lost;
    pages.clear();
  } else if (random().per_million(faults.misdirected_ppm)) {
    flight.target_block = random().below(block_of(size_bytes_) - pages.size() + 1);
    ++counters_.misdirected;
  }
  media_.begin_write(id, flight.target_block, std::move(pages), request.durability);
}

void SimDisk::start_punch(std::uint64_t id, const DiskRequest& request) {
  std::vector<PageRef> pages(request.length / kBlockBytes);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (punched_reads == PunchedReads::stale) pages[i] = media_.visible(block_of(request.offset) + i);
    if (punched_reads != PunchedReads::garbage) continue;
    std::array<std::byte, kBlockBytes> garbage;
    garbage.fill(std::byte(random().below(256)));
    pages[i] = PageRef(garbage.data());
  }
  if (observer) observer->disk_submitted(id, request, pages);
  media_.begin_write(id, block_of(request.offset), std::move(pages), Durability::cached);
}

void SimDisk::check_unchanged(const DiskRequest& request, std::uint64_t id) const {
  for (const UnsettledWrite& write : media_.unsettled()) {
    if (write.id != id || write.pages.empty()) continue;
    for_each_block(request, [&](std::uint64_t i, const std::byte* block) { ENSURE(write.pages[i].same_bytes(block)); });
  }
}

void SimDisk::finish(std::uint64_t id) {
  const auto found = flights_.find(id);
  ENSURE(found != flights_.end());
  Flight flight = found->second;
  flights_.erase(found);
  DiskRequest& request = *flight.request;
  request.error = carry_out(id, flight);
  ++events_;
  if (observer) observer->disk_completed(id, request, request.error);
  host_->world().trace(id ^ static_cast<std::uint64_t>(request.error) << 48);
  host_->executor().post(request.waiter);
}

int SimDisk::carry_out(std::uint64_t id, Flight& flight) {
  const DiskRequest& request = *flight.request;
  const std::uint64_t first = block_of(request.offset);
  const std::uint64_t count = request.length / kBlockBytes;
  if (flight.error == EINVAL) return EIO;
  switch (request.op) {
    case DiskOp::read:
      ++counters_.reads;
      if (flight.error == 0) fill_read(request);
      return flight.error;
    case DiskOp::write: return finish_write(id, flight);
    case DiskOp::sync:
      ++counters_.syncs;
      if (flight.error == 0) media_.complete_sync(flight.sync_horizon);
      else media_.fail_sync(flight.sync_horizon, random().next());
      return flight.error;
    case DiskOp::allocate:
      ++counters_.allocates;
      if (flight.error != 0) return flight.error;
      if (back(first, count)) return 0;
      ++counters_.no_space;
      return ENOSPC;
    case DiskOp::punch:
      ++counters_.punches;
      media_.complete_write(id);
      if (is_file_) unback(first, count);
      return 0;
    case DiskOp::grow:
      if (!is_file_) return EOPNOTSUPP;
      ++counters_.grows;
      size_bytes_ = std::max(size_bytes_, request.offset);
      if (flight.error != 0) media_.fail_sync(flight.sync_horizon, random().next());
      return flight.error;
  }
  return 0;
}

int SimDisk::finish_write(std::uint64_t id, Flight& flight) {
  const DiskRequest& request = *flight.request;
  ++(request.durability == Durability::durable ? counters_.durable_writes : counters_.writes);
  check_unchanged(request, id);
  if (flight.error == 0 && !back(block_of(request.offset), request.length / kBlockBytes)) {
    flight.error = ENOSPC;
    ++counters_.no_space;
  }
  if (flight.error == 0) {
    media_.complete_write(id);
    for (std::uint64_t i = 0; i < request.length / kBlockBytes && !faults.bad_blocks.empty(); ++i) faults.bad_blocks.erase(flight.target_block + i);
  } else {
    media_.fail_write(id, random().next());
  }
  return flight.error;
}

void SimDisk::fill_read(const DiskRequest& request) {
  const std::uint64_t seed = random().next();
  const bool wrong = random().per_million(faults.wrong_read_ppm);
  counters_.wrong_reads += wrong;
  for_each_block(request, [&](std::uint64_t i, std::byte* into) {
    const std::uint64_t block = block_of(request.offset) + i;
    std::memcpy(into, media_.read(block, seed + i).data(), kBlockBytes);
    if (wrong) into[(seed + i) % kBlockBytes] ^= std::byte{1};
  });
}

std::uint64_t SimDisk::missing_blocks(std::uint64_t first, std::uint64_t count) const {
  std::uint64_t missing = 0;
  for (std::uint64_t block = first; block < first + count; ++block)
    if (block >= backed_.size() || !backed_[block]) ++missing;
  return missing;
}

bool SimDisk::back(std::uint64_t first, std::uint64_t count) {
  const std::uint64_t missing = missing_blocks(first, count);
  if (missing == 0) return true;
  if (backed_blocks_ + missing > capacity_blocks_) return false;
  if (backed_.size() < first + count) backed_.resize(first + count);
  std::fill_n(backed_.begin() + static_cast<std::ptrdiff_t>(first), count, true);
  backed_blocks_ += missing;
  return true;
}

void SimDisk::unback(std::uint64_t first, std::uint64_t count) {
  for (std::uint64_t block = first; block < first + count && block < backed_.size(); ++block) {
    if (backed_[block]) --backed_blocks_;
    backed_[block] = false;
  }
}

void SimDisk::crash() {
  ++counters_.power_losses;
  const auto writes = media_.unsettled();
  // A style for the whole disk, so that the extremes (nothing kept, all kept) are common.
  const std::uint64_t style = random().below(5);
  std::vector<Fate> fates;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    const std::uint64_t draw = style == 0 ? 0 : style == 1 ? 1 : random().below(style == 2 ? 2 : 4);
    const Tear drawn = draw == 0 ? Tear::lost : draw == 1 ? Tear::kept : random().coin() ? Tear::any_sectors : Tear::prefix;
    const Tear how = tear.value_or(drawn);
    ++(how == Tear::lost ? counters_.writes_lost : how == Tear::kept ? counters_.writes_kept : counters_.writes_torn);
    if (how != Tear::lost) fates.push_back(Fate{i, how, random().next()});
  }
  for (std::size_t i = fates.size(); i > 1; --i) std::swap(fates[i - 1], fates[random().below(i)]);
  media_ = Media(media_.after_power_loss(fates));
  for (auto& [id, flight] : flights_)
    if (is_file_ && flight.request->op == DiskOp::grow && random().coin()) size_bytes_ = std::max(size_bytes_, flight.request->offset);
  flights_.clear();
}

void SimDisk::crash_process_only() {
  ++counters_.kills;
  for (auto& [id, flight] : flights_) {
    if (flight.request->op != DiskOp::write && flight.request->op != DiskOp::punch) continue;
    if (random().coin()) media_.abandon_write(id);
    else media_.fail_write(id, random().next());
  }
  flights_.clear();
}

void SimDisk::flip_bit(std::uint64_t offset, unsigned bit) {
  std::vector<std::byte> block = peek(offset / kBlockBytes * kBlockBytes, kBlockBytes);
  block[offset % kBlockBytes] ^= std::byte{1} << bit;
  media_.corrupt(block_of(offset), PageRef(block.data()));
  ++counters_.rotten_bits;
}

void SimDisk::overwrite(std::uint64_t offset, Bytes bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    std::vector<std::byte> block = peek((offset + at) / kBlockBytes * kBlockBytes, kBlockBytes);
    const std::size_t within = (offset + at) % kBlockBytes;
    const std::size_t part = std::min(kBlockBytes - within, bytes.size() - at);
    std::memcpy(block.data() + within, bytes.data() + at, part);
    media_.corrupt(block_of(offset + at), PageRef(block.data()));
    at += part;
  }
}

void SimDisk::make_sparse() {
  for (std::uint64_t block = 0; block < backed_.size(); ++block)
    if (backed_[block] && media_.visible(block).is_zero()) unback(block, 1);
}

std::vector<std::byte> SimDisk::peek(std::uint64_t offset, std::size_t bytes) const {
  std::vector<std::byte> out(bytes);
  for (std::size_t at = 0; at < bytes;) {
    const std::size_t within = (offset + at) % kBlockBytes;
    const std::size_t part = std::min(kBlockBytes - within, bytes - at);
    std::memcpy(out.data() + at, media_.visible(block_of(offset + at)).data() + within, part);
    at += part;
  }
  return out;
}

}  // namespace holdfast::sim

#include "engine/scrubber.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/log.h"
#include "base/marks.h"
#include "base/text.h"
#include "engine/mender.h"
#include "engine/operation.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using snapshot::kLeafChunks;
using snapshot::MapEntry;

Scrubber::Scrubber(GroupImpl& group)
    : group_(&group), timer_(group.ports().clock), pause_(group.ports().clock), scope_(group.ports().executor) {}

void Scrubber::start() {
  if (group_->options().scrub_interval_ms <= 0 || loops_) return;
  loops_ = true;
  scope_.spawn(run());
}

void Scrubber::begin() {
  if (status_.running || stopping_) return;
  status_.running = wanted_ = true;
  timer_.cancel();
  if (!loops_) scope_.spawn(pass());
}

void Scrubber::stop() {
  stopping_ = true;
  timer_.cancel();
  pause_.cancel();
}

Task<void> Scrubber::run() {
  while (!stopping_) {
    if (!wanted_) co_await timer_.after(milliseconds(group_->options().scrub_interval_ms));
    if (!stopping_) co_await pass();
  }
}

bool Scrubber::gives_up() const {
  return stopping_ || group_->has_failed() || group_->is_rebuilding() || group_->awaits_rebuild() || group_->is_behind_its_maps();
}

VolumeImpl* Scrubber::open_volume(VolumeId id) const {
  VolumeImpl* volume = group_->volume_of(id);
  return volume && !volume->is_closed() ? volume : nullptr;
}

Task<void> Scrubber::pass() {
  wanted_ = status_.running = false;
  if (gives_up()) co_return;
  Operation operation(*group_);
  const std::uint64_t passes = status_.passes;
  status_ = ScrubStatus{};
  status_.passes = passes;
  status_.running = true;
  blamed_.clear();
  next_read_ = group_->ports().clock.now();
  std::vector<VolumeId> ids;
  for (Volume* volume : group_->volumes()) {
    const snapshot::StoredVolume& stored = static_cast<VolumeImpl*>(volume)->stored();
    ids.push_back(stored.id());
    status_.leaves_total += stored.leaf_count();
  }
  bool whole = co_await scrub_group_pages();
  for (std::size_t i = 0; i < ids.size() && whole; ++i) whole = co_await scrub_volume(ids[i]);
  if (whole && status_.bad_pages > 0) (void)co_await group_->checkpoint();  // Writes anew what was bad on the disk alone.
  status_.running = false;
  status_.passes += whole;
  status_.result = concat(whole ? "complete: " : "given up: ", status_.blocks_checked, " blocks and ", status_.pages_checked, " pages read, ",
                          status_.bad_blocks, " blocks and ", status_.bad_pages, " pages were bad, ", status_.unrepaired,
                          " could not be repaired, ", status_.divergent_blocks, " blocks differed between copies");
  const bool well = status_.bad_blocks + status_.bad_pages + status_.divergent_blocks == 0;
  if (well) log_info(concat("scrub ", status_.result));
  else log_warning(concat("scrub ", status_.result));
}

// Bytes were read: the next are, so much later.
Task<void> Scrubber::pace(std::uint64_t bytes) {
  constexpr std::int64_t kTooShortNs = 2'000'000;
  const std::uint64_t rate = std::max<std::uint64_t>(group_->options().scrub_bytes_per_second, 1 << 16);
  const BootNs now = group_->ports().clock.now();
  next_read_ = std::max(next_read_, now) + DurationNs{static_cast<std::int64_t>(bytes * 1'000'000'000 / rate)};
  if ((next_read_ - now).value < kTooShortNs || stopping_) co_return;
  co_await pause_.until(next_read_);
}

Task<bool> Scrubber::scrub_group_pages() {
  co_await group_->checkpoint_turn().acquire();
  Turn turn(group_->checkpoint_turn());
  if (gives_up()) co_return false;
  auto checked = co_await group_->store().check_group_pages();
  if (!checked) co_return !gives_up();
  status_.pages_checked += checked->good + checked->bad;
  status_.bad_pages += checked->bad;
  co_return true;
}

Task<bool> Scrubber::scrub_volume(VolumeId id) {
  for (std::uint64_t leaf = 0, behind = 0;;) {
    VolumeImpl* volume = open_volume(id);
    if (gives_up()) co_return false;
    if (!volume) co_return true;  // It was deleted.
    VolumeOperation operation(*volume);
    const std::uint64_t end = volume->stored().leaf_count();
    const std::uint64_t from = leaf;
    auto next = co_await volume->stored().map->next_leaf(from, end, &behind);
    // An unreadable page above many leaves was told when it was met.
    leaf = next ? *next : behind;
    if (!next) ++status_.unrepaired;
    status_.leaves_done += std::min(leaf, end) - from;
    if (next && *next > from) co_await compare_holes(volume, from, std::min(*next, end));
    if (gives_up()) co_return false;
    if (leaf >= end) co_return true;
    if (next) {
      const std::uint64_t index = leaf++;
      const bool done = co_await scrub_leaf(volume, index);
      if (!done) co_return false;
      ++status_.leaves_done;
    }
  }
}

Task<bool> Scrubber::scrub_leaf(VolumeImpl* volume, std::uint64_t leaf) {
  co_await scrub_pages(volume, leaf);
  for (std::uint64_t i = 0; i < kLeafChunks; ++i) {
    if (gives_up() || volume->is_closed()) co_return !gives_up();
    const std::uint64_t chunk = leaf * kLeafChunks + i;
    if (chunk < volume->stored().chunk_count()) co_await scrub_chunk(volume, chunk);
  }
  if (!gives_up() && !volume->is_closed()) co_await compare_leaf(volume, leaf);
  co_return !gives_up();
}

// The leaf as it lies on the disk, and what is above it where this leaf is the first.
Task<void> Scrubber::scrub_pages(VolumeImpl* volume, std::uint64_t leaf) {
  co_await group_->checkpoint_turn().acquire();
  Turn turn(group_->checkpoint_turn());
  snapshot::PageTree* map = volume->stored().map.get();
  std::uint64_t index = leaf;
  for (unsigned level = 0; level <= map->depth() && !gives_up(); ++level) {
    auto state = co_await map->check_page(level, index);
    if (!state) continue;  // The pages above it are unreadable.
    status_.pages_checked += *state != snapshot::PageTree::PageState::absent;
    if (*state == snapshot::PageTree::PageState::bad) {
      ++status_.bad_pages;
      group_->count_checksum_error();
    }
    if (index % snapshot::kFanout != 0) break;
    index /= snapshot::kFanout;
  }
}

Task<void> Scrubber::scrub_chunk(VolumeImpl* volume, std::uint64_t chunk) {
  auto leaf = co_await volume->stored().map->load_leaf(chunk / kLeafChunks);
  if (!leaf) {
    ++status_.unrepaired;
    co_return;
  }
  const MapEntry entry = *leaf ? snapshot::entry_of(*leaf, chunk) : MapEntry{};
  if (entry.location == 0 || entry.valid_mask == 0) co_return;
  const std::uint64_t first = chunk * kChunkBlocks;
  const std::uint64_t count = std::min<std::uint64_t>(kChunkBlocks, volume->capacity().value - first);
  Buffer content = co_await volume->buffers().acquire(count * kBlockBytes);
  const std::uint64_t before = group_->checksum_errors();
  auto read = co_await volume->read_local(BlockRange{Lba(first), BlockCount(count)}, content);
  status_.blocks_checked += static_cast<std::uint64_t>(std::popcount(entry.valid_mask));
  status_.bad_blocks += group_->checksum_errors() - before;
  if (!read && !gives_up()) {
    ++status_.unrepaired;
    log_error(concat("volume ", volume->stored().name(), ": chunk ", chunk, " has blocks that no copy can give: ", read.error().text()));
  }
  co_await pace(count * kBlockBytes);
}

// What the others say their blocks hold, as of some LSN between at_least and now.
Task<std::vector<Scrubber::Other>> Scrubber::ask_contents(VolumeImpl* volume, std::uint64_t leaf, Lsn at_least) {
  constexpr int kBusyMax = 20;
  constexpr std::int64_t kBusyMs = 20;
  std::vector<Other> others;
  for (const NodeId node : group_->members_in_step()) {
    for (int i = 0; i < kBusyMax && !gives_up(); ++i) {
      auto answer = co_await group_->ask_member(node, rebuild::Question{0, rebuild::QuestionKind::contents, volume->stored().id(), leaf, at_least.value});
      if (answer && answer->code == Errc::busy) {
        co_await pause_.after(milliseconds(kBusyMs));
        continue;
      }
      if (!answer || answer->code != Errc{} || answer->payload.size() < sizeof(Contents) || answer->lsn < at_least) break;
      others.push_back(Other{node, {}});
      std::memcpy(others.back().contents.data(), answer->payload.data(), sizeof(Contents));
      break;
    }
  }
  co_return others;
}

// What is a hole here may be none on another copy, and then nothing else comes by it.
Task<void> Scrubber::compare_holes(VolumeImpl* volume, std::uint64_t from, std::uint64_t end) {
  if (group_->obstacle(group_->reign()) != Errc{}) co_return;  // Only the primary compares.
  for (const NodeId node : group_->members_in_step()) {
    for (std::uint64_t leaf = from; leaf < end && !gives_up() && !volume->is_closed(); ++leaf) {
      auto answer = co_await group_->ask_member(node, rebuild::Question{0, rebuild::QuestionKind::next_leaf, volume->stored().id(), leaf, end});
      if (!answer || answer->code != Errc{} || answer->index < leaf || answer->index >= end) break;
      leaf = answer->index;
      mark(Mark::scrub_hole_compared);
      co_await compare_leaf(volume, leaf);
    }
  }
}

// A block counts as different when it is so each time, and did not change here between the looks before and after the others'.
Task<void> Scrubber::compare_leaf(VolumeImpl* volume, std::uint64_t leaf) {
  constexpr int kLooks = 3;
  constexpr std::int64_t kLookAgainMs = 50;
  const std::uint64_t reign = group_->reign();
  std::vector<std::size_t> different;
  std::vector<Other> others;
  Contents mine{};
  for (int look = 0; look < kLooks; ++look) {
    if (group_->obstacle(reign) != Errc{} || gives_up()) co_return;
    Contents now{};
    auto at = co_await group_->contents_of(volume, leaf, mine);
    if (!at) co_return;
    others = co_await ask_contents(volume, leaf, *at);
    auto after = co_await group_->contents_of(volume, leaf, now);
    if (!after || others.empty() || group_->obstacle(reign) != Errc{}) co_return;
    std::vector<std::size_t> seen;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      if (mine[i] != now[i] || (look > 0 && std::find(different.begin(), different.end(), i) == different.end())) continue;
      if (std::any_of(others.begin(), others.end(), [&](const Other& o) { return o.contents[i] != mine[i]; })) seen.push_back(i);
    }
    different = std::move(seen);
    if (different.empty()) {
      ++status_.leaves_compared;
      co_return;
    }
    co_await pause_.after(milliseconds(kLookAgainMs));
  }
  ++status_.leaves_compared;
  for (const std::size_t i : different) {
    const std::uint64_t block = leaf * kLeafChunks * kChunkBlocks + i;
    std::vector<std::pair<NodeId, std::uint64_t>> theirs;
    for (const Other& o : others) theirs.emplace_back(o.node, o.contents[i]);
    ++status_.divergent_blocks;
    mark(Mark::scrub_divergence);
    co_await judge(volume, block, mine[i], std::move(theirs));
  }
}

// Two that agree are right; of two that do not, the one that can read what it says it has.
Task<void> Scrubber::judge(VolumeImpl* volume, std::uint64_t block, std::uint64_t mine, std::vector<std::pair<NodeId, std::uint64_t>> others) {
  others.emplace_back(group_->options().node, mine);
  const NodeId self = group_->options().node;
  std::uint64_t right = 0;
  std::size_t most = 1;
  for (const auto& [node, value] : others) {
    const auto count = static_cast<std::size_t>(std::count_if(others.begin(), others.end(), [v = value](const auto& o) { return o.second == v; }));
    if (count > most) most = count, right = value;
  }
  std::vector<NodeId> wrong;
  for (const auto& [node, value] : others) {
    bool bad = value != right;
    if (most == 1) {
      const auto has = co_await has_what_it_says(volume, block, value, node);
      if (!has) co_return;  // Nobody is blamed for a connection; the next scrub comes by again.
      bad = !*has;
    }
    if (bad) wrong.push_back(node);
  }
  const std::string where = concat("volume ", volume->stored().name(), ", chunk ", block / kChunkBlocks, ", block ", block);
  if (wrong.empty() || wrong.size() == others.size()) {
    log_error(concat("the copies differ and none is known to be wrong: ", where, "; the primary, node ", self.value, ", is what hosts see"));
    co_return;
  }
  for (const NodeId node : wrong) {
    if (std::find(blamed_.begin(), blamed_.end(), node) != blamed_.end()) continue;
    blamed_.push_back(node);
    log_error(concat("the copy of node ", node.value, " differs from the others: ", where, "; it is compared and rebuilt as a whole"));
    if (node == self) group_->distrust_own_copy();
    else group_->distrust(node);
  }
}

// Nothing: it cannot say.
Task<std::optional<bool>> Scrubber::has_what_it_says(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum, NodeId node) {
  Errc code{};
  if (node == group_->options().node) {
    Buffer content = co_await volume->buffers().acquire(kBlockBytes);
    auto read = co_await volume->read_local(BlockRange{Lba(block), BlockCount(1)}, content, Unreadable::fails);
    if (!read) code = read.error().code;
  } else {
    auto answer = co_await group_->ask_member(node, rebuild::Question{0, rebuild::QuestionKind::block, volume->stored().id(), block, checksum});
    code = answer ? answer->code : answer.error().code;
  }
  if (code == Errc{}) co_return true;
  const bool lacks = code == Errc::not_found || code == Errc::corrupt || code == Errc::io_error;
  co_return lacks ? std::optional<bool>(false) : std::nullopt;
}

}  // namespace holdfast::engine

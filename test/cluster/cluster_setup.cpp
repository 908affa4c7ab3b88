// How a cluster begins, and how it is read from end to end when it is over.
#include <algorithm>

#include "test/cluster/cluster.h"
#include "test/cluster/replica_read.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

constexpr DurationNs kSetUpTime = milliseconds(30'000);
constexpr DurationNs kRepairBegins = milliseconds(500);

}  // namespace

bool Cluster::format_all() {
  group_ = world_.random().next_uuid();
  for (const auto& each : nodes_) each->start_format(FormatOptions{plan_.log_bytes_of(each->id()), group_}, Group::Existing::refuse);
  const auto formatted = [this] {
    return std::all_of(nodes_.begin(), nodes_.end(), [](const auto& n) { return n->state() == ClusterNode::State::formatted; });
  };
  if (!run_until(formatted, kSetUpTime)) {
    violation("the stores cannot be formatted");
    return false;
  }
  std::vector<engine::Copy> copies;
  for (const auto& each : nodes_) {
    copies.push_back({each->id(), each->incarnation()});
    each->die(Death::killed);
    if (tight_chunks > 0) each->disk().set_capacity(each->disk().backed_bytes() + tight_chunks * kChunkBytes);
  }
  register_key_ = engine::register_key(group_);
  const engine::FirstRegister options{plan_.min_in_sync, static_cast<std::uint32_t>(plan_.timing.lease_ms)};
  coordinator_.put(register_key_, engine::encode_register(engine::first_register(group_, copies, options)));
  return !violation_;
}

bool Cluster::set_up() {
  if (!format_all()) return false;
  for (const auto& each : nodes_) start(each->id());
  if (!run_until_well(kSetUpTime)) {
    violation("a new cluster does not begin to serve: " + describe());
    return false;
  }
  return create_volumes();
}

Task<void> Cluster::create(Cluster* self, ClusterNode* n, std::uint32_t volume, bool* done) {
  auto made = co_await n->group()->create_volume(Clients::volume_name(volume), self->world_.random().next_uuid(), self->plan_.clients.capacity());
  if (!made) self->violation("a volume cannot be created: " + made.error().text());
  *done = true;
}

bool Cluster::create_volumes() {
  for (std::uint32_t volume = 0; volume < plan_.clients.volumes; ++volume) {
    const auto primary = serving();
    bool done = false;
    if (primary) node(*primary).process().scope().spawn(create(this, &node(*primary), volume, &done));
    if (!primary || !run_until([&] { return done; }, kSetUpTime)) {
      violation("a volume is not created: " + describe());
      return false;
    }
  }
  const auto everywhere = [this] {
    return std::all_of(nodes_.begin(), nodes_.end(), [this](const auto& n) {
      for (std::uint32_t volume = 0; volume < plan_.clients.volumes; ++volume)
        if (!n->group()->find(Clients::volume_name(volume))) return false;
      return true;
    });
  };
  if (run_until(everywhere, kSetUpTime)) return true;
  violation("a volume does not appear on every node: " + describe());
  return false;
}

bool Cluster::read_everything() {
  if (!operators_.volumes_are_right()) return false;
  clients_.start_reading_all();
  if (run_until([this] { return clients_.stopped(); }, kSetUpTime)) return true;
  unavailable("the volumes cannot be read to their ends: " + describe());
  return false;
}

namespace {

// What one copy holds of a volume.
struct Copied {
  std::vector<OpId> stamps;
  std::vector<std::vector<std::uint64_t>> bits;
  std::vector<std::byte> reservations;
  std::optional<std::string> wrong, unread;
  bool done = false;
};

Task<void> copy_out(History* history, ClusterNode* node, std::uint32_t volume, const ClientOptions* shape, Copied* out) {
  const std::uint64_t blocks = shape->capacity().value;
  for (std::uint64_t at = 0; at < blocks;) {
    const std::uint64_t part_end = at < shape->volume_blocks ? shape->volume_blocks : blocks;  // Content, or bits.
    const BlockRange range{Lba(at), BlockCount(std::min(part_end - at, Volume::kTransferBlocksMax))};
    Buffer into = co_await node->process().pool().acquire(range.count.value * kBlockBytes);
    auto done = co_await read_replica(node->group(), Clients::volume_name(volume), range, into);
    if (!done) {
      out->unread = done.error().text();
      break;
    }
    std::vector<OpId> seen;
    if (history->is_bits(range)) {
      for (auto& bits : History::bits_of(into)) out->bits.push_back(std::move(bits));
    } else if (auto wrong = history->recognise(volume, range, into, &seen)) {
      out->wrong = *wrong;
      break;
    }
    out->stamps.insert(out->stamps.end(), seen.begin(), seen.end());
    at += range.count.value;
  }
  if (Volume* found = node->group()->find(Clients::volume_name(volume))) out->reservations = found->reservations();
  out->done = true;
}

}  // namespace

bool Cluster::replicas_are_equal() {
  if (!kReplicasReadable && nodes_.size() > 1) return true;
  for (std::uint32_t volume = 0; volume < plan_.clients.volumes; ++volume)
    if (!replicas_are_equal(volume)) return false;
  for (const std::uint32_t volume : clients_.guests())
    if (!replicas_are_equal(volume)) return false;
  return true;
}

// A copy whose map is found to be unreadable is rebuilt, and then read again.
bool Cluster::replicas_are_equal(std::uint32_t volume) {
  constexpr int kLooks = 5;
  std::vector<Copied> copies;
  for (int look = 0; look < kLooks; ++look) {
    copies.assign(nodes_.size(), Copied{});
    for (std::size_t i = 0; i < nodes_.size(); ++i)
      nodes_[i]->process().scope().spawn(copy_out(&history_, nodes_[i].get(), volume, &plan_.clients, &copies[i]));
    const auto all_done = [&] { return std::all_of(copies.begin(), copies.end(), [](const Copied& c) { return c.done; }); };
    if (!run_until(all_done, kSetUpTime)) {
      unavailable("the copies cannot be read to their ends");
      return false;
    }
    const bool all_read = std::all_of(copies.begin(), copies.end(), [](const Copied& c) { return !c.unread; });
    const bool all_fit = std::all_of(nodes_.begin(), nodes_.end(), [](const auto& n) { return n->is_open() && n->group()->replica_status().promotable; });
    if ((all_read && all_fit) || nodes_.size() == 1) break;
    run_for(kRepairBegins);
    if (!run_until_well(kSetUpTime)) {
      unavailable("a copy that cannot be read is not rebuilt: " + describe());
      return false;
    }
  }
  if (!copies[0].unread && !copies[0].wrong)
    if (const auto torn = history_.judge_whole(volume, copies[0].stamps)) wrong_content(*torn);
  const auto told = [&](const std::vector<std::byte>& state) { return state.size() < 8 ? "none" : history_.line(static_cast<OpId>(load_le<std::uint64_t>(state.data()))); };
  for (std::size_t i = 0; i < copies.size(); ++i) {
    if (copies[i].unread) unavailable(sim::format("the copy of node {} cannot be read: {}", i + 1, *copies[i].unread));
    if (copies[i].wrong) violation(sim::format("the copy of node {}: {}", i + 1, *copies[i].wrong));
    if (violation_ || gave_up_) return false;
    if (copies[i].bits != copies[0].bits) violation(sim::format("what was ORed into volume {} is not the same on nodes 1 and {}", volume, i + 1));
    if (copies[i].reservations != copies[0].reservations) violation(sim::format("the reservations of volume {} are not the same on nodes 1 and {}: {}; {}", volume, i + 1, told(copies[0].reservations), told(copies[i].reservations)));
    if (violation_) return false;
    const auto [a, b] = std::mismatch(copies[0].stamps.begin(), copies[0].stamps.end(), copies[i].stamps.begin());
    if (a == copies[0].stamps.end()) continue;
    const auto block = static_cast<std::uint64_t>(a - copies[0].stamps.begin());
    violation(sim::format("block {} of volume {} is of operation {} on node 1, and of {} on node {}\n{}", block, volume, *a, *b, i + 1,
                          history_.story_of(volume, Lba(block))));
    return false;
  }
  return true;
}

}  // namespace holdfast::cluster

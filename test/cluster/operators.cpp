#include "test/cluster/operators.h"

#include <algorithm>
#include <set>

#include "test/cluster/cluster.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

constexpr std::size_t kGuestsAtOnce = 3;
constexpr std::size_t kGuestsEver = 40;

std::uint64_t digest(const LogEntry& entry) {
  std::uint64_t hash = sim::mix(entry.epoch.value << 8 ^ static_cast<std::uint64_t>(entry.kind));
  for (const std::uint64_t part : {entry.volume.value, entry.first.value, entry.count}) hash = sim::mix(hash ^ part);
  return hash;
}

}  // namespace

ClusterNode* Operators::serving() const {
  const auto id = cluster_->serving();
  if (!id) return nullptr;
  ClusterNode& node = cluster_->node(*id);
  return node.is_open() && !node.host().paused() ? &node : nullptr;
}

void Operators::make_volume() {
  ClusterNode* node = serving();
  const auto there = std::count_if(guests_.begin(), guests_.end(), [](const GuestPtr& g) { return !g->deleted; });
  if (!node || static_cast<std::size_t>(there) >= kGuestsAtOnce || guests_.size() >= kGuestsEver) return;
  auto guest = std::make_shared<Guest>();
  guest->volume = cluster_->plan().clients.volumes + static_cast<std::uint32_t>(guests_.size());
  guests_.push_back(guest);
  cluster_->clients().guests().push_back(guest->volume);
  cluster_->note(sim::format("node {}: is to make volume {}", node->id().value, guest->volume));
  node->process().scope().spawn(make(this, node, guest));
}

Task<void> Operators::make(Operators* self, ClusterNode* node, GuestPtr guest) {
  const Uuid uuid = self->cluster_->world().random().next_uuid();
  auto made = co_await node->group()->create_volume(Clients::volume_name(guest->volume), uuid, self->cluster_->plan().clients.capacity());
  if (made) guest->made = true;
  self->cluster_->note(sim::format("node {}: volume {}: {}", node->id().value, guest->volume, made ? "made" : made.error().text()));
}

void Operators::delete_volume() {
  ClusterNode* node = serving();
  std::vector<GuestPtr> there;
  for (const GuestPtr& guest : guests_)
    if (!guest->deleted) there.push_back(guest);
  if (!node || there.empty()) return;
  const GuestPtr guest = there[cluster_->world().random().below(there.size())];
  guest->delete_asked = true;
  cluster_->note(sim::format("node {}: is to delete volume {}", node->id().value, guest->volume));
  node->process().scope().spawn(remove(this, node, guest));
}

Task<void> Operators::remove(Operators* self, ClusterNode* node, GuestPtr guest) {
  Cluster* cluster = self->cluster_;
  auto done = co_await node->group()->delete_volume(Clients::volume_name(guest->volume));
  cluster->note(sim::format("node {}: volume {}: {}", node->id().value, guest->volume, done ? "deleted" : done.error().text()));
  if (!done || guest->deleted) co_return;
  guest->deleted = true;
  cluster->history().volume_gone(guest->volume);
  std::erase(cluster->clients().guests(), guest->volume);
}

void Operators::read_log() {
  ClusterNode* node = serving();
  if (!node || (reading_ && cluster_->node(reader_).lives() == reader_life_)) return;
  reading_ = true;
  reader_ = node->id();
  reader_life_ = node->lives();
  node->process().scope().spawn(read(this, node, cluster_->world().random().coin() ? Lsn(1) : next_));
}

Task<void> Operators::read(Operators* self, ClusterNode* node, Lsn from) {
  constexpr int kPartsMax = 4;  // A gap ends the first.
  for (int i = 0; i < kPartsMax; ++i) {
    const LogReadLimits limits;
    auto batch = co_await node->group()->read_log(from, limits);
    // A fresh primary's commit may lag; what is unreadable here is so for a consumer, too.
    if (!batch) break;
    Lsn at = from;
    for (const LogEntry& entry : batch->entries) {
      if (entry.lsn < at || entry.lsn > batch->commit)
        self->cluster_->violation(sim::format("the log of node {} tells LSN {} where {} is next and {} committed", node->id().value, entry.lsn.value, at.value,
                                              batch->commit.value));
      at = entry.lsn.next();
      self->look_at(entry);
    }
    if (batch->next < at) self->cluster_->violation(sim::format("the log goes on at LSN {} after {}", batch->next.value, at.value - 1));
    if (batch->next == from) break;
    from = batch->next;
    self->next_ = std::max(self->next_, from);
  }
  self->reading_ = false;
}

std::optional<std::uint32_t> Operators::volume_of(const std::string& name) const {
  const auto known = cluster_->plan().clients.volumes + static_cast<std::uint32_t>(guests_.size());
  for (std::uint32_t volume = 0; volume < known; ++volume)
    if (Clients::volume_name(volume) == name) return volume;
  return std::nullopt;
}

void Operators::look_at(const LogEntry& entry) {
  const auto [known, fresh] = told_.try_emplace(entry.lsn, digest(entry));
  if (!fresh && known->second != digest(entry)) cluster_->violation(sim::format("LSN {} is told to be two different records", entry.lsn.value));
  if (entry.kind != LogEntryKind::write || entry.volume_name.empty()) return;
  const auto volume = volume_of(entry.volume_name);
  if (!volume) return cluster_->violation("the log names a volume that nobody made: " + entry.volume_name);
  const BlockRange all{entry.first, BlockCount(entry.count)};
  if (entry.payload.size() != entry.count * kBlockBytes || cluster_->history().is_bits(all)) return;
  for (std::uint64_t i = 0; i < entry.count; ++i) {
    const Lba block(entry.first.value + i);
    const bool gone = std::any_of(entry.superseded.begin(), entry.superseded.end(), [&](const BlockRange& r) { return block >= r.first && block < r.end(); });
    if (gone) continue;
    if (auto wrong = cluster_->history().recognise_block(*volume, block, entry.payload.data() + i * kBlockBytes))
      return cluster_->violation(sim::format("LSN {} of the log: {}", entry.lsn.value, *wrong));
  }
}

bool Operators::volumes_are_right() {
  std::vector<std::uint32_t> guests;
  for (const GuestPtr& guest : guests_) {
    std::size_t copies = 0;
    for (const auto& node : cluster_->nodes()) copies += node->is_open() && node->group()->find(Clients::volume_name(guest->volume)) != nullptr;
    const bool there = copies == cluster_->nodes().size();
    if (there) guests.push_back(guest->volume);
    std::string wrong;
    if (copies > 0 && !there) wrong = sim::format("only {} copies have it", copies);
    if (there && guest->deleted) wrong = "it is there, and was deleted";
    if (copies == 0 && guest->made && !guest->delete_asked) wrong = "it was made, and is not there";
    if (wrong.empty()) continue;
    cluster_->wrong_content(sim::format("volume {}: {}", guest->volume, wrong));
    return false;
  }
  cluster_->clients().guests() = guests;
  return true;
}

}  // namespace holdfast::cluster

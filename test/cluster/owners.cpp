#include "test/cluster/owners.h"

#include <map>

#include "engine/group_impl.h"
#include "engine/volume_impl.h"
#include "test/sim/text.h"

namespace holdfast::cluster {

std::optional<std::string> wrong_owner(Group* group) {
  engine::GroupImpl& copy = *static_cast<engine::GroupImpl*>(group);
  std::map<std::uint64_t, std::string> owners;
  for (const auto& stored : copy.store().volumes())
    for (std::uint64_t chunk = 0; chunk < stored->chunk_count(); ++chunk) {
      snapshot::Frame* leaf = stored->map->cached_leaf(chunk / snapshot::kLeafChunks);
      const std::uint64_t place = leaf ? snapshot::entry_of(leaf, chunk).location : 0;
      if (place == 0) continue;
      const std::string who = sim::format("chunk {} of volume {}", chunk, stored->name());
      const auto [other, fresh] = owners.emplace(place, who);
      if (!fresh) return sim::format("{} and {} both lie at {}", other->second, who, place);
      if (copy.store().space().is_free(place)) return sim::format("{} lies at {}, which counts as free", who, place);
    }
  return std::nullopt;
}

}  // namespace holdfast::cluster

// Reading and changing definitions by CAS. What a swap became is unknown at worst: as long as the key is at the same revision, asking
// again for the same is safe.
#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "coord/volume_definition.h"

namespace holdfast::coord {
namespace {

constexpr std::string_view kVolumesFolder = "volumes";
constexpr int kSwapsMax = 40;

std::unexpected<Error> not_defined(std::string_view name) { return fail(Errc::not_found, concat("name: there is no volume \"", name, "\"")); }
std::unexpected<Error> not_confirmed() { return fail(Errc::timed_out, "the coordinator did not confirm the change; it may have been made all the same"); }

}  // namespace

Task<void> note_change(Coordinator* coordinator) {
  // Whoever is faster has noted one, too.
  const std::string key(kChangesKey);
  auto entry = co_await coordinator->get(key);
  if (!entry) co_return;
  (void)co_await coordinator->compare_and_swap(key, entry->revision, std::to_string(entry->revision));
}

Task<Result<void>> create_definition(Coordinator* coordinator, VolumeDefinition definition) {
  const std::string key = volume_key(definition.name);
  const std::string wanted = encode_definition(definition);
  if (const auto checked = decode_definition(definition.name, wanted); !checked) co_return fail(Errc::invalid_argument, checked.error().message);
  for (int tries = 0; tries < kSwapsMax; ++tries) {
    auto outcome = co_await coordinator->compare_and_swap(key, 0, wanted);
    const bool there = outcome.status == CasStatus::applied || (outcome.status == CasStatus::conflict && outcome.entry.value == wanted);
    if (there) {
      co_await note_change(coordinator);
      co_return Result<void>{};
    }
    if (outcome.status == CasStatus::conflict && outcome.entry.revision != 0)
      co_return fail(Errc::exists, concat("name: there is a volume \"", definition.name, "\" in the cluster already"));
    // Unknown, or it was erased meanwhile. Why it is unknown, a read tells.
    auto entry = co_await coordinator->get(key);
    if (!entry) co_return fail(entry.error());
  }
  co_return not_confirmed();
}

Task<Result<VolumeDefinition>> read_definition(Coordinator* coordinator, std::string name) {
  auto entry = co_await coordinator->get(volume_key(name));
  if (!entry) co_return fail(entry.error());
  if (entry->revision == 0) co_return not_defined(name);
  co_return decode_definition(name, entry->value);
}

Task<Result<VolumeDefinition>> change_definition(Coordinator* coordinator, std::string name, DefinitionChange change) {
  const std::string key = volume_key(name);
  for (int tries = 0; tries < kSwapsMax; ++tries) {
    auto entry = co_await coordinator->get(key);
    if (!entry) co_return fail(entry.error());
    if (entry->revision == 0) co_return not_defined(name);
    auto value = decode_definition(name, entry->value);
    if (!value) co_return fail(value.error());
    CO_TRY(change(*value));
    const std::string wanted = encode_definition(*value);
    if (wanted == entry->value) co_return *value;
    auto outcome = co_await coordinator->compare_and_swap(key, entry->revision, wanted);
    while (outcome.status == CasStatus::unknown && ++tries < kSwapsMax) {
      auto again = co_await coordinator->compare_and_swap(key, entry->revision, wanted);
      outcome = std::move(again);
    }
    const bool there = outcome.status == CasStatus::applied || (outcome.status == CasStatus::conflict && outcome.entry.value == wanted);
    if (!there) continue;
    co_await note_change(coordinator);
    co_return *value;
  }
  co_return not_confirmed();
}

Task<Result<DefinitionList>> list_definitions(ClusterDirectory* directory) {
  auto entries = co_await directory->list(std::string(kVolumesFolder));
  if (!entries) co_return fail(entries.error());
  DefinitionList out;
  for (const DirectoryEntry& entry : *entries) {
    const std::string name = entry.key.substr(std::min(entry.key.size(), kVolumesFolder.size() + 1));
    auto definition = decode_definition(name, entry.entry.value);
    if (definition) {
      out.definitions.push_back(std::move(*definition));
      continue;
    }
    log_warning(concat("coordinator: ", entry.key, " is left alone: ", definition.error().text()));
    out.unreadable.push_back(name);
  }
  std::ranges::sort(out.definitions, {}, &VolumeDefinition::name);
  co_return out;
}

Task<Result<void>> erase_definition(Coordinator* coordinator, ClusterDirectory* directory, std::string name, Uuid group) {
  const std::string key = volume_key(name);
  for (int tries = 0; tries < kSwapsMax; ++tries) {
    auto entry = co_await coordinator->get(key);
    if (!entry) co_return fail(entry.error());
    if (entry->revision == 0) co_return Result<void>{};
    const auto value = decode_definition(name, entry->value);
    if (!value) co_return fail(value.error());
    if (value->group != group) co_return Result<void>{};
    if (value->state != DefinitionState::deleting || !value->members.empty())
      co_return fail(Errc::busy, concat("volume ", name, " is not deleted everywhere yet"));
    auto outcome = co_await directory->erase(key, entry->revision);
    if (outcome.status != CasStatus::applied) continue;
    co_await note_change(coordinator);
    co_return Result<void>{};
  }
  co_return not_confirmed();
}

}  // namespace holdfast::coord

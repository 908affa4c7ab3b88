#include "scsi/target_directory.h"

namespace holdfast::scsi {

void TargetTable::put(TargetEntry entry) {
  const std::scoped_lock lock(mutex_);
  std::string name = entry.name;
  entries_.insert_or_assign(std::move(name), std::move(entry));
}

void TargetTable::remove(std::string_view name) {
  const std::scoped_lock lock(mutex_);
  if (const auto found = entries_.find(name); found != entries_.end()) entries_.erase(found);
}

void TargetTable::set_portals(std::string_view name, std::vector<PortalAddress> portals) {
  const std::scoped_lock lock(mutex_);
  if (const auto found = entries_.find(name); found != entries_.end()) found->second.portals = std::move(portals);
}

void TargetTable::set_auth(std::string_view name, std::shared_ptr<const TargetAuth> auth) {
  const std::scoped_lock lock(mutex_);
  if (const auto found = entries_.find(name); found != entries_.end()) found->second.auth = std::move(auth);
}

void TargetTable::set_discovery_auth(std::shared_ptr<const TargetAuth> auth) {
  const std::scoped_lock lock(mutex_);
  discovery_auth_ = std::move(auth);
}

std::optional<TargetEntry> TargetTable::find(std::string_view name) const {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

std::vector<TargetEntry> TargetTable::list() const {
  const std::scoped_lock lock(mutex_);
  std::vector<TargetEntry> all;
  for (const auto& [name, entry] : entries_) all.push_back(entry);
  return all;
}

std::shared_ptr<const TargetAuth> TargetTable::discovery_auth() const {
  const std::scoped_lock lock(mutex_);
  return discovery_auth_;
}

}  // namespace holdfast::scsi

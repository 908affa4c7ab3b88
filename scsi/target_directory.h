// The TargetDirectory port: which targets this node shows, for login and SendTargets. Asked on the accepting threads,
// changed by whoever wires volumes: an implementation is thread-safe and answers with copies.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.h"
#include "scsi/chap.h"

namespace holdfast::scsi {

class Target;

inline constexpr std::string_view kTargetNamePrefix = "iqn.2026-11.io.holdfast:";

struct PortalAddress {
  std::string address;              // "192.0.2.1:3260"; a wildcard ("0.0.0.0:3260", "[::]:3260") stands for whatever
                                    // address the asking connection came in on.
  std::uint16_t portal_group = 1;
};

struct TargetEntry {
  std::string name;                 // kTargetNamePrefix + volume.
  Executor* executor = nullptr;     // The volume's; lives as long as the process serves.
  std::weak_ptr<Target> target;     // Locked on that executor only, so that the target also dies there.
  std::shared_ptr<const TargetAuth> auth;  // Null: open to everybody.
  std::uint16_t portal_group = 1;   // This node's.
  std::vector<PortalAddress> portals;      // Every node's, this one's first.
};

class TargetDirectory {
 public:
  virtual ~TargetDirectory() = default;
  virtual std::optional<TargetEntry> find(std::string_view name) const = 0;
  virtual std::vector<TargetEntry> list() const = 0;
  // Who may list targets; null: everybody.
  virtual std::shared_ptr<const TargetAuth> discovery_auth() const = 0;
};

// The directory of one process: a locked map. Off the path of an I/O.
class TargetTable final : public TargetDirectory {
 public:
  void put(TargetEntry entry);
  void remove(std::string_view name);
  void set_portals(std::string_view name, std::vector<PortalAddress> portals);
  // Of a target that is there. Sessions that exist go on.
  void set_auth(std::string_view name, std::shared_ptr<const TargetAuth> auth);
  void set_discovery_auth(std::shared_ptr<const TargetAuth> auth);

  std::optional<TargetEntry> find(std::string_view name) const override;
  std::vector<TargetEntry> list() const override;
  std::shared_ptr<const TargetAuth> discovery_auth() const override;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, TargetEntry, std::less<>> entries_;
  std::shared_ptr<const TargetAuth> discovery_auth_;
};

}  // namespace holdfast::scsi

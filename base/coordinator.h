// The Coordinator port: a linearizable register, and nothing more. No lease, no lock and no clock of it is ever trusted
// (docs/replication.md, rules 1-4). Values are opaque here (engine/register.h). What a cluster keeps beside its registers is
// the business of base/cluster_directory.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/task.h"

namespace holdfast {

// Keys are names between slashes, of a-z, 0-9, - and ., none of which begins with a dot: "group-5b1f", "nodes/2".
// "cluster" is the cluster's own.
inline constexpr std::size_t kCoordinatorKeyBytesMax = 128;
inline constexpr std::size_t kCoordinatorValueBytesMax = 128 << 10;
bool coordinator_key_is_fine(std::string_view key);

// What a key held at one instant. Revisions of a key only grow and are never used again, also not after a deletion.
struct CoordinatorEntry {
  std::uint64_t revision = 0;  // Zero: the key does not exist.
  std::string value;
};

enum class CasStatus : std::uint8_t {
  applied,   // The value is there now, at `entry.revision`.
  conflict,  // The key was at another revision; `entry` is what it held.
  unknown,   // It may have happened, happen later, or never: only a newer revision tells (rule 4).
};

struct CasOutcome {
  CasStatus status = CasStatus::unknown;
  CoordinatorEntry entry;  // Valid unless unknown.
};

class Coordinator {
 public:
  virtual ~Coordinator() = default;
  // A linearizable read. Errors: timed_out, io_error (not reachable now), foreign (another cluster's data, or an older state
  // than this process has seen: a coordinator that was emptied or restored is refused, never bootstrapped over), permission
  // (it refuses us), protocol (it speaks nonsense), overloaded, invalid_argument (the key).
  virtual Task<Result<CoordinatorEntry>> get(std::string key) = 0;
  // Replaces the value if the key is still at `base_revision` (zero: if it does not exist). Never retries by itself what may
  // have been heard. Whatever else goes wrong is unknown, too: a read tells what it is.
  virtual Task<CasOutcome> compare_and_swap(std::string key, std::uint64_t base_revision, std::string value) = 0;
  // Returns when the key may have changed since `revision`, or after a while: a hint, never a fact.
  virtual Task<void> until_changed(std::string key, std::uint64_t revision) = 0;
  // Names the cluster behind the port; kept durably by replicas, which refuse another one. Empty: not known yet.
  virtual std::string cluster_id() const = 0;
};

}  // namespace holdfast

// One node's line to its etcd: a thread, its connections, one stream of changes, and what is known of the cluster. Any thread may
// call; each call is answered once, on the client's thread, within its time limit (a list: one for each page). Ports (etcd_coordinator.h) share a client.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/cluster_directory.h"
#include "coord/etcd_core.h"
#include "coord/etcd_stats.h"
#include "coord/loop.h"
#include "coord/options.h"

namespace holdfast::coord {

class EtcdClient {
 public:
  template <class T>
  using Reply = std::move_only_function<void(T)>;
  enum class Woken : std::uint8_t { perhaps_changed };

  // Connects to nothing yet. Errors: invalid_argument; the message names the option.
  static Result<std::shared_ptr<EtcdClient>> start(EtcdOptions options);
  // Calls that are under way are not answered any more. A name that is being resolved is waited for.
  ~EtcdClient();
  EtcdClient(const EtcdClient&) = delete;

  // As base/coordinator.h and base/cluster_directory.h have them.
  void get(std::string key, Reply<Result<CoordinatorEntry>> reply);
  void compare_and_swap(std::string key, std::uint64_t base_revision, std::string value, Reply<CasOutcome> reply);
  void erase(std::string key, std::uint64_t base_revision, Reply<CasOutcome> reply);
  void list(std::string folder, Reply<Result<std::vector<DirectoryEntry>>> reply);
  void until_changed(std::string key, std::uint64_t revision, Reply<Woken> reply);
  std::string cluster_id() const { return core_.cluster_id(); }
  // For operators: why the last call failed; empty: it did not.
  std::string trouble() const { return core_.trouble(); }

  // Writes the marker of a new cluster, once, on an operator's word; nothing else ever does. Returns its id.
  // Errors: exists (a marker, or other keys below the prefix, or this node knows a cluster already), and those of get.
  void set_up(Uuid id, Reply<Result<std::string>> reply);
  // Makes the marker name the etcd that is reached now, on the word of an operator who restored it from a snapshot and knows
  // that the one before is gone. Returns the cluster's id. Errors: not_found (no marker), foreign (another cluster's), and those of get.
  void take_over(Reply<Result<std::string>> reply);

  const EtcdStats& stats() const { return stats_; }

 private:
  static constexpr std::size_t kCallsMax = 4'096;

  EtcdClient(EtcdOptions options, std::vector<HttpEndpoint> endpoints);
  template <class T, class Begin>
  void call(Reply<T> reply, T refusal, Begin begin);

  Loop loop_;
  EtcdStats stats_;
  EtcdCore core_;
  std::size_t calls_ = 0;  // Under way; the loop's.
  std::thread thread_;
};

}  // namespace holdfast::coord

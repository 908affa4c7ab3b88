// What the etcd coordinator does, on its own thread: the calls of the ports as questions to an etcd, and what the answers prove.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/cluster_directory.h"
#include "base/scope.h"
#include "coord/cluster_guard.h"
#include "coord/etcd_channel.h"
#include "coord/watch_hub.h"

namespace holdfast::coord {

class EtcdCore {
 public:
  EtcdCore(Loop& loop, EtcdOptions options, std::vector<HttpEndpoint> endpoints, EtcdStats& stats);

  // Errors: of the TLS files.
  Result<void> check_files() const { return http_.check_files(); }

  // The loop's thread from here on.
  void begin() { scope_.spawn(hub_.run()); }
  void spawn(Task<void> flow) { scope_.spawn(std::move(flow)); }
  Task<Result<CoordinatorEntry>> get(std::string key);
  // Nothing for a value: erase.
  Task<CasOutcome> swap(std::string key, std::uint64_t base_revision, std::optional<std::string> value);
  Task<Result<std::vector<DirectoryEntry>>> list(std::string folder);
  Task<void> until_changed(std::string key, std::uint64_t revision);
  Task<Result<std::string>> set_up(Uuid id);
  Task<Result<std::string>> take_over();

  // Any thread.
  std::string cluster_id() const;
  std::string trouble() const;

 private:
  struct Page;
  // What a marker's key holds, whatever it may be worth.
  struct MarkerSeen {
    EtcdHeader header;
    std::optional<KeyValue> entry;
  };
  // What a swap was sent with, until its answer is judged.
  struct Swap {
    std::string key;
    std::uint64_t base_revision = 0;
    std::optional<std::string> value;  // Nothing: erase.
    KeyValue marker;                   // As it was compared.
    ClusterGuard::Floor floor;
  };
  std::string full(const std::string& key) const { return options_.prefix + "/" + key; }
  BootNs deadline() { return channel_.now() + milliseconds(options_.request_timeout_ms); }
  void went_well();
  void report(const Error& error);
  void count_swap(CasStatus status, BootNs begun);

  Task<Result<CoordinatorEntry>> look(const std::string* key, BootNs until);
  Result<CoordinatorEntry> judge_entry(const std::string& where, std::string_view body, const std::string& key, const ClusterGuard::Floor& floor);
  Task<CasOutcome> carry_out(Swap* swap);
  Txn txn_of(const Swap& swap) const;
  Result<CasOutcome> judge_swap(const Written& written, const Swap& swap);
  Task<Result<void>> read_page(Page* page);
  Result<void> judge_page(const std::string& where, std::string_view body, const ClusterGuard::Floor& floor, Page* page);
  Task<Result<MarkerSeen>> read_marker();
  static bool is_settled(const Result<bool>& change);
  Task<Result<bool>> change_marker(const Txn* txn, std::uint64_t etcd_id);
  Task<Result<std::string>> confirm_marker(const std::string* wanted, std::string id);

  EtcdOptions options_;
  EtcdStats* stats_;
  HttpClient http_;
  EtcdChannel channel_;
  ClusterGuard guard_;
  WatchHub hub_;
  Errc reported_{};  // What the log was told last, and when; zero: nothing yet.
  BootNs reported_at_{};
  mutable std::mutex told_mutex_;
  std::string told_id_;  // Both guarded by told_mutex_.
  std::string trouble_;  // Empty: the last call went well.
  Scope scope_;  // Last: its flows use everything above.
};

}  // namespace holdfast::coord

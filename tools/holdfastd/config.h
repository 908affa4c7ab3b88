// The daemon's configuration: a TOML file, read once and completely at start. Every mistake in it is reported, not just the
// first, each with file, line and key; a key nobody knows is a mistake. The reference is docs/operators.md.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace holdfast::daemon {

enum class ChapAlgorithm : std::uint8_t { sha3_256, sha256, sha1, md5 };
enum class LogFormat : std::uint8_t { text, json };
// What becomes of initiators' connections to a node that is silent, once this one serves in its place.
enum class TakeoverMode : std::uint8_t { off, tickle };
enum class LogThreshold : std::uint8_t { debug, info, warning, error };

// "192.0.2.1:3260", "[2001:db8::1]:3260". Port 0 means any free one.
struct Address {
  std::string host;  // Without brackets.
  std::uint16_t port = 0;
  bool operator==(const Address&) const = default;
  std::string text() const;
  bool is_loopback() const;
  bool is_any() const;
};

// Who may log in, and how it proves itself.
struct AccessConfig {
  std::string user, secret;                // Both empty: no CHAP.
  std::string mutual_user, mutual_secret;  // Both empty: the target does not prove itself.
  std::vector<ChapAlgorithm> algorithms{ChapAlgorithm::sha3_256, ChapAlgorithm::sha256, ChapAlgorithm::sha1,
                                        ChapAlgorithm::md5};  // In order of preference.
  std::vector<std::string> initiators;     // Names that may log in; empty: any.
  bool wants_chap() const { return !user.empty(); }
};

struct NodeConfig {
  std::string name;       // Default: the host's name.
  std::string data_dir;
  unsigned reactors = 0;  // 0: one per core.
  std::uint64_t memory_bytes = 256ULL << 20;  // Payload memory of each reactor.
};

struct IscsiConfig {
  std::vector<Address> listen{{"0.0.0.0", 3260}};
  std::vector<Address> portals;  // What SendTargets announces. Empty: the address that the initiator reached.
  AccessConfig auth;             // Of every volume without an entry in `volumes`.
  std::map<std::string, AccessConfig> volumes;
  AccessConfig discovery;
  std::int64_t nop_interval_ms = 5'000;
  std::int64_t nop_timeout_ms = 5'000;
  unsigned sessions_max = 256;
  TakeoverMode takeover = TakeoverMode::off;
};

struct AdminConfig {
  Address listen{"127.0.0.1", 9440};
  std::string token;  // The content of admin.token_file.
};

struct StoreConfig {
  std::uint64_t log_bytes = 256ULL << 20;
  std::uint64_t map_cache_bytes = 64ULL << 20;
  std::uint64_t apply_backlog_bytes = 32ULL << 20;
  std::uint32_t log_batches_in_flight = 2;
  std::uint32_t log_batch_bytes_max = 1u << 20;
  std::int64_t checkpoint_interval_ms = 30'000;
  std::uint32_t checkpoint_log_percent = 50;
  std::uint64_t rebuild_bytes_per_second = 0;  // Zero: no limit.
  std::uint64_t consumer_retention_bytes = 0;
};

struct LogConfig {
  LogThreshold level = LogThreshold::info;
  LogFormat format = LogFormat::text;
};

// How the nodes of the cluster prove themselves to each other.
enum class LinkSecrecy : std::uint8_t { none, secret, certificate };

struct EtcdConfig {
  std::vector<std::string> endpoints;
  std::string prefix = "/holdfast";
  std::string user, password;
  std::string password_file;      // Where the password came from, and is read again.
  std::string ca_file, certificate_file, key_file;
};

// This node is one of several that keep copies of volumes.
struct ClusterConfig {
  std::string name;
  unsigned node = 0;              // 1 … 65535, this node's alone.
  std::vector<Address> listen;    // For the other nodes' connections.
  std::vector<Address> links;     // Where the other nodes reach it; as it listens unless told.
  LinkSecrecy secrecy = LinkSecrecy::none;
  std::string secret_file;        // Paths; the files are read again for each new connection.
  std::string ca_file, certificate_file, key_file;
  std::string directory;          // The coordinator: this directory, or …
  std::optional<EtcdConfig> etcd; // … an etcd.
  Address admin;                  // What operators are told; port 0: where the admin port listens.
  std::int64_t lease_ms = 600;    // Of volumes that are created here.
  std::int64_t heartbeat_ms = 50;
  std::int64_t replica_timeout_ms = 650;
  std::int64_t takeover_patience_ms = 750;
  std::int64_t stuck_timeout_ms = 10'000;
};

struct Config {
  NodeConfig node;
  IscsiConfig iscsi;
  AdminConfig admin;
  StoreConfig store;
  LogConfig log;
  std::optional<ClusterConfig> cluster;  // Nothing: a node by itself.
};

struct ConfigError {
  std::string file;
  unsigned line = 0;    // 0: the file as a whole.
  std::string key;      // "store.log_size"; empty: the file as a whole.
  std::string message;  // What is wrong and what is allowed.
  std::string text() const;  // "holdfast.toml:12: store.log_size: …"
};

struct LoadedConfig {
  Config config;
  std::vector<ConfigError> warnings;
};

using ConfigResult = std::expected<LoadedConfig, std::vector<ConfigError>>;

// Reads the file and the secret files that it names (relative to its own folder).
ConfigResult load_config(const std::string& path);
// The same for a text in memory; `file` is its name in errors, and what it names is looked up beside it.
ConfigResult parse_config(std::string_view text, const std::string& file);

}  // namespace holdfast::daemon

#include "tools/holdfastd/config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "admin/names.h"
#include "base/result.h"
#include "tools/holdfastd/config_parts.h"
#include "tools/holdfastd/toml_text.h"

namespace holdfast::daemon {
namespace {

constexpr std::size_t kConfigBytesMax = 1u << 20;
constexpr std::size_t kSecretBytesMin = 12;   // RFC 7143 §9.2.1: 96 bits.
constexpr std::size_t kSecretBytesMax = 255;
constexpr std::size_t kTokenBytesMin = 16;
constexpr std::size_t kTokenBytesMax = 4096;
constexpr std::size_t kNodeNameBytesMax = 63;
constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr std::uint64_t kGiB = 1ULL << 30;

// `secret` or `secret_file`; the value's own rules come after.
void secret(TomlSection& section, const std::string& key, std::string& out) {
  const std::string file_key = key + "_file";
  section.text(key, out);
  secret_file(section, file_key, out, kSecretBytesMax);
  if (section.has(key) && section.has(file_key)) section.error(key, "is given twice, here and as " + file_key);
  if (out.empty()) return;
  const std::string from = section.has(key) ? key : file_key;
  if (out.size() < kSecretBytesMin || out.size() > kSecretBytesMax) {
    section.error(from, "the secret has " + std::to_string(out.size()) + " bytes; " + std::to_string(kSecretBytesMin) +
                            " to " + std::to_string(kSecretBytesMax) + " are allowed (RFC 7143 asks for 96 bits)");
  }
}

std::string chap_algorithm(const std::string& name, std::vector<ChapAlgorithm>& out) {
  constexpr std::array<std::string_view, 4> kNames{"sha3-256", "sha256", "sha1", "md5"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] != name) continue;
    const auto algorithm = static_cast<ChapAlgorithm>(i);
    if (std::ranges::find(out, algorithm) != out.end()) return "\"" + name + "\" is there twice";
    out.push_back(algorithm);
    return {};
  }
  return "\"" + admin::printable(name) + "\" is not known; allowed: sha3-256, sha256, sha1, md5";
}

// RFC 7143 §4.2.7.1: iqn., eui. or naa., at most 223 bytes. The digits of eui. and naa. are often written in upper case;
// kept in the lower case that names are compared in.
std::string initiator_name(const std::string& name, std::vector<std::string>& out) {
  const auto bad = [](char c) {
    return !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || c == '.' || c == '-' || c == ':' ||
             static_cast<unsigned char>(c) >= 0x80);
  };
  if (name.size() > 223) return "an iSCSI name has at most 223 bytes";
  const bool known = name.starts_with("iqn.") || name.starts_with("eui.") || name.starts_with("naa.");
  if (!known || name.size() < 5 || std::ranges::any_of(name, bad)) {
    return "\"" + admin::printable(name) + "\" is no iSCSI name, like iqn.1993-08.org.debian:01:5d2f (lower case)";
  }
  std::string& kept = out.emplace_back(name);
  for (char& c : kept)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  return {};
}

void read_chap(TomlSection& section, AccessConfig& out) {
  section.text("user", out.user);
  secret(section, "secret", out.secret);
  section.text("mutual_user", out.mutual_user);
  secret(section, "mutual_secret", out.mutual_secret);
  const bool has_secret = section.has("secret") || section.has("secret_file");
  const bool has_mutual_secret = section.has("mutual_secret") || section.has("mutual_secret_file");
  if (section.has("user") && !has_secret) section.error("user", "has no secret: add secret or secret_file");
  if (has_secret && !section.has("user")) section.error("user", "is missing, but there is a secret");
  if (section.has("mutual_user") && !has_mutual_secret) {
    section.error("mutual_user", "has no secret: add mutual_secret or mutual_secret_file");
  }
  if (has_mutual_secret && !section.has("mutual_user")) {
    section.error("mutual_user", "is missing, but there is a mutual secret");
  }
  if (section.has("mutual_user") && !section.has("user")) {
    section.error("mutual_user", "mutual CHAP needs user and secret as well");
  }
  if (!out.secret.empty() && out.secret == out.mutual_secret) {
    section.error(section.has("mutual_secret") ? "mutual_secret" : "mutual_secret_file",
                  "is the same as secret; RFC 7143 forbids that, because the answer could be reflected");
  }
  if (section.has("algorithms")) {
    out.algorithms.clear();
    section.texts("algorithms", 4, [&](const std::string& name) { return chap_algorithm(name, out.algorithms); });
  }
}

AccessConfig read_access(TomlSection section) {
  AccessConfig out;
  read_chap(section, out);
  section.texts("initiators", 1024, [&](const std::string& name) { return initiator_name(name, out.initiators); });
  section.finish();
  return out;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "node";
  return std::string(name.data()).substr(0, kNodeNameBytesMax);
}

void read_node(TomlSection section, NodeConfig& out) {
  section.text("name", out.name);
  if (out.name.empty()) out.name = host_name();
  if (out.name.size() > kNodeNameBytesMax || admin::printable(out.name) != out.name) {
    section.error("name", "must be 1 to 63 printable characters");
  }
  section.text("data_dir", out.data_dir);
  if (!section.has("data_dir")) section.error("data_dir", "is missing: the folder for volumes, like /var/lib/holdfast");
  if (!out.data_dir.empty() && !out.data_dir.starts_with('/')) {
    section.error("data_dir", "\"" + admin::printable(out.data_dir) + "\" is not an absolute path");
  }
  section.count("reactors", out.reactors, {0, 256});
  section.size("memory", out.memory_bytes, {16 * kMiB, 64 * kGiB, kMiB});
  section.finish();
}

void read_iscsi(TomlSection section, IscsiConfig& out) {
  read_addresses(section, "listen", PortRule::any, out.listen);
  read_addresses(section, "portals", PortRule::not_zero, out.portals);
  out.auth = read_access(section.section("auth"));
  TomlSection discovery = section.section("discovery");
  read_chap(discovery, out.discovery);
  discovery.finish();
  TomlSection volumes = section.section("volume");
  volumes.each_section([&](const std::string& name, TomlSection volume) {
    if (const auto valid = admin::check_volume_name(name); !valid) volumes.error(name, valid.error().message);
    out.volumes[name] = read_access(std::move(volume));
  });
  volumes.finish();
  section.duration("nop_interval", out.nop_interval_ms, {0, 600'000});
  section.duration("nop_timeout", out.nop_timeout_ms, {100, 600'000});
  section.count("max_sessions", out.sessions_max, {1, 65'536});
  constexpr std::array<std::string_view, 2> kTakeovers{"off", "tickle"};
  section.choice("takeover", kTakeovers, [&](std::size_t i) { out.takeover = static_cast<TakeoverMode>(i); });
  section.finish();
}

void read_admin(TomlSection section, AdminConfig& out) {
  std::string listen;
  section.text("listen", listen);
  if (!listen.empty()) {
    auto address = parse_address(listen, PortRule::any);
    if (address) out.listen = std::move(*address);
    if (!address) section.error("listen", address.error().message);
  }
  secret_file(section, "token_file", out.token, kTokenBytesMax);
  if (!out.token.empty() && out.token.size() < kTokenBytesMin) {
    section.error("token_file", "the token has " + std::to_string(out.token.size()) + " bytes; at least " +
                                    std::to_string(kTokenBytesMin) + " are needed");
  }
  if (out.token.find_first_of(" \t") != std::string::npos) section.error("token_file", "the token contains a space");
  if (!out.listen.is_loopback() && !section.has("token_file")) {
    section.error("listen", "\"" + out.listen.text() + "\" is beyond loopback, where a token is required: add token_file, " +
                                "or listen on 127.0.0.1");
  }
  section.finish();
}

void read_store(TomlSection section, StoreConfig& out) {
  section.size("log_size", out.log_bytes, {admin::kLogSizeMin, admin::kLogSizeMax, admin::kLogSizeUnit});
  section.size("map_cache", out.map_cache_bytes, {64ULL << 10, 1024 * kGiB, 4096});
  section.size("apply_backlog", out.apply_backlog_bytes, {2 * kMiB, 16 * kGiB, 4096});
  section.size("log_batch", out.log_batch_bytes_max, {64ULL << 10, 64 * kMiB, 4096});
  section.count("log_batches_in_flight", out.log_batches_in_flight, {1, 8});
  section.duration("checkpoint_interval", out.checkpoint_interval_ms, {100, 3'600'000});
  section.count("checkpoint_log_percent", out.checkpoint_log_percent, {5, 90});
  section.size("rebuild_rate", out.rebuild_bytes_per_second, {0, 1024 * kGiB, 64ULL << 10});
  section.size("consumer_retention", out.consumer_retention_bytes, {0, admin::kLogSizeMax, admin::kLogSizeUnit});
  section.finish();
}

void read_log(TomlSection section, LogConfig& out) {
  constexpr std::array<std::string_view, 4> kLevels{"debug", "info", "warning", "error"};
  constexpr std::array<std::string_view, 2> kFormats{"text", "json"};
  section.choice("level", kLevels, [&](std::size_t i) { out.level = static_cast<LogThreshold>(i); });
  section.choice("format", kFormats, [&](std::size_t i) { out.format = static_cast<LogFormat>(i); });
  section.finish();
}

void read_root(TomlSection root, Config& out) {
  read_node(root.section("node"), out.node);
  read_iscsi(root.section("iscsi"), out.iscsi);
  read_admin(root.section("admin"), out.admin);
  read_store(root.section("store"), out.store);
  read_log(root.section("log"), out.log);
  read_cluster(root.section("cluster"), out.node, out.iscsi, out.cluster);
  if (out.iscsi.takeover != TakeoverMode::off && !root.has("cluster"))
    root.section("iscsi").error("takeover", "is of use in a cluster only, and there is no [cluster]");
  root.finish();
}

}  // namespace

std::string ConfigError::text() const {
  std::string out = file;
  if (line > 0) out.append(":").append(std::to_string(line));
  if (!key.empty()) out.append(": ").append(key);
  return out.append(": ").append(message);
}

ConfigResult parse_config(std::string_view text, const std::string& file) {
  ConfigReport report{file, {}, {}};
  const auto refuse = [&](unsigned line, std::string message) {
    report.errors.push_back({file, line, {}, std::move(message)});
    return std::unexpected(std::move(report.errors));
  };
  if (text.size() > kConfigBytesMax) return refuse(0, "has more than " + std::to_string(kConfigBytesMax) + " bytes");
  if (const auto line = line_of_stray_character(text)) {
    return refuse(*line, "a character outside ASCII may stand only in a comment or in a text on one line; elsewhere write \\uXXXX in a text");
  }
  const toml::parse_result parsed = toml::parse(text, file);
  if (!parsed) {
    const auto& error = parsed.error();
    return refuse(error.source().begin.line, "not valid TOML: " + admin::printable(error.description()));
  }
  LoadedConfig out;
  read_root(TomlSection(report, {}, &parsed.table()), out.config);
  std::ranges::stable_sort(report.errors, {}, &ConfigError::line);
  if (!report.errors.empty()) return std::unexpected(std::move(report.errors));
  out.warnings = std::move(report.warnings);
  return out;
}

ConfigResult load_config(const std::string& path) {
  auto file = read_file(path, kConfigBytesMax);
  if (!file) return std::unexpected(std::vector<ConfigError>{{path, 0, {}, file.error().message}});
  auto loaded = parse_config(file->text, path);
  if (!loaded || !(file->mode & S_IROTH)) return loaded;
  const auto inline_secret = [](const AccessConfig& access) { return access.wants_chap(); };
  const IscsiConfig& iscsi = loaded->config.iscsi;
  const bool secrets = inline_secret(iscsi.auth) || inline_secret(iscsi.discovery) ||
                       std::ranges::any_of(iscsi.volumes, [&](const auto& v) { return inline_secret(v.second); });
  if (secrets && file->text.find("secret =") != std::string::npos) {
    loaded->warnings.push_back({path, 0, {}, "has secrets in it and everybody can read it; use secret_file, or chmod 600"});
  }
  return loaded;
}

}  // namespace holdfast::daemon

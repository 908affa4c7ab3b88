#include "tools/holdfast/doctor/facts.h"

#include <algorithm>
#include <sstream>

namespace holdfast::cli {
namespace {

const std::string kTargetPrefix = "iqn.2026-11.io.holdfast:";
constexpr int kDeviceLayersMax = 8;    // Partitions, LVM and encryption on top of a multipath device.
constexpr int kDataFolderDepth = 3;    // MOUNT/15/main, as Debian has it, and one more.
constexpr std::size_t kFoldersMax = 2000;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) out.push_back(part);
  return out;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string portal_of(const std::string& address, const std::string& port) {
  return address.find(':') == std::string::npos ? address + ":" + port : "[" + address + "]:" + port;
}

std::map<std::string, std::string> record_values(const std::string& text) {
  std::map<std::string, std::string> out;
  for (const std::string& line : lines_of(text)) {
    const auto at = line.find(" = ");
    if (!line.starts_with('#') && at != std::string::npos) out[trimmed(line.substr(0, at))] = trimmed(line.substr(at + 3));
  }
  return out;
}

std::vector<PortalRecord> records_of(const HostView& host, const std::string& target) {
  std::vector<PortalRecord> out;
  const std::string folder = "/etc/iscsi/nodes/" + target;
  for (const std::string& portal : host.list(folder)) {
    for (const std::string& interface : host.list(folder + "/" + portal)) {
      PortalRecord record;
      record.values = record_values(host.read(folder + "/" + portal + "/" + interface).value_or(""));
      if (record.values.empty()) continue;
      record.portal = portal_of(record.values["node.conn[0].address"], record.values["node.conn[0].port"]);
      out.push_back(std::move(record));
    }
  }
  return out;
}

// The disk of LUN 0.
std::string disk_of(const HostView& host, const std::string& session) {
  for (const std::string& target : host.list(session + "/device")) {
    if (!target.starts_with("target")) continue;
    for (const std::string& unit : host.list(session + "/device/" + target)) {
      if (!unit.ends_with(":0")) continue;
      const auto disks = host.list(session + "/device/" + target + "/" + unit + "/block");
      if (!disks.empty()) return disks.front();
    }
  }
  return {};
}

std::vector<std::string> holders_of(const HostView& host, const std::string& device) { return host.list("/sys/block/" + device + "/holders"); }

SessionSeen session_seen(const HostView& host, const std::string& name) {
  const std::string session = "/sys/class/iscsi_session/" + name;
  const std::string connection = "/sys/class/iscsi_connection/connection" + name.substr(std::string("session").size()) + ":0";
  SessionSeen seen;
  seen.portal = portal_of(host.line(connection + "/persistent_address"), host.line(connection + "/persistent_port"));
  seen.state = host.line(session + "/state");
  seen.recovery_tmo = host.line(session + "/recovery_tmo");
  seen.ping_tmo = host.line(connection + "/ping_tmo");
  seen.recv_tmo = host.line(connection + "/recv_tmo");
  seen.disk = disk_of(host, session);
  if (seen.disk.empty()) return seen;
  const std::string device = "/sys/block/" + seen.disk + "/device";
  seen.disk_state = host.line(device + "/state");
  seen.handler = host.line(device + "/dh_state");
  seen.command_timeout = host.line(device + "/timeout");
  seen.vendor = host.line(device + "/vendor");
  seen.model = host.line(device + "/model");
  for (const std::string& holder : holders_of(host, seen.disk))
    if (host.line("/sys/block/" + holder + "/dm/uuid").starts_with("mpath-")) seen.maps.push_back(holder);
  return seen;
}

MultipathMap map_seen(const HostView& host, const std::string& device) {
  const std::string folder = "/sys/block/" + device;
  MultipathMap map{device, host.line(folder + "/dm/name"), host.line(folder + "/dm/uuid"), host.line(folder + "/dm/suspended") == "1",
                   host.list(folder + "/slaves").size(), std::nullopt};
  map.table = host.device_table(map.name);
  return map;
}

// The devices themselves and whatever lies on top of them, partitions included.
std::set<std::string> with_layers_above(const HostView& host, std::set<std::string> devices) {
  std::set<std::string> fresh = devices;
  for (int layer = 0; layer < kDeviceLayersMax && !fresh.empty(); ++layer) {
    std::set<std::string> above;
    for (const std::string& device : fresh) {
      for (const std::string& holder : holders_of(host, device)) above.insert(holder);
      for (const std::string& part : host.list("/sys/block/" + device))
        if (part.starts_with(device) && host.exists("/sys/block/" + device + "/" + part + "/partition")) above.insert(part);
    }
    fresh.clear();
    for (const std::string& device : above)
      if (devices.insert(device).second) fresh.insert(device);
  }
  return devices;
}

// "/dev/mapper/x" is a link to "../dm-0".
std::string device_name(const HostView& host, const std::string& source) { return last_part(host.link(source).value_or(source)); }

std::vector<MountSeen> mounts_seen(const HostView& host) {
  std::vector<MountSeen> out;
  for (const std::string& row : lines_of(host.read("/proc/self/mounts").value_or(""))) {
    const auto words = words_of(row);
    if (words.size() >= 4 && words[0].starts_with("/dev/"))
      out.push_back({words[0], device_name(host, words[0]), words[1], words[2], split(words[3], ',')});
  }
  return out;
}

VolumeSeen volume_seen(const HostView& host, const std::string& name, const std::vector<MountSeen>& mounts) {
  VolumeSeen seen;
  seen.name = name;
  const std::string target = kTargetPrefix + name;
  seen.records = records_of(host, target);
  std::set<std::string> devices, maps;
  for (const std::string& session : host.list("/sys/class/iscsi_session")) {
    if (host.line("/sys/class/iscsi_session/" + session + "/targetname") != target) continue;
    seen.sessions.push_back(session_seen(host, session));
    if (!seen.sessions.back().disk.empty()) devices.insert(seen.sessions.back().disk);
    maps.insert(seen.sessions.back().maps.begin(), seen.sessions.back().maps.end());
  }
  for (const std::string& map : maps) seen.maps.push_back(map_seen(host, map));
  const auto all = with_layers_above(host, devices);
  for (const MountSeen& mount : mounts)
    if (all.contains(mount.device)) seen.mounts.push_back(mount);
  return seen;
}

std::set<std::string> volume_names(const HostView& host) {
  std::set<std::string> targets;
  for (const std::string& target : host.list("/etc/iscsi/nodes")) targets.insert(target);
  for (const std::string& session : host.list("/sys/class/iscsi_session")) targets.insert(host.line("/sys/class/iscsi_session/" + session + "/targetname"));
  std::set<std::string> names;
  for (const std::string& target : targets)
    if (target.starts_with(kTargetPrefix)) names.insert(target.substr(kTargetPrefix.size()));
  return names;
}

bool is_data_folder(const HostView& host, const std::string& folder) {
  return host.exists(folder + "/PG_VERSION") && host.exists(folder + "/global");
}

void find_data_folders(const HostView& host, const std::string& folder, int depth, std::size_t& left, std::set<std::string>& out) {
  if (left == 0) return;
  --left;
  if (is_data_folder(host, folder)) {
    out.insert(folder);
    return;
  }
  if (depth == 0) return;
  for (const std::string& name : host.list(folder))
    if (!host.link(folder + "/" + name)) find_data_folders(host, folder + "/" + name, depth - 1, left, out);
}

// Debian keeps the configuration apart from the data: folder of data to file.
std::map<std::string, std::string> debian_configs(const HostView& host) {
  std::map<std::string, std::string> out;
  for (const std::string& version : host.list("/etc/postgresql")) {
    for (const std::string& cluster : host.list("/etc/postgresql/" + version)) {
      const std::string file = "/etc/postgresql/" + version + "/" + cluster + "/postgresql.conf";
      const PostgresSettings settings = read_postgres_file(host, file);
      const auto folder = settings.find("data_directory");
      if (folder != settings.end()) out[folder->second] = file;
    }
  }
  return out;
}

bool is_below(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder == "/" ? folder : folder + "/");
}

Database database_seen(const HostView& host, const std::string& folder, const std::string& config, const std::vector<VolumeSeen>& volumes) {
  Database seen;
  seen.folder = folder;
  seen.config = host.exists(config) ? config : "";
  for (const VolumeSeen& volume : volumes)
    for (const MountSeen& mount : volume.mounts)
      if (is_below(folder, mount.place) && mount.place.size() >= seen.place.size()) seen.place = mount.place;
  seen.log_folder = host.link(folder + "/pg_wal").value_or("");
  seen.runs = host.exists(folder + "/postmaster.pid");
  if (!seen.config.empty()) seen.settings = read_postgres_file(host, seen.config);
  add_postgres_overrides(host, folder, seen.settings);
  return seen;
}

std::vector<Database> databases_seen(const HostView& host, const std::vector<VolumeSeen>& volumes, const std::vector<std::string>& named) {
  std::set<std::string> folders(named.begin(), named.end());
  const auto configs = debian_configs(host);
  for (const auto& [folder, file] : configs) folders.insert(folder);
  std::size_t left = kFoldersMax;
  for (const VolumeSeen& volume : volumes)
    for (const MountSeen& mount : volume.mounts) find_data_folders(host, mount.place, kDataFolderDepth, left, folders);
  std::vector<Database> out;
  for (const std::string& folder : folders) {
    const auto config = configs.find(folder);
    out.push_back(database_seen(host, folder, config == configs.end() ? folder + "/postgresql.conf" : config->second, volumes));
  }
  return out;
}

std::set<std::string> programs_that_run(const HostView& host, const std::set<std::string>& of) {
  std::set<std::string> out;
  for (const std::string& pid : host.list("/proc")) {
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string name = host.line("/proc/" + pid + "/comm");
    if (of.contains(name)) out.insert(name);
  }
  return out;
}

std::set<std::string> units_enabled(const HostView& host) {
  std::set<std::string> out;
  for (const std::string& folder : host.list("/etc/systemd/system"))
    if (folder.ends_with(".wants") || folder.ends_with(".requires"))
      for (const std::string& unit : host.list("/etc/systemd/system/" + folder)) out.insert(unit);
  return out;
}

std::vector<FstabRow> fstab_rows(const HostView& host) {
  std::vector<FstabRow> out;
  for (const std::string& row : lines_of(host.read("/etc/fstab").value_or(""))) {
    const auto words = words_of(row);
    if (words.size() >= 4 && !words[0].starts_with('#')) out.push_back({words[0], words[1], words[2], split(words[3], ',')});
  }
  return out;
}

}  // namespace

HostFacts collect_facts(const HostView& host, const std::string& volume, const std::vector<std::string>& databases) {
  HostFacts facts;
  const auto mounts = mounts_seen(host);
  const auto names = volume.empty() ? volume_names(host) : std::set<std::string>{volume};
  for (const std::string& name : names) facts.volumes.push_back(volume_seen(host, name, mounts));
  facts.databases = databases_seen(host, facts.volumes, databases);
  facts.fstab = fstab_rows(host);
  facts.programs = programs_that_run(host, {"iscsid", "multipathd"});
  facts.enabled_units = units_enabled(host);
  facts.has_systemd = host.exists("/run/systemd/system");
  facts.has_tcp_transport = host.exists("/sys/class/iscsi_transport/tcp");
  facts.multipath = read_multipath_config(host);
  return facts;
}

}  // namespace holdfast::cli

// What was seen on a PostgreSQL host, volume by volume. Collected once; the checks only look at it. A text is empty where nothing was found.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tools/holdfast/doctor/multipath_config.h"
#include "tools/holdfast/doctor/postgres_config.h"

namespace holdfast::cli {

// A portal on record, in /etc/iscsi/nodes: what a login at the next boot will use.
struct PortalRecord {
  std::string portal;  // "192.0.2.1:3260"
  std::map<std::string, std::string> values;
};

// A session as the kernel has it, with its disk.
struct SessionSeen {
  std::string portal;
  std::string state;                            // "LOGGED_IN" when it works.
  std::string recovery_tmo, ping_tmo, recv_tmo;  // Seconds.
  std::string disk;                             // Like "sdb"; empty: it brought none.
  std::string disk_state;                       // "running" when it works.
  std::string handler;                          // Of the kernel for ALUA: "alua".
  std::string command_timeout;                  // Seconds.
  std::string vendor, model;
  std::vector<std::string> maps;                // The multipath devices it is in, like "dm-0".
};

struct MultipathMap {
  std::string device;  // "dm-0"
  std::string name;    // As in /dev/mapper.
  std::string uuid;    // "mpath-WWID"
  bool suspended = false;
  std::size_t paths = 0;
  std::optional<std::string> table;
};

struct MountSeen {
  std::string source;  // As it stands in /proc/mounts.
  std::string device;  // Like "dm-0" or "sdb".
  std::string place, type;
  std::vector<std::string> options;
};

struct FstabRow {
  std::string source, place, type;
  std::vector<std::string> options;
};

struct VolumeSeen {
  std::string name;
  std::vector<PortalRecord> records;
  std::vector<SessionSeen> sessions;
  std::vector<MultipathMap> maps;
  std::vector<MountSeen> mounts;  // Of its disks, its multipath device, or what lies on top of that.
};

struct Database {
  std::string folder;      // Where its data are.
  std::string config;      // The file that was read; empty: none was found.
  std::string place;       // Of the volume's mount that it is on; empty: it is elsewhere.
  std::string log_folder;  // Where pg_wal leads to when it is a link.
  bool runs = false;
  PostgresSettings settings;
};

struct HostFacts {
  std::vector<VolumeSeen> volumes;
  std::vector<Database> databases;
  std::vector<FstabRow> fstab;
  std::set<std::string> programs;       // Of those that matter, which run: "iscsid", "multipathd".
  std::set<std::string> enabled_units;  // Of systemd, by links below /etc/systemd/system.
  bool has_systemd = false;
  bool has_tcp_transport = false;       // iscsi_tcp is loaded.
  MultipathConfig multipath;
};

// Of that volume alone, or of all Holdfast volumes with an empty name. `databases`: folders of data to look at besides those that are found.
HostFacts collect_facts(const HostView& host, const std::string& volume, const std::vector<std::string>& databases);

}  // namespace holdfast::cli

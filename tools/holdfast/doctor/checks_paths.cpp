// From the initiator to the multipath device.
#include <algorithm>
#include <array>

#include "tools/holdfast/doctor/checks.h"

namespace holdfast::cli {
namespace {

const std::string kSetUpAgain = "run pg-host-setup for this volume";
constexpr std::int64_t kCommandTimeoutLeastS = 30;  // The kernel's default. A node holds a question of who leads for up to 20 s.
constexpr std::int64_t kSilenceLeastS = 2;          // Less cannot be set.

struct RecordRule {
  const char* key;
  const char* wanted;
  Severity otherwise;
  const char* why;
};
constexpr std::array kRecordRules{
    RecordRule{"node.startup", "automatic", Severity::wrong, "there is no session after the next boot"},
    RecordRule{"node.session.timeo.replacement_timeout", "0", Severity::wrong, "a broken session keeps its I/O instead of giving it to the other paths"},
    RecordRule{"node.conn[0].timeo.noop_out_interval", "1", Severity::warning, "a silent node is noticed late"},
    RecordRule{"node.conn[0].timeo.noop_out_timeout", "1", Severity::warning, "a silent node is noticed late"},
    RecordRule{"node.conn[0].timeo.login_timeout", "2", Severity::warning, "an attempt at a node that is gone keeps the next one waiting"},
    RecordRule{"node.session.iscsi.DefaultTime2Wait", "0", Severity::warning, "a session waits before it comes back"},
};

struct MultipathRule {
  const char* key;
  const char* wanted;
  const char* by_default;  // Of multipath-tools 0.9.4.
  Severity otherwise;
  const char* why;
};
constexpr std::array kMultipathRules{
    MultipathRule{"no_path_retry", "queue", "fail", Severity::wrong, "without a path the file system gets an error instead of waiting"},
    MultipathRule{"fast_io_fail_tmo", "off", "5", Severity::wrong, "it is written over the sessions' recovery_tmo"},
    MultipathRule{"path_checker", "tur", "tur", Severity::warning, "paths are not judged by what the node answers"},
    MultipathRule{"failback", "immediate", "manual", Severity::warning, "a primary that is back is not followed"},
    MultipathRule{"polling_interval", "1", "5", Severity::warning, "a path that failed is looked at late"},
    MultipathRule{"max_polling_interval", "2", "20", Severity::warning, "a path that failed is looked at late"},
    MultipathRule{"path_grouping_policy", "failover", "failover", Severity::warning, "a group of several paths has I/O tried on standbys, and each change of roles costs a second pause"},
};

std::string quoted(const std::string& value) { return value.empty() ? "missing" : value; }

// -1: no number.
std::int64_t seconds_in(const std::string& text) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(text);
}

std::string subject_of(const VolumeSeen& volume) { return "volume " + volume.name; }

// How long a node may be silent until the host looks for another one.
void check_silence(const std::string& subject, const SessionSeen& session, const DoctorLimits& limits, Report& report) {
  const std::int64_t every = seconds_in(session.ping_tmo), patience = seconds_in(session.recv_tmo);
  const std::string where = "session with " + session.portal + ": ";
  if (every <= 0 || patience <= 0) {
    report.add(Severity::wrong, subject, where + "the node is never asked whether it is there (ping_tmo " + quoted(session.ping_tmo) + ", recv_tmo " + quoted(session.recv_tmo) +
               "): I/O to a node that is gone waits for minutes", kSetUpAgain + ", then log this portal out and in again");
    return;
  }
  const std::int64_t taken_over_s = (limits.lease_ms * 5 / 4 + 999) / 1000;  // The others' patience is a lease and a quarter.
  const std::int64_t most = std::max(kSilenceLeastS, taken_over_s);
  report.expect(every + patience <= most, Severity::warning, subject, where + "a silent node is noticed after " + std::to_string(every + patience) + " s",
                where + "a silent node is noticed after " + std::to_string(every + patience) + " s, though another one serves after " + std::to_string(taken_over_s) + " s (lease " +
                    std::to_string(limits.lease_ms) + " ms)",
                kSetUpAgain + ", then log this portal out and in again: a session keeps the time-outs it began with");
}

void check_disk(const std::string& subject, const SessionSeen& session, const DoctorLimits& limits, Report& report) {
  const std::string where = session.disk + " (" + session.portal + "): ";
  report.expect(session.disk_state == "running", Severity::wrong, subject, where + "the kernel uses it",
                where + "the kernel has it as " + quoted(session.disk_state) + ", not as running",
                "echo running > /sys/block/" + session.disk + "/device/state, or log this portal out and in again");
  report.expect(session.handler == "alua", Severity::wrong, subject, where + "the kernel follows ALUA",
                where + "it has no hardware handler alua (" + quoted(session.handler) + "): the kernel cannot tell the primary from the others",
                "modprobe scsi_dh_alua, then log this portal out and in again");
  const std::int64_t least = std::max<std::int64_t>(kCommandTimeoutLeastS, (4LL * limits.lease_ms + 999) / 1000);
  report.expect(seconds_in(session.command_timeout) >= least, Severity::warning, subject, where + "commands have " + session.command_timeout + " s",
                where + "commands are given up after " + quoted(session.command_timeout) + " s, less than " + std::to_string(least) + " s: one that waits for a new primary is aborted first",
                "echo " + std::to_string(least) + " > /sys/block/" + session.disk + "/device/timeout (and a udev rule, to keep it)");
}

void check_session(const std::string& subject, const SessionSeen& session, const DoctorLimits& limits, Report& report) {
  const std::string where = "session with " + session.portal + ": ";
  report.expect(session.state == "LOGGED_IN", Severity::wrong, subject, where + "logged in", where + "its state is " + quoted(session.state),
                "is that node up and reachable? The session comes back by itself while iscsid runs");
  report.expect(session.recovery_tmo == "0", Severity::wrong, subject, where + "gives its I/O to other paths at once",
                where + "recovery_tmo is " + quoted(session.recovery_tmo) + " s, not 0: I/O waits that long for a node that is gone, instead of going another way",
                kSetUpAgain + "; multipath's fast_io_fail_tmo is written over it");
  check_silence(subject, session, limits, report);
  if (session.disk.empty()) {
    report.add(Severity::wrong, subject, where + "it brought no disk", "iscsiadm -m session --rescan; does the node serve this volume?");
    return;
  }
  check_disk(subject, session, limits, report);
}

bool has_session(const VolumeSeen& volume, const std::string& portal) {
  return std::any_of(volume.sessions.begin(), volume.sessions.end(), [&](const SessionSeen& session) { return session.portal == portal; });
}

void check_map(const std::string& subject, const VolumeSeen& volume, const MultipathMap& map, Report& report) {
  const std::size_t disks = static_cast<std::size_t>(std::count_if(volume.sessions.begin(), volume.sessions.end(), [](const SessionSeen& s) { return !s.disk.empty(); }));
  report.expect(map.paths == disks, Severity::wrong, subject, map.name + " has all " + std::to_string(disks) + " paths",
                map.name + " has " + std::to_string(map.paths) + " paths, and there are " + std::to_string(disks) + " disks", "multipathd reconfigure; multipath -v3 -d says why a disk is left out");
  report.expect(!map.suspended, Severity::wrong, subject, map.name + " is active", map.name + " is suspended: all I/O waits", "dmsetup resume " + map.name);
  if (!map.table) {
    report.add(Severity::note, subject, "whether " + map.name + " queues could not be looked at: dmsetup table " + map.name + " gave no answer", "run this as root");
    return;
  }
  report.expect(map.table->find("queue_if_no_path") != std::string::npos, Severity::wrong, subject, map.name + " waits while it has no path",
                map.name + " does not wait while it has no path (no queue_if_no_path): the file system gets an error when no node serves for a moment",
                "no_path_retry queue for vendor HOLDFAST, then multipathd reconfigure; or was `multipathd disablequeueing` given? `multipathd restorequeueing maps`");
}

}  // namespace

void check_records(const HostFacts& facts, Report& report) {
  for (const VolumeSeen& volume : facts.volumes) {
    const std::string subject = subject_of(volume);
    if (volume.records.empty()) report.add(Severity::wrong, subject, "no portal is on record: there is no session after the next boot", kSetUpAgain + " (root is needed to see records)");
    if (volume.records.size() == 1) report.add(Severity::warning, subject, "a single portal is on record: the volume has no other path", "add the other nodes' portals: pg-host-setup --portal ...");
    for (const PortalRecord& record : volume.records) {
      std::size_t held = 0;
      for (const RecordRule& rule : kRecordRules) {
        const auto found = record.values.find(rule.key);
        const std::string value = found == record.values.end() ? "" : found->second;
        if (value == rule.wanted) ++held;
        else report.add(rule.otherwise, subject, "record of " + record.portal + ": " + rule.key + " is " + quoted(value) + ", not " + rule.wanted + ": " + rule.why, kSetUpAgain);
      }
      if (held == kRecordRules.size()) report.add(Severity::fine, subject, "record of " + record.portal + " is as it should be");
      if (!has_session(volume, record.portal))
        report.add(Severity::wrong, subject, "no session with " + record.portal + ": a path is missing", "is that node up? A session that never was does not come by itself: iscsiadm -m node -p " + record.portal + " --login");
    }
  }
}

void check_sessions(const HostFacts& facts, const DoctorLimits& limits, Report& report) {
  for (const VolumeSeen& volume : facts.volumes) {
    if (volume.sessions.empty()) report.add(Severity::wrong, subject_of(volume), "there is no session: the volume is not here", kSetUpAgain);
    for (const SessionSeen& session : volume.sessions) check_session(subject_of(volume), session, limits, report);
  }
}

void check_maps(const HostFacts& facts, Report& report) {
  for (const VolumeSeen& volume : facts.volumes) {
    const std::string subject = subject_of(volume);
    if (volume.sessions.empty()) continue;
    if (volume.maps.empty()) report.add(Severity::wrong, subject, "no multipath device has its disks", "is multipathd running? " + kSetUpAgain + "; multipath -v3 -d says why a disk is left out");
    if (volume.maps.size() > 1) report.add(Severity::wrong, subject, "its disks are in " + std::to_string(volume.maps.size()) + " multipath devices, not in one", "multipath -ll; do all portals belong to one cluster?");
    for (const MultipathMap& map : volume.maps) check_map(subject, volume, map, report);
  }
}

void check_multipath_settings(const HostFacts& facts, Report& report) {
  for (const VolumeSeen& volume : facts.volumes) {
    const std::string wwid = volume.maps.empty() ? "" : volume.maps.front().uuid.substr(std::string("mpath-").size());
    const bool known = !volume.sessions.empty() && !volume.sessions.front().vendor.empty();
    const std::string vendor = known ? volume.sessions.front().vendor : "HOLDFAST", model = known ? volume.sessions.front().model : "";
    std::size_t held = 0;
    for (const MultipathRule& rule : kMultipathRules) {
      const std::string value = facts.multipath.value(rule.key, vendor, model, wwid).value_or(rule.by_default);
      if (value == rule.wanted) ++held;
      else report.add(rule.otherwise, subject_of(volume), std::string("multipath's ") + rule.key + " is " + value + ", not " + rule.wanted + ": " + rule.why,
                      "pg-host-setup writes /etc/multipath/conf.d/holdfast.conf; an `overrides` section or a later `device` section wins over it");
    }
    if (held == kMultipathRules.size()) report.add(Severity::fine, subject_of(volume), "multipath's configuration is as it should be");
  }
}

}  // namespace holdfast::cli

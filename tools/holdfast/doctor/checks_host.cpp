// The machine around the paths: programs, mounts, what restarts unattended, the kernel.
#include <algorithm>

#include "tools/holdfast/doctor/checks.h"

namespace holdfast::cli {
namespace {

const std::string kHost = "host";

bool has_option(const std::vector<std::string>& options, const std::string& wanted) { return std::find(options.begin(), options.end(), wanted) != options.end(); }

const FstabRow* fstab_row_of(const HostFacts& facts, const std::string& place) {
  for (const FstabRow& row : facts.fstab)
    if (row.place == place) return &row;
  return nullptr;
}

// What a mount may say that loses data, or keeps a broken file system in use.
void check_options(const std::string& subject, const MountSeen& mount, Report& report) {
  const std::string where = mount.place + ": ";
  if (has_option(mount.options, "ro")) report.add(Severity::wrong, subject, where + "is mounted read-only; a file system does that to itself after an I/O error",
               "dmesg says why; stop PostgreSQL, unmount, fsck, mount");
  for (const char* option : {"nobarrier", "barrier=0"})
    if (has_option(mount.options, option))
      report.add(Severity::wrong, subject, where + option + ": the file system does not flush, and a power cut loses what PostgreSQL was told is safe", "take it out of /etc/fstab and remount");
  for (const char* option : {"data=writeback", "errors=continue", "norecovery", "noload"})
    if (has_option(mount.options, option)) report.add(Severity::warning, subject, where + option + ": after a crash files may hold what was never written to them", "take it out of /etc/fstab and remount");
  if (has_option(mount.options, "discard"))
    report.add(Severity::note, subject, where + "discard: every deletion of a file waits for the volume to free its space", "fstrim once a week (systemctl enable fstrim.timer) does the same at a quiet time");
}

void check_fstab(const HostFacts& facts, const std::string& subject, const MountSeen& mount, Report& report) {
  const FstabRow* row = fstab_row_of(facts, mount.place);
  if (!row) {
    report.add(Severity::warning, subject, mount.place + " is not in /etc/fstab: it is not there after the next boot", "pg-host-setup adds it");
    return;
  }
  const std::string where = "/etc/fstab, " + mount.place + ": ";
  report.expect(row->source.starts_with("/dev/mapper/"), Severity::wrong, subject, where + "by the multipath device's name",
                where + row->source + " also names the single paths: a boot may mount one of them, which then is its only one", "use /dev/mapper/WWID");
  report.expect(has_option(row->options, "_netdev"), Severity::wrong, subject, where + "after the network", where + "no _netdev: a boot without the volume ends in emergency mode, and a shutdown takes the network away first",
                "add _netdev");
  if (facts.has_systemd)
    report.expect(has_option(row->options, "x-systemd.after=multipathd.service") || has_option(row->options, "x-systemd.requires=multipathd.service"), Severity::warning, subject,
                  where + "after multipathd",
                  where + "no x-systemd.after=multipathd.service: the mount may be tried before its device is there", "add x-systemd.after=open-iscsi.service,x-systemd.after=multipathd.service");
}

bool is_single_path(const VolumeSeen& volume, const MountSeen& mount) {
  return std::any_of(volume.sessions.begin(), volume.sessions.end(), [&](const SessionSeen& session) { return !session.disk.empty() && mount.device.starts_with(session.disk); });
}

// The lines of all files of a folder that are no comments.
std::vector<std::string> config_lines(const HostView& host, const std::vector<std::string>& files, const std::string& comment) {
  std::vector<std::string> out;
  for (const std::string& file : files)
    for (const std::string& line : lines_of(host.read(file).value_or("")))
      if (!trimmed(line).starts_with(comment)) out.push_back(line);
  return out;
}

std::vector<std::string> files_in(const HostView& host, const std::string& folder) {
  std::vector<std::string> out;
  for (const std::string& name : host.list(folder)) out.push_back(folder + "/" + name);
  return out;
}

bool mentions(const std::vector<std::string>& lines, const std::string& one, const std::string& other = {}) {
  return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) { return line.find(one) != line.npos && line.find(other) != line.npos; });
}

void check_needrestart(const HostView& host, Report& report) {
  if (!host.exists("/usr/sbin/needrestart")) return;
  auto files = files_in(host, "/etc/needrestart/conf.d");
  files.insert(files.begin(), "/etc/needrestart/needrestart.conf");
  const auto lines = config_lines(host, files, "#");
  for (const char* program : {"iscsid", "multipathd"})
    report.expect(mentions(lines, program), Severity::warning, kHost, std::string("needrestart leaves ") + program + " alone",
                  std::string("needrestart restarts ") + program + " after an upgrade of any library it uses; while it is down no path comes back",
                  "pg-host-setup writes /etc/needrestart/conf.d/holdfast.conf");
}

void check_upgrades(const HostView& host, Report& report) {
  const auto lines = config_lines(host, files_in(host, "/etc/apt/apt.conf.d"), "//");
  if (!host.exists("/usr/bin/unattended-upgrade") || !mentions(lines, "APT::Periodic::Unattended-Upgrade", "\"1\"")) return;
  for (const char* package : {"open-iscsi", "multipath-tools"})
    report.expect(mentions(lines, package), Severity::warning, kHost, std::string("unattended upgrades leave ") + package + " alone",
                  std::string("unattended upgrades replace ") + package + " whenever they like, and restart it; while it is down no path comes back",
                  "pg-host-setup writes /etc/apt/apt.conf.d/52holdfast; then upgrade it by hand");
}

}  // namespace

void check_programs(const HostFacts& facts, Report& report) {
  report.expect(facts.has_tcp_transport, Severity::wrong, kHost, "the kernel has iSCSI over TCP", "the kernel module iscsi_tcp is not loaded", "modprobe iscsi_tcp; is open-iscsi installed?");
  report.expect(facts.programs.contains("iscsid"), Severity::wrong, kHost, "iscsid runs", "iscsid does not run: a session that breaks does not come back", "systemctl start iscsid; systemctl enable iscsid.socket");
  report.expect(facts.programs.contains("multipathd"), Severity::wrong, kHost, "multipathd runs", "multipathd does not run: a path that failed is never used again", "systemctl enable --now multipathd");
  if (!facts.has_systemd) return;
  const auto enabled = [&](const char* unit) { return facts.enabled_units.contains(unit); };
  report.expect(enabled("iscsid.socket") || enabled("iscsid.service"), Severity::wrong, kHost, "iscsid starts at boot", "iscsid is not started at boot", "systemctl enable iscsid.socket");
  report.expect(enabled("open-iscsi.service"), Severity::wrong, kHost, "sessions begin at boot", "open-iscsi.service is not enabled: nobody logs in at boot", "systemctl enable open-iscsi.service");
  report.expect(enabled("multipathd.service"), Severity::wrong, kHost, "multipathd starts at boot", "multipathd is not started at boot", "systemctl enable multipathd.service");
}

void check_mounts(const HostFacts& facts, Report& report) {
  for (const VolumeSeen& volume : facts.volumes) {
    const std::string subject = "volume " + volume.name;
    if (volume.mounts.empty() && !volume.sessions.empty()) report.add(Severity::note, subject, "it is not mounted");
    for (const MountSeen& mount : volume.mounts) {
      if (is_single_path(volume, mount))
        report.add(Severity::wrong, subject, mount.place + " is mounted from " + mount.source + ", a single path: when its node goes, I/O fails", "stop PostgreSQL, unmount, mount /dev/mapper/WWID");
      else
        report.add(Severity::fine, subject, mount.place + " is on " + mount.source);
      check_options(subject, mount, report);
      check_fstab(facts, subject, mount, report);
    }
  }
}

void check_unattended_restarts(const HostView& host, Report& report) {
  check_needrestart(host, report);
  check_upgrades(host, report);
}

void check_kernel(const HostView& host, Report& report) {
  if (host.line("/proc/sys/kernel/hung_task_panic") == "1")
    report.add(Severity::warning, kHost, "kernel.hung_task_panic is 1: the machine reboots when I/O waits for its volume for " + host.line("/proc/sys/kernel/hung_task_timeout_secs") + " s",
               "sysctl kernel.hung_task_panic=0");
  const auto clock = host.clock_is_synchronized();
  if (!clock) return;
  report.expect(*clock, Severity::note, kHost, "the clock is synchronized", "the clock follows no time source: nothing depends on it, but times in PostgreSQL's log and in the nodes' do not compare, and certificates may seem expired",
                "apt install chrony, or timedatectl set-ntp true");
}

}  // namespace holdfast::cli

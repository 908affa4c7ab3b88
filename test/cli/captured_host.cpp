#include "test/cli/captured_host.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace holdfast::cli {
namespace {

namespace fs = std::filesystem;
const std::string kCapturedWwid = "36001405f0000000000000000000000001";
const std::string kCapturedTarget = "iqn.2026-11.io.holdfast:pg";

const char* kMultipathConf = R"(
defaults { polling_interval 1   max_polling_interval 2 }
devices {
  device {
    vendor "HOLDFAST"   # ours
    product ".*"
    path_grouping_policy failover
    prio alua
    failback immediate
    no_path_retry queue
    fast_io_fail_tmo off
  }
}
)";
const char* kRecordValues = R"(node.startup = automatic
node.session.timeo.replacement_timeout = 0
node.conn[0].timeo.noop_out_interval = 1
node.conn[0].timeo.noop_out_timeout = 1
node.conn[0].timeo.login_timeout = 2
node.session.iscsi.DefaultTime2Wait = 0
)";

}  // namespace

CapturedHost::CapturedHost() {
  add_path(1, "192.0.2.1");
  add_path(2, "192.0.2.2");
  add_map();
  add_machine();
  add_database();
}

void CapturedHost::write(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(root() + path).parent_path());
  std::ofstream(root() + path) << text;
}

void CapturedHost::replace(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = read_text(root() + path);
  const auto at = text.find(from);
  ASSERT_NE(at, std::string::npos) << path << " has no " << from;
  write(path, text.replace(at, from.size(), to));
}

void CapturedHost::link(const std::string& path, const std::string& target) {
  fs::create_directories(fs::path(root() + path).parent_path());
  fs::remove(root() + path);
  fs::create_symlink(target, root() + path);
}

void CapturedHost::remove(const std::string& path) { ASSERT_GT(fs::remove_all(root() + path), 0U) << path; }

void CapturedHost::add_path(int number, const std::string& address) {
  const std::string n = std::to_string(number), disk = number == 1 ? "sdb" : "sdc";
  write("/etc/iscsi/nodes/" + kCapturedTarget + "/" + address + ",3260," + n + "/default",
        "# BEGIN RECORD 2.1.8\nnode.name = " + kCapturedTarget + "\nnode.conn[0].address = " + address + "\nnode.conn[0].port = 3260\n" + kRecordValues + "# END RECORD\n");
  const std::string session = "/sys/class/iscsi_session/session" + n, connection = "/sys/class/iscsi_connection/connection" + n + ":0";
  write(session + "/targetname", kCapturedTarget + "\n");
  write(session + "/state", "LOGGED_IN\n");
  write(session + "/recovery_tmo", "0\n");
  write(connection + "/persistent_address", address + "\n");
  write(connection + "/persistent_port", "3260\n");
  write(connection + "/ping_tmo", "1\n");
  write(connection + "/recv_tmo", "1\n");
  fs::create_directories(root() + session + "/device/target" + n + ":0:0/" + n + ":0:0:0/block/" + disk);
  const std::string device = "/sys/block/" + disk;
  write(device + "/device/state", "running\n");
  write(device + "/device/dh_state", "alua\n");
  write(device + "/device/timeout", "30\n");
  write(device + "/device/vendor", "HOLDFAST\n");
  write(device + "/device/model", "VOLUME\n");
  fs::create_directories(root() + device + "/holders/dm-0");
  fs::create_directories(root() + "/sys/block/dm-0/slaves/" + disk);
}

void CapturedHost::add_map() {
  write("/sys/block/dm-0/dm/name", kCapturedWwid + "\n");
  write("/sys/block/dm-0/dm/uuid", "mpath-" + kCapturedWwid + "\n");
  write("/sys/block/dm-0/dm/suspended", "0\n");
  link("/dev/mapper/" + kCapturedWwid, "../dm-0");
  write("/captured/dm-table/" + kCapturedWwid, "0 8388608 multipath 1 queue_if_no_path 1 alua 2 1 service-time 0 1 2 8:16 1 1 service-time 0 1 2 8:32 1 1\n");
  write("/etc/multipath.conf", kMultipathConf);
  write("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n/dev/mapper/" + kCapturedWwid + " /srv/pg ext4 rw,noatime 0 0\n");
  write("/etc/fstab", "# a comment\n/dev/mapper/" + kCapturedWwid + " /srv/pg ext4 _netdev,noatime,x-systemd.after=open-iscsi.service,x-systemd.after=multipathd.service 0 0\n");
}

void CapturedHost::add_machine() {
  fs::create_directories(root() + "/sys/class/iscsi_transport/tcp");
  fs::create_directories(root() + "/run/systemd/system");
  write("/proc/100/comm", "iscsid\n");
  write("/proc/200/comm", "multipathd\n");
  for (const char* unit : {"sockets.target.wants/iscsid.socket", "sysinit.target.wants/open-iscsi.service", "sysinit.target.wants/multipathd.service"})
    link(std::string("/etc/systemd/system/") + unit, "/lib/systemd/system/x");
  write("/usr/sbin/needrestart", "");
  write("/etc/needrestart/conf.d/holdfast.conf", "$nrconf{override_rc}{qr(^(iscsid|open-iscsi|multipathd)\\.service$)} = 0;\n");
  write("/usr/bin/unattended-upgrade", "");
  write("/etc/apt/apt.conf.d/20auto-upgrades", "APT::Periodic::Unattended-Upgrade \"1\";\n");
  write("/etc/apt/apt.conf.d/52holdfast", "Unattended-Upgrade::Package-Blacklist { \"^open-iscsi$\"; \"^multipath-tools$\"; };\n");
  write("/captured/clock", "synchronized\n");
}

void CapturedHost::add_database() {
  write("/srv/pg/15/main/PG_VERSION", "15\n");
  fs::create_directories(root() + "/srv/pg/15/main/global");
  fs::create_directories(root() + "/srv/pg/15/main/pg_wal");
  write("/srv/pg/15/main/postgresql.auto.conf", "# Do not edit this file manually!\n");
  write("/srv/pg/15/main/postmaster.pid", "4711\n");
  write("/srv/pg/15/main/postmaster.opts", "/usr/lib/postgresql/15/bin/postgres \"-D\" \"/srv/pg/15/main\" \"-c\" \"config_file=/etc/postgresql/15/main/postgresql.conf\"\n");
  write("/etc/postgresql/15/main/postgresql.conf", "data_directory = '/srv/pg/15/main'   # where\nfsync = on\ninclude_dir = 'conf.d'\n#fsync = off\n");
  fs::create_directories(root() + "/etc/postgresql/15/main/conf.d");
  write("/etc/systemd/system/postgresql@15-main.service.d/holdfast-pg.conf", "[Unit]\nRequiresMountsFor=/srv/pg\n");
}

}  // namespace holdfast::cli

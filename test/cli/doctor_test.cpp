// holdfast doctor on captured trees: a host on which all is well, and the same with one thing wrong at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <functional>
#include <sstream>

#include "test/cli/captured_host.h"
#include "tools/holdfast/doctor/doctor.h"

namespace holdfast::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;

const std::string kSession = "/sys/class/iscsi_session/session2", kConnection = "/sys/class/iscsi_connection/connection2:0";
const std::string kRecord = "/etc/iscsi/nodes/iqn.2026-11.io.holdfast:pg/192.0.2.2,3260,2/default";
const std::string kWwid = "36001405f0000000000000000000000001", kPgConf = "/etc/postgresql/15/main/postgresql.conf", kData = "/srv/pg/15/main";

struct Case {
  const char* name;
  std::function<void(CapturedHost&)> harm;
  Severity severity;
  const char* text;    // A part of what must be said.
  const char* remedy;  // A part of what is advised.
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

std::vector<Finding> examined(const CapturedHost& host, DoctorLimits limits = {}) {
  DoctorOptions options;
  options.root = host.root();
  options.limits = limits;
  return examine_host(HostView(host.root()), options);
}

std::string complaints(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& finding : findings)
    if (finding.severity != Severity::fine) out += finding.subject + ": " + finding.text + "\n";
  return out;
}

TEST(Doctor, HealthyHost_HasNothingToComplainAbout) {
  const CapturedHost host;
  const auto findings = examined(host);
  EXPECT_EQ(complaints(findings), "");
  EXPECT_GE(findings.size(), 30U);
}

class DoctorFinds : public testing::TestWithParam<Case> {};

TEST_P(DoctorFinds, WhatIsWrong_WithARemedy) {
  const Case& one = GetParam();
  CapturedHost host;
  one.harm(host);
  const auto findings = examined(host);
  EXPECT_THAT(findings, Contains(AllOf(Field(&Finding::severity, one.severity), Field(&Finding::text, HasSubstr(one.text)), Field(&Finding::remedy, HasSubstr(one.remedy)))))
      << complaints(findings);
}

const Case kCases[] = {
    {"NoTransport", [](CapturedHost& h) { h.remove("/sys/class/iscsi_transport"); }, Severity::wrong, "iscsi_tcp is not loaded", "modprobe"},
    {"NoIscsid", [](CapturedHost& h) { h.remove("/proc/100"); }, Severity::wrong, "iscsid does not run", "systemctl"},
    {"NoMultipathd", [](CapturedHost& h) { h.remove("/proc/200"); }, Severity::wrong, "multipathd does not run", "systemctl"},
    {"UnitNotEnabled", [](CapturedHost& h) { h.remove("/etc/systemd/system/sysinit.target.wants/open-iscsi.service"); }, Severity::wrong, "nobody logs in at boot", "enable"},
    {"RecordManual", [](CapturedHost& h) { h.replace(kRecord, "= automatic", "= manual"); }, Severity::wrong, "node.startup is manual, not automatic", "pg-host-setup"},
    {"RecordOfDiscoveryByHand", [](CapturedHost& h) { h.replace(kRecord, "replacement_timeout = 0", "replacement_timeout = 120"); }, Severity::wrong, "replacement_timeout is 120, not 0", "pg-host-setup"},
    {"SlowLogin", [](CapturedHost& h) { h.replace(kRecord, "login_timeout = 2", "login_timeout = 15"); }, Severity::warning, "login_timeout is 15", "pg-host-setup"},
    {"NoRecords", [](CapturedHost& h) { h.remove("/etc/iscsi/nodes"); }, Severity::wrong, "no portal is on record", "pg-host-setup"},
    {"OnePortal", [](CapturedHost& h) { h.remove("/etc/iscsi/nodes/iqn.2026-11.io.holdfast:pg/192.0.2.2,3260,2"); }, Severity::warning, "a single portal", "--portal"},
    {"PathMissing", [](CapturedHost& h) { h.remove(kSession); }, Severity::wrong, "no session with 192.0.2.2:3260", "--login"},
    {"NoSession", [](CapturedHost& h) { h.remove("/sys/class/iscsi_session"); }, Severity::wrong, "there is no session", "pg-host-setup"},
    {"SessionFailed", [](CapturedHost& h) { h.write(kSession + "/state", "FAILED\n"); }, Severity::wrong, "its state is FAILED", "comes back by itself"},
    {"RecoveryTime", [](CapturedHost& h) { h.write(kSession + "/recovery_tmo", "5\n"); }, Severity::wrong, "recovery_tmo is 5 s, not 0", "fast_io_fail_tmo"},
    {"NoPings", [](CapturedHost& h) { h.write(kConnection + "/ping_tmo", "0\n"); }, Severity::wrong, "never asked", "pg-host-setup"},
    {"SlowPings", [](CapturedHost& h) { h.write(kConnection + "/ping_tmo", "5\n"); }, Severity::warning, "noticed after 6 s, though another one serves after 1 s (lease 600 ms)", "pg-host-setup"},
    {"DiskOffline", [](CapturedHost& h) { h.write("/sys/block/sdc/device/state", "offline\n"); }, Severity::wrong, "has it as offline", "echo running"},
    {"NoAlua", [](CapturedHost& h) { h.write("/sys/block/sdc/device/dh_state", "detached\n"); }, Severity::wrong, "no hardware handler alua", "scsi_dh_alua"},
    {"ShortCommandTime", [](CapturedHost& h) { h.write("/sys/block/sdc/device/timeout", "5\n"); }, Severity::warning, "given up after 5 s", "echo 30"},
    {"NoDisk", [](CapturedHost& h) { h.remove(kSession + "/device"); }, Severity::wrong, "brought no disk", "rescan"},
    {"NoMap", [](CapturedHost& h) { h.write("/sys/block/dm-0/dm/uuid", "LVM-x\n"); }, Severity::wrong, "no multipath device has its disks", "multipath -v3"},
    {"PathOutsideTheMap", [](CapturedHost& h) { h.remove("/sys/block/dm-0/slaves/sdc"); }, Severity::wrong, "has 1 paths, and there are 2 disks", "reconfigure"},
    {"Suspended", [](CapturedHost& h) { h.write("/sys/block/dm-0/dm/suspended", "1\n"); }, Severity::wrong, "is suspended", "dmsetup resume"},
    {"DoesNotQueue", [](CapturedHost& h) { h.write("/captured/dm-table/" + kWwid, "0 8 multipath 0 1 alua 1 1\n"); }, Severity::wrong, "no queue_if_no_path", "no_path_retry queue"},
    {"NoPathRetry", [](CapturedHost& h) { h.replace("/etc/multipath.conf", "no_path_retry queue", "no_path_retry 12"); }, Severity::wrong, "no_path_retry is 12, not queue", "holdfast.conf"},
    {"NoSettings", [](CapturedHost& h) { h.remove("/etc/multipath.conf"); }, Severity::wrong, "no_path_retry is fail, not queue", "holdfast.conf"},
    {"Overrides", [](CapturedHost& h) { h.write("/etc/multipath/conf.d/site.conf", "overrides {\n fast_io_fail_tmo 5\n}\n"); }, Severity::wrong, "fast_io_fail_tmo is 5, not off", "overrides"},
    {"OtherGroups", [](CapturedHost& h) { h.replace("/etc/multipath.conf", "failover", "group_by_prio"); }, Severity::warning, "path_grouping_policy is group_by_prio", "holdfast.conf"},
    {"ReadOnly", [](CapturedHost& h) { h.replace("/proc/self/mounts", "rw,noatime", "ro,noatime"); }, Severity::wrong, "read-only", "fsck"},
    {"NoBarrier", [](CapturedHost& h) { h.replace("/proc/self/mounts", "rw,noatime", "rw,nobarrier"); }, Severity::wrong, "does not flush", "remount"},
    {"SinglePath", [](CapturedHost& h) { h.replace("/proc/self/mounts", "/dev/mapper/" + kWwid, "/dev/sdb"); }, Severity::wrong, "a single path", "/dev/mapper"},
    {"NotInFstab", [](CapturedHost& h) { h.remove("/etc/fstab"); }, Severity::warning, "not in /etc/fstab", "pg-host-setup"},
    {"FstabByUuid", [](CapturedHost& h) { h.replace("/etc/fstab", "/dev/mapper/" + kWwid, "UUID=1-2-3"); }, Severity::wrong, "UUID=1-2-3 also names the single paths", "/dev/mapper"},
    {"NoNetdev", [](CapturedHost& h) { h.replace("/etc/fstab", "_netdev,", ""); }, Severity::wrong, "no _netdev", "_netdev"},
    {"Needrestart", [](CapturedHost& h) { h.write("/etc/needrestart/conf.d/holdfast.conf", "# iscsid multipathd\n"); }, Severity::warning, "needrestart restarts iscsid", "holdfast.conf"},
    {"UnattendedUpgrades", [](CapturedHost& h) { h.remove("/etc/apt/apt.conf.d/52holdfast"); }, Severity::warning, "unattended upgrades replace open-iscsi", "52holdfast"},
    {"HungTaskPanic", [](CapturedHost& h) { h.write("/proc/sys/kernel/hung_task_panic", "1\n"); }, Severity::warning, "the machine reboots", "sysctl"},
    {"Clock", [](CapturedHost& h) { h.write("/captured/clock", "free\n"); }, Severity::note, "follows no time source", "chrony"},
    {"Fsync", [](CapturedHost& h) { h.replace(kPgConf, "fsync = on", "fsync 'OFF'"); }, Severity::wrong, "fsync is off", "RESET fsync"},
    {"FsyncIncluded", [](CapturedHost& h) { h.write("/etc/postgresql/15/main/conf.d/fast.conf", "fsync=false\n"); }, Severity::wrong, "fsync is off", "RESET fsync"},
    {"FsyncOnCommandLine", [](CapturedHost& h) { h.replace(kData + "/postmaster.opts", "\"-c\"", "\"-F\" \"-c\""); }, Severity::wrong, "fsync is off", "restart"},
    {"FullPageWrites", [](CapturedHost& h) { h.write(kData + "/postgresql.auto.conf", "full_page_writes = 'no'\n"); }, Severity::wrong, "full_page_writes is off", "RESET"},
    {"DataSyncRetry", [](CapturedHost& h) { h.write(kData + "/postgresql.auto.conf", "data_sync_retry = '1'\n"); }, Severity::wrong, "data_sync_retry is on", "RESET"},
    {"SynchronousCommit", [](CapturedHost& h) { h.write(kData + "/postgresql.auto.conf", "synchronous_commit = 'off'\n"); }, Severity::warning, "synchronous_commit is off", "RESET"},
    {"WalElsewhere", [](CapturedHost& h) { h.remove(kData + "/pg_wal"); h.link(kData + "/pg_wal", "/var/lib/wal"); }, Severity::wrong, "pg_wal is in /var/lib/wal", "onto the volume"},
    {"ServiceOrder", [](CapturedHost& h) { h.remove("/etc/systemd/system/postgresql@15-main.service.d"); }, Severity::warning, "does not wait for /srv/pg", "--service"},
};
INSTANTIATE_TEST_SUITE_P(All, DoctorFinds, testing::ValuesIn(kCases), [](const auto& one) { return std::string(one.param.name); });

TEST(Doctor, LongLease_LetsTheHostBeSlower) {
  CapturedHost host;
  host.write(kConnection + "/ping_tmo", "5\n");
  EXPECT_EQ(complaints(examined(host, {.lease_ms = 5'000})), "");
}

// A tree may hold absolute links; what they lead to on this machine is none of the doctor's business.
TEST(Doctor, AbsoluteLink_IsFollowedInsideTheTree) {
  CapturedHost host;
  host.write("/elsewhere/fstab", read_text(host.root() + "/etc/fstab"));
  host.link("/etc/fstab", "/elsewhere/fstab");
  EXPECT_EQ(complaints(examined(host)), "");
}

TEST(Doctor, DatabaseElsewhere_IsNotJudged) {
  CapturedHost host;
  host.write(kPgConf, "data_directory = '/var/lib/postgresql/15/main'\nfsync = off\n");
  host.remove("/srv/pg/15");
  EXPECT_THAT(complaints(examined(host)), HasSubstr("it is not on a volume of Holdfast"));
}

TEST(Doctor, EmptyTree_SaysThatThereIsNoVolume) {
  const TemporaryFolder folder;
  std::ostringstream out, err;
  DoctorOptions options;
  options.root = folder.path();
  EXPECT_EQ(doctor({out, err}, options), kUnhealthy);
  EXPECT_THAT(out.str(), HasSubstr("there is no volume of Holdfast here"));
}

TEST(Doctor, Program_PrintsAndExits) {
  CapturedHost host;
  const TemporaryFolder place;
  const auto run = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {HOLDFAST, "doctor", "--root", host.root()});
    return Program(place.path(), std::move(words)).wait();
  };
  const Ended fine = run({});
  EXPECT_EQ(fine.code, 0) << fine.out;
  EXPECT_THAT(fine.out, HasSubstr("0 wrong, 0 warnings, 0 notes"));
  EXPECT_THAT(run({"--all"}).out, HasSubstr("volume pg\n  ok       record of 192.0.2.1:3260 is as it should be\n"));
  host.write(kSession + "/recovery_tmo", "120\n");
  const Ended ill = run({});
  EXPECT_EQ(ill.code, 6);
  EXPECT_THAT(ill.out, HasSubstr("volume pg\n  WRONG    session with 192.0.2.2:3260: recovery_tmo is 120 s, not 0"));
  const Ended as_json = run({"--json"});
  EXPECT_EQ(as_json.code, 6);
  EXPECT_EQ(boost::json::parse(as_json.out).at("wrong").to_number<int>(), 1);
  EXPECT_EQ(run({"--lease-ms", "1"}).code, 2);
}

}  // namespace
}  // namespace holdfast::cli

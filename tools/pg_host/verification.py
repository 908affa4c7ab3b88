"""What is in force, as the kernel says it: files can be right and not be in use."""
from pathlib import Path

from pg_host.host import is_same_device, mounted_at
from pg_host.initiator import portal_text, record_values
from pg_host.settings import RECORD_SETTINGS


class Verification:
    def __init__(self, setup):
        self.host, self.options, self.initiator = setup.host, setup.options, setup.initiator
        self.wrong = []
        self.fine = []

    def run(self):
        self.sessions()
        self.device()
        return self.wrong

    def expect(self, holds, fine, wrong):
        (self.fine if holds else self.wrong).append(fine if holds else wrong)

    def sessions(self):
        records, sessions = self.initiator.record_files(), self.initiator.sessions()
        self.expect(records, f"{len(records)} portals are on record", "no portal is on record")
        for portal, name in records.items():
            values = record_values(self.host.read(name))
            for key, value in RECORD_SETTINGS.items():
                self.expect(values.get(key) == value, f"{portal_text(portal)}: {key} = {value}", f"record of {portal_text(portal)}: {key} is {values.get(key)}, not {value}")
            self.expect(portal[:2] in sessions, f"{portal_text(portal)}: session", f"no session with {portal_text(portal)}: is the node up? then run this again")
        for (address, port), name in sessions.items():
            connection = f"/sys/class/iscsi_connection/connection{Path(name).name.removeprefix('session')}:0"
            for label, file, want in (("recovery_tmo", f"{name}/recovery_tmo", "0"), ("noop interval", f"{connection}/ping_tmo", "1"),
                                      ("noop time-out", f"{connection}/recv_tmo", "1")):
                value = (self.host.read(file) or "missing").strip()
                self.expect(value == want, f"{address}:{port}: {label} {value} s",
                            f"session with {address}:{port}: {label} is {value}, not {want}: stop what uses the volume, log out and run this again")

    def device(self):
        disks = {disk for disk in map(self.initiator.disk_of, self.initiator.sessions().values()) if disk}
        holders = {Path(holder).name for disk in disks for holder in self.host.path(f"/sys/block/{disk}/holders").glob("dm-*")}
        if len(holders) != 1:
            return self.expect(False, "", f"the volume's {len(disks)} disks are in {len(holders)} multipath devices, not in one")
        dm = holders.pop()
        name = self.host.read(f"/sys/block/{dm}/dm/name").strip()
        slaves = {slave.name for slave in self.host.path(f"/sys/block/{dm}/slaves").glob("*")}
        count = len(self.initiator.record_files())
        self.expect(disks <= slaves and len(slaves) == count, f"{len(slaves)} paths", f"{name} has {len(slaves)} paths, not {count}")
        table = self.host.run("dmsetup", "table", name).stdout.split()
        self.expect("multipath" in table and "queue_if_no_path" in table, "I/O waits while no path is there",
                    f"{name} does not queue while it has no path (queue_if_no_path): is there another setting in /etc/multipath.conf? "
                    "`multipathd show config local` tells")
        self.expect("alua" in table, "the kernel follows ALUA", f"{name} has no hardware handler alua")
        mounted = mounted_at(self.host, self.options.mount) if self.options.mount else None
        if self.options.mount:
            self.expect(mounted and is_same_device(self.host, mounted, f"/dev/mapper/{name}"), f"mounted at {self.options.mount}",
                        f"{self.options.mount} is {'on ' + mounted if mounted else 'not mounted'}, not on /dev/mapper/{name}")

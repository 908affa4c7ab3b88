"""Storage nodes that live in guests, each on a disk of its own, /dev/ubdb: members of a Holdfast cluster, and a pair of DRBD under LIO."""
import time

from rig.cluster import ADMIN_TOKEN, SECRET, cluster_settings
from rig.errors import RigError
from rig.guest import Guest
from rig.node import ADMIN_PORT, ANSWERS, PORT, settings
from rig.processes import run

DISK = "/dev/ubdb"
START_TIMEOUT_S = 120
POLL_S = 0.1
DRBD_PORT = 7789


class GuestNode:
    """What cluster.Cluster needs of a member. The coordinator and the operator's command stay on the machine: no read or write waits for them."""

    def __init__(self, lab, number, etcd, build, disk):
        self.lab = lab
        self.number = number
        self.name = f"holdfast{number}"
        self.guest = Guest(lab, self.name)
        self.etcd = etcd
        self.disk = disk
        self.daemon = build / "tools" / "holdfastd" / "holdfastd"
        self.cli = build / "tools" / "holdfast" / "holdfast"
        self.token_file = lab.dir / f"{self.name}.token"
        self.is_up = False

    @property
    def portal(self):
        return f"{self.guest.address}:{PORT}"

    def start(self):
        """The first time the guest boots."""
        if not self.guest.is_running():
            self.guest.start(disks=[self.disk])
            self._install()
        self.guest.run("setsid -f holdfastd --config /etc/holdfast/holdfast.toml >>/var/log/holdfastd.log 2>&1")
        self.is_up = True
        give_up = time.monotonic() + START_TIMEOUT_S
        while self.holdfast("status", check=False).returncode not in ANSWERS:
            self.require_not_crashed()
            if time.monotonic() > give_up:
                raise RigError(f"holdfastd does not start in guest {self.name}; its log:\n{self.log_tail()}")
            time.sleep(POLL_S)

    def stop(self):
        """In order, as a service manager does it."""
        self.is_up = False
        self.guest.run("pkill -TERM -x holdfastd; while pidof holdfastd >/dev/null; do sleep 0.05; done")

    def _install(self):
        program, config, secret = (self.lab.dir / f"{self.name}.{part}" for part in ("daemon", "toml", "secret"))
        run(["strip", "-g", "-o", program, self.daemon])
        address = self.guest.address
        config.write_text(settings(self.name, "/var/lib/holdfast", self.portal, [self.portal], f"{address}:{ADMIN_PORT}", "admin.token")
                          + cluster_settings(self.number, address, "secret", self.etcd))
        for path, text in ((secret, SECRET), (self.token_file, ADMIN_TOKEN)):
            path.touch(mode=0o600)
            path.write_text(text)
        self.guest.run("install -d -m 700 /var/lib/holdfast /etc/holdfast")
        self.guest.put(program, "/opt/holdfast/holdfastd")
        for path, name in ((config, "holdfast.toml"), (secret, "secret"), (self.token_file, "admin.token")):
            self.guest.put(path, f"/etc/holdfast/{name}")
        self.guest.run("chmod 755 /opt/holdfast/holdfastd; chmod 600 /etc/holdfast/*")

    def holdfast(self, *arguments, **kwargs):
        server = f"http://{self.guest.address}:{ADMIN_PORT}"
        return run([self.cli, "--server", server, "--token-file", self.token_file, *arguments], netns=self.lab.lan, **kwargs)

    def require_not_crashed(self):
        if self.is_up and self.guest.run("pidof holdfastd", check=False).returncode != 0:
            raise RigError(f"holdfastd died in guest {self.name}; its log:\n{self.log_tail()}")

    def log_tail(self):
        return self.guest.run("tail -c 3000 /var/log/holdfastd.log", check=False).stdout


class DrbdPair:
    """Two guests whose disks DRBD keeps equal: protocol C, so a write is complete when both disks have it. The first one exports the device by LIO (iSCSI)."""
    target = "iqn.2026-11.io.holdfast:drbd"

    def __init__(self, lab, disks):
        self.guests = [Guest(lab, f"drbd{number}") for number in (1, 2)]
        self.disks = disks

    @property
    def portal(self):
        return f"{self.guests[0].address}:{PORT}"

    def start(self, size_bytes):
        """The volume is that large and what its disks hold counts as equal: whoever measures writes all of it first."""
        for guest, disk in zip(self.guests, self.disks):
            guest.start(disks=[disk])
        sections = "".join(f"  on {guest.name} {{ address {guest.address}:{DRBD_PORT}; }}\n" for guest in self.guests)
        resource = f"""resource r0 {{
  device /dev/drbd0;
  disk {DISK};
  meta-disk internal;
  protocol C;
  disk {{ size {size_bytes // 512}s; }}
{sections}}}
"""
        for guest in self.guests:
            guest.run("cat > /etc/drbd.d/r0.res && drbdadm create-md --force r0 && drbdadm up r0", input=resource)
        first = self.guests[0]
        first.run("drbdadm wait-connect r0 && drbdadm new-current-uuid --clear-bitmap r0/0 && drbdadm primary r0")
        self.require_well()
        first.run(f"lio-export /dev/drbd0 {self.target} {self.portal}")

    def require_well(self):
        """Connected, and both disks up to date."""
        state = self.guests[0].run("drbdadm cstate r0; drbdadm dstate r0").stdout.split()
        if state != ["Connected", "UpToDate/UpToDate"]:
            raise RigError(f"DRBD is {' '.join(state)}")

"""Debian's tgt in the place of a Holdfast node: shows that the rig and its checks work with a target that is not ours."""
import signal
import time

from rig.errors import RigError
from rig.processes import run, spawn

PORT = 3260
CONTROL_PORT = "7"
IQN_PREFIX = "iqn.2026-11.io.holdfast:"


class TgtNode:
    def __init__(self, lab, name="n1", preallocated=False):
        self.lab = lab
        self.preallocated = preallocated
        self.name = name
        self.netns = lab.netns_of(name)
        [self.address] = lab.add_node(name)
        self.dir = lab.dir / f"node-{name}"
        self.dir.mkdir()
        self.process = None
        self.volume = None

    @property
    def portal(self):
        return f"{self.address}:{PORT}"

    def start(self):
        """The real portal opens last: an initiator that reconnects must not find a target without its volume."""
        with open(self.dir / "log", "ab") as log:
            self.process = spawn(["tgtd", "-f", "-C", CONTROL_PORT, "--iscsi", "portal=127.0.0.1:3260"], netns=self.netns,
                                 die_with_owner=not self.lab.programs_stay, stdout=log, stderr=log)
        give_up = time.monotonic() + 10
        while self._admin("--mode", "system", "--op", "show", check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise RigError(f"tgtd does not start:\n{(self.dir / 'log').read_text()}")
            time.sleep(0.02)
        if self.volume:
            self._export()
        self._admin("--mode", "portal", "--op", "new", "--param", f"portal={self.portal}")

    cli = "tgtadm"

    def start_command(self):
        return "(start and set up tgtd by hand)"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def require_not_crashed(self):
        """Dead by our own hand is fine."""
        if self.process.poll() not in (None, -signal.SIGKILL):
            raise RigError(f"tgtd died by itself (status {self.process.returncode}); its log:\n{self.log_tail()}")

    def create_volume(self, name, size):
        self.volume = name
        run(["fallocate" if self.preallocated else "truncate", "-l" if self.preallocated else "-s", size.replace("iB", ""), self.dir / f"{name}.img"])
        self._export()
        return IQN_PREFIX + name

    def _export(self):
        target = ["--tid", "1"]
        self._admin("--mode", "target", "--op", "new", *target, "-T", IQN_PREFIX + self.volume)
        self._admin("--mode", "logicalunit", "--op", "new", *target, "--lun", "1", "-b", self.dir / f"{self.volume}.img")
        self._admin("--mode", "logicalunit", "--op", "update", *target, "--lun", "1", "--params",
                    "vendor_id=HOLDFAST,product_id=STAND-IN,scsi_id=holdfast1,scsi_sn=holdfast1")
        self._admin("--mode", "target", "--op", "bind", *target, "-I", "ALL")

    def _admin(self, *arguments, check=True):
        return run(["tgtadm", "-C", CONTROL_PORT, "--lld", "iscsi", *arguments], netns=self.netns, check=check)

    def log_tail(self):
        return (self.dir / "log").read_text(errors="replace")[-3000:]

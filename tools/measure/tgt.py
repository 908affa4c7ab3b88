"""Debian's tgt as a contestant: user-space, aio backing store, O_DIRECT on a preallocated file of the same file system.

Its acknowledgement of a write does not mean durable: the backing file is written without a sync (write cache on, WCE = 1).
"""

import subprocess

from . import scratch

IQN = "iqn.2026-11.bench:tgt"


class Tgt:
    def __init__(self, place, backing, cpus=None):
        tgtd = scratch.need("tgtd", "tgt")
        self.admin = scratch.need("tgtadm", "tgt")
        self.port = scratch.free_port()
        # tgtd appends ".0" to this path; the default one belongs to the machine's own tgtd.
        self.env = {"TGT_IPC_SOCKET": str(place.path / "tgt")}
        self.server = place.start([tgtd, "-f", "--iscsi", f"portal=127.0.0.1:{self.port}"], "tgtd.log", self.env, cpus,
                                  ends_on_sigterm=False)  # It ignores SIGTERM while it has targets.
        scratch.wait_for(self._ready, 10, "tgtd")
        self._tell("--op", "new", "--mode", "target", "--tid", "1", "-T", IQN)
        self._tell("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(backing), "--bstype", "aio")
        self._tell("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        self.url = f"iscsi://127.0.0.1:{self.port}/{IQN}/1"

    def _ready(self):
        self.server.ensure_alive()
        return scratch.accepts_connections(self.port)

    def _tell(self, *words):
        done = subprocess.run([self.admin, "--lld", "iscsi", *words], env=self.env, capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            raise scratch.Failed(f"tgtadm {' '.join(words)}: {done.stderr.strip()}")

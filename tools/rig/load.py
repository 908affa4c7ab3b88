"""pgbench in the guest, watched second by second."""
import re
import subprocess
import threading
import time

from rig.errors import RigError
from rig.processes import kill_group

PROGRESS = re.compile(r"progress: ([\d.]+) s, ([\d.]+) tps.*?, (\d+) failed")
FAILED = re.compile(r"number of failed transactions: (\d+)")
COMPLAINT = re.compile(r"aborted|ERROR|FATAL|PANIC|error:")
AVERAGE = re.compile(r"tps = ([\d.]+)")
LATENCY = re.compile(r"latency average = ([\d.]+) ms")
STOP_TIMEOUT_S = 30


class Pgbench:
    """Valid after finish(): tps_average, latency_ms. Written by the reader thread: tps_now, rates, failed, output."""

    def __init__(self, guest, *, scale):
        self.guest = guest
        self.scale = scale
        self.tps_now = 0.0
        self.rates = []  # time.monotonic() and the transactions of the second that ended then.
        self.failed = 0
        self.output = []
        self.tps_average = None
        self.latency_ms = None
        self._process = None

    def fill(self):
        self.guest.run("echo 'CREATE DATABASE bench' | sql", timeout_s=60)
        self.guest.run(f"bench-sql -i -q -s {self.scale}", timeout_s=600)

    def start(self, seconds, clients=4):
        self._process = self.guest.popen(f"bench-sql -n -c {clients} -j 1 -T {seconds} -P 1 2>&1", timeout_s=seconds + 120,
                                         text=True, bufsize=1, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            self.output.append(line.rstrip())
            if match := PROGRESS.search(line):
                self.tps_now = float(match[2])
                self.rates.append((time.monotonic(), self.tps_now))
                self.failed = max(self.failed, int(match[3]))

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def tps_between(self, since, until):
        rates = [tps for at, tps in self.rates if since < at <= until]
        return sum(rates) / len(rates) if rates else 0.0

    def require_no_failures(self):
        """Of what it has told so far."""
        complaints = [line for line in self.output if COMPLAINT.search(line)]
        if complaints or self.failed:
            raise RigError(f"pgbench had {self.failed} failures:\n" + "\n".join(complaints[-10:]))

    def stop(self):
        """Before the end that was set; every transaction up to now must have gone through."""
        if not self.running:
            raise RigError("pgbench has ended by itself:\n" + "\n".join(self.output[-10:]))
        self.guest.run("pkill -INT -x pgbench", check=False)
        try:
            self._process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise RigError("pgbench does not stop: a transaction hangs") from None
        self._thread.join(timeout=10)
        self.require_no_failures()

    def finish(self, timeout_s=120):
        """Waits for the end that was set; every transaction must have gone through."""
        try:
            status = self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise RigError("pgbench does not end: a transaction hangs") from None
        self._thread.join(timeout=10)
        text = "\n".join(self.output)
        failed = FAILED.search(text)
        if status != 0 or not failed or int(failed[1]) != 0:
            raise RigError(f"pgbench had failures (status {status}):\n{text[-3000:]}")
        average = AVERAGE.search(text)
        if not average:
            raise RigError(f"pgbench made no transaction:\n{text[-3000:]}")
        self.tps_average = float(average[1])
        self.latency_ms = float(LATENCY.search(text)[1])

    def abandon(self):
        kill_group(self._process)
        self._thread.join(timeout=10)

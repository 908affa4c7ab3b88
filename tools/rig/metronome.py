"""How long the machine itself stands still: on a busy one a pause says little about Holdfast."""
import os
import threading
import time

BEAT_S = 0.02
LATE_S_MIN = 0.005  # Less is nothing.


class Metronome:
    """Sleeps for a beat and makes a block durable, over and over, as long as the process lives."""

    def __init__(self, path):
        self._late = []  # When a beat ended, and by how much it was late.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._stopping = False
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self):
        while not self._stopping:
            began = time.monotonic()
            time.sleep(BEAT_S)
            os.pwrite(self._file, bytes(4096), 0)
            os.fdatasync(self._file)
            late = time.monotonic() - began - BEAT_S
            if late > LATE_S_MIN:
                self._late.append((time.monotonic(), late))
        os.close(self._file)

    def stop(self):
        self._stopping = True

    def stood_still_s(self, since, until):
        """In all, within that time."""
        return sum(late for at, late in self._late if since < at <= until)

    def stood_still_share(self, since, until):
        return self.stood_still_s(since, until) / (until - since)

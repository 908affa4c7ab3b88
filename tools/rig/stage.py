"""A set-up on which rows of the catalogue are played, one after the other: each proves its fault, has bounds, and leaves the set-up as it was."""
import re
import time

from rig.cluster_story import VOLUME, ClusterStory
from rig.errors import RigError
from rig.metronome import Metronome
from rig.progress import say

LOAD_S = 12 * 3600      # Until it is stopped.
PATHS_TIMEOUT_S = 60
# What the file system, or whoever is above the paths, is told. That a path failed is another matter: "I/O error, dev sda".
ERRORS = re.compile(r"error.* dev dm-|Buffer I/O error on dev dm-|EXT4-fs (error|warning)|JBD2:.*error|Aborting journal|Remounting filesystem read-only|lost .*page write|XFS .*(error|orrupt|hutdown)")


class Stage(ClusterStory):
    expected_errors = None  # Of those, what a row does on purpose.

    def __init__(self, lab, options):
        super().__init__(lab, options)
        self.metronome = Metronome(self.lab.dir / "metronome")
        self.new_row()

    def new_row(self):
        self.proofs = []     # In words, that the fault happened.
        self.figures = {}
        self.too_long = []   # Sentences about pauses, and whether the machine is to blame.

    def play(self, row):
        """Raises when the row failed and the set-up may not be well; a pause that was too long is only noted."""
        self.new_row()
        self.settle()
        self.require_no_errors()
        if row.loaded:
            self.go_on_loading()
        row.play(self)
        if not self.proofs:
            raise RigError("nothing shows that the fault happened")
        if row.loaded:
            self.settle()
            self.require_health()
        self.require_no_errors()

    def go_on_loading(self):
        """pgbench runs on through all rows, the ledger's clients to the end of each."""
        if self.bench.running:
            self.start_ledger()
        else:
            self.load(LOAD_S)

    def require_health(self):
        self.bench.require_no_failures()
        done = len(self.bench.rates)
        self.await_that(lambda: len(self.bench.rates) > done and self.bench.tps_now > 0, "pgbench does not go on")
        self.ledger.stop()
        self.verify_ledger(self.host)

    def settle(self):
        """All copies in sync, and all paths of the host there."""
        self.cluster.await_in_sync(VOLUME, self.copies)
        self.await_that(lambda: self.ready_paths() == self.copies, "not all paths of the host are back", PATHS_TIMEOUT_S)

    def ready_paths(self):
        """A path to a node that stands by is a ghost."""
        return int(self.host.guest.run("multipath -ll | grep -cE 'active (ready|ghost)'", check=False).stdout or 0)

    def require_no_errors(self):
        told = self.host.guest.run("dmesg --read-clear").stdout.splitlines()
        errors = [line for line in told if ERRORS.search(line) and not (self.expected_errors and self.expected_errors.search(line))]
        if errors:
            raise RigError("errors reached the host's file system:\n" + "\n".join(errors[:20]))

    def prove(self, words):
        say(f"proof: {words}")
        self.proofs.append(words)

    def require(self, what, holds):
        if not holds:
            raise RigError(f"not so: {what}")
        say(f"ok    {what}")

    def bound(self, name, pause_s, most_s, began):
        """A pause counts from the beginning of what caused it. How long the machine itself stood still meanwhile tells whose fault it is when it is too long."""
        self.figures[f"{name} ms"] = round(pause_s * 1000, 1)
        machine_s = self.metronome.stood_still_s(began, began + pause_s)
        if pause_s > most_s:
            self.too_long.append((f"{name}: {pause_s * 1000:.0f} ms, and {most_s * 1000:.0f} are allowed (the machine itself stood still for {machine_s * 1000:.0f} ms)",
                                  pause_s - machine_s <= most_s))

    @property
    def machine_was_busy(self):
        return bool(self.too_long) and all(excused for _, excused in self.too_long)

    def bounded_fault(self, name, most_s, beyond_calm=False):
        pause, proof = self.fault(name)
        self.prove(proof)
        self.bound_pause("pause", pause, most_s, beyond_calm)

    def bound_pause(self, name, pause, most_s, beyond_calm):
        """beyond_calm: what hardly is a pause is felt as one by a transaction on its way, and on a small machine PostgreSQL has some of its own."""
        if beyond_calm:
            self.figures[f"calm before {name} ms"] = round(self.calm_pause_s * 1000, 1)
        self.bound(name, pause, most_s + (self.calm_pause_s if beyond_calm else 0), self.cause_began)

    def close(self):
        """The deep verification, once for all that was played here."""
        if self.bench.running:
            self.bench.stop()
        self.verify()

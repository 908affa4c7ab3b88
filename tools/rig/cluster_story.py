"""The demo on three nodes, as a story: a database on three copies; its primary is killed, frozen, cut off, restarted, asked to hand over."""
import time

from rig.cluster import Cluster
from rig.errors import RigError
from rig.host import PostgresHost
from rig.ledger import Ledger
from rig.load import Pgbench
from rig.progress import detail, say, step

VOLUME = "pg"
LEDGER_CLIENTS = 2
WARM_TRANSACTIONS = 20
WARM_UP_S = 8    # Until both kinds of clients are at work.
PROGRESS_TIMEOUT_S = 60
FAULT_S = 4      # How long a node stays away.
CALM_S = 2       # Of load, before and after each fault.


class Round:
    """One fault: what is done to the primary, and how it ends."""

    def __init__(self, name, begin, end, moves=True):
        self.name, self.begin, self.end, self.moves = name, begin, end, moves


ROUNDS = {
    "kill": Round("kill -9", lambda node: node.kill(), lambda node: node.start()),
    "freeze": Round("SIGSTOP", lambda node: node.freeze(), lambda node: node.thaw()),
    "cut": Round("cut off from everybody, silently", lambda node: node.cut_off(), lambda node: node.join_again()),
    "restart": Round("stopped in order, as for an upgrade", lambda node: node.stop(), lambda node: node.start()),
}


class ClusterStory:
    """Valid after set_up(): cluster, host, ledger."""
    volume_size = "1GiB"

    def __init__(self, lab, options):
        self.lab = lab
        self.options = options
        self.cluster = Cluster(lab, build=options.build, takeover=options.takeover)
        self.host = PostgresHost(lab)
        self.pauses = {}  # Name of what was done: seconds without an acknowledged transaction, one a time.

    def set_up(self):
        with step("three nodes and an etcd"):
            self.cluster.start()
        with step(f"volume {VOLUME}, {self.volume_size}, three copies") as note:
            target = self.cluster.create_volume(VOLUME, self.volume_size)
            note(target)
        with step("boot the PostgreSQL host (Debian 12, kernel 6.1)"):
            self.host.guest.start()
        with step("attach: discovery, login on all paths, multipath") as note:
            note(self.host.attach(self.cluster.portal, target))
        with step(f"{self.options.fs} on the volume"):
            self.host.format(self.options.fs)
            self.host.mount()
        with step("PostgreSQL 15: initdb with checksums, start"):
            self.host.postgres("init")
            self.host.postgres("start")
        self.bench = Pgbench(self.host.guest, scale=self.options.scale)
        with step(f"pgbench -i -s {self.options.scale}"):
            self.bench.fill()
        self.ledger = Ledger(self.host.guest, self.lab.dir / "ledger.txt", LEDGER_CLIENTS)

    def load(self, seconds):
        """Both kinds of clients are at work when it returns, for that many seconds."""
        self.bench = Pgbench(self.host.guest, scale=self.options.scale)
        self.bench.start(seconds + WARM_UP_S)
        # Before the ledger's clients: it begins with queries that take seconds beside them, while everything has to come from the volume.
        self._await(lambda: self.bench.tps_now > 0, "pgbench does not begin")
        if not self.ledger.is_running:
            before = self.ledger.acked_count
            self.ledger.start(self.host.guest)
            self._await(lambda: self.ledger.acked_count >= before + WARM_TRANSACTIONS, "the load does not start")

    def fault(self, name):
        """Does it to the primary, undoes it, and returns the longest pause that the ledger's clients saw, in seconds."""
        round_ = ROUNDS[name]
        node = self.cluster.await_primary(VOLUME)
        self.watch(CALM_S)
        dropped = node.dropped_packets() if name == "cut" else 0
        process, fetched = node.process, self.cluster.rebuilt_bytes(node, VOLUME)
        began = time.monotonic()
        say(f"{node.name}, the primary: {round_.name}")
        round_.begin(node)
        self.watch(FAULT_S)
        if name == "cut" and node.dropped_packets() <= dropped:
            raise RigError("no packet was dropped: the fault had no effect")
        new = self.cluster.await_primary(VOLUME)
        if new is node:
            raise RigError(f"{node.name} still serves: the fault had no effect")
        round_.end(node)
        self._come_back(node, fetched if node.process is process else 0)
        return self._note(name, began, f"{new.name} serves, {node.name} is in sync again")

    def switch_over(self):
        old = self.cluster.await_primary(VOLUME)
        to = self.cluster.nodes[old.number % len(self.cluster.nodes)]
        self.watch(CALM_S)
        began = time.monotonic()
        say(f"planned switchover: {old.name} hands over to {to.name}")
        self.cluster.switch_over(VOLUME, to)
        self.watch(CALM_S)
        if self.cluster.await_primary(VOLUME) is not to:
            raise RigError(f"{to.name} does not serve")
        return self._note("switchover", began, f"{to.name} serves")

    def _come_back(self, node, fetched_before):
        self.cluster.await_in_sync(VOLUME)
        if self.cluster.rebuilt_bytes(node, VOLUME) > fetched_before:
            raise RigError(f"{node.name} came back by a rebuild: its log should have been enough")

    def _note(self, name, began, outcome):
        before = self.ledger.acked_count
        self._await(lambda: self.ledger.acked_count > before + LEDGER_CLIENTS, "I/O does not resume")
        pause = self.ledger.longest_pause(began, time.monotonic())
        self.pauses.setdefault(name, []).append(pause)
        say(f"longest pause {pause * 1000:.0f} ms; {outcome}")
        return pause

    def watch(self, seconds):
        """A line a second."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            before = self.ledger.acked_count
            time.sleep(min(1, end - now))
            rate = (self.ledger.acked_count - before) / (time.monotonic() - now)
            detail(f"pgbench {self.bench.tps_now:5.0f} tps   ledger {rate:5.0f} tps   acknowledged {self.ledger.acked_count}")
            self.cluster.require_not_crashed()
            self.ledger.require_healthy()

    def end_load(self):
        self.bench.finish()
        self.ledger.require_healthy()

    def verify(self):
        self.ledger.stop()
        with step("ledger: every acknowledged transaction is there, whole and in order") as note:
            note(f"{self.ledger.acked_count} acknowledged, {self.ledger.verify(self.host.guest)} found")
        self.check_database()
        self.host.unmount()
        self.compare_copies()

    def check_database(self):
        """PostgreSQL is stopped at the end."""
        with step("pg_amcheck --heapallindexed: every row is in every index"):
            self.host.postgres("amcheck")
        with step("pg_checksums, after a clean stop") as note:
            self.host.postgres("stop")
            report = self.host.postgres("checksums")
            note(next(line for line in report.splitlines() if line.startswith("Bad checksums")))

    def compare_copies(self):
        with step("all three copies hold the same, byte for byte") as note:
            note(f"sha256 {self.cluster.compare_copies(VOLUME)[:16]}...")

    def report(self):
        for name, pauses in self.pauses.items():
            ordered = sorted(pauses)
            detail(f"{name:<11} {len(pauses):3} times   pause: median {ordered[len(ordered) // 2] * 1000:5.0f} ms   longest {ordered[-1] * 1000:5.0f} ms")

    def _await(self, condition, complaint, timeout_s=PROGRESS_TIMEOUT_S):
        give_up = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > give_up:
                raise RigError(f"{complaint} within {timeout_s} s; the nodes' logs:\n{self.cluster.log_tail()}")
            time.sleep(0.05)


def tell(lab, options):
    lab.create(programs_stay=options.keep)
    story = ClusterStory(lab, options)
    story.set_up()
    faults = [name for _ in range(options.rounds) for name in ROUNDS]
    say(f"load: pgbench with 4 clients, and {LEDGER_CLIENTS} ledger clients that keep each acknowledged transaction's number outside the host")
    for name in faults:
        story.load(FAULT_S + 2 * CALM_S)
        story.fault(name)
        story.end_load()
    for _ in range(options.rounds):
        story.load(3 * CALM_S)
        story.switch_over()
        story.end_load()
    say("no transaction failed")
    story.verify()
    story.report()

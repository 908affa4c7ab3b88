"""The demo on three nodes, as a story: a database on three copies; its primary is killed, frozen, cut off, restarted, asked to hand over."""
import time

from rig.cluster import Cluster, ClusterNode
from rig.errors import RigError
from rig.faults import EVERYDAY, FAULTS
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


class ClusterStory:
    """Valid after set_up(): cluster, target, host, ledger."""
    volume_size = "1GiB"
    copies = 3
    disk_mib = None   # Each node's own file system, if it has one.
    store = ""        # More lines of the nodes' [store].

    def __init__(self, lab, options):
        self.lab = lab
        self.options = options
        self.cluster = Cluster(lab, build=options.build, make_node=self._make_node)
        self.host = PostgresHost(lab)
        self.pauses = {}  # Name of what was done: seconds without an acknowledged transaction, one a time.
        self.cause_began = 0.0   # Of the last of them,
        self.calm_pause_s = 0.0  # and the longest time without one just before that.
        self.served_after_s = 0.0  # From the last fault's beginning to a node that says that it serves, where it need not be another one.

    def _make_node(self, number, etcd):
        return ClusterNode(self.lab, number, etcd, self.options.build, self.options.takeover, self.disk_mib, self.store)

    def set_up(self):
        with step("three nodes and an etcd"):
            self.cluster.start()
        with step(f"volume {VOLUME}, {self.volume_size}, {self.copies} cop{'ies' if self.copies > 1 else 'y'}") as note:
            self.target = self.cluster.create_volume(VOLUME, self.volume_size, self.copies)
            note(self.target)
        with step("boot the PostgreSQL host (Debian 12, kernel 6.1)"):
            self.host.guest.start()
        with step("attach: discovery, login on all paths, multipath") as note:
            note(self.host.attach(self.cluster.portal, self.target))
        with step(f"{self.options.fs} on the volume"):
            self.host.format(self.options.fs)
            self.host.mount()
        self.prepare_file_system()
        with step("PostgreSQL 15: initdb with checksums, start"):
            self.host.postgres("init")
            self.host.postgres("start")
        self.bench = Pgbench(self.host.guest, scale=self.options.scale)
        with step(f"pgbench -i -s {self.options.scale}"):
            self.bench.fill()
        self.ledger = Ledger(self.host.guest, self.lab.dir / "ledger.txt", LEDGER_CLIENTS)

    def prepare_file_system(self):
        """Before anything is on it."""

    def load(self, seconds):
        """Both kinds of clients are at work when it returns, for that many seconds."""
        self.bench = Pgbench(self.host.guest, scale=self.options.scale)
        self.bench.start(seconds + WARM_UP_S)
        # Before the ledger's clients: it begins with queries that take seconds beside them, while everything has to come from the volume.
        self.await_that(lambda: self.bench.tps_now > 0, "pgbench does not begin")
        self.start_ledger()

    def start_ledger(self):
        if not self.ledger.is_running:
            before = self.ledger.acked_count
            self.ledger.start(self.host.guest)
            self.await_that(lambda: self.ledger.acked_count >= before + WARM_TRANSACTIONS, "the load does not start")

    def fault(self, name):
        """Does it to the primary or to a standby, undoes it, and returns the longest pause that the ledger's clients saw, in seconds, and how it was seen."""
        fault = FAULTS[name]
        primary = self.cluster.await_primary(VOLUME)
        node = self.cluster.another_than(primary) if fault.standby else primary
        self.watch(CALM_S)
        process, fetched = node.process, self.cluster.rebuilt_bytes(node, VOLUME)
        began = time.monotonic()
        say(f"{node.name}, {'a standby' if fault.standby else 'the primary'}: {fault.words}")
        node.last_end = None
        fault.begin(node, self.cluster)
        if not fault.moves:
            self.cluster.await_primary(VOLUME)
            self.served_after_s = time.monotonic() - began
        self.watch(FAULT_S)
        proof = fault.proof(node)
        if not proof:
            raise RigError(f"{fault.words}: the fault had no effect")
        serving = self._who_serves_after(fault, primary)
        fault.end(node)
        self._come_back(node, fetched if node.process is process else 0)
        return self.note_pause(name, began, f"{serving.name} serves, {node.name} is in sync again"), proof

    def _who_serves_after(self, fault, primary):
        self.cluster.await_primary(VOLUME)
        serving = self.cluster.who_serves(VOLUME)
        if len(serving) != 1:
            raise RigError(f"{[node.name for node in serving]} serve at once")
        if fault.moves is not None and fault.moves != (serving[0] is not primary):
            raise RigError(f"{serving[0].name} serves, and {primary.name} did before: that is not what comes of it")
        return serving[0]

    def switch_over(self, to=None):
        old = self.cluster.await_primary(VOLUME)
        to = to or self.cluster.another_than(old)
        self.watch(CALM_S)
        began = time.monotonic()
        say(f"planned switchover: {old.name} hands over to {to.name}")
        self.cluster.switch_over(VOLUME, to)
        self.watch(CALM_S)
        if self.cluster.who_serves(VOLUME) != [to]:
            raise RigError(f"{to.name} does not serve")
        return self.note_pause("switchover", began, f"{to.name} serves")

    def _come_back(self, node, fetched_before):
        self.cluster.await_in_sync(VOLUME)
        if self.cluster.rebuilt_bytes(node, VOLUME) > fetched_before:
            raise RigError(f"{node.name} came back by a rebuild: its log should have been enough")

    def note_pause(self, name, began, outcome):
        before = self.ledger.acked_count
        self.await_that(lambda: self.ledger.acked_count > before + LEDGER_CLIENTS, "I/O does not resume")
        pause = self.ledger.longest_pause(began, time.monotonic())
        self.cause_began = began
        self.calm_pause_s = self.ledger.longest_pause(began - CALM_S, began)
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
        self.verify_ledger(self.host)
        self.check_database()
        self.host.unmount()
        self.compare_copies()

    def verify_ledger(self, host):
        with step("ledger: every acknowledged transaction is there, whole and in order") as note:
            note(f"{self.ledger.acked_count} acknowledged, {self.ledger.verify(host.guest)} found")

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

    def await_that(self, condition, complaint, timeout_s=PROGRESS_TIMEOUT_S):
        give_up = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > give_up:
                raise RigError(f"{complaint} within {timeout_s} s; the nodes' logs:\n{self.cluster.log_tail()}")
            time.sleep(0.05)


def tell(lab, options):
    lab.create(programs_stay=options.keep)
    story = ClusterStory(lab, options)
    story.set_up()
    faults = [name for _ in range(options.rounds) for name in EVERYDAY]
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

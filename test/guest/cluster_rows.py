"""The rows of the catalogue that want a real host, and the set-ups that they are played on."""
import random
import re
import time

from rig.cluster_story import CALM_S, FAULT_S, LEDGER_CLIENTS, VOLUME
from rig.errors import RigError
from rig.host import PostgresHost
from rig.progress import say, step
from rig.rows import Row
from rig.stage import Stage

# What the host may feel, in seconds.
PLANNED_S = 0.06
UNFELT_S = 0.3
MEMBER_S = 0.95
KILLED_S = 1.0
SERVED_S = 1.0
CHECKED_S = 2.5  # multipathd looks at a path that failed once in one or two seconds, however soon the node is back.
SILENT_S = 2.5
SPACE_S = 5.0

FIRST_KEY, SECOND_KEY = "0x1a", "0x2b"
WRITE_EXCLUSIVE_REGISTRANTS = 5
REFUSED_TIMEOUT_S = 60
POWERLESS_S = 2
REBUILD_CALM_S = 12
REBUILD_TIMEOUT_S = 120
BALLAST_MIB = 256
KEPT_BYTES = 64 << 20  # What was fetched is kept in such pieces: the last one is fetched again.
CHANGED_MOST = 0.1     # Of what the volume has, between the kill and the end.
THROUGHPUT_LEAST = 0.7
THIN_MIB = 128  # More than the 64 MiB that a store has asked its file system for in advance.
THIN_PARTS = 14
PROBE_S = 20


class ThreeCopies(Stage):
    """three copies"""
    volume_size = "2GiB"
    store = 'log_size = "64MiB"\nrebuild_rate = "24MiB"\n'  # A new copy cannot come from the log alone, and its rebuild is met half-way.

    def prepare_file_system(self):
        """Enough that a rebuild which is cut off has something to keep."""
        self.host.guest.run(f"tr '\\0' x </dev/zero | dd of=/srv/ballast bs=1M count={BALLAST_MIB} iflag=fullblock oflag=direct status=none", timeout_s=300)


class Small(Stage):
    """three small copies"""
    volume_size = "512MiB"

    def close(self):
        """Rows that leave something to be verified here do it themselves."""


class OneCopy(Stage):
    """one copy"""
    copies = 1

    def compare_copies(self):
        pass


class SmallDisks(Stage):
    """three copies on small disks"""
    volume_size = "2304MiB"
    disk_mib = 4096
    thin = "/srv/thin"  # The one file whose blocks have no place there; all others have, for what PostgreSQL writes is not to fail.
    expected_errors = re.compile(r"critical space allocation error")

    def prepare_file_system(self):
        with step("every block but a file's gets a place"):
            self.host.guest.run(f"fallocate -l {THIN_PARTS * THIN_MIB}M {self.thin}")
            self.host.guest.run(f"give-places {self.host.device} {self.thin}", timeout_s=300)
        self.thin_parts = list(range(THIN_PARTS))

    def next_part(self):
        """Each row has one of its own: what was written once has a place for good."""
        if not self.thin_parts:
            raise RigError("nothing is left that was never written")
        return self.thin_parts.pop(0) * THIN_MIB

    def write_thin(self, first_mib, mib=THIN_MIB):
        return self._write_thin(f"bs=256k count={4 * mib} seek={4 * first_mib}")

    def write_thin_block(self, first_mib, number):
        return self._write_thin(f"bs=4k count=1 seek={256 * first_mib + number}")

    def _write_thin(self, what):
        return self.host.guest.run(f"dd if=/dev/urandom of={self.thin} {what} iflag=fullblock oflag=direct conv=notrunc status=none", check=False)


def _fault(name, most_s, beyond_calm=False):
    return lambda stage: stage.bounded_fault(name, most_s, beyond_calm)


def f1(stage):
    """The node that will lead is one whose unsynced data lives in its process alone: kill -9 is its loss of power."""
    node = stage.cluster.another_than(stage.cluster.await_primary(VOLUME))
    warning = "unsynced data dies with this process"
    before = node.log().count(warning)
    node.stop()
    node.environment = {"HOLDFAST_POWER_LOSS": str(random.randrange(1, 1 << 32))}
    node.start()
    node.environment = {}
    stage.require(f"{node.name}'s unsynced data dies with it", node.log().count(warning) == before + 1)
    stage.settle()
    stage.cluster.switch_over(VOLUME, node)
    stage.settle()
    stage.require(f"{node.name} leads", stage.cluster.await_primary(VOLUME) is node)
    stage.prove(f"the unsynced data of process {node.process.pid} died with it")
    stage.bounded_fault("kill", KILLED_S)


def _full(standby):
    def play(stage):
        primary = stage.cluster.await_primary(VOLUME)
        node = stage.cluster.another_than(primary) if standby else primary
        stage.watch(CALM_S)
        part = stage.next_part()
        taken = node.disk.take()
        try:
            began = time.monotonic()
            stage.prove(f"{taken} bytes of {node.name}'s file system, all that was left, are taken")
            stage.require("new blocks are refused with ENOSPC", _is_refused(stage.write_thin(part)))
            told = stage.host.guest.run("dmesg | grep -c 'critical space allocation error, dev dm-'", check=False).stdout.strip()
            stage.prove(f"the host's kernel was told so {told} times; {primary.name}, which serves, is {stage.cluster.shown(primary, VOLUME)['health']}")
            stage.watch(FAULT_S)  # What has a place is overwritten.
            stage.require("still refused", _is_refused(stage.write_thin(part + THIN_MIB // 2, THIN_MIB // 2)))
            stage.require("the same node serves, and all copies are in sync",
                          stage.cluster.primary(VOLUME) is primary and len(stage.cluster.in_sync(VOLUME)) == stage.copies)
            stage.bound("pause", stage.ledger.longest_pause(began, time.monotonic()), SILENT_S, began)
        finally:
            node.disk.give_back()
        _await_space(stage, part + THIN_MIB - 1)
    return play


def _is_refused(done):
    return done.returncode != 0 and "No space left on device" in done.stderr


def _await_space(stage, first_mib):
    freed = time.monotonic()
    block = 0
    while stage.write_thin_block(first_mib, block).returncode != 0:
        if time.monotonic() > freed + PROBE_S:
            raise RigError(f"nothing is written within {PROBE_S} s of space returning")
        block += 1
    stage.bound("writes again", time.monotonic() - freed, SPACE_S, freed)
    stage.require("all of it can be written", stage.write_thin(first_mib, 1).returncode == 0)


def c7(stage):
    stage.watch(CALM_S)
    recoveries = stage.host.postgres("log").count("automatic recovery in progress")
    acked = stage.ledger.acked_count
    stage.host.guest.run("kill -9 $(head -1 /srv/data/postmaster.pid) && while pgrep -x postgres >/dev/null; do sleep 0.05; done")
    began = time.monotonic()
    stage.ledger.abandon()
    stage.bench.abandon()
    say(f"kill -9 of PostgreSQL's first process, {acked} transactions are acknowledged")
    stage.host.postgres("start")
    stage.require("it recovers from its log", stage.host.postgres("log").count("automatic recovery in progress") == recoveries + 1)
    stage.prove("PostgreSQL was not shut down, and recovered")
    stage.figures["recovery ms"] = round((time.monotonic() - began) * 1000, 1)
    stage.verify_ledger(stage.host)
    stage.go_on_loading()
    stage.watch(CALM_S)


def c11(stage):
    """A standby's disk is replaced under load, and it is killed half-way through its rebuild."""
    primary = stage.cluster.await_primary(VOLUME)
    node = stage.cluster.another_than(primary)
    calm = time.monotonic()
    stage.watch(REBUILD_CALM_S)
    began = time.monotonic()
    before = stage.bench.tps_between(calm + 1, began)
    node.kill()
    node.store_of(VOLUME).unlink()
    node.start()
    primary.holdfast("member", "renew", VOLUME, str(node.number))
    renewed = time.monotonic()
    fetched = _await_half_way(stage, node)
    node.kill()
    all_bytes = stage.cluster.allocated_bytes(VOLUME)
    stage.prove(f"a rebuild was cut off when {fetched} of {all_bytes} bytes were fetched")
    node.start()
    stage.cluster.await_in_sync(VOLUME)
    done = time.monotonic()
    rest = stage.cluster.rebuilt_bytes(node, VOLUME)
    stage.figures.update({"rebuild s": round(done - renewed, 1), "MiB of all": all_bytes >> 20, "MiB fetched before the kill": fetched >> 20, "MiB after it": rest >> 20})
    stage.require("it went on where it was", rest <= all_bytes - fetched + KEPT_BYTES + CHANGED_MOST * all_bytes)
    during = stage.bench.tps_between(renewed + 1, done)
    stage.figures.update({"tps before": round(before), "tps during": round(during)})
    stage.bound("pause", stage.ledger.longest_pause(began, done), MEMBER_S, began)
    if during < THROUGHPUT_LEAST * before:
        busier = stage.metronome.stood_still_share(renewed, done) > stage.metronome.stood_still_share(calm, began)
        stage.too_long.append((f"{during:.0f} transactions a second during the rebuild, {before:.0f} before", busier))


def _await_half_way(stage, node):
    """Returns what was fetched by then."""
    half = stage.cluster.allocated_bytes(VOLUME) // 2
    give_up = time.monotonic() + REBUILD_TIMEOUT_S
    while (seen := stage.cluster.rebuild(node, VOLUME))["fetched_bytes"] < half or not seen["running"]:
        if time.monotonic() > give_up:
            raise RigError(f"no rebuild is seen half-way: {seen}")
        time.sleep(0.05)
    return seen["fetched_bytes"]


def c12(stage):
    home = stage.cluster.await_primary(VOLUME)
    for name in ("there", "back"):
        old = stage.cluster.await_primary(VOLUME)
        to = stage.cluster.another_than(old) if old is home else home
        pause = stage.switch_over(to)
        stage.prove(f"{old.name} handed over to {to.name}")
        stage.bound_pause(f"pause {name}", pause, PLANNED_S, beyond_calm=True)
        stage.settle()


def hp1(stage):
    stage.bounded_fault("kill-and-start", CHECKED_S)
    stage.bound("served again", stage.served_after_s, SERVED_S, stage.cause_began)


def pg1(stage):
    rows = "SELECT count(*), count(*) FILTER (WHERE body = md5(id::text)) FROM pg1;"
    server = "SELECT pg_postmaster_start_time();"
    started = stage.host.sql(server)
    stage.host.sql("DROP TABLE IF EXISTS pg1; CREATE TABLE pg1 AS SELECT id, md5(id::text) AS body FROM generate_series(1, 250) id;")
    to = stage.cluster.another_than(stage.cluster.await_primary(VOLUME))
    stage.cluster.switch_over(VOLUME, to)
    stage.host.sql("INSERT INTO pg1 SELECT id, md5(id::text) FROM generate_series(251, 500) id;")
    if stage.cluster.await_primary(VOLUME) is not to:
        raise RigError(f"{to.name} does not serve: the fault had no effect")
    stage.prove(f"{to.name} serves")
    stage.require("500 rows, each with its content", stage.host.sql(rows).split() == ["500", "500"])
    stage.require("the server was never restarted", stage.host.sql(server) == started)


def pg2(stage):
    options = stage.options
    for number in range(1, options.rounds + 1):
        name = options.faults[(number - 1) % len(options.faults)]
        say(f"round {number} of {options.rounds}: {name}")
        stage.load(FAULT_S + 2 * CALM_S)
        pause, proof = stage.fault(name)
        stage.prove(proof)
        stage.figures[f"pause {number} ms"] = round(pause * 1000, 1)
        stage.end_load()
        stage.verify()
        stage.host.mount()
        stage.host.postgres("start")


def pg3(stage):
    old, new = stage.host, PostgresHost(stage.lab, "pg2")
    _reserve(old, FIRST_KEY, "--reserve")
    stage.load(3600)
    stage.watch(CALM_S)
    stage.lab.cut_guest(old.guest)
    say(f"{old.guest.name}, the host, is cut off from everybody")
    stage.ledger.abandon()
    stage.bench.abandon()
    with step("another host boots, attaches, preempts the reservation, recovers"):
        new.guest.start()
        new.attach(stage.cluster.portal, stage.target)
        _reserve(new, SECOND_KEY, f"--preempt --param-sark={FIRST_KEY}")
        new.mount()
        new.postgres("start")
    stage.verify_ledger(new)
    stage.lab.join_guest(old.guest)
    with step("the old host's writes get RESERVATION CONFLICT"):
        stage.await_that(lambda: "reservation conflict" in old.guest.run("dmesg", check=False).stdout, "the old host's writes are not refused", REFUSED_TIMEOUT_S)
        stage.await_that(lambda: old.guest.run("echo 'CREATE TABLE split()' | sql", check=False).returncode != 0, "the old host's server goes on", REFUSED_TIMEOUT_S)
    stage.prove("the old host was told of a conflict")
    stage.host = new
    stage.verify_ledger(new)
    stage.check_database()


def _reserve(host, key, what):
    """By one command for all paths (ALL_TG_PT): a path that is a standby now will be the one in use some day."""
    host.guest.run(f"sg_persist --out --register --param-alltgpt --param-sark={key} {host.device} && "
                   f"sg_persist --out {what} --param-rk={key} --prout-type={WRITE_EXCLUSIVE_REGISTRANTS} {host.device}")


def pg4(stage):
    stage.load(2 * CALM_S + POWERLESS_S)
    stage.watch(CALM_S)
    began = time.monotonic()
    for node in stage.cluster.nodes:
        node.kill()
    stage.cluster.etcd.kill()
    acked = stage.ledger.acked_count
    say(f"no node and no etcd has power, {acked} transactions are acknowledged")
    stage.watch(POWERLESS_S)
    if stage.ledger.acked_count > acked + LEDGER_CLIENTS:  # Answers that were on their way are fine.
        raise RigError(f"{stage.ledger.acked_count - acked} transactions were acknowledged without a node: the fault had no effect")
    stage.prove("nothing was acknowledged without a node")
    stage.cluster.etcd.start()
    for node in stage.cluster.nodes:
        node.start()
    stage.cluster.await_in_sync(VOLUME)
    stage.note_pause("power cut", began, "all nodes are back")
    stage.end_load()
    stage.ledger.stop()
    stage.verify_ledger(stage.host)


ROWS = (
    Row("F1", "the primary loses power under load", ThreeCopies, f1),
    Row("F4", "a standby dies in mid-write", ThreeCopies, _fault("kill-standby", MEMBER_S)),
    Row("F6a", "the primary is cut off from everybody", ThreeCopies, _fault("cut", SILENT_S)),
    Row("F6b", "the primary hears nobody", ThreeCopies, _fault("hear-nobody", SILENT_S)),
    Row("F6c", "nobody hears the primary", ThreeCopies, _fault("unheard", SILENT_S)),
    Row("F6d", "the primary is cut off from its peers only", ThreeCopies, _fault("cut-from-nodes", SILENT_S)),
    Row("F6e", "the primary is cut off from the coordinator only", ThreeCopies, _fault("cut-from-coordinator", UNFELT_S, beyond_calm=True)),
    Row("C11", "a standby is rebuilt under load, and killed half-way", ThreeCopies, c11),
    Row("C12", "a planned change of the primary, there and back", ThreeCopies, c12),
    Row("HP1", "the primary is killed, and started at once", ThreeCopies, hp1),
    Row("HP2", "the primary is stopped in order", ThreeCopies, _fault("restart", PLANNED_S, beyond_calm=True)),
    Row("HP3", "the primary's machine dies silently", ThreeCopies, _fault("die", SILENT_S)),
    Row("HP5", "the primary's data ports are silent", ThreeCopies, _fault("cut-data", SILENT_S)),
    Row("HP9", "the primary is frozen, and goes on", ThreeCopies, _fault("freeze", SILENT_S)),
    Row("F2a", "a standby's disk is full", SmallDisks, _full(standby=True)),
    Row("F2b", "the primary's disk is full", SmallDisks, _full(standby=False)),
    Row("C7", "PostgreSQL crashes on a single copy", OneCopy, c7),
    Row("PG1", "500 rows, a planned change of the primary", Small, pg1, loaded=False),
    Row("PG2", "rounds of load, a fault of the primary, and everything verified", Small, pg2, loaded=False),
    Row("PG4", "all nodes and the etcd lose power at one instant", Small, pg4, loaded=False),
    Row("PG3", "the host is cut off, another one preempts its reservation", Small, pg3, loaded=False, last=True),
)

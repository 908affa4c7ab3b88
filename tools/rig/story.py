"""The demo, as a story in three acts: a database on a volume, a killed node, a power cut."""
import time

from rig.errors import RigError
from rig.host import PostgresHost
from rig.ledger import Ledger
from rig.load import Pgbench
from rig.node import HoldfastNode
from rig.processes import run
from rig.progress import detail, say, step
from rig.tgt_node import TgtNode

VOLUME = "pg"
VOLUME_SIZE = "4GiB"
LEDGER_CLIENTS = 2
NODE_OUTAGE_S = 1
PROGRESS_TIMEOUT_S = 60
WARM_TRANSACTIONS = 20


def tell(lab, options):
    lab.create(programs_stay=options.keep)
    node, target = _start_node(lab, options)
    host = PostgresHost(lab)
    bench = _start_database(host, node, target, options)
    ledger = Ledger(host.guest, lab.dir / "ledger.txt", LEDGER_CLIENTS)
    _load_with_killed_node(host, node, bench, ledger, options)
    _cut_power(host, node, ledger, target, options)
    _verify(host, ledger)
    if options.keep:
        _leave_running(lab, node, host)
    _explain_real_host(node, target)


def _start_node(lab, options):
    node = TgtNode(lab) if options.target == "tgt" else HoldfastNode(lab, build=options.build)
    with step(f"node n1 ({options.target}) at {node.portal}"):
        node.start()
    with step(f"volume {VOLUME}, {VOLUME_SIZE}") as note:
        target = node.create_volume(VOLUME, VOLUME_SIZE)
        note(target)
    return node, target


def _start_database(host, node, target, options):
    with step("boot the PostgreSQL host (Debian 12, kernel 6.1)"):
        host.guest.start()
    with step("attach: discovery, login, multipath") as note:
        note(host.attach(node.portal, target))
    with step(f"{options.fs} on the volume"):
        host.format(options.fs)
        host.mount()
    with step("PostgreSQL 15: initdb with checksums, start"):
        host.postgres("init")
        host.postgres("start")
    bench = Pgbench(host.guest, scale=options.scale)
    with step(f"pgbench -i -s {options.scale}"):
        bench.fill()
    return bench


def _load_with_killed_node(host, node, bench, ledger, options):
    say(f"load: pgbench with 4 clients, and {LEDGER_CLIENTS} ledger clients that keep each acknowledged transaction's number outside the host")
    ledger.start(host.guest)
    _await(lambda: ledger.acked_count >= WARM_TRANSACTIONS, "the load does not start", node)
    bench.start(options.seconds)
    _watch(node, bench, ledger, options.seconds / 3)
    acked_before = ledger.acked_count
    killed_at = time.monotonic()
    node.kill()
    say(f"kill -9 {node.process.pid}: the node is dead, {acked_before} ledger transactions are acknowledged")
    _watch(node, bench, ledger, NODE_OUTAGE_S)
    answered_when_dead = ledger.acked_count - acked_before
    if answered_when_dead > LEDGER_CLIENTS:  # Answers that were on their way are fine.
        raise RigError(f"{answered_when_dead} transactions were acknowledged without a node: the fault had no effect")
    if options.plant:
        _copy(node.dir, _stale_copy(node))
    node.start()
    started_at = time.monotonic()
    say(f"the node runs again (its start took {started_at - killed_at - NODE_OUTAGE_S:.2f} s)")
    acked_at_restart = ledger.acked_count
    _await(lambda: ledger.acked_count > acked_at_restart + LEDGER_CLIENTS, "I/O does not resume", node)
    while bench.running:
        _watch(node, bench, ledger, 1)
    bench.finish()
    ledger.require_healthy()
    pause_s = ledger.longest_pause(killed_at - 1, time.monotonic())
    say(f"I/O resumed by itself: longest pause {pause_s:.2f} s, of which {started_at - killed_at:.2f} s without a node; "
        f"pgbench {bench.tps_average:.0f} tps on average, 0 failed transactions")


def _await(condition, complaint, node):
    give_up = time.monotonic() + PROGRESS_TIMEOUT_S
    while not condition():
        if time.monotonic() > give_up:
            raise RigError(f"{complaint} within {PROGRESS_TIMEOUT_S} s; the node's log:\n{node.log_tail()}")
        time.sleep(0.05)


def _stale_copy(node):
    return node.dir.with_name(node.dir.name + "-stale")


def _copy(source, target):
    """Only while the node is dead."""
    run(["rm", "-rf", target])
    run(["cp", "-a", "--sparse=always", "--reflink=auto", source, target], timeout_s=120)


def _watch(node, bench, ledger, seconds):
    """A line a second."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        before = ledger.acked_count
        time.sleep(min(1, end - now))
        rate = (ledger.acked_count - before) / (time.monotonic() - now)
        detail(f"pgbench {bench.tps_now:5.0f} tps   ledger {rate:5.0f} tps   acknowledged {ledger.acked_count}")
        node.require_not_crashed()
        ledger.require_healthy()


def _cut_power(host, node, ledger, target, options):
    """Nothing that was only in a memory survives this: what is read afterwards comes from the volume."""
    node.kill()
    host.guest.power_off()
    ledger.abandon()
    say(f"power cut: node and host are dead at once, {ledger.acked_count} ledger transactions are acknowledged")
    if options.plant:
        say("planted: the node's files are put back to what they were at the kill")
        _copy(_stale_copy(node), node.dir)
    with step("node starts, host boots and attaches again"):
        node.start()
        host.guest.start()
        host.attach(node.portal, target)
    with step("file system and PostgreSQL recover from their journals"):
        host.mount()
        host.postgres("start")


def _verify(host, ledger):
    with step("ledger: every acknowledged transaction is there, whole and in order") as note:
        note(f"{ledger.acked_count} acknowledged, {ledger.verify(host.guest)} found")
    with step("pg_amcheck --heapallindexed: every row is in every index"):
        host.postgres("amcheck")
    with step("pg_checksums, after a clean stop") as note:
        host.postgres("stop")
        report = host.postgres("checksums")
        note(next(line for line in report.splitlines() if line.startswith("Bad checksums")))


def _leave_running(lab, node, host):
    host.postgres("start")
    lab.keep()
    say("left running, as asked (--keep):")
    for line in (
            f"a shell command in the host  tools/guest run --lab {lab.id} {host.guest.name} 'multipath -ll; df -h /srv'",
            f"SQL                          echo 'SELECT count(*) FROM ledger' | tools/guest run --lab {lab.id} {host.guest.name} sql",
            f"the node's own view          nsenter --net=/run/netns/{node.netns} {node.cli} status",
            f"kill the node                kill -9 {node.process.pid}      (its log: {node.dir}/log)",
            f"and start it again           {node.start_command()} &",
            "to end it all                tools/guest clean --kept"):
        detail(line)


def _explain_real_host(node, target):
    say("a real host attaches in the same way (settings for iscsid.conf and multipath.conf: docs/guest.md):")
    for line in (
            f"iscsiadm -m discovery -t sendtargets -p {node.portal}",
            f"iscsiadm -m node -T {target} -p {node.portal} --login",
            "multipath -ll"):
        detail(line)

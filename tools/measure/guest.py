"""tools/bench guest: PostgreSQL's pgbench in a guest, on Holdfast with one, two and three copies and on tgt, in one run, by turns."""

from rig.cluster import Cluster
from rig.guest import Guest
from rig.host import PostgresHost
from rig.tgt_node import TgtNode

from . import goals, guests, machine, scratch

IN_GUESTS = True
COUNTS = (1, 2, 3)
OURS = [f"holdfast-{count}" for count in COUNTS]
NAMES = [*OURS, "tgt"]
SHARE_OF_TGT = 0.9
MEMORY_MIB = 1024

NOTE = ("holdfast-N: N copies, each by a process of its own on this machine; what is acknowledged is durable on all of them. tgt: one copy, a file through the page cache; "
        "a commit's flush (SYNCHRONIZE CACHE) is an fdatasync of it, so commits are durable there too.")


def add_arguments(parser):
    guests.add_arguments(parser, NAMES)


def run(options):
    guests.complete(options)
    names = options.only or NAMES
    with guests.laboratory() as place:
        facts = machine.describe(place.dir)
        guest = Guest(place, "pg")
        volumes = _enter(names, place, guest, options)
        guest_us = guests.system_call_us(guest)
        for volume in volumes:
            volume.write_all()
            volume.create_database(options.scale)
        figures = guests.measure_pgbench(volumes, options)
    found = [goals.Goal("pgbench on 3 copies, tps over tgt's without copies", guests.over(figures, guests.PGBENCH["name"], OURS[-1], "tgt", "tps"), SHARE_OF_TGT, False, "x")]
    result = {"machine": facts, "runtime_s": options.runtime, "rounds": options.rounds, "quick": options.quick, "size_bytes": options.size << 20, "scale": options.scale,
              "note": NOTE, "guest_system_call_us": guest_us, "disturbed": {v.name: v.disturbed for v in volumes if v.disturbed},
              "loads": figures, "goals": [g.as_json() for g in found]}
    _print(result, figures, found)
    return result, 1 if options.strict and any(goal.met is False for goal in found) else 0


def _enter(names, place, guest, options):
    """Every volume of every contestant is there at once, each with paths and a multipath device of its own; nobody has I/O but in its turn."""
    guest.start(memory_mib=MEMORY_MIB)
    size = f"{options.size}MiB"
    entered = []
    if any(name in OURS for name in names):
        scratch.say("three nodes and an etcd")
        cluster = Cluster(place, build=options.build.absolute())
        cluster.start()
        for name, copies in zip(OURS, COUNTS):
            if name in names:
                target = cluster.create_volume(name, size, copies)
                entered.append(_attach(name, guest, cluster.portal, target, lambda name=name, copies=copies: cluster.standing(name, copies)))
    if "tgt" in names:
        tgt = TgtNode(place, name="tgt", preallocated=True)
        tgt.start()
        entered.append(_attach("tgt", guest, tgt.portal, tgt.create_volume("tgt", size), lambda: None))
    return entered


def _attach(name, guest, portal, target, state):
    host = PostgresHost(guest.lab, guest=guest)
    host.attach(portal, target)
    return guests.Volume(name, host, state)


def _print(result, figures, found):
    print(machine.line(result["machine"]))
    print(f"pgbench in a guest of one core (User Mode Linux, a system call costs {result['guest_system_call_us']:.1f} us there), ext4, scale {result['scale']}; "
          f"volumes of {result['size_bytes'] >> 20} MiB, written once before; {result['rounds']} rounds of {result['runtime_s']} s, contestants by turns; medians")
    print(result["note"] + "\n")
    guests.print_pgbench(figures)
    by = figures[guests.PGBENCH["name"]]
    for name in OURS:
        if name in by and "tgt" in by:
            print(f"{name} over tgt: {by[name]['tps'] / by['tgt']['tps']:.2f}x")
    print("\ngoals")
    for goal in found:
        print(goal.line())
    for who, times in result["disturbed"].items():
        print(f"{who}: {times} measurements were thrown away and repeated, because a copy left or another node took over")

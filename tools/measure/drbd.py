"""tools/bench drbd: two copies in identical guests, Holdfast against DRBD (protocol C) with LIO, in one run, by turns."""

import os

from rig.cluster import Cluster
from rig.guest import Guest
from rig.guest_node import DISK, DrbdPair, GuestNode
from rig.host import PostgresHost
from rig.lab import GUEST_UID

from . import goals, guests, loads, machine, scratch

IN_GUESTS = True
NAMES = ["holdfast", "drbd-lio"]
LOADS = [load for load in loads.RANDOM_4K if "write" in load["rw"]]
MEMORY_MIB = 1024
FIO_SHARE = 4            # A run of fio takes a quarter of one of pgbench.
LOG_AND_MORE_BYTES = 768 << 20   # What a disk has beyond the volume: Holdfast's log and map, DRBD's bitmap and activity log.

NOTE = ("All in guests of one core: two with a disk each, and the host, which is the initiator. holdfast: two copies, on the raw disks; durable on both when acknowledged. "
        "drbd-lio: DRBD 8.4, protocol C, on the same kind of disks, served by the kernel's target; a write that is acknowledged is in both machines, and durable on both once it is "
        "flushed or written with FUA, which is what fio (O_DSYNC) and PostgreSQL (fdatasync) do here. A disk is a file behind this machine's page cache, its flush an fdatasync.")


def add_arguments(parser):
    guests.add_arguments(parser, NAMES)


def run(options):
    guests.complete(options)
    names = options.only or NAMES
    with guests.laboratory() as place:
        facts = machine.describe(place.dir)
        host = Guest(place, "pg")
        host.start(memory_mib=MEMORY_MIB)
        guest_us = guests.system_call_us(host)
        volumes = [_ENTER[name](place, host, options) for name in names]
        for volume in volumes:
            volume.write_all()
        figures = guests.measure_fio(volumes, LOADS, options.rounds, max(options.runtime // FIO_SHARE, 2))
        for volume in volumes:
            volume.create_database(options.scale)
        figures |= guests.measure_pgbench(volumes, options)
    found = _goals(figures)
    result = {"machine": facts, "runtime_s": options.runtime, "rounds": options.rounds, "quick": options.quick, "size_bytes": options.size << 20, "scale": options.scale,
              "note": NOTE, "guest_system_call_us": guest_us, "disturbed": {v.name: v.disturbed for v in volumes if v.disturbed},
              "loads": figures, "goals": [g.as_json() for g in found]}
    _print(result, figures, found)
    return result, 1 if options.strict and any(goal.met is False for goal in found) else 0


def _disks(place, name, options):
    """Two files that are written whole: no block is allocated under measurement."""
    size_bytes = (options.size << 20) * 5 // 4 + LOG_AND_MORE_BYTES
    scratch.say(f"two disks of {size_bytes >> 20} MiB: {name}")
    disks = [place.dir / f"{name}-{number}.disk" for number in (1, 2)]
    for disk in disks:
        chunk = os.urandom(1 << 20)
        with open(disk, "wb") as file:
            for _ in range(size_bytes >> 20):
                file.write(chunk)
            os.fsync(file.fileno())
        os.chown(disk, GUEST_UID, GUEST_UID)
    return disks


def _enter_holdfast(place, guest, options):
    disks = _disks(place, "holdfast", options)
    cluster = Cluster(place, nodes=len(disks), make_node=lambda number, etcd: GuestNode(place, number, etcd, options.build.absolute(), disks[number - 1]))
    cluster.start()
    target = cluster.create_volume("bench", f"{options.size}MiB", device=DISK)
    return _attach("holdfast", guest, cluster.portal, target, lambda: cluster.standing("bench"))


def _enter_drbd(place, guest, options):
    pair = DrbdPair(place, _disks(place, "drbd", options))
    pair.start(options.size << 20)
    return _attach("drbd-lio", guest, pair.portal, pair.target, pair.require_well)


_ENTER = {"holdfast": _enter_holdfast, "drbd-lio": _enter_drbd}


def _attach(name, guest, portal, target, state):
    host = PostgresHost(guest.lab, guest=guest)
    host.attach(portal, target)
    return guests.Volume(name, host, state)


def _goals(figures):
    found = [(load["name"], "iops", f"durable {load['name']}, IOPS over DRBD's with LIO") for load in LOADS]
    found.append((guests.PGBENCH["name"], "tps", "pgbench, tps over DRBD's with LIO"))
    return [goals.Goal(name, guests.over(figures, load, *NAMES, metric), 1.0, False, "x") for load, metric, name in found]


def _print(result, figures, found):
    print(machine.line(result["machine"]))
    print(f"guests on User Mode Linux, where a system call costs {result['guest_system_call_us']:.1f} us; volumes of {result['size_bytes'] >> 20} MiB, written once before; "
          f"pgbench: ext4, scale {result['scale']}; {result['rounds']} rounds, contestants by turns; medians")
    print(result["note"] + "\n")
    guests.print_fio({name: by for name, by in figures.items() if name != guests.PGBENCH["name"]})
    print()
    guests.print_pgbench({guests.PGBENCH["name"]: figures[guests.PGBENCH["name"]]})
    print("\ngoals")
    for goal in found:
        print(goal.line())
    for who, times in result["disturbed"].items():
        print(f"{who}: {times} measurements were thrown away and repeated, because a copy left or another node took over")

"""tools/bench amplification: bytes sent to the device for each byte that an initiator wrote."""

import time

from . import fio, goals, holdfast, machine, scratch, table

LOADS = [
    {"name": "4k random writes, depth 32", "rw": "randwrite", "bs": "4k", "depth": 32, "goal": 2.3},
    {"name": "64k sequential writes, depth 4", "rw": "write", "bs": "64k", "depth": 4, "goal": None},
    {"name": "1m sequential writes, depth 4", "rw": "write", "bs": "1m", "depth": 4, "goal": 1.05},
]


def add_arguments(parser):
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="size of the volume (default %(default)s)")
    parser.add_argument("--log", type=int, default=64, metavar="MIB", help="size of the log (default %(default)s)")
    parser.add_argument("--wraps", type=float, default=4, help="how often the log is written over at least, 3 or more (default %(default)s)")


def run(options):
    if options.wraps < 3:
        raise scratch.Failed("--wraps: at least 3, or the log's first pass hides what applying costs")
    client = fio.client()
    server_cpus, client_cpus, _ = machine.placement(options.pin)
    size_bytes, log_bytes = options.size << 20, options.log << 20
    with scratch.Scratch(options.dir) as place:
        node = holdfast.Holdfast(place, options.build, cpus=server_cpus)
        node.create_volume("bench", size_bytes, log_bytes)
        target = fio.Target(url=node.url)
        scratch.say(f"writing {options.size} MiB once")
        fio.run(client, target, {"rw": "write", "bs": "1m", "depth": 4}, place, client_cpus, size_bytes=size_bytes)
        measured = [_measure(load, node, target, client, place, client_cpus, size_bytes, int(log_bytes * options.wraps)) for load in LOADS]
    found = [goals.Goal(f"{m['load']}: bytes written a byte", m["factor"], m["goal"], True, "x") for m in measured if m["goal"]]
    print(f"volume {options.size} MiB, written once before; log {options.log} MiB; from the server's write_bytes in /proc/<pid>/io\n")
    print(table.render(["load", "written MiB", "log wraps", "device MiB", "factor"],
                       [[m["load"], table.number(m["written_bytes"] / 2**20), f"{m['written_bytes'] / log_bytes:.1f}",
                         table.number(m["device_bytes"] / 2**20), f"{m['factor']:.3f}"] for m in measured]))
    print("\ngoals")
    for goal in found:
        print(goal.line())
    return {"size_bytes": size_bytes, "log_bytes": log_bytes, "loads": measured, "goals": [g.as_json() for g in found]}, \
        0 if all(goal.met for goal in found) else 1


def _measure(load, node, target, client, place, cpus, size_bytes, least_bytes):
    _settle(node)
    before = node.server.written_bytes()
    written = 0
    # Whole passes over the volume, or fio's random offsets would repeat within one pass only.
    while written < least_bytes:
        scratch.say(f"{load['name']}: {written >> 20} of {least_bytes >> 20} MiB")
        amount = min(size_bytes, max(least_bytes - written, 64 << 20))
        written += fio.run(client, target, load, place, cpus, size_bytes=size_bytes, io_bytes=amount, seed=written + 1)["bytes"]
    _settle(node)
    spent = node.server.written_bytes() - before
    return {"load": load["name"], "goal": load["goal"], "written_bytes": written, "device_bytes": spent, "factor": spent / written}


def _settle(node):
    """Waits until what was acknowledged is applied: its cost belongs to the load that caused it."""
    last, since = node.server.written_bytes(), time.monotonic()
    deadline = time.monotonic() + 60
    while time.monotonic() - since < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
        now = node.server.written_bytes()
        if now != last:
            last, since = now, time.monotonic()

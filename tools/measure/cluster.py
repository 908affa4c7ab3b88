"""tools/bench cluster: Holdfast with one, two and three copies against as many raw files at once and tgt, in one run, by turns."""

from . import contest, fio, goals, loads, machine, nodes, round_trip, scratch, table, tgt

COUNTS = (1, 2, 3)
OURS = [f"holdfast-{n}" for n in COUNTS]
RAW = [f"raw-{n}" for n in COUNTS]
NAMES = [*OURS, "tgt", *RAW]
OVERHEAD_US = 60             # Ours, beyond as many syncs at once and a round trip.
STEADY_IOPS = 20_000
SHARE_OF_RAW = 0.6
LOG_BYTES = 256 << 20        # The default of new volumes.

NOTE = ("holdfast-N: N copies, each by a process of its own on this machine; durable on all of them when acknowledged. raw-N: N files at once, by fio, io_uring, "
        "O_DIRECT; writes O_DSYNC, so durable; IOPS and MB/s are the sum of the files. tgt: one copy, aio, O_DIRECT, writes are NOT synced.")


def add_arguments(parser):
    parser.add_argument("--quick", action="store_true", help="1 s a measurement and 256 MiB volumes: no steady state")
    parser.add_argument("--runtime", type=float, metavar="S", help="seconds a measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians count (default %(default)s)")
    parser.add_argument("--size", type=int, metavar="MIB", help="size of volumes and files (default 1024)")
    parser.add_argument("--load", action="append", metavar="TEXT", help="only loads whose name begins with this; may be repeated")
    parser.add_argument("--only", action="append", choices=NAMES, help="only this contestant; may be repeated")
    parser.add_argument("--strict", action="store_true", help="exit status 1 when a goal is missed")


def run(options):
    runtime_s = options.runtime or (1 if options.quick else 5)
    size_bytes = (options.size or (256 if options.quick else 1024)) << 20
    chosen = loads.choose(options.load, loads.CLUSTER)
    client = fio.client()
    server_cpus, client_cpus, where = machine.placement(options.pin)
    trips_us = []
    with scratch.Scratch(options.dir) as place:
        facts = machine.describe(place.path)
        contestants = _enter(options.only or NAMES, place, options, size_bytes, server_cpus)
        # In a steady state the log has been written over once, and what is written is applied at the rate at which it comes.
        contest.precondition(contestants, client, place, size_bytes, client_cpus, random_bytes=None if options.quick else LOG_BYTES)
        figures = contest.run(contestants, chosen, client, place, client_cpus, runtime_s, options.rounds,
                              before_round=lambda: trips_us.append(round_trip.measure_us(runtime_s / 2, server_cpus)))
        memory = {c.name: c.server.peak_memory_bytes() for c in contestants if c.server}
    found = _goals(figures, table.median(trips_us))
    result = {
        "machine": facts, "placement": where, "client": fio.version(client), "runtime_s": runtime_s, "rounds": options.rounds, "quick": options.quick,
        "size_bytes": size_bytes, "note": NOTE, "round_trips_us": trips_us, "peak_memory_bytes": memory,
        "disturbed": {c.name: c.disturbed for c in contestants if c.disturbed}, "loads": figures, "goals": [g.as_json() for g in found]}
    _print(result, figures, found)
    return result, 1 if options.strict and any(goal.met is False for goal in found) else 0


def _enter(names, place, options, size_bytes, cpus):
    entered = []
    if any(name in OURS for name in names):
        cluster = nodes.Nodes(place, options.build, max(COUNTS), cpus)
        entered += [cluster.create_volume(name, size_bytes, copies) for name, copies in zip(OURS, COUNTS) if name in names]
    if "tgt" in names:
        subject = tgt.Tgt(place, place.preallocate("tgt.img", size_bytes), cpus)
        entered.append(contest.Contestant("tgt", fio.Target(url=subject.url), subject.server))
    raw = [(name, count) for name, count in zip(RAW, COUNTS) if name in names]
    paths = [place.preallocate(f"raw-{number}.img", size_bytes) for number in range(max((count for _, count in raw), default=0))]
    return entered + [contest.Contestant(name, fio.Target(paths=paths[:count]), only_writes=count > 1) for name, count in raw]


def _get(figures, load, who, metric):
    return figures.get(load, {}).get(who, {}).get(metric)


def _goals(figures, trip_us):
    found = []
    for count, ours, raw in zip(COUNTS, OURS, RAW):
        mine, floor = (_get(figures, "4k write depth 1", who, "p50_us") for who in (ours, raw))
        over = mine - floor - trip_us if mine is not None and floor is not None else None
        found.append(goals.Goal(f"durable 4k write at depth 1, {_copies(count)}, p50 over {_files(count)} and a round trip", over, OVERHEAD_US, True, " us"))
    mine, raw = (_get(figures, "4k write depth 32", who, "iops") for who in (OURS[-1], RAW[-1]))
    found.append(goals.Goal("durable 4k writes at depth 32 with 3 copies, IOPS", mine, STEADY_IOPS, False))
    found.append(goals.Goal("durable 4k writes at depth 32 with 3 copies, IOPS over those of each of 3 raw files at once",
                            mine / (raw / COUNTS[-1]) if mine is not None and raw else None, SHARE_OF_RAW, False, "x"))
    return found


def _copies(count):
    return "1 copy" if count == 1 else f"{count} copies"


def _files(count):
    return "the raw file" if count == 1 else f"{count} raw files at once"


def _print(result, figures, found):
    print(machine.line(result["machine"]))
    print(f"{result['client']} (libiscsi engine for the targets); {result['placement']}")
    print(f"{result['size_bytes'] >> 20} MiB, written once before; {result['rounds']} rounds of {result['runtime_s']:g} s, contestants by turns; medians")
    print(result["note"])
    trips = result["round_trips_us"]
    print(f"round trip over loopback: {table.median(trips):.0f} us (p50; in the rounds {min(trips):.0f} to {max(trips):.0f})\n")
    rows = []
    for load, by in figures.items():
        for who, f in by.items():
            rows.append([f"{load}: {who}", *(table.number(f[m]) for m in ("iops", "mb_s", "p50_us", "p99_us", "p999_us", "cpu_us_per_io")), _spread(f)])
    print(table.render(["load", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us", "CPU us/IO", "noise"], rows))
    _print_ratios(figures)
    print("\ngoals")
    for goal in found:
        print(goal.line())
    for who, used in result["peak_memory_bytes"].items():
        print(f"peak memory of {who}: {used >> 20} MiB")
    for who, times in result["disturbed"].items():
        print(f"{who}: {times} measurements were thrown away and repeated, because a copy left or another node took over")


def _print_ratios(figures):
    """Each count of copies against as many raw files at once, and what a further copy costs."""
    rows = []
    for load, by in figures.items():
        for count, ours, raw in zip(COUNTS, OURS, RAW):
            if ours not in by:
                continue
            mine, alone, floor, other = (by.get(who, {}) for who in (ours, OURS[0], raw, "tgt"))
            rows.append([f"{load}: {_copies(count)}", table.ratio(_divide(mine["iops"] * count, floor.get("iops"))),
                         table.number(mine["p50_us"] - floor["p50_us"] if floor else None), table.number(mine["p99_us"] - floor["p99_us"] if floor else None),
                         table.ratio(_divide(mine["iops"], alone.get("iops"))), table.ratio(_divide(mine["iops"], other.get("iops")))])
    if rows:
        print()
        print(table.render(["load", "IOPS / each raw", "p50 - raw us", "p99 - raw us", "IOPS / 1 copy", "IOPS / tgt"], rows))


def _divide(a, b):
    return a / b if a is not None and b else None


def _spread(figure):
    values = [run["iops"] for run in figure["rounds"]]
    return f"{100 * (max(values) - min(values)) / figure['iops']:.0f} %"

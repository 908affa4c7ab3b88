"""tools/bench single: Holdfast against tgt and the raw file, in one run, by turns."""

from . import contest, fio, goals, holdfast, loads, machine, scratch, table, tgt

NOTE = ("raw: fio, io_uring, O_DIRECT; writes O_DSYNC, so durable. holdfast: durable when acknowledged. "
        "tgt: aio, O_DIRECT, writes are NOT synced (its write cache is on: an acknowledged write may be lost).")


def add_arguments(parser):
    parser.add_argument("--quick", action="store_true", help="1 s a measurement and a 256 MiB volume")
    parser.add_argument("--runtime", type=float, metavar="S", help="seconds a measurement (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians count (default %(default)s)")
    parser.add_argument("--size", type=int, metavar="MIB", help="size of volume and files (default 1024)")
    parser.add_argument("--load", action="append", metavar="TEXT", help="only loads whose name begins with this; may be repeated")
    parser.add_argument("--only", action="append", choices=["holdfast", "tgt", "raw"], help="only this contestant; may be repeated")
    parser.add_argument("--strict", action="store_true", help="exit status 1 when a goal is missed")


def run(options):
    runtime_s = options.runtime or (1 if options.quick else 5)
    size_bytes = (options.size or (256 if options.quick else 1024)) << 20
    chosen = loads.choose(options.load)
    names = options.only or ["holdfast", "tgt", "raw"]
    client = fio.client()
    server_cpus, client_cpus, where = machine.placement(options.pin)
    with scratch.Scratch(options.dir) as place:
        facts = machine.describe(place.path)
        contestants = [_enter(name, place, options, size_bytes, server_cpus) for name in names]
        contest.precondition(contestants, client, place, size_bytes, client_cpus)
        figures = contest.run(contestants, chosen, client, place, client_cpus, runtime_s, options.rounds)
        memory = {c.name: c.server.peak_memory_bytes() for c in contestants if c.server}
    result = {
        "machine": facts, "placement": where, "client": fio.version(client), "runtime_s": runtime_s, "rounds": options.rounds,
        "size_bytes": size_bytes, "note": NOTE, "peak_memory_bytes": memory, "loads": figures, "goals": [g.as_json() for g in _goals(figures)]}
    _print(result, figures, names)
    missed = [g for g in _goals(figures) if g.met is False]
    return result, 1 if options.strict and missed else 0


def _enter(name, place, options, size_bytes, cpus):
    if name == "raw":
        return contest.Contestant("raw", fio.Target(path=place.preallocate("raw.img", size_bytes)))
    if name == "tgt":
        subject = tgt.Tgt(place, place.preallocate("tgt.img", size_bytes), cpus)
    else:
        subject = holdfast.Holdfast(place, options.build, cpus=cpus)
        subject.create_volume("bench", size_bytes)
    return contest.Contestant(name, fio.Target(url=subject.url), subject.server)


def _get(figures, load, who, metric):
    return figures.get(load, {}).get(who, {}).get(metric)


def _divide(a, b):
    return a / b if a is not None and b else None


def _minus(a, b):
    return a - b if a is not None and b is not None else None


def _goals(figures):
    def versus_raw(load):
        return _minus(_get(figures, load, "holdfast", "p50_us"), _get(figures, load, "raw", "p50_us"))

    def versus_tgt(load, metric):
        return _divide(_get(figures, load, "holdfast", metric), _get(figures, load, "tgt", metric))

    return [
        goals.Goal("durable 4k write at depth 1, p50 over the raw file", versus_raw("4k write depth 1"), 25, True, " us"),
        goals.Goal("4k read at depth 1, p50 over the raw file", versus_raw("4k read depth 1"), 20, True, " us"),
        goals.Goal("durable 4k writes at depth 32, IOPS over tgt's unsynced ones", versus_tgt("4k write depth 32", "iops"), 1.4, False, "x"),
        goals.Goal("4k reads at depth 32, IOPS over tgt's", versus_tgt("4k read depth 32", "iops"), 2.3, False, "x"),
        goals.Goal("1m durable writes, MB/s over tgt's unsynced ones", versus_tgt("1m write depth 4", "mb_s"), 1.2, False, "x"),
        goals.Goal("1m reads, MB/s over tgt's", versus_tgt("1m read depth 4", "mb_s"), 1.0, False, "x"),
        goals.Goal("server CPU a 4k write at depth 32", _get(figures, "4k write depth 32", "holdfast", "cpu_us_per_io"), 10, True, " us"),
        goals.Goal("server CPU a 4k read at depth 32", _get(figures, "4k read depth 32", "holdfast", "cpu_us_per_io"), 10, True, " us"),
    ]


def _print(result, figures, names):
    print(machine.line(result["machine"]))
    print(f"{result['client']} (libiscsi engine for the targets); {result['placement']}")
    print(f"{result['size_bytes'] >> 20} MiB, written once before; {result['rounds']} rounds of {result['runtime_s']:g} s, contestants by turns; medians")
    print(result["note"] + "\n")
    rows = []
    for load, by in figures.items():
        for who in names:
            f = by[who]
            rows.append([f"{load}: {who}", *(table.number(f[m]) for m in ("iops", "mb_s", "p50_us", "p99_us", "p999_us", "cpu_us_per_io"))])
    print(table.render(["load", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us", "CPU us/IO"], rows))
    if "holdfast" in names and len(names) > 1:
        print()
        rows = []
        for load, by in figures.items():
            mine, raw, other = by["holdfast"], by.get("raw", {}), by.get("tgt", {})
            rows.append([load, table.ratio(_divide(mine["iops"], other.get("iops"))), table.ratio(_divide(mine["iops"], raw.get("iops"))),
                         table.number(_minus(mine["p50_us"], raw.get("p50_us"))), table.number(_minus(mine["p99_us"], raw.get("p99_us"))),
                         table.ratio(_divide(mine["cpu_us_per_io"], other.get("cpu_us_per_io")))])
        print(table.render(["load", "IOPS / tgt", "IOPS / raw", "p50 - raw us", "p99 - raw us", "CPU / tgt"], rows))
        print("\ngoals")
        for goal in _goals(figures):
            print(goal.line())
    for who, used in result["peak_memory_bytes"].items():
        print(f"peak memory of {who}: {used >> 20} MiB")

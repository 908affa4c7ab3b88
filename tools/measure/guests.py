"""What the comparisons in guests share: a lab of one run, and contestants that are volumes on which a guest runs fio and pgbench."""

import contextlib
import shlex
import time

from rig import interrupts, lab, preparation
from rig.errors import RigError
from rig.load import Pgbench

from . import contest, fio, scratch, table

FIO_METRICS = tuple(metric for metric in contest.METRICS if metric != "cpu_us_per_io")   # Whose CPU it is cannot be told: a guest is many processes.
PGBENCH_METRICS = ("tps", "latency_ms")
CLIENTS = 4
PGBENCH = {"name": f"pgbench, {CLIENTS} clients", "rw": "write"}
WARM_UP_S = 4
FILL_TIMEOUT_S = 600
SYSTEM_CALLS = 100_000


@contextlib.contextmanager
def laboratory():
    """Namespaces, guests and files of this run: all of it is gone at the end, also after Ctrl-C. Images are built first if need be."""
    interrupts.catch()
    try:
        preparation.build_images()
        lab.require_host()
        lab.sweep()
        with lab.Lab() as place:
            yield place.create()
    except RigError as error:
        raise scratch.Failed(str(error)) from error
    except interrupts.Interrupted as signal:
        raise KeyboardInterrupt(str(signal)) from signal


def add_arguments(parser, names):
    """names: of the contestants."""
    parser.add_argument("--quick", action="store_true", help="2 rounds of short measurements on small volumes")
    parser.add_argument("--runtime", type=int, metavar="S", help="seconds of a pgbench run (default 20)")
    parser.add_argument("--rounds", type=int, help="rounds; medians count (default 5)")
    parser.add_argument("--size", type=int, metavar="MIB", help="size of the volumes, 512 or more (default 1024)")
    parser.add_argument("--scale", type=int, help="pgbench scale, about 15 MiB each (default 10)")
    parser.add_argument("--strict", action="store_true", help="exit status 1 when a goal is missed")
    parser.add_argument("--only", action="append", choices=names, help="only this contestant; may be repeated")


def complete(options):
    """Fills in what was not given, by --quick or not."""
    for name, full, quick in (("runtime", 20, 5), ("rounds", 5, 2), ("size", 1024, 512), ("scale", 10, 2)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    if options.size < 512 or options.rounds < 1 or options.runtime < 1 or options.scale < 1:
        raise scratch.Failed("--size: 512 or more; --rounds, --runtime and --scale: 1 or more")


class Volume(contest.Contestant):
    """host: a rig.host.PostgresHost that is attached. state: a function, as contest.Contestant.state()."""

    def __init__(self, name, host, state):
        super().__init__(name, fio.Target(path=host.device))
        self.host = host
        self.state = state

    def fio(self, load, **limits):
        """The guest's own fio; limits as of fio.run()."""
        words = shlex.join(["fio", "--output=/tmp/fio.json", *map(str, fio.arguments(self.target, load, **limits))])
        done = self.host.guest.run(f"rm -f /tmp/fio.json; {words} >&2; status=$?; cat /tmp/fio.json; exit $status",
                                   timeout_s=int(limits.get("runtime_s") or 0) + FILL_TIMEOUT_S, check=False)
        return fio.figures(self.target, load, done.returncode, done.stdout, done.stderr)

    def write_all(self):
        scratch.say(f"writing all of it once: {self.name}")
        contest.undisturbed(self, "writing all of it", lambda: self.fio({"rw": "write", "bs": "1m", "depth": 4}))

    def create_database(self, scale):
        """What was written before stays allocated: nobody allocates under measurement."""
        scratch.say(f"file system and database: {self.name}")
        self.host.format("ext4", discard=False)
        self.scale = scale
        with self._serving():
            pass

    @contextlib.contextmanager
    def _serving(self):
        """PostgreSQL runs on this volume, and on no other one."""
        self.host.mount()
        first = not self.host.has_database()
        if first:
            self.host.postgres("init")
        self.host.postgres("start")
        if first:
            Pgbench(self.host.guest, scale=self.scale).fill()
        yield
        self.host.postgres("stop")
        self.host.unmount()

    def pgbench(self, seconds):
        """A short run before it warms the server up, which was just started."""
        with self._serving():
            for length in (WARM_UP_S, seconds):
                bench = Pgbench(self.host.guest, scale=self.scale)
                bench.start(length, clients=CLIENTS)
                bench.finish()
        return {"tps": bench.tps_average, "latency_ms": bench.latency_ms}


def measure_pgbench(volumes, options):
    return contest.take_turns(volumes, [PGBENCH], options.rounds,
                              lambda volume, load, _: contest.undisturbed(volume, load["name"], lambda: volume.pgbench(options.runtime)), PGBENCH_METRICS)


def measure_fio(volumes, loads, rounds, runtime_s):
    return contest.take_turns(volumes, loads, rounds,
                              lambda volume, load, turn: contest.undisturbed(volume, load["name"], lambda: volume.fio(load, runtime_s=runtime_s, seed=turn + 1)),
                              FIO_METRICS)


def system_call_us(guest):
    """What a system call costs in a guest: dd makes two for each block that it copies."""
    began = time.monotonic()
    guest.run("true")
    idle_s = time.monotonic() - began
    began = time.monotonic()
    guest.run(f"dd if=/dev/zero of=/dev/null bs=1 count={SYSTEM_CALLS // 2} status=none", timeout_s=300)
    return max(time.monotonic() - began - idle_s, 0) / SYSTEM_CALLS * 1e6


def print_pgbench(figures):
    print(table.render(["load", "tps", "latency ms", "in the rounds"],
                       [[f"{load}: {who}", table.number(f["tps"]), table.number(f["latency_ms"]), spread(f, "tps")] for load, by in figures.items() for who, f in by.items()]))


def print_fio(figures):
    print(table.render(["load", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us", "IOPS in the rounds"],
                       [[f"{load}: {who}", *(table.number(f[m]) for m in ("iops", "mb_s", "p50_us", "p99_us", "p999_us")), spread(f, "iops")]
                        for load, by in figures.items() for who, f in by.items()]))


def spread(figure, metric):
    values = [run[metric] for run in figure["rounds"]]
    return f"{table.number(min(values))} to {table.number(max(values))}"


def over(figures, load, mine, other, metric):
    """The ratio of two contestants' medians; None when one of them was not measured."""
    a, b = (figures.get(load, {}).get(who, {}).get(metric) for who in (mine, other))
    return a / b if a is not None and b else None

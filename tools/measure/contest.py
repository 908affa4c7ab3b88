"""Takes turns: every contestant meets every load in every round, one at a time, and medians over the rounds count."""

import time

from . import fio, scratch, table

METRICS = ("iops", "mb_s", "mean_us", "p50_us", "p99_us", "p999_us", "max_us", "cpu_us_per_io")


ATTEMPTS = 4   # Of a measurement that is disturbed.


class Contestant:
    """name; target: a fio.Target; server: a scratch.Server or None (then the CPU is not known); only_writes: it is measured with no other load."""

    def __init__(self, name, target, server=None, only_writes=False):
        self.name = name
        self.target = target
        self.server = server
        self.only_writes = only_writes
        self.disturbed = 0   # Measurements that were thrown away.

    def state(self):
        """What has to be the same before and after a measurement, or it counts for nothing."""

    def meets(self, load):
        return not self.only_writes or "write" in load["rw"]


def precondition(contestants, client, place, size_bytes, cpus, random_bytes=None):
    """Writes every volume once, so that nobody allocates or converts extents under measurement; then at random, so much or for a second."""
    for contestant in contestants:
        scratch.say(f"writing {size_bytes >> 20} MiB once: {contestant.name}")
        undisturbed(contestant, "writing all of it", lambda to=contestant.target: fio.run(
            client, to, {"rw": "write", "bs": "1m", "depth": 4}, place, cpus, size_bytes=size_bytes))
        amount = {"size_bytes": size_bytes, "io_bytes": random_bytes} if random_bytes else {"runtime_s": 1}
        undisturbed(contestant, "writing at random", lambda to=contestant.target: fio.run(
            client, to, {"rw": "randwrite", "bs": "4k", "depth": 32}, place, cpus, **amount))


def measure_once(contestant, load, client, place, cpus, runtime_s, seed):
    return undisturbed(contestant, load["name"], lambda: _measure(contestant, load, client, place, cpus, runtime_s, seed))


def undisturbed(contestant, what, measure):
    for _ in range(ATTEMPTS):
        before = contestant.state()
        try:
            figures = measure()
        except scratch.Failed:
            if contestant.server:
                contestant.server.ensure_alive()   # A dead server is the better explanation.
            if contestant.state() == before:
                raise
        else:
            if contestant.state() == before:
                return figures
        contestant.disturbed += 1
    raise scratch.Failed(f"{what}: {contestant.name} was disturbed {ATTEMPTS} times in a row")


def _measure(contestant, load, client, place, cpus, runtime_s, seed):
    if contestant.server:
        contestant.server.ensure_alive()
        cpu_before = contestant.server.cpu_us()
    figures = fio.run(client, contestant.target, load, place, cpus, runtime_s=runtime_s, seed=seed)
    # Login and logout are in this too: a few hundred microseconds of thousands of I/Os.
    used = contestant.server.cpu_us() - cpu_before if contestant.server else None
    figures["cpu_us_per_io"] = used / max(figures["ios"], 1) if used is not None else None
    return figures


def run(contestants, loads, client, place, cpus, runtime_s, rounds, pause_s=0.3, before_round=lambda: None):
    """take_turns() with fio as the client, on this machine."""
    return take_turns(contestants, loads, rounds, lambda contestant, load, turn: measure_once(contestant, load, client, place, cpus, runtime_s, seed=turn + 1),
                      pause_s=pause_s, before_round=before_round)


def take_turns(contestants, loads, rounds, measure, metrics=METRICS, pause_s=0.3, before_round=lambda: None):
    """{load: {contestant: {metric: median, "rounds": [...]}}}; the first of the metrics is the one that is shown meanwhile."""
    taken = {load["name"]: {c.name: [] for c in contestants if c.meets(load)} for load in loads}
    for turn in range(rounds):
        before_round()
        for load in loads:
            # Who begins changes, so that nobody always runs after the same neighbour.
            order = [c for c in contestants[turn % len(contestants):] + contestants[:turn % len(contestants)] if c.meets(load)]
            for contestant in order:
                taken[load["name"]][contestant.name].append(measure(contestant, load, turn))
                time.sleep(pause_s)   # Let the device and the servers' background work settle.
            shown = ", ".join(f"{who} {table.number(runs[-1][metrics[0]])}/s" for who, runs in taken[load["name"]].items())
            scratch.say(f"[round {turn + 1}/{rounds}] {load['name']}: {shown}")
    return {name: {who: _medians(runs, metrics) for who, runs in by.items()} for name, by in taken.items()}


def _medians(runs, metrics):
    result = {}
    for metric in metrics:
        values = [run[metric] for run in runs if run[metric] is not None]
        result[metric] = table.median(values) if values else None
    result["rounds"] = runs
    return result

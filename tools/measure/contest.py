"""Takes turns: every contestant meets every load in every round, one at a time, and medians over the rounds count."""

import time

from . import fio, scratch, table

METRICS = ("iops", "mb_s", "mean_us", "p50_us", "p99_us", "p999_us", "max_us", "cpu_us_per_io")


class Contestant:
    """name; target: a fio.Target; server: a scratch.Server or None (then the CPU is not known)."""

    def __init__(self, name, target, server=None):
        self.name = name
        self.target = target
        self.server = server


def precondition(contestants, client, place, size_bytes, cpus):
    """Writes every volume once, so that nobody allocates or converts extents under measurement."""
    for contestant in contestants:
        scratch.say(f"writing {size_bytes >> 20} MiB once: {contestant.name}")
        fio.run(client, contestant.target, {"rw": "write", "bs": "1m", "depth": 4}, place, cpus, size_bytes=size_bytes)
        fio.run(client, contestant.target, {"rw": "randwrite", "bs": "4k", "depth": 32}, place, cpus, runtime_s=1)


def measure_once(contestant, load, client, place, cpus, runtime_s, seed):
    if contestant.server:
        contestant.server.ensure_alive()
        cpu_before = contestant.server.cpu_us()
    try:
        figures = fio.run(client, contestant.target, load, place, cpus, runtime_s=runtime_s, seed=seed)
    except scratch.Failed:
        if contestant.server:
            contestant.server.ensure_alive()   # A dead server is the better explanation.
        raise
    # Login and logout are in this too: a few hundred microseconds of thousands of I/Os.
    used = contestant.server.cpu_us() - cpu_before if contestant.server else None
    figures["cpu_us_per_io"] = used / max(figures["ios"], 1) if used is not None else None
    return figures


def run(contestants, loads, client, place, cpus, runtime_s, rounds, pause_s=0.3):
    """{load: {contestant: {metric: median, "rounds": [...]}}}"""
    taken = {load["name"]: {c.name: [] for c in contestants} for load in loads}
    for turn in range(rounds):
        for load in loads:
            # Who begins changes, so that nobody always runs after the same neighbour.
            order = contestants[turn % len(contestants):] + contestants[:turn % len(contestants)]
            for contestant in order:
                figures = measure_once(contestant, load, client, place, cpus, runtime_s, seed=turn + 1)
                taken[load["name"]][contestant.name].append(figures)
                time.sleep(pause_s)   # Let the device and the servers' background work settle.
            shown = ", ".join(f"{c.name} {table.number(taken[load['name']][c.name][-1]['iops'])}/s" for c in contestants)
            scratch.say(f"[round {turn + 1}/{rounds}] {load['name']}: {shown}")
    return {name: {who: _medians(runs) for who, runs in by.items()} for name, by in taken.items()}


def _medians(runs):
    result = {}
    for metric in METRICS:
        values = [run[metric] for run in runs if run[metric] is not None]
        result[metric] = table.median(values) if values else None
    result["rounds"] = runs
    return result

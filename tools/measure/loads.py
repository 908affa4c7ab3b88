"""The loads. On the raw file every write is O_DSYNC: durable, as Holdfast's is; tgt's is not (see tgt.py)."""

from . import scratch

RANDOM_4K = [
    {"name": "4k write depth 1", "rw": "randwrite", "bs": "4k", "depth": 1},
    {"name": "4k write depth 32", "rw": "randwrite", "bs": "4k", "depth": 32},
    {"name": "4k read depth 1", "rw": "randread", "bs": "4k", "depth": 1},
    {"name": "4k read depth 32", "rw": "randread", "bs": "4k", "depth": 32},
]
SEQUENTIAL = [
    {"name": "64k write depth 4", "rw": "write", "bs": "64k", "depth": 4},
    {"name": "64k read depth 4", "rw": "read", "bs": "64k", "depth": 4},
    {"name": "1m write depth 4", "rw": "write", "bs": "1m", "depth": 4},
    {"name": "1m read depth 4", "rw": "read", "bs": "1m", "depth": 4},
]
ALL = RANDOM_4K + SEQUENTIAL
CLUSTER = RANDOM_4K + [load for load in SEQUENTIAL if load["rw"] == "write"]   # Reads are one copy's business, however many there are.


def choose(patterns, among=ALL):
    """Loads whose name begins with any of the patterns; all without patterns. Failed when there is none."""
    chosen = [load for load in among if not patterns or any(load["name"].startswith(pattern) for pattern in patterns)]
    if not chosen:
        raise scratch.Failed(f"no load begins with {' or '.join(patterns)}; there are: " + ", ".join(load["name"] for load in among))
    return chosen

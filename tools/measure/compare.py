"""tools/bench compare: this build against the build of another revision, by turns."""

import shutil
import subprocess

from . import contest, fio, holdfast, loads, machine, scratch, table


def add_arguments(parser):
    parser.add_argument("revision", metavar="REV", help="a git revision to compare with")
    parser.add_argument("--runtime", type=float, default=3, metavar="S", help="seconds a measurement (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians count (default %(default)s)")
    parser.add_argument("--size", type=int, default=512, metavar="MIB", help="size of the volumes (default %(default)s)")
    parser.add_argument("--load", action="append", metavar="TEXT", help="only loads whose name begins with this; may be repeated")


def run(options):
    client = fio.client()
    server_cpus, client_cpus, where = machine.placement(options.pin)
    size_bytes = options.size << 20
    with scratch.Scratch(options.dir) as place:
        other = _build(options.revision, place)
        contestants = []
        for name, build in (("this", options.build), (options.revision, other)):
            node = holdfast.Holdfast(place, build, name=f"node-{len(contestants)}", cpus=server_cpus)
            node.create_volume("bench", size_bytes)
            contestants.append(contest.Contestant(name, fio.Target(url=node.url), node.server))
        contest.precondition(contestants, client, place, size_bytes, client_cpus)
        figures = contest.run(contestants, loads.choose(options.load), client, place, client_cpus, options.runtime, options.rounds)
    print(f"{where}; {options.size} MiB; {options.rounds} rounds of {options.runtime:g} s, by turns; medians\n")
    rows = []
    for load, by in figures.items():
        mine, theirs = by["this"], by[options.revision]
        rows.append([load, table.number(mine["iops"]), table.number(theirs["iops"]), f"{mine['iops'] / theirs['iops']:.3f}x",
                     table.number(mine["p50_us"]), table.number(theirs["p50_us"]), table.number(mine["p99_us"]), table.number(theirs["p99_us"]),
                     f"{mine['cpu_us_per_io']:.1f}", f"{theirs['cpu_us_per_io']:.1f}", _spread(mine, theirs)])
    print(table.render(["load", "IOPS", "theirs", "ratio", "p50 us", "theirs", "p99 us", "theirs", "CPU us/IO", "theirs", "noise"], rows))
    print("\nnoise: the larger of the two spreads (maximum - minimum over the rounds, of the median IOPS); a ratio within it says nothing")
    return {"revision": options.revision, "placement": where, "loads": figures}, 0


def _spread(*sides):
    spreads = []
    for side in sides:
        values = [run["iops"] for run in side["rounds"]]
        spreads.append((max(values) - min(values)) / side["iops"])
    return f"{100 * max(spreads):.0f} %"


def _build(revision, place):
    """Builds holdfastd and holdfast of the revision in a worktree of its own, which goes away with the scratch directory."""
    git = [scratch.need("git", "git"), "-C", str(scratch.ROOT)]
    tree = place.path / "tree"
    added = subprocess.run([*git, "worktree", "add", "--detach", str(tree), revision], capture_output=True, text=True)
    if added.returncode != 0:
        raise scratch.Failed(f"git worktree add {revision}: {added.stderr.strip()}")
    place.undo.append(lambda: (shutil.rmtree(tree, ignore_errors=True), subprocess.run([*git, "worktree", "prune"], capture_output=True)))
    scratch.say(f"building {revision} …")
    log = place.path / "build.log"
    for words in (["cmake", "--preset", "release", "-DHOLDFAST_TESTS=OFF"], ["cmake", "--build", "build", "--target", "holdfastd", "holdfast"]):
        with open(log, "ab") as out:
            if subprocess.run(words, cwd=tree, stdout=out, stderr=out).returncode != 0:
                tail = log.read_text(errors="replace").splitlines()[-10:]
                raise scratch.Failed(f"building {revision} failed:\n" + "\n".join("  | " + line for line in tail))
    return tree / "build"

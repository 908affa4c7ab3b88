"""Rows of the catalogue: played so many times on set-ups that they share, with a line of JSON a run, by which a long series is taken up again."""
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from rig import lab
from rig.errors import RigError
from rig.progress import say

ATTEMPTS_MAX = 3  # On a machine that is busy with other things.
VERIFICATION = "verification"


@dataclass(frozen=True)
class Row:
    id: str
    title: str
    stage: type          # The set-up that it needs.
    play: Callable       # Takes the stage.
    loaded: bool = True  # It wants pgbench and the ledger's clients at work; else it sees to that itself.
    last: bool = False   # The set-up is no good afterwards.


def named(rows, word):
    """An id (F6a), the beginning of several (F6), a group (F, HP, H), or all."""
    group = [row for row in rows if re.sub(r"[^A-Z]", "", row.id).startswith(word)]
    return list(rows) if word == "all" else [row for row in rows if row.id == word or re.fullmatch(word + "[a-z]", row.id)] or group


class Results:
    """Without a file they are kept in memory only."""

    def __init__(self, path=None):
        self.path = path
        self.runs = []
        if path and path.exists():
            self.runs = [run for line in path.read_text().splitlines() if (run := _parsed(line))]

    def add(self, **run):
        self.runs.append(run)
        if self.path:
            with open(self.path, "a") as file:
                file.write(json.dumps(run) + "\n")

    def has_passed(self, row_id, number):
        return any(run["row"] == row_id and run["number"] == number and run["passed"] for run in self.runs)

    def all_passed(self):
        """The last word on each run counts."""
        return all({(run["row"], run["number"]): run["passed"] for run in self.runs}.values())

    def table(self):
        for row_id in dict.fromkeys(run["row"] for run in self.runs):
            runs = [run for run in self.runs if run["row"] == row_id]
            last = {run["number"]: run for run in runs}
            figures = {name: sorted(run["figures"][name] for run in last.values() if name in run["figures"]) for run in last.values() for name in run["figures"]}
            told = "".join(f"; {name} {values[len(values) // 2]:.0f} (at most {values[-1]:.0f})" for name, values in figures.items())
            again = len(runs) - len(last)
            yield f"{row_id:<12} {sum(run['passed'] for run in last.values())}/{len(last)}{f' ({again} more runs)' if again else ''}{told}"
            yield from (f"{'':13}{run['failure'].splitlines()[0]}" for run in last.values() if not run["passed"])


def _parsed(line):
    """A run may have been cut off in the middle of its line."""
    try:
        run = json.loads(line)
    except ValueError:
        return None
    return run if isinstance(run, dict) and "row" in run else None


class Runner:
    def __init__(self, options, results):
        self.options = options
        self.results = results

    def run(self, rows):
        for stage in dict.fromkeys(row.stage for row in rows):
            todo = [(number, row) for number in range(1, self.options.times + 1) for row in rows if row.stage is stage]
            todo = [(number, row) for number, row in todo if not self.results.has_passed(row.id, number)]
            while todo:
                with lab.Lab() as place:
                    todo = self._on_one_set_up(stage, place, todo)

    def _on_one_set_up(self, stage_type, place, todo):
        """Returns what is left to do, on another one."""
        place.create()
        stage = stage_type(place, self.options)
        played = False
        try:
            stage.set_up()
            while todo:
                number, row = todo[0]
                well = self._settled(stage, row, number)
                todo = todo[1:]
                if not well or row.last:
                    return todo
                played = True
            if played:
                self._verify(stage, number)
        except RigError as error:  # Of the set-up.
            self._failed(stage, todo[0][1].id, todo[0][0], error)
            return todo[1:]
        finally:
            stage.metronome.stop()
        return todo

    def _settled(self, stage, row, number):
        """Played, once or, when the machine was busy, again; returns whether the set-up is well."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            say(f"---- {row.id}, {number} of {self.options.times}: {row.title}")
            began = time.monotonic()
            try:
                stage.play(row)
            except RigError as error:
                self._failed(stage, row.id, number, error, seconds=round(time.monotonic() - began, 1), attempt=attempt)
                return False
            failure = "; ".join(words for words, _ in stage.too_long)
            self.results.add(row=row.id, number=number, attempt=attempt, passed=not failure, failure=failure, seconds=round(time.monotonic() - began, 1),
                             figures=stage.figures, proofs=stage.proofs, machine_was_busy=stage.machine_was_busy,
                             machine_stood_still_ms=round(stage.metronome.stood_still_s(began, time.monotonic()) * 1000, 1))
            say(f"---- {row.id} {'FAILED: ' + failure if failure else 'passed'}; {stage.figures}")
            if not stage.machine_was_busy:
                break
        return True

    def _verify(self, stage, number):
        began = time.monotonic()
        try:
            stage.close()
        except RigError as error:
            self._failed(stage, VERIFICATION, number, error)
            return
        self.results.add(row=VERIFICATION, number=number, passed=True, failure="", seconds=round(time.monotonic() - began, 1), figures={}, proofs=[stage.__doc__])

    def _failed(self, stage, row_id, number, error, **more):
        kept = self._keep(stage, f"{row_id}-{number}")
        say(f"---- {row_id} FAILED: {error} {kept}")
        self.results.add(row=row_id, number=number, passed=False, failure=str(error), figures=stage.figures, proofs=stage.proofs, **more)

    def _keep(self, stage, name):
        """What helps to find out why, next to the results."""
        if not self.results.path:
            return ""
        folder = Path(f"{self.results.path}.failed") / name
        folder.mkdir(parents=True, exist_ok=True)
        for node in stage.cluster.nodes:
            if (node.dir / "log").exists():
                shutil.copy(node.dir / "log", folder / f"{node.name}.log")
        for what, command in (("dmesg", "dmesg"), ("multipath", "multipath -ll"), ("postgres", "postgres log")):
            try:
                (folder / what).write_text(stage.host.guest.run(command, check=False, timeout_s=20).stdout)
            except (RigError, OSError):
                pass  # The host may be what is broken.
        return f"(logs are in {folder})"

"""Runs libiscsi's iscsi-test-cu one test at a time and judges each outcome by itself.

The suite's own summary counts a skipped test as passed. Here a pass is a test that asserted something, failed no assertion and
printed no "[SKIPPED]"; a test that skips half-way is a skip.
"""

import dataclasses
import re
import signal
import subprocess
import time

from . import scratch

PASSED, FAILED, SKIPPED, HUNG, VOID = "passed", "failed", "skipped", "hung", "void"

# Tests that no target can pass, with the one assertion that fails and why. They count as neither passed nor failed, and only
# while that assertion is the only one that fails.
NO_TARGET_CAN_PASS = {
    "iSCSITMF.LUNResetSimpleAsync": (
        "test_async_lu_reset_simple.c:157 CU_ASSERT_EQUAL(reconnect_succeeded,1)",
        "libiscsi 1.19 asserts here, before the request is even sent, what only the callback of its answer sets; it fails against every "
        "target (libiscsi moved the assertion afterwards, in its commit 5553d6b)"),
}

_SUMMARY = re.compile(r"^\s*(tests|asserts)\s+(\d+)\s+(\d+)\s+(\d+|n/a)\s+(\d+)", re.MULTILINE)
_SKIP = re.compile(r"\[SKIPPED\]\s*(.*)")


@dataclasses.dataclass
class Outcome:
    test: str          # "Suite.Test"
    verdict: str
    reason: str        # Why it is not a pass; empty for a pass.
    seconds: float
    output: str

    @property
    def suite(self):
        return self.test.split(".")[0]


def program():
    return scratch.need("iscsi-test-cu", "libiscsi-bin")


def list_tests():
    """Every test once, in the suite's order: "Suite.Test"."""
    shown = subprocess.run([program(), "--list"], capture_output=True, text=True, timeout=60).stdout
    tests = [line.strip().split(".", 1)[1] for line in shown.splitlines() if line.strip().startswith("ALL.") and line.count(".") == 2]
    if not tests:
        raise scratch.Failed("iscsi-test-cu --list names no tests")
    return tests


def judge(returncode, output):
    """(verdict, reason) of a run that ended."""
    counts = {kind: (int(total), int(ran), int(failed)) for kind, total, ran, _, failed in _SUMMARY.findall(output)}
    if "tests" not in counts or "asserts" not in counts:
        told = [line.strip() for line in output.splitlines() if line.strip()]
        ending = f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"status {returncode}"
        return FAILED, f"did not reach its summary ({ending}): {told[-1] if told else 'no output'}"
    if counts["tests"][0] != 1:
        return FAILED, f"the name selected {counts['tests'][0]} tests"
    if counts["tests"][2] or counts["asserts"][2] or returncode != 0:
        return FAILED, _first_failure(output)
    skip = _SKIP.search(output)
    if skip:
        return SKIPPED, skip.group(1).strip() or "no reason given"
    warning = re.search(r"\[WARNING\]\s*(.*)", output)
    if counts["asserts"][1] == 0 and (warning or "[SUCCESS]" not in output):
        return SKIPPED, "asserts nothing, " + (f"warns: {warning.group(1).strip()}" if warning else "says nothing")
    return PASSED, ""


def void_reason(test, output):
    """Why this failure says nothing about the target; empty when it does."""
    known, why = NO_TARGET_CAN_PASS.get(test, ("", ""))
    failed = [failed for kind, _, _, _, failed in _SUMMARY.findall(output) if kind == "asserts"]
    return why if known and failed == ["1"] and _first_failure(output).endswith(known) else ""


def _first_failure(output):
    """The first explanation the test printed, and where the assertion stands."""
    told = re.search(r"\[FAILED\]\s*(.*)", output)
    place = re.search(r"^\s*1\. (\S+:\d+)\s+- (.*?)(?:\s{2,}.*)?$", output, re.MULTILINE)
    words = [told.group(1).strip()] if told else []
    words += [f"{place.group(1)} {place.group(2).strip()}"] if place else []
    return "; ".join(words) or "an assertion failed"


def run_test(test, urls, seconds, cwd):
    # -d: destructive, -S: SANITIZE too, -V: without it some skips are silent.
    argv = [program(), "-d", "-S", "-n", "-V", "-t", f"ALL.{test}", *urls]
    started = time.monotonic()
    process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True, text=True, errors="replace")
    try:
        output, _ = process.communicate(timeout=seconds)
        verdict, reason = judge(process.returncode, output)
        if verdict == FAILED and void_reason(test, output):
            verdict, reason = VOID, void_reason(test, output)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        verdict, reason = HUNG, f"no end within {seconds} s"
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Outcome(test, verdict, reason, time.monotonic() - started, output)

"""Processes: started so that nothing outlives its owner, and identified so that a reused pid is never mistaken for ours."""
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

from rig.errors import RigError

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def identity(pid):
    """'pid start-time', which no other process ever has, or None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return f"{pid} {fields[19]}"


def is_alive(recorded):
    """Whether the process once recorded by identity() still runs."""
    return identity(recorded.split()[0]) == recorded


def _become_free():
    """A child may be born while its owner holds signals back (interrupts.py)."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def _die_with_owner():
    _become_free()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def inside(netns, args):
    """nsenter rather than `ip netns exec`: the pid we start is the pid of the program itself."""
    return ["nsenter", f"--net=/run/netns/{netns}", "--", *args] if netns else list(args)


def spawn(args, *, netns=None, die_with_owner=True, **popen):
    """A process in a session of its own, so that a Ctrl-C meant for the owner does not hit it halfway."""
    popen.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(inside(netns, args), start_new_session=True,
                            preexec_fn=_die_with_owner if die_with_owner else _become_free, **popen)


def run(args, *, netns=None, timeout_s=60, check=True, input=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
    """Runs to the end; raises RigError with the command's own words when it fails or hangs. Interrupted, it leaves nothing running."""
    try:
        process = subprocess.Popen(inside(netns, args), text=True, start_new_session=True, preexec_fn=_die_with_owner,
                                   stdin=stdin if input is None else subprocess.PIPE, stdout=stdout, stderr=stderr)
    except FileNotFoundError as missing:
        raise RigError(f"{missing.filename} is not installed: run tools/setup") from None
    try:
        output, errors = process.communicate(input, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_group(process)
        raise RigError(f"`{brief(args)}` did not finish within {timeout_s} s") from None
    except BaseException:
        kill_group(process)
        raise
    if check and process.returncode != 0:
        words = "\n".join(part.strip() for part in (output, errors) if part and part.strip())
        raise RigError(f"`{brief(args)}` failed with status {process.returncode}:\n{words[-4000:]}")
    return subprocess.CompletedProcess(args, process.returncode, output, errors)


def brief(args):
    line = " ".join(str(arg) for arg in args)
    return line if len(line) <= 200 else line[:197] + "..."


def kill_group(process):
    """Ends a spawned process and all that it started; SIGKILL, for crashes are what the rig is about."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def kill_recorded_group(recorded):
    """The same for a process that another command may have started; returns once the leader is gone."""
    if not is_alive(recorded):
        return
    pid = int(recorded.split()[0])
    os.killpg(pid, signal.SIGKILL)
    while is_alive(recorded):
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            time.sleep(0.01)

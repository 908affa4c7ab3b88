"""A place for one run: a directory, the processes started in it, and the promise that nothing of either stays behind.

Everything is undone in reverse order at the end, on an error and on SIGINT, SIGTERM and SIGHUP alike.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Failed(Exception):
    """Something the user should read as one sentence, without a traceback."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds, what):
    """Polls until the condition holds; it may raise Failed itself."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def accepts_connections(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False


def need(program, package):
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not found:
        raise Failed(f"{program} is missing: apt-get install {package}")
    return found


class Server:
    """A process under test, with its own accounting as the kernel keeps it."""

    def __init__(self, argv, log_path, env=None, cpus=None):
        self.log_path = log_path
        self.name = pathlib.Path(argv[0]).name
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            env={**os.environ, **(env or {})}, preexec_fn=_pin(cpus))
        self.pid = self.process.pid

    def alive(self):
        return self.process.poll() is None

    def ensure_alive(self):
        if not self.alive():
            raise Failed(f"{self.name} ended with status {self.process.returncode}; its last words:\n{self.last_words()}")

    def last_words(self, lines=15):
        try:
            text = pathlib.Path(self.log_path).read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join("  | " + line for line in text.splitlines()[-lines:])

    def cpu_us(self):
        """CPU time of all threads, ended ones included: the process's CPU clock (clock_getcpuclockid(3)), in microseconds."""
        return time.clock_gettime_ns((~self.pid << 3) | 2) / 1000

    def written_bytes(self):
        """Bytes this process caused to be sent to storage (proc_pid_io(5))."""
        for line in pathlib.Path(f"/proc/{self.pid}/io").read_text().splitlines():
            key, value = line.split(": ")
            if key == "write_bytes":
                return int(value)
        raise Failed(f"/proc/{self.pid}/io has no write_bytes: the kernel lacks CONFIG_TASK_IO_ACCOUNTING")

    def peak_memory_bytes(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def stop(self, seconds=20):
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                say(f"{self.name} did not end within {seconds} s of SIGTERM; killed")
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()


def _pin(cpus):
    return (lambda: os.sched_setaffinity(0, cpus)) if cpus else None


class Scratch:
    """with Scratch(parent) as scratch: …"""

    def __init__(self, parent, prefix="bench-tmp."):
        self.parent = pathlib.Path(parent)
        self.prefix = prefix
        self.undo = []

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupted)
        try:
            self.parent.mkdir(parents=True, exist_ok=True)
            self.path = pathlib.Path(tempfile.mkdtemp(prefix=self.prefix, dir=self.parent))
        except OSError as error:
            raise Failed(f"no scratch directory in {self.parent}: {error.strerror}") from error
        self.undo.append(lambda: shutil.rmtree(self.path, ignore_errors=True))
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave a server behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for step in reversed(self.undo):
            try:
                step()
            except (OSError, Failed) as error:
                say(f"cleaning up: {error}")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def folder(self, name):
        path = self.path / name
        path.mkdir()
        return path

    def start(self, argv, log_name, env=None, cpus=None, ends_on_sigterm=True):
        server = Server(argv, self.path / log_name, env, cpus)
        self.undo.append(server.stop if ends_on_sigterm else server.kill)
        return server

    def preallocate(self, name, size_bytes):
        path = self.path / name
        with open(path, "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            except OSError as error:
                raise Failed(f"cannot preallocate {size_bytes >> 20} MiB in {self.path}: {error.strerror}") from error
        return path


def _interrupted(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def run_main(main):
    """Exit status: what main returns; 2 for Failed, 130 for an interruption."""
    try:
        sys.exit(main())
    except Failed as failure:
        say(f"{pathlib.Path(sys.argv[0]).name}: {failure}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted; everything was cleaned up")
        sys.exit(130)

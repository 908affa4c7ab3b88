"""The machine: files below a root (another one in tests), and commands."""
import os
import subprocess
from pathlib import Path

COMMAND_TIMEOUT_S = 120


class SetupError(Exception):
    """Printed as a sentence, without a traceback."""


class Host:
    def __init__(self, root="/"):
        self.root = root

    def path(self, name):
        return Path(self.root) / name.lstrip("/")

    def read(self, name):
        try:
            return self.path(name).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name, content, mode):
        """Whole or not at all; durable."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{path.name}.holdfast-new")
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "w") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temp.replace(path)

    def mode(self, name, default):
        path = self.path(name)
        return path.stat().st_mode & 0o7777 if path.exists() else default

    def run(self, *args, check=True, timeout_s=COMMAND_TIMEOUT_S, env=None):
        """No secret ever stands in args: everybody on the machine can read them."""
        try:
            done = subprocess.run(args, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout_s,
                                  env={**os.environ, "LC_ALL": "C", **(env or {})}, check=False)
        except FileNotFoundError:
            raise SetupError(f"{args[0]} is not installed") from None
        except subprocess.TimeoutExpired:
            raise SetupError(f"`{' '.join(args)}` did not end within {timeout_s} s") from None
        if check and done.returncode != 0:
            raise SetupError(f"`{' '.join(args)}` failed with status {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done

    def has_systemd(self):
        return self.path("/run/systemd/system").is_dir()


def mounted_at(host, place):
    """The device that is on top there, as it stands in /proc/mounts, or None."""
    rows = (row.split() for row in (host.read("/proc/self/mounts") or "").splitlines())
    sources = [row[0] for row in rows if len(row) > 2 and row[1] == place]
    return sources[-1] if sources else None


def is_same_device(host, one, other):
    return host.path(one).resolve() == host.path(other).resolve()


def say(text):
    print(text, flush=True)

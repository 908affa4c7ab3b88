"""What a demo or a check needs before it can start: packages, programs, and the guest's images while the programs compile."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rig import cache, interrupts, kernel, rootfs
from rig.errors import RigError
from rig.processes import spawn
from rig.progress import detail, say, step

TREE = Path(__file__).resolve().parents[2]
HEARTBEAT_S = 15


def prepare():
    if os.geteuid() != 0:
        raise RigError("this needs root (packages, network namespaces, tap devices): run it with sudo")
    _stream("packages", [TREE / "tools" / "setup", "build", "guest"], _let_apt_finish)
    images = _start_images()
    try:
        if not (TREE / "build" / "build.ninja").exists():
            _stream("configure", ["cmake", "--preset", "release"])
        _stream("build", ["cmake", "--build", TREE / "build", "--target", "holdfastd", "holdfast"])
        _await_images(images)
    finally:
        _end_images(images)


def _let_apt_finish(process):
    """A package half installed is worse than a minute's wait; tools/setup stops after apt's current run."""
    process.terminate()
    process.wait()


def _end_build(process):
    """TERM, not KILL: ninja removes what it has half written."""
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def build_images():
    """Just these; nothing to do when they are there."""
    images = _start_images()
    try:
        _await_images(images)
    finally:
        _end_images(images)


def _end_images(images):
    """TERM: a build of images removes what it has begun."""
    if images and images.poll() is None:
        images.terminate()
        images.wait()


def _stream(name, args, end=_end_build):
    """Long commands speak for themselves."""
    with step(name):
        process = subprocess.Popen(args, cwd=TREE, start_new_session=True)
        try:
            status = process.wait()
        except interrupts.Interrupted:
            end(process)
            raise
    if status != 0:
        raise RigError(f"{name} failed (status {status}), see above")


def _start_images():
    """Next to the compiler, and behind it: `nice` is in the recipes."""
    if cache.is_built(kernel.KIND, kernel.key()) and cache.is_built(rootfs.KIND, rootfs.key()):
        return None
    say("guest images: building in the background (about 5 minutes, once)")
    return spawn([sys.executable, TREE / "tools" / "guest", "build"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _await_images(images):
    if not images:
        return
    with step("guest images"):
        last = time.monotonic()
        while images.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - last > HEARTBEAT_S:
                last = time.monotonic()
                detail(f"still building: {kernel.building_now() or 'root image'}")
    output = images.stdout.read()
    if images.returncode != 0:
        raise RigError(f"the guest's images do not build:\n{output}")

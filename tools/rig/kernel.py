"""The guest's kernel: User Mode Linux, an ordinary process. Built from Debian's source, for the stock build lacks ALUA and iSCSI built in."""
import os
import shutil
from pathlib import Path

from rig import cache
from rig.errors import RigError
from rig.processes import run

KIND = "kernel"
HERE = Path(__file__).parent
CONFIG = HERE / "image" / "kernel.config"
SOURCE = Path("/usr/src/linux-source-6.1.tar.xz")
BUILD_TIMEOUT_S = 3600
# Never compiled here, and half of the source's size.
SKIPPED = ["*/drivers/gpu/*.[ch]", "*/drivers/media/*.[ch]", "*/drivers/staging/*.[ch]", "*/drivers/net/ethernet/*.[ch]",
           "*/drivers/net/wireless/*.[ch]", "*/sound/*.[ch]", "*/Documentation/*.rst", "*/tools/testing/*"]


def path():
    """The kernel's executable, built first if need be."""
    return cache.get(KIND, key(), _build) / "linux"


def key():
    return cache.recipe_hash([CONFIG], [_build], [SOURCE, SKIPPED])


def _build(work):
    if not SOURCE.exists():
        raise RigError(f"{SOURCE} is missing: run tools/setup")
    source = work / "source"
    source.mkdir()
    run(["tar", "-C", source, "--strip-components=1", *(f"--exclude={name}" for name in SKIPPED), "-xf", SOURCE], timeout_s=300)
    make = ["nice", "make", "-C", source, "ARCH=um", f"-j{os.cpu_count()}"]
    run([*make, "allnoconfig", f"KCONFIG_ALLCONFIG={CONFIG}"], timeout_s=300)
    _require_wanted(source / ".config")
    with open(work / "build.log", "w") as log:
        done = run([*make, "linux"], timeout_s=BUILD_TIMEOUT_S, check=False, stdout=log, stderr=log)
    if done.returncode != 0:
        tail = "\n".join((work / "build.log").read_text().splitlines()[-30:])
        raise RigError(f"the kernel does not build:\n{tail}")
    run(["strip", "-g", "-o", work / "linux", source / "linux"])
    shutil.rmtree(source)


def _require_wanted(config):
    """kconfig drops an option whose dependency is missing without a word; a guest without multipath would fail much later."""
    got = set(config.read_text().splitlines())
    wanted = [line for line in CONFIG.read_text().splitlines() if line.startswith("CONFIG_")]
    dropped = [line for line in wanted if line not in got]
    if dropped:
        raise RigError("the kernel's configuration lost " + ", ".join(dropped))


def building_now():
    """The last line of a build that runs somewhere, for those who wait for it."""
    for log in cache.root().glob(f".{KIND}-*/build.log"):
        lines = log.read_text().splitlines()
        return lines[-1].strip() if lines else None
    return None

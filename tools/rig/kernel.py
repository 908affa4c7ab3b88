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
# The guest's programs are processes of this machine, and the guest's kernel, their tracer, takes every system call of theirs before this machine sees
# it. Killed, it would set them free in mid-flight: process 1 would then mount and write here. So they die with it, whatever kills it.
TRACER_FILES = ["arch/um/os-Linux/skas/process.c", "arch/um/os-Linux/start_up.c"]
TRACER_OPTIONS = ("PTRACE_O_TRACESYSGOOD", "(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)")
# Registers can be read in part, but are set as a whole, and a processor with AMX has more of them than this kernel (2,696 bytes) has room for. What is
# beyond that are its tiles, which no program of a guest may use. A buffer that is longer than the machine's registers is no error.
REGISTERS_FILE = "arch/x86/um/os-Linux/registers.c"
REGISTERS_SET = ("""\
		iov.iov_base = fp_regs;
		iov.iov_len = FP_SIZE * sizeof(unsigned long);
		if (ptrace(PTRACE_SETREGSET""", """\
		static unsigned long all[2048];
		__builtin_memcpy(all, fp_regs, FP_SIZE * sizeof(unsigned long));
		iov.iov_base = all;
		iov.iov_len = sizeof(all);
		if (ptrace(PTRACE_SETREGSET""")
PATCHES = [*((name, *TRACER_OPTIONS) for name in TRACER_FILES), (REGISTERS_FILE, *REGISTERS_SET)]
# Never compiled here, and half of the source's size.
SKIPPED = ["*/drivers/gpu/*.[ch]", "*/drivers/media/*.[ch]", "*/drivers/staging/*.[ch]", "*/drivers/net/ethernet/*.[ch]",
           "*/drivers/net/wireless/*.[ch]", "*/sound/*.[ch]", "*/Documentation/*.rst", "*/tools/testing/*"]


def path():
    """The kernel's executable, built first if need be."""
    return cache.get(KIND, key(), _build) / "linux"


def key():
    return cache.recipe_hash([CONFIG], [_build, _patch], [SOURCE, SKIPPED, PATCHES])


def _build(work):
    if not SOURCE.exists():
        raise RigError(f"{SOURCE} is missing: run tools/setup")
    source = work / "source"
    source.mkdir()
    run(["tar", "-C", source, "--strip-components=1", *(f"--exclude={name}" for name in SKIPPED), "-xf", SOURCE], timeout_s=300)
    _patch(source)
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


def _patch(source):
    for name, old, new in PATCHES:
        text = (source / name).read_text()
        if old not in text or new in text:
            raise RigError(f"{name} is not the source this recipe was written for")
        (source / name).write_text(text.replace(old, new))


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

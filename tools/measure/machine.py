"""What a reader must know of the machine to read the figures; nothing that names it."""

import os
import pathlib
import platform
import subprocess


def describe(folder):
    model = ""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    filesystem = subprocess.run(["df", "--output=fstype", str(folder)], capture_output=True, text=True).stdout.split()[-1]
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count(), "cpu": model, "memory_gib": round(pages / 2**30), "kernel": platform.release(), "filesystem": filesystem,
            "load_before": os.getloadavg()[0]}


def line(facts):
    return (f"{facts['cores']} cores ({facts['cpu']}), {facts['memory_gib']} GiB, Linux {facts['kernel']}, {facts['filesystem']}, "
            f"load before {facts['load_before']:.1f}")


# Where client and servers run. Servers never run at the same time: contestants take turns.
def placement(choice):
    """(cpus of the servers, cpus of the client, a sentence)."""
    cores = sorted(os.sched_getaffinity(0))
    if choice == "split" and len(cores) >= 2:
        half = len(cores) // 2
        return set(cores[:half]), set(cores[half:]), f"servers on cores {cores[:half]}, the client on {cores[half:]}"
    return None, None, "client and servers on any core"

"""fio as the client. Debian's binary lacks the libiscsi engine, so it is built once from Debian's own source package.

The source comes through apt with a source list and state of its own: the machine's apt configuration is neither changed nor needed
to name sources. apt checks the signature; the build lives in the user's cache, outside the tree.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from . import scratch

_BUILD_PACKAGES = ["build-essential", "dpkg-dev", "libiscsi-dev", "pkg-config", "zlib1g-dev"]


def cache_folder():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "holdfast"


def _run(argv, log, cwd=None, seconds=600):
    with open(log, "ab") as out:
        done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=seconds)
    if done.returncode != 0:
        tail = pathlib.Path(log).read_text(errors="replace").splitlines()[-8:]
        raise scratch.Failed(f"{' '.join(map(str, argv[:3]))} … failed:\n" + "\n".join("  | " + line for line in tail))


def _debian_mirror():
    """The mirror and suite that this machine uses: the first binary entry for Debian's main archive."""
    shown = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(CODENAME) $(SIGNED_BY) $(COMPONENT) $(CREATED_BY)"],
                           capture_output=True, text=True, timeout=60).stdout
    for line in shown.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[-1] == "Packages" and fields[-2] == "main" and re.search(r"/debian/?$", fields[0]):
            return fields[0], fields[1]
    codename = "bookworm"
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            codename = line.split("=")[1].strip('"')
    return "http://deb.debian.org/debian", codename


def _fetch_source(work, log):
    mirror, suite = _debian_mirror()
    for folder in ("parts", "lists/partial", "cache/archives/partial", "source"):
        (work / folder).mkdir(parents=True)
    (work / "parts/source.sources").write_text(
        f"Types: deb-src\nURIs: {mirror}\nSuites: {suite}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n")
    apt = ["apt-get", "-q", "-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={work}/parts",
           "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache", "-o", "APT::Sandbox::User="]
    _run([*apt, "update"], log)
    _run([*apt, "source", "--only-source", "fio"], log, cwd=work / "source")
    found = [path for path in (work / "source").iterdir() if path.is_dir()]
    if len(found) != 1:
        raise scratch.Failed(f"apt-get source fio left {len(found)} folders")
    return found[0]


def client(rebuild=False):
    """Path of a fio with the libiscsi engine, built when there is none yet."""
    cache = cache_folder()
    built = sorted(cache.glob("fio-*/fio"))
    if built and not rebuild:
        return built[-1]
    missing = [tool for tool in ("apt-get", "dpkg-source", "gcc", "make", "pkg-config") if not shutil.which(tool)]
    if missing:
        raise scratch.Failed(f"to build fio, {', '.join(missing)} is missing: apt-get install {' '.join(_BUILD_PACKAGES)}")
    scratch.say("building fio with its libiscsi engine from Debian's source package (once, under a minute) …")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fio-build.", dir=cache) as name:
        work = pathlib.Path(name)
        log = work / "log"
        source = _fetch_source(work, log)
        _run(["./configure", "--enable-libiscsi", "--disable-native"], log, cwd=source)
        if "CONFIG_LIBISCSI" not in (source / "config-host.mak").read_text():
            raise scratch.Failed("fio's configure found no libiscsi: apt-get install libiscsi-dev pkg-config")
        _run(["make", f"-j{os.cpu_count()}", "fio"], log, cwd=source)
        target = cache / source.name
        target.mkdir(exist_ok=True)
        shutil.copy2(source / "fio", target / "fio.new")
        os.replace(target / "fio.new", target / "fio")
    return target / "fio"


def version(binary):
    return subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20).stdout.strip()


class Target:
    """Where fio sends its I/O: an iscsi:// URL, or files by O_DIRECT. Several files are written and read at once, each at the load's depth."""

    def __init__(self, url=None, path=None, paths=None):
        self.url = url
        self.paths = [path] if path else paths

    @property
    def name(self):
        return self.url or ", ".join(map(str, self.paths))

    def options(self, writes):
        """Of all jobs."""
        if self.url:
            return ["--ioengine=libiscsi"]
        return ["--ioengine=io_uring", "--direct=1"] + (["--sync=dsync"] if writes else [])

    def jobs(self):
        # A colon separates file names unless it is escaped.
        names = [self.url.replace(":", "\\:")] if self.url else self.paths
        return [word for number, name in enumerate(names) for word in (f"--name=bench-{number}", f"--filename={name}")]


def arguments(target, load, runtime_s=None, size_bytes=None, io_bytes=None, seed=1):
    """fio's, with a report in JSON. runtime_s: for that long; else once over size_bytes."""
    words = ["--name=global", *target.options("write" in load["rw"]), f"--rw={load['rw']}", f"--bs={load['bs']}", f"--iodepth={load['depth']}",
             f"--randseed={seed}", "--norandommap", "--thread", "--group_reporting", "--refill_buffers=0",
             "--lat_percentiles=1", "--clat_percentiles=0", "--percentile_list=50:99:99.9", "--output-format=json"]
    words += ["--time_based", f"--runtime={runtime_s}"] if runtime_s else []
    words += [f"--size={size_bytes}"] if size_bytes else []
    words += [f"--io_size={io_bytes}"] if io_bytes else []
    return words + target.jobs()


def run(binary, target, load, place, cpus=None, runtime_s=None, size_bytes=None, io_bytes=None, seed=1):
    """One fio run; the figures of all its jobs together. runtime_s: for that long; else once over size_bytes."""
    report = place.path / "fio.json"
    report.unlink(missing_ok=True)
    argv = [binary, f"--output={report}", *arguments(target, load, runtime_s, size_bytes, io_bytes, seed)]
    done = subprocess.run(argv, cwd=place.path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=(runtime_s or 0) + 300, preexec_fn=scratch._pin(cpus))
    return figures(target, load, done.returncode, report.read_text() if report.exists() else "", done.stderr)


def figures(target, load, status, text, complaint):
    """Of a run that ended with that status and wrote that report; Failed when it met an error."""
    if status != 0 or "{" not in text:
        raise scratch.Failed(f"fio {load['rw']} {load['bs']} on {target.name}: {complaint.strip()[-500:] or text[:500]}")
    job = json.loads(text[text.index("{"):])["jobs"][0]
    if job["error"]:
        raise scratch.Failed(f"fio {load['rw']} {load['bs']} on {target.name} met error {job['error']}: {complaint.strip()[-500:]}")
    side = job["write" if "write" in load["rw"] else "read"]
    percentile = side["lat_ns"].get("percentile", {})
    return {"iops": side["iops"], "mb_s": side["bw_bytes"] / 1e6, "ios": side["total_ios"], "bytes": side["io_bytes"],
            "mean_us": side["lat_ns"]["mean"] / 1e3, "max_us": side["lat_ns"]["max"] / 1e3,
            "p50_us": percentile.get("50.000000", 0) / 1e3, "p99_us": percentile.get("99.000000", 0) / 1e3,
            "p999_us": percentile.get("99.900000", 0) / 1e3}

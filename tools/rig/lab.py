"""A lab: the network namespaces and scratch files of one run.

    <id>-lan    the bridge, the guests' taps, and the ssh clients that talk to them     10.77.0.254
    <id>-NODE   one storage node, joined to the bridge by a veth pair                   10.77.0.1, .2, ...
    guests on taps                                                                      10.77.0.11, .12, ...

Every lab has namespaces of its own, so the addresses may repeat and any number of labs coexist.
Whatever runs for a lab runs inside its namespaces: that is how close() finds it, also after the owner was killed.
"""
import fcntl
import ipaddress
import json
import os
import secrets
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path

from rig import interrupts
from rig.errors import RigError
from rig.processes import identity, is_alive, run

# On a disk: the nodes' stores need O_DIRECT, which a tmpfs of this kernel generation refuses.
HOME = Path(os.environ.get("HOLDFAST_LAB_HOME", "/var/tmp/holdfast-lab"))
KEPT = "kept"  # Owner of a lab that outlives the command that made it.
HOST_ADDRESS = "10.77.0.254"
PREFIX_LENGTH = 16  # The third byte tells the portals of a node apart.
GUEST_UID = 65123  # Guests run as nobody in particular, without any privilege.
EXIT_TIMEOUT_S = 10


class Lab:
    """Nothing exists before create(); close() removes whatever does, however far it got. Use it as a `with` block."""

    def __init__(self, lab_id=None):
        self.id = lab_id or f"{os.getpid()}-{secrets.token_hex(2)}"
        self.dir = HOME / self.id
        self.lan = f"hf-{self.id}-lan"
        self.programs_stay = False  # Else they die with this process. Written by create().

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.kept:
            self.close()

    def create(self, *, programs_stay=False):
        """With programs_stay, keep() may later make the lab outlive its owner."""
        self.programs_stay = programs_stay
        if self.dir.exists():
            raise RigError(f"a lab named {self.id} exists already")
        self.dir.mkdir(parents=True)
        self._set_owner(identity(os.getpid()))
        self._write_state({"nodes": {}, "guests": {}})
        run(["ip", "netns", "add", self.lan])
        _ip_batch(self.lan, f"""
            link set lo up
            link add br0 type bridge
            addr add {HOST_ADDRESS}/{PREFIX_LENGTH} dev br0
            link set br0 up""")
        return self

    @classmethod
    def open(cls, lab_id):
        lab = cls(lab_id)
        if not (lab.dir / "state.json").exists():
            known = ", ".join(sorted(entry.id for entry in all_labs())) or "none"
            raise RigError(f"there is no lab named {lab_id} (running: {known})")
        return lab

    def keep(self):
        self._set_owner(KEPT)

    def _set_owner(self, owner):
        (self.dir / "owner").write_text(owner)

    @property
    def kept(self):
        return self._owner() == KEPT

    def is_orphan(self):
        """Its owner died without closing it. (A lab caught before its owner was written counts once it is a minute old.)"""
        owner = self._owner()
        if owner is None:
            return self.dir.exists() and time.time() - self.dir.stat().st_mtime > 60
        return owner != KEPT and not is_alive(owner)

    def _owner(self):
        try:
            return (self.dir / "owner").read_text()
        except FileNotFoundError:
            return None

    def state(self):
        return json.loads((self.dir / "state.json").read_text())

    def _write_state(self, state):
        temp = self.dir / "state.json.new"
        temp.write_text(json.dumps(state, indent=1))
        temp.rename(self.dir / "state.json")

    @contextmanager
    def edit(self):
        """Several commands may work in one kept lab."""
        with open(self.dir / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.state()
            yield state
            self._write_state(state)

    def netns_of(self, node):
        return f"hf-{self.id}-{node}"

    def add_node(self, node, *, portals=1):
        """A namespace for a storage node; returns its addresses, 10.77.0.N first and then 10.77.P.N, as many as it has portals."""
        with self.edit() as state:
            index = len(state["nodes"]) + 1
            addresses = [f"10.77.{portal}.{index}" for portal in range(portals)]
            state["nodes"][node] = {"address": addresses[0], "link": f"node{index}"}
        netns = self.netns_of(node)
        run(["ip", "netns", "add", netns])
        run(["ip", "link", "add", f"node{index}", "netns", self.lan, "type", "veth", "peer", "name", "eth0", "netns", netns])
        _ip_batch(self.lan, f"link set node{index} master br0 up")
        _ip_batch(netns, """
            link set lo up
            link set eth0 up""")
        for address in addresses:
            self.give_address(node, address)
        return addresses

    def give_address(self, node, address):
        run(["ip", "-netns", self.netns_of(node), "addr", "add", f"{address}/{PREFIX_LENGTH}", "dev", "eth0"])
        if self.state()["nodes"][node]["address"] == address:
            self._hurry_retransmissions(node, address)

    def _hurry_retransmissions(self, node, address):
        """A guest's network card sleeps over a frame now and then, without any fault: the answer in it comes again after the shortest time there is, 200 ms unless told."""
        route = ipaddress.ip_interface(f"{address}/{PREFIX_LENGTH}").network
        run(["ip", "-netns", self.netns_of(node), "route", "replace", str(route), "dev", "eth0", "proto", "kernel", "scope", "link", "src", address, "rto_min", "20ms"])

    def take_address(self, node, address):
        """What is sent there goes nowhere, as with a cable that is pulled."""
        run(["ip", "-netns", self.netns_of(node), "addr", "del", f"{address}/{PREFIX_LENGTH}", "dev", "eth0"])

    def add_guest(self, guest):
        """A tap for a guest; returns (index, address). A guest that boots again keeps both."""
        with self.edit() as state:
            known = state["guests"].get(guest)
            if known:
                return known["index"], known["address"]
            taken = {entry["index"] for entry in state["guests"].values()}
            index = next(i for i in range(1, 100) if i not in taken)
            address = f"10.77.0.{10 + index}"
            state["guests"][guest] = {"index": index, "address": address}
        _ip_batch(self.lan, f"""
            tuntap add dev tap{index} mode tap user {GUEST_UID}
            link set tap{index} master br0 up""")
        return index, address

    def cut_guest(self, guest):
        """Nothing from it arrives anywhere, and nothing arrives there; its own link stays up."""
        _ip_batch(self.lan, f"link set tap{guest.index} nomaster")

    def join_guest(self, guest):
        _ip_batch(self.lan, f"link set tap{guest.index} master br0")

    def namespaces(self):
        listed = run(["ip", "-json", "netns", "list"]).stdout
        return [entry["name"] for entry in json.loads(listed or "[]") if entry["name"].startswith(f"hf-{self.id}-")]

    def close(self):
        with interrupts.held_back():
            for netns in self.namespaces():
                _kill_all_inside(netns)
                run(["ip", "netns", "delete", netns], check=False)
            for mounted in _mounted_below(self.dir):
                run(["umount", "--lazy", mounted], check=False)
            shutil.rmtree(self.dir, ignore_errors=True)


def _mounted_below(folder):
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{folder}/")]


def _ip_batch(netns, commands):
    lines = "\n".join(line.strip() for line in commands.strip().splitlines())
    run(["ip", "-netns", netns, "-batch", "-"], input=lines)


def _kill_all_inside(netns):
    """Only a lab's own programs ever enter its namespaces."""
    give_up = time.monotonic() + EXIT_TIMEOUT_S
    while pids := run(["ip", "netns", "pids", netns], check=False).stdout.split():
        if time.monotonic() > give_up:
            raise RigError(f"processes {' '.join(pids)} in {netns} do not die")
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def all_labs():
    return [Lab(entry.name) for entry in HOME.iterdir() if entry.is_dir()] if HOME.is_dir() else []


def sweep(*, also_kept=False):
    """Closes the labs whose owners are dead; returns their ids."""
    doomed = [lab for lab in all_labs() if lab.is_orphan() or (also_kept and lab.kept)]
    for lab in doomed:
        lab.close()
    return [lab.id for lab in doomed]


def require_host():
    """Everything a lab needs of its machine, each with the sentence that tells what to do."""
    if os.geteuid() != 0:
        raise RigError("this needs root (network namespaces and tap devices): run it with sudo")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise RigError("/dev/net/tun is missing: `modprobe tun`, or give the container that device (--device /dev/net/tun)")
    if not os.path.exists("/proc/self/ns/net"):
        raise RigError("this kernel has no network namespaces (CONFIG_NET_NS)")
    for tool in ("ip", "nsenter", "ssh"):
        if not shutil.which(tool):
            raise RigError(f"`{tool}` is not installed: run tools/setup")
    probe = f"hf-probe-{os.getpid()}"
    made = run(["ip", "netns", "add", probe], check=False)
    if made.returncode != 0:
        raise RigError(f"network namespaces cannot be made here (a container needs CAP_SYS_ADMIN): {made.stderr.strip()}")
    run(["ip", "netns", "delete", probe], check=False)

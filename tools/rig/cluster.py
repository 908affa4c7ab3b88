"""Three storage nodes with an etcd, each in a namespace of its own: to be killed, frozen, cut off and started at will."""
import json
import os
import signal
import sys
import time

from rig import volume_io
from rig.errors import RigError
from rig.node import TREE, HoldfastNode
from rig.processes import run, spawn
from rig.small_disk import SmallDisk

LINK_PORT = 9441
ETCD_PORT = 2379
SECRET = "a secret of the nodes, of thirty-two bytes at least\n"
ADMIN_TOKEN = "token-of-the-operators\n"
STEP_TIMEOUT_S = 60
READ_TIMEOUT_S = 600
POLL_S = 0.02


def target_name(volume):
    return f"iqn.2026-11.io.holdfast:{volume}"


def cluster_settings(number, address, secret_file, etcd):
    """What a member's configuration has beyond that of a node that is alone."""
    return f"""
[cluster]
name = "lab"
node = {number}
listen = ["{address}:{LINK_PORT}"]
secret_file = "{secret_file}"

[cluster.etcd]
endpoints = ["{etcd.url}"]
"""


class Etcd:
    def __init__(self, lab):
        self.netns = lab.netns_of("etcd")
        [self.address] = lab.add_node("etcd")
        self.lab = lab
        self.dir = lab.dir / "etcd"
        self.dir.mkdir()
        self.process = None

    @property
    def url(self):
        return f"http://{self.address}:{ETCD_PORT}"

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = spawn(["etcd", "--name", "e1", "--data-dir", self.dir / "data", "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                                  "--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
                                  "--initial-cluster", "e1=http://127.0.0.1:2380"],
                                 netns=self.netns, die_with_owner=not self.lab.programs_stay, stdout=log, stderr=log)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def revisions(self):
        """Of each key: another one after each change."""
        listed = run(["etcdctl", "--endpoints", self.url, "get", "--prefix", "/holdfast/", "--write-out", "json"], netns=self.netns).stdout
        return {entry["key"]: entry["mod_revision"] for entry in json.loads(listed)["kvs"]}


class ClusterNode(HoldfastNode):
    def __init__(self, lab, number, etcd, build, takeover, disk_mib=None, store=""):
        """disk_mib: a file system of its own, of that size. store: more lines of the configuration's [store]."""
        super().__init__(lab, name=f"n{number}", build=build, admin_token=ADMIN_TOKEN, takeover=takeover)
        self.number = number
        self.disk = SmallDisk(self.dir / "disk.img", self.dir / "data", disk_mib) if disk_mib else None
        secret = self.dir / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        with open(self.config, "a") as config:
            config.write(f"[store]\n{store}\n{cluster_settings(number, self.address, secret, etcd)}")
        self.frozen = False

    def store_of(self, volume):
        return self.dir / "data" / "volumes" / f"{volume}.hf"

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def cut_off(self, ways=("in", "out"), peers=(), ports=()):
        """Nothing that it sends arrives anywhere, and nothing arrives there; nobody is told. Connections stay. Less of it: one way,
        to and from some addresses, or of some TCP ports."""
        rules = []
        for way in ways:
            chain, interface, peer = ("INPUT", "-i", "-s") if way == "in" else ("OUTPUT", "-o", "-d")
            whom = [f"{peer} {address}" for address in peers] or [""]
            what = [f"-p tcp --{end} {port}" for port in ports for end in ("sport", "dport")] or [""]
            rules += [f"-I {chain} {interface} eth0 {who} {which} -j DROP" for who in whom for which in what]
        run(["iptables-restore", "-w", "--noflush"], netns=self.netns, input="\n".join(["*filter", *rules, "COMMIT", ""]))  # All at one instant.

    def join_again(self):
        run(["iptables", "-w", "-F"], netns=self.netns)

    def dropped_packets(self):
        """Since it was cut off."""
        listed = run(["iptables", "-w", "-nvxL"], netns=self.netns).stdout
        return sum(int(line.split()[0]) for line in listed.splitlines() if " DROP " in line)

    def die_silently(self):
        """As a machine that loses its power: nobody is told."""
        self.cut_off()
        self.kill()
        self.listener.close()

    def boot(self):
        self.listen()
        self.join_again()
        self.start()

    @property
    def is_up(self):
        return self.process is not None and self.process.poll() is None and not self.frozen


class Cluster:
    def __init__(self, lab, build=TREE / "build", nodes=3, takeover="off", make_node=None):
        """make_node(number, etcd): a stand-in for ClusterNode, as guest_node.py's."""
        self.lab = lab
        self.etcd = Etcd(lab)
        make_node = make_node or (lambda number, etcd: ClusterNode(lab, number, etcd, build, takeover))
        self.nodes = [make_node(number, self.etcd) for number in range(1, nodes + 1)]

    def start(self):
        self.etcd.start()
        for node in self.nodes:
            node.start()
        self._until(lambda: self.nodes[0].holdfast("cluster", "init", check=False).returncode == 0, "the cluster is not set up")
        self._until(self._all_known, "the nodes do not find each other")

    def _all_known(self):
        answers = [node.holdfast("--json", "node", "list", check=False) for node in self.nodes]
        return all(a.returncode == 0 and len(json.loads(a.stdout)["nodes"]) == len(self.nodes) for a in answers)

    def create_volume(self, name, size, copies=None, device=None):
        """On the first so many nodes, by default all; device: each node's block device of that name. Returns the volume's target name, with all copies in sync."""
        members = [str(node.number) for node in self.nodes[:copies]]
        self.nodes[0].holdfast("volume", "create", name, "--size", size, "--members", ",".join(members),
                               *(["--device", device] if device else []), timeout_s=120)
        self.await_in_sync(name, len(members))
        return target_name(name)

    def shown(self, node, volume):
        """As that node sees it; nothing when it does not answer."""
        if not node.is_up:
            return {}
        shown = node.holdfast("--json", "volume", "show", volume, check=False, timeout_s=10)
        return json.loads(shown.stdout) if shown.returncode == 0 else {}

    def replication(self, node, volume):
        return self.shown(node, volume).get("replication")

    def allocated_bytes(self, volume):
        return self.shown(self.await_primary(volume), volume)["allocated_bytes"]

    def primary(self, volume):
        for node in self.nodes:
            seen = self.replication(node, volume)
            if seen and seen["serving"]:
                return node
        return None

    def await_primary(self, volume):
        found = []
        self._until(lambda: found.append(self.primary(volume)) or found[-1], f"nobody serves volume {volume}")
        return found[-1]

    def who_serves(self, volume):
        """Each by its own word."""
        return [node for node in self.nodes if (self.replication(node, volume) or {}).get("serving")]

    def another_than(self, node):
        return self.nodes[node.number % len(self.nodes)]

    def in_sync(self, volume):
        leader = self.primary(volume)
        seen = self.replication(leader, volume) if leader else None
        return [m["node"] for m in seen["members"] if m["in_sync"]] if seen else []

    def await_in_sync(self, volume, copies=None):
        self._until(lambda: len(self.in_sync(volume)) == (copies or len(self.nodes)), f"not all copies of volume {volume} are in sync")

    def standing(self, volume, copies=None):
        """Once so many copies are in sync: what stays the same as long as the same node serves and no copy leaves, not even for a moment."""
        self.await_in_sync(volume, copies)
        return self.await_primary(volume).name, self.etcd.revisions()

    def rebuild(self, node, volume):
        """How its rebuilds go, since its process began."""
        seen = self.replication(node, volume)
        if not seen:
            raise RigError(f"{node.name} does not tell of volume {volume}; its log:\n{node.log_tail()}")
        return seen["rebuild"]

    def rebuilt_bytes(self, node, volume):
        """What it has fetched: catching up from the log counts as none."""
        return self.rebuild(node, volume)["fetched_bytes"]

    def switch_over(self, volume, to):
        self.await_primary(volume).holdfast("switchover", volume, "--candidate", str(to.number))

    def compare_copies(self, volume):
        """Each node serves in turn, and all of its copy is read there, by a host of its own; returns the checksum that all of them have."""
        sums = {node.name: self.checksum(node, volume) for node in self.nodes}
        if len(set(sums.values())) != 1:
            raise RigError(f"copies differ: {sums}")
        return next(iter(sums.values()))

    def checksum(self, node, volume):
        """sha256 of what the node serves, which is its own copy."""
        if self.await_primary(volume) is not node:
            self.switch_over(volume, node)
            self._until(lambda: self.primary(volume) is node, f"{node.name} does not serve volume {volume}")
        return self.as_host("sum", node, volume).split()[0]

    def as_host(self, verb, node, volume, *arguments):
        """volume_io.py, beside the lab's hosts; returns what it prints."""
        program = [sys.executable, "-B", volume_io.__file__, verb, node.portal, target_name(volume), *arguments]
        return run(program, netns=self.lab.lan, timeout_s=READ_TIMEOUT_S).stdout

    @property
    def portal(self):
        return self.nodes[0].portal

    def require_not_crashed(self):
        for node in self.nodes:
            node.require_not_crashed()

    def log_tail(self):
        return "\n".join(f"---- {node.name}\n{node.log_tail()}" for node in self.nodes)

    def _until(self, condition, complaint):
        give_up = time.monotonic() + STEP_TIMEOUT_S
        while not condition():
            if time.monotonic() > give_up:
                raise RigError(f"{complaint} within {STEP_TIMEOUT_S} s; the nodes' logs:\n{self.log_tail()}")
            time.sleep(POLL_S)

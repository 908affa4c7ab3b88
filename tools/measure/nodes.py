"""Several Holdfast nodes on loopback that form a cluster: each a process, ports and directory of its own, and a directory as the coordinator."""

import time

from . import contest, fio, holdfast, scratch

SETTLE_S = 120   # A copy that was left behind on a busy machine is in step again by then.

CONFIG = """
[cluster]
name = "bench"
node = {number}
listen = ["127.0.0.1:{port}"]
directory = "{coordinator}"
secret_file = "{secret}"
"""


class Nodes:
    def __init__(self, place, build, count, cpus=None):
        self.coordinator = place.folder("coordinator")
        secret = place.path / "secret"
        secret.touch(mode=0o600)
        secret.write_text("a secret of nodes that live for one run\n")
        self.nodes = []
        for number in range(1, count + 1):
            more = CONFIG.format(number=number, port=scratch.free_port(), coordinator=self.coordinator.absolute(), secret=secret.absolute())
            self.nodes.append(holdfast.Holdfast(place, build, name=f"node-{number}", cpus=cpus, more_config=more))
        scratch.wait_for(self._all_known, 60, "the nodes to find each other")

    def _all_known(self):
        return all(len(node.ask("GET", "/v1/cluster")["nodes"]) == len(self.nodes) for node in self.nodes)

    def create_volume(self, name, size_bytes, copies):
        self.nodes[0].ask("POST", "/v1/volumes", {"name": name, "size": size_bytes, "members": list(range(1, copies + 1))})
        return Copies(self, name, self.nodes[:copies])


class Copies(contest.Contestant):
    """A volume with a copy on each of some nodes. The processes' CPU and memory count together."""

    def __init__(self, nodes, name, members):
        self.nodes = nodes
        self.members = members
        super().__init__(name, fio.Target(), _Together([node.server for node in members]))
        self.state()

    @property
    def url(self):
        return self.target.url

    def state(self):
        """Once all copies are in step: what does not change as long as the same node serves and no copy leaves, not even for a moment."""
        deadline = time.monotonic() + SETTLE_S
        while not (found := self._look()):
            self.server.ensure_alive()
            if time.monotonic() > deadline:
                raise scratch.Failed(f"volume {self.name}: not served with all {len(self.members)} copies within {SETTLE_S} s")
            time.sleep(0.05)
        return found

    def _look(self):
        for node in self.members:
            seen = node.volume(self.name)
            copies = seen["replication"]
            if not copies["serving"]:
                continue
            if not all(copy["in_sync"] and not copy["lag_bytes"] for copy in copies["members"]):
                return None
            self.target.url = node.url_of(self.name)
            return node.name, seen["epoch"], self._register()
        return None

    def _register(self):
        """What the coordinator keeps is told apart here, not understood: whoever joins or leaves changes it."""
        return {path: path.read_bytes() for path in sorted(self.nodes.coordinator.rglob("*")) if path.is_file()}


class _Together:
    def __init__(self, servers):
        self.servers = servers

    def alive(self):
        return all(server.alive() for server in self.servers)

    def ensure_alive(self):
        for server in self.servers:
            server.ensure_alive()

    def last_words(self, lines):
        return "\n".join(server.last_words(lines) for server in self.servers if not server.alive())

    def cpu_us(self):
        return sum(server.cpu_us() for server in self.servers)

    def peak_memory_bytes(self):
        return sum(server.peak_memory_bytes() for server in self.servers)

"""A storage node in a namespace of its own: holdfastd, to be killed and started at will."""
import os
import signal
import time
from pathlib import Path

from rig.errors import RigError
from rig.processes import run, spawn
from rig.supervisor import activated, listening_socket

TREE = Path(__file__).resolve().parents[2]
PORT = 3260
ADMIN_PORT = 9440
START_TIMEOUT_S = 60
ANSWERS = (0, 4)  # Of `holdfast status`: 4 tells of a volume that nobody serves, as after a restart of all nodes; the node is up nevertheless.
POLL_S = 0.01


def settings(name, data_dir, listen, portals, admin, token_file=None, takeover="off"):
    """The configuration of a node, without its cluster."""
    return f"""[node]
name = "{name}"
reactors = 1
data_dir = "{data_dir}"

[iscsi]
listen = ["{listen}"]
portals = [{", ".join(f'"{portal}"' for portal in portals)}]
takeover = "{takeover}"

[admin]
listen = "{admin}"
{f'token_file = "{token_file}"' if token_file else ""}
"""


class HoldfastNode:
    def __init__(self, lab, name="n1", build=TREE / "build", portals=1, admin_token=None, takeover="off"):
        """With a token operators reach the node from other namespaces, too; else only from its own."""
        self.lab = lab
        self.name = name
        self.netns = lab.netns_of(name)
        self.addresses = lab.add_node(name, portals=portals)
        self.address = self.addresses[0]
        self.dir = lab.dir / f"node-{name}"
        self.daemon = build / "tools" / "holdfastd" / "holdfastd"
        self.cli = build / "tools" / "holdfast" / "holdfast"
        self.process = None
        self.stopped = False
        self.last_end = None  # How the process ended, in words: that a fault happened. Written by kill() and stop().
        self.environment = {}  # Of the next start, beside this process's own.
        self.any_address = "0.0.0.0" if portals > 1 else self.address
        self.listen()
        for program in (self.daemon, self.cli):
            if not os.access(program, os.X_OK):
                raise RigError(f"{program} is not built: cmake --preset release && cmake --build build")
        self.dir.mkdir()
        (self.dir / "data").mkdir()
        self.admin = f"{self.address if admin_token else '127.0.0.1'}:{ADMIN_PORT}"
        self.token_file = self.dir / "admin.token" if admin_token else None
        if self.token_file:
            self.token_file.touch(mode=0o600)
            self.token_file.write_text(admin_token)
        self.config.write_text(settings(name, f"{self.dir}/data", f"{self.any_address}:{PORT}",
                                        [f"{address}:{PORT}" for address in self.addresses], self.admin, self.token_file, takeover))

    def require_login(self, user, secret, mutual_user, mutual_secret):
        """Before the start: hosts must prove who they are, and so does the node."""
        with open(self.config, "a") as config:
            config.write(f"""
[iscsi.auth]
user = "{user}"
secret = "{secret}"
mutual_user = "{mutual_user}"
mutual_secret = "{mutual_secret}"
""")
        self.config.chmod(0o600)

    @property
    def config(self):
        return self.dir / "holdfastd.toml"

    @property
    def portal(self):
        return f"{self.address}:{PORT}"

    def listen(self):
        self.listener = listening_socket(self.netns, self.any_address, PORT)

    def start(self):
        self.stopped = False
        with open(self.dir / "log", "ab") as log:
            self.process = spawn(activated(self.listener, [self.daemon, "--config", self.config]), netns=self.netns,
                                 die_with_owner=not self.lab.programs_stay, pass_fds=[self.listener.fileno()], stdout=log, stderr=log,
                                 env={**os.environ, **self.environment})
        give_up = time.monotonic() + START_TIMEOUT_S
        while self.holdfast("status", check=False).returncode not in ANSWERS:
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise RigError(f"holdfastd does not start; its log:\n{self.log_tail()}")
            time.sleep(POLL_S)

    def start_command(self):
        """For a person at a shell."""
        return f"nsenter --net=/run/netns/{self.netns} {self.daemon} --config {self.config}"

    def kill(self):
        """kill -9 of this very process; what it had acknowledged must survive."""
        if self.process.poll() is not None:
            raise RigError(f"holdfastd was dead before it was killed; its log:\n{self.log_tail()}")
        self.process.send_signal(signal.SIGKILL)
        if self.process.wait() != -signal.SIGKILL:
            raise RigError("holdfastd did not die of the signal")
        self.last_end = f"process {self.process.pid} died of SIGKILL"

    def stop(self):
        """In order, as a service manager does it."""
        self.process.terminate()
        self.stopped = True
        if self.process.wait() != 0:
            raise RigError(f"holdfastd did not stop in order (status {self.process.returncode}); its log:\n{self.log_tail()}")
        self.last_end = f"process {self.process.pid} ended in order"

    def holdfast(self, *arguments, **kwargs):
        token = ["--token-file", self.token_file] if self.token_file else []
        return run([self.cli, "--server", f"http://{self.admin}", *token, *arguments], netns=self.netns, **kwargs)

    def require_not_crashed(self):
        """Dead by our own hand is fine."""
        if not self.stopped and self.process.poll() not in (None, -signal.SIGKILL):
            raise RigError(f"holdfastd died by itself (status {self.process.returncode}); its log:\n{self.log_tail()}")

    def create_volume(self, name, size):
        """Returns the volume's target name."""
        self.holdfast("volume", "create", name, "--size", size)
        return f"iqn.2026-11.io.holdfast:{name}"

    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    def log_tail(self):
        return self.log()[-3000:]

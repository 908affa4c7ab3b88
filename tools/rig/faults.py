"""Faults: what is done to a node, and how it is undone; each tells how it was seen to have happened."""
from dataclasses import dataclass
from typing import Callable

from rig.cluster import LINK_PORT
from rig.node import PORT

DATA_PORTS = (PORT, LINK_PORT)


def _ended(node):
    return node.last_end


def _stands_still(node):
    return node.frozen and f"process {node.process.pid} is stopped"


def _dropped(node):
    packets = node.dropped_packets()
    return packets and f"{packets} packets dropped"


@dataclass(frozen=True)
class Fault:
    words: str
    begin: Callable     # Takes the node, and the cluster.
    end: Callable       # Takes the node, as the next one.
    proof: Callable     # Looked at before the end: how the fault was seen, or nothing.
    moves: bool = True  # Another node serves afterwards. (None: whoever.)
    standby: bool = False


def _nodes(node, cluster):
    return [other.address for other in cluster.nodes if other is not node]


def _coordinator(_, cluster):
    return [cluster.etcd.address]


def _cut(words, peers=lambda *_: (), moves=True, **what):
    return Fault(words, lambda node, cluster: node.cut_off(peers=peers(node, cluster), **what), lambda node: node.join_again(), _dropped, moves)


def _kill(node, _):
    node.kill()


def _start(node):
    node.start()


def _kill_and_start(node, _):
    node.kill()
    node.start()


# The letters of F6 are those of tools/torture.
FAULTS = {
    "kill": Fault("kill -9", _kill, _start, _ended),
    "freeze": Fault("SIGSTOP", lambda node, _: node.freeze(), lambda node: node.thaw(), _stands_still),
    "cut": _cut("cut off from everybody, silently"),
    "restart": Fault("stopped in order, as for an upgrade", lambda node, _: node.stop(), _start, _ended),
    "kill-standby": Fault("kill -9", _kill, _start, _ended, moves=False, standby=True),
    "kill-and-start": Fault("kill -9, and started at once", _kill_and_start, lambda node: None, _ended, moves=None),
    "die": Fault("its machine dies silently", lambda node, _: node.die_silently(), lambda node: node.boot(), _ended),
    "hear-nobody": _cut("hears nobody", ways=("in",)),
    "unheard": _cut("is heard by nobody", ways=("out",)),
    "cut-from-nodes": _cut("cut off from the other nodes only", _nodes),
    "cut-from-coordinator": _cut("cut off from the coordinator only", _coordinator, moves=False),
    "cut-data": _cut("its data ports are silent", ports=DATA_PORTS),
}
EVERYDAY = ("kill", "freeze", "cut", "restart")  # What the demo tells.

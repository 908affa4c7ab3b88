"""The part of a service manager that a node's restart needs: the listening socket outlives the process (systemd: a .socket unit).

An initiator that reconnects while the node is down then waits in the backlog for milliseconds; a refused connect costs open-iscsi three seconds.
"""
import ctypes
import os
import socket
import threading

CLONE_NEWNET = 0x40000000
BACKLOG = 128


def listening_socket(netns, address, port):
    """A namespace belongs to a thread, so one of its own enters it; the socket stays where it was made."""
    made = []

    def make():
        try:
            with open(f"/run/netns/{netns}") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(BACKLOG)
            made.append(listener)
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def activated(listener, args):
    """The arguments that start a program with the socket as its descriptor 3, as sd_listen_fds(3) wants it. Pass listener.fileno() to it."""
    return ["bash", "-c", f'exec 3<&{listener.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"', "activated", *map(os.fspath, args)]

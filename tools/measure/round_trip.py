"""The loopback's round trip: 4 KiB and a record's head there, an acknowledgement back, one at a time, between two processes over TCP."""

import os
import signal
import socket
import time

from . import scratch, table

THERE_BYTES = 4096 + 128
BACK_BYTES = 88
WARM_UP = 100


def measure_us(runtime_s, cpus=None):
    """Median of the trips that fit into the time. The other process ends when this one closes the connection or ends, however it ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    child = os.fork()
    if child == 0:
        near.close()
        _echo(far, cpus)
    far.close()
    try:
        with near:
            return _median_us(near, runtime_s)
    except OSError as error:
        raise scratch.Failed(f"round trip: {error}") from error
    finally:
        os.waitpid(child, 0)


def _echo(connection, cpus):
    """A process of its own, which returns to nobody: what its parent has to clean up is not its own."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)   # The parent's Ctrl-C closes the connection.
        if cpus:
            os.sched_setaffinity(0, cpus)
        _prepare(connection)
        there, back = bytearray(THERE_BYTES), bytes(BACK_BYTES)
        while _receive(connection, there):
            connection.sendall(back)
    finally:
        os._exit(0)


def _prepare(connection):
    connection.settimeout(None)   # With a time-out each call would be two.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _median_us(connection, runtime_s):
    _prepare(connection)
    there, back, trips = bytes(THERE_BYTES), bytearray(BACK_BYTES), []
    end = time.monotonic() + runtime_s
    while (began := time.monotonic()) < end or len(trips) <= WARM_UP:
        connection.sendall(there)
        if not _receive(connection, back):
            raise scratch.Failed("round trip: the other process is gone")
        trips.append((time.monotonic() - began) * 1e6)
    return table.median(trips[WARM_UP:])


def _receive(connection, into):
    """Whether all of it came."""
    view = memoryview(into)
    while view:
        got = connection.recv_into(view)
        if not got:
            return False
        view = view[got:]
    return True

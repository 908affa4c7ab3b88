#!/usr/bin/python3
"""A volume as a host of its own reads and writes it, through one portal, in user space (libiscsi): a program, so that it can run inside a namespace.

  volume_io.py sum PORTAL TARGET                  sha256 of all of it, and its bytes
  volume_io.py write PORTAL TARGET BLOCK TEXT     one block: TEXT, then zeros

Ends with status 1 and a sentence when a command of it fails; nothing is tried again.
"""
import ctypes
import hashlib
import sys

LIBRARY = "libiscsi.so.7"
INITIATOR = b"iqn.2026-11.io.holdfast.rig:reader"
CHUNK_BYTES = 1 << 20
COMMAND_TIMEOUT_S = 60
LUN = 0
NORMAL_SESSION = 2


class VolumeError(Exception):
    pass


class _Task(ctypes.Structure):
    """The beginning of libiscsi's struct scsi_task; the rest is not looked at."""
    _fields_ = [("status", ctypes.c_int), ("cdb_size", ctypes.c_int), ("direction", ctypes.c_int), ("expected_bytes", ctypes.c_int),
                ("cdb", ctypes.c_ubyte * 16), ("residual_status", ctypes.c_int)]


def _library():
    found = ctypes.CDLL(LIBRARY)
    task = ctypes.POINTER(_Task)
    for name, result, arguments in (
            ("iscsi_create_context", ctypes.c_void_p, [ctypes.c_char_p]),
            ("iscsi_destroy_context", ctypes.c_int, [ctypes.c_void_p]),
            ("iscsi_set_targetname", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
            ("iscsi_set_session_type", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
            ("iscsi_set_noautoreconnect", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
            ("iscsi_set_timeout", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
            ("iscsi_full_connect_sync", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
            ("iscsi_logout_sync", ctypes.c_int, [ctypes.c_void_p]),
            ("iscsi_get_error", ctypes.c_char_p, [ctypes.c_void_p]),
            ("iscsi_scsi_command_sync", task, [ctypes.c_void_p, ctypes.c_int, task, ctypes.c_void_p]),
            ("scsi_create_task", task, [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
            ("scsi_task_add_data_in_buffer", ctypes.c_int, [task, ctypes.c_int, ctypes.c_void_p]),
            ("scsi_task_add_data_out_buffer", ctypes.c_int, [task, ctypes.c_int, ctypes.c_void_p]),
            ("scsi_free_scsi_task", None, [task])):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


class Volume:
    """Logged in as long as the `with` block lasts."""

    def __init__(self, portal, target):
        self.lib = _library()
        self.context = self.lib.iscsi_create_context(INITIATOR)
        self.lib.iscsi_set_targetname(self.context, target.encode())
        self.lib.iscsi_set_session_type(self.context, NORMAL_SESSION)
        self.lib.iscsi_set_noautoreconnect(self.context, 1)
        self.lib.iscsi_set_timeout(self.context, COMMAND_TIMEOUT_S)
        if self.lib.iscsi_full_connect_sync(self.context, portal.encode(), LUN) != 0:
            raise VolumeError(f"login at {portal}: {self._error()}")
        capacity = (ctypes.c_ubyte * 32)()
        self._command(_cdb(0x9E, 0x10, 0, len(capacity)), into=capacity)
        self.block_bytes = int.from_bytes(capacity[8:12], "big")
        self.blocks = int.from_bytes(capacity[0:8], "big") + 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.iscsi_logout_sync(self.context)
        self.lib.iscsi_destroy_context(self.context)

    def chunks(self):
        """All of it in order; each is valid until the next."""
        buffer = (ctypes.c_ubyte * CHUNK_BYTES)()
        step = CHUNK_BYTES // self.block_bytes
        for first in range(0, self.blocks, step):
            count = min(step, self.blocks - first)
            view = (ctypes.c_ubyte * (count * self.block_bytes)).from_buffer(buffer)
            self._command(_cdb(0x88, 0, first, count), into=view)
            yield view

    def write(self, block, data):
        padded = data.ljust(self.block_bytes, b"\0")
        if len(padded) != self.block_bytes or not 0 <= block < self.blocks:
            raise VolumeError(f"a block has {self.block_bytes} bytes, and there are {self.blocks}")
        self._command(_cdb(0x8A, 0, block, 1), out_of=(ctypes.c_ubyte * len(padded)).from_buffer_copy(padded))

    def _command(self, cdb, into=None, out_of=None):
        """Either direction fills or takes the whole buffer, or it is an error."""
        buffer = into if into is not None else out_of
        task = self.lib.scsi_create_task(len(cdb), cdb, 1 if into is not None else 2, ctypes.sizeof(buffer))
        try:
            add = self.lib.scsi_task_add_data_in_buffer if into is not None else self.lib.scsi_task_add_data_out_buffer
            if add(task, ctypes.sizeof(buffer), buffer) != 0:
                raise VolumeError("no memory")
            done = self.lib.iscsi_scsi_command_sync(self.context, LUN, task, None)
            if not done or done.contents.status != 0 or done.contents.residual_status != 0:
                raise VolumeError(f"command {cdb[0]:#x} {cdb[2:14].hex()}: {self._error() or 'fewer bytes than asked for'}")
        finally:
            self.lib.scsi_free_scsi_task(task)

    def _error(self):
        return (self.lib.iscsi_get_error(self.context) or b"").decode(errors="replace")


def _cdb(code, action, block, count):
    """READ, WRITE and READ CAPACITY, each of 16 bytes."""
    return bytes([code, action]) + block.to_bytes(8, "big") + count.to_bytes(4, "big") + bytes(2)


def main(words):
    if len(words) == 3 and words[0] == "sum":
        with Volume(words[1], words[2]) as volume:
            digest = hashlib.sha256()
            for chunk in volume.chunks():
                digest.update(chunk)
            print(digest.hexdigest(), volume.blocks * volume.block_bytes)
        return 0
    if len(words) == 5 and words[0] == "write":
        with Volume(words[1], words[2]) as volume:
            volume.write(int(words[3]), words[4].encode())
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except VolumeError as error:
        print(f"volume_io: {error}", file=sys.stderr)
        sys.exit(1)

"""A small file system over a file, for what happens when it is full. Its lab takes it away at the end."""
import os

from rig.processes import run

PIECE_BYTES_MIN = 4096


class SmallDisk:
    def __init__(self, image, at, mib):
        run(["truncate", "-s", f"{mib}M", image])
        run(["mkfs.ext4", "-q", "-F", "-m", "0", image])
        run(["mount", "-o", "loop", image, at])
        self.filler = at / "filler"

    def take(self, mib=None):
        """So much, by default all that is left; returns the bytes."""
        taken = 0
        piece = (mib or 64) << 20
        with open(self.filler, "wb") as file:
            while piece >= PIECE_BYTES_MIN:
                try:
                    os.posix_fallocate(file.fileno(), taken, piece)
                    taken += piece
                    if mib:
                        break
                except OSError:
                    piece //= 2
        return taken

    def give_back(self):
        self.filler.unlink()

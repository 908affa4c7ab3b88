"""Built things kept outside the tree, named by a hash of their recipe.

A finished directory appears by one rename, so whoever sees it sees all of it. Builders of the same recipe wait for each other.
"""
import fcntl
import hashlib
import inspect
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

UNUSED_S_MAX = 14 * 24 * 3600


def root():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "holdfast" / "guest"


def recipe_hash(files, functions, constants):
    """Any change to what builds the product, and only that, makes another product."""
    parts = [path.name.encode() + b"\n" + path.read_bytes() for path in sorted(files)]
    parts += [inspect.getsource(function).encode() for function in functions]
    parts += [repr(constant).encode() for constant in constants]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}\n".encode() + part)
    return digest.hexdigest()[:16]


@contextmanager
def _lock(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_built(kind, key):
    return (root() / f"{kind}-{key}").is_dir()


def get(kind, key, build):
    """The directory of this product; build(temp_dir) fills it when nobody has yet."""
    product = root() / f"{kind}-{key}"
    if product.is_dir():
        os.utime(product)
        return product
    with _lock(root() / f"{kind}.lock"):
        if product.is_dir():
            return product
        for leftover in root().glob(f".{kind}-*"):  # We hold the lock: its builder is dead.
            shutil.rmtree(leftover, ignore_errors=True)
        _forget_unused(kind)
        work = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=root()))
        try:
            build(work)
            work.chmod(0o755)
            work.rename(product)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return product


def _forget_unused(kind):
    for product in root().glob(f"{kind}-*"):
        if time.time() - product.stat().st_mtime > UNUSED_S_MAX:
            shutil.rmtree(product, ignore_errors=True)


def remove_all():
    shutil.rmtree(root(), ignore_errors=True)

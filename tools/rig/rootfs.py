"""The guest's root file system: a minimal Debian 12 with open-iscsi, multipath and PostgreSQL, as one ext4 image."""
import shutil
from pathlib import Path

from rig import cache
from rig.errors import RigError
from rig.processes import run

KIND = "root"
HERE = Path(__file__).parent
IMAGE = HERE / "image"
IMAGE_SIZE = "3G"  # Sparse; a guest's writes go to a copy-on-write file of its own.
UNWANTED = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"]
INSTALLED_FILES = {  # image/NAME -> where it lives in the guest
    "init": ("sbin/holdfast-init", 0o755),
    "multipath.conf": ("etc/multipath.conf", 0o644),
    "iscsid.conf": ("etc/iscsi/iscsid.conf", 0o600),
    "sshd.conf": ("etc/ssh/sshd_config.d/holdfast.conf", 0o644),
}


def path():
    """The directory with root.img and the ssh keys that open it, built first if need be."""
    return cache.get(KIND, key(), _build)


def key():
    return cache.recipe_hash([IMAGE / "packages", *(IMAGE / name for name in INSTALLED_FILES)], [_build, _exchange_keys],
                             [IMAGE_SIZE, UNWANTED, INSTALLED_FILES])


def packages():
    lines = (IMAGE / "packages").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def debian_sources():
    """The machine's own Debian mirrors and nothing else: third-party repositories have no business in the guest."""
    wanted = "$(ORIGIN)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    rows = run(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"]).stdout.splitlines()
    sources = [row.partition("|")[2] for row in rows if row.startswith("Debian|")]
    if not any(" bookworm " in source for source in sources):
        raise RigError("apt knows no Debian 12 (bookworm) mirror: check /etc/apt, then run apt-get update")
    return sorted(set(sources))


def _build(work):
    tree = work / "tree"
    no_cluster = 'mkdir -p "$1/etc/postgresql-common"; echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"'
    # Namespaces of its own: what is mounted in the tree while packages install goes with the processes, and is never seen from outside.
    run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "nice", "mmdebstrap", "--variant=minbase", "--mode=root", "--quiet", '--aptopt=Apt::Install-Recommends "false"',
         *(f"--dpkgopt=path-exclude={pattern}" for pattern in UNWANTED), f"--essential-hook={no_cluster}",
         "--include=" + ",".join(packages()), "bookworm", tree, *debian_sources()], timeout_s=1200)
    for name, (target, mode) in INSTALLED_FILES.items():
        shutil.copy(IMAGE / name, tree / target)
        (tree / target).chmod(mode)
    _exchange_keys(work, tree)
    (tree / "etc/fstab").write_text("")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")
    image = work / "root.img"
    run(["truncate", "-s", IMAGE_SIZE, image])
    # No journal: the image is never written, and a guest's copy of it dies with the guest.
    run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-L", "holdfast-root", "-d", tree, image], timeout_s=300)
    shutil.rmtree(tree)


def _exchange_keys(work, tree):
    """Made with the image, so that ssh can verify both sides and no prompt or known_hosts of the user is involved."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "holdfast-guest", "-f", work / "id"])
    for old in (tree / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    host_key = tree / "etc/ssh/ssh_host_ed25519_key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "holdfast-guest", "-f", host_key])
    (work / "known_hosts").write_text("* " + host_key.with_suffix(".pub").read_text())
    authorized = tree / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700)
    shutil.copy(work / "id.pub", authorized)
    authorized.chmod(0o600)

"""One guest: a User Mode Linux process on a copy-on-write root, reached by ssh over its tap."""
import os
import shlex
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

from rig import kernel, rootfs
from rig.errors import RigError
from rig.lab import GUEST_UID, PREFIX_LENGTH
from rig.processes import identity, is_alive, kill_recorded_group, run, spawn

GUESTSIDE = Path(__file__).parent / "guestside"
READY_MARK = b"HOLDFAST-GUEST-READY"
BOOT_TIMEOUT_S = 60
POLL_S = 0.02


class Guest:
    def __init__(self, lab, name):
        self.lab = lab
        self.name = name
        self.dir = lab.dir / f"guest-{name}"
        self.index, self.address = None, None

    @classmethod
    def open(cls, lab, name):
        """A guest that another command started."""
        guest = cls(lab, name)
        known = lab.state()["guests"].get(name)
        if not known or not guest.is_running():
            raise RigError(f"no guest named {name} is running")
        guest.index, guest.address = known["index"], known["address"]
        return guest

    def is_running(self):
        try:
            return is_alive((self.dir / "process").read_text())
        except FileNotFoundError:
            return False

    def start(self, *, memory_mib=1024, disks=()):
        """Boots to the point where commands can be run; returns the seconds it took. Further disks are files that GUEST_UID may write: /dev/ubdb, /dev/ubdc, ...
        Their cache is this machine's page cache; a flush of the guest is an fdatasync here."""
        if self.is_running():
            raise RigError(f"guest {self.name} is running already")
        linux, root = kernel.path(), rootfs.path()
        began = time.monotonic()
        self.index, self.address = self.lab.add_guest(self.name)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self._start_kernel(linux, root, memory_mib, disks)
        self._start_ssh_master(root)
        self._upload_programs()
        return time.monotonic() - began

    def _start_kernel(self, linux, root, memory_mib, disks):
        """Kernel, image and disks come as open files: whoever runs as nobody may not be able to walk to them (~/.cache)."""
        os.chown(self.dir, GUEST_UID, GUEST_UID)
        with open(linux, "rb") as program, open(root / "root.img", "rb") as image, open(self.dir / "console.log", "wb") as console, ExitStack() as stack:
            more = [stack.enter_context(open(disk, "r+b")) for disk in disks]
            arguments = [
                f"/proc/self/fd/{program.fileno()}", f"mem={memory_mib}M", f"umid={self.name}", f"uml_dir={self.dir}/",
                f"ubd0={self.dir}/cow,/proc/self/fd/{image.fileno()}", "root=/dev/ubda", "rw", "init=/sbin/holdfast-init",
                "con=null", "con0=null,fd:1", "quiet", f"hf_name={self.name}", f"hf_address={self.address}/{PREFIX_LENGTH}",
                f"vec0:transport=tap,ifname=tap{self.index},depth=128,gro=1,mac=52:54:00:77:00:{self.index:02x}",
                *(f"ubd{number}=/proc/self/fd/{disk.fileno()}" for number, disk in enumerate(more, 1)),
            ]
            # The kernel goes back to where it was started after a look at its image: not to where only root may be (/root, say).
            self.process = spawn([*_with_tun_device(), *self._without_privilege(), *arguments], netns=self.lab.lan, cwd=self.dir, stdout=console, stderr=console,
                                 pass_fds=[file.fileno() for file in (program, image, *more)], env={"TMPDIR": _memory_dir(memory_mib), "HOME": str(self.dir)})
        (self.dir / "process").write_text(identity(self.process.pid))
        self._await(lambda: READY_MARK in (self.dir / "console.log").read_bytes(), "boot")

    def _without_privilege(self):
        """setpriv asks for the parent-death signal itself: the kernel forgets an earlier one when the user changes."""
        return ["setpriv", f"--reuid={GUEST_UID}", f"--regid={GUEST_UID}", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
                *([] if self.lab.programs_stay else ["--pdeathsig=KILL"]), "--"]

    def _start_ssh_master(self, root):
        """One connection carries every command: 0.1 s each instead of a handshake each."""
        (self.dir / "ssh_config").write_text(f"""
Host {self.name}
  HostName {self.address}
  User root
  IdentityFile {root}/id
  IdentitiesOnly yes
  UserKnownHostsFile {root}/known_hosts
  StrictHostKeyChecking yes
  LogLevel ERROR
  ConnectTimeout 10
  ServerAliveInterval 5
  ServerAliveCountMax 12
  ControlPath {self.dir}/ssh
""")
        with open(self.dir / "ssh.log", "wb") as log:
            self.master = spawn([*self._ssh(), "-M", "-N", self.name], netns=self.lab.lan, die_with_owner=not self.lab.programs_stay,
                                stdout=log, stderr=log)
        (self.dir / "ssh_process").write_text(identity(self.master.pid))
        self._await((self.dir / "ssh").exists, "accept ssh")

    def _await(self, condition, what):
        give_up = time.monotonic() + BOOT_TIMEOUT_S
        while not condition():
            if self.process.poll() is not None or time.monotonic() > give_up:
                tail = (self.dir / "console.log").read_bytes()[-3000:].decode(errors="replace")
                raise RigError(f"guest {self.name} does not {what}; its console:\n{tail}")
            time.sleep(POLL_S)

    def _upload_programs(self):
        run(["sh", "-c", f"tar -C {shlex.quote(str(GUESTSIDE))} --owner=0 --group=0 -c . | "
             + shlex.join([*self._ssh(), self.name, "mkdir -p /opt/holdfast && tar -C /opt/holdfast -x"])], netns=self.lab.lan)

    def _ssh(self):
        return ["ssh", "-F", str(self.dir / "ssh_config")]

    def run(self, command, *, timeout_s=60, check=True, **kwargs):
        """A shell command in the guest, with a time-out on both sides: a hung device must not hang the caller."""
        return run(self._command(command, timeout_s), netns=self.lab.lan, timeout_s=timeout_s + 10, check=check, **kwargs)

    def popen(self, command, *, timeout_s, **popen):
        """The same, left running."""
        return spawn(self._command(command, timeout_s), netns=self.lab.lan, **popen)

    def _command(self, command, timeout_s):
        return [*self._ssh(), self.name, "PATH=/opt/holdfast:$PATH timeout -k 5 " + f"{timeout_s} sh -c {shlex.quote(command)}"]

    def put(self, local, remote):
        run(["scp", "-q", "-r", "-F", self.dir / "ssh_config", local, f"{self.name}:{remote}"], netns=self.lab.lan, timeout_s=600)

    def get(self, remote, local):
        run(["scp", "-q", "-r", "-F", self.dir / "ssh_config", f"{self.name}:{remote}", local], netns=self.lab.lan, timeout_s=600)

    def power_off(self):
        """As by pulling the plug: nothing is flushed."""
        for record in ("process", "ssh_process"):
            kill_recorded_group((self.dir / record).read_text())


def _with_tun_device():
    """The guest opens its tap without privilege. Where /dev/net/tun is for root only (no udev: containers, small machines), it gets
    a node of its own in a mount namespace of its own; the tap that it may use belongs to it either way."""
    if os.stat("/dev/net/tun").st_mode & 0o006 == 0o006:
        return []
    script = 'mount -t tmpfs -o mode=755 tun /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"]


def _memory_dir(memory_mib):
    """The guest's memory is a file: in RAM if there is room that may be executed, else on disk (slower)."""
    shm = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    roomy = shm and shm.f_bavail * shm.f_frsize > (memory_mib + 256) << 20
    return "/dev/shm" if roomy and not shm.f_flag & os.ST_NOEXEC else "/var/tmp"

"""The steps, each of them: look, say, note, do. In a dry run they end after saying."""
import shutil
import time
from pathlib import Path

from pg_host.host import SetupError, is_same_device, mounted_at, say
from pg_host.initiator import IQN_PREFIX, Initiator, portal_text, record_values, split_portal
from pg_host.journal import Journal
from pg_host.settings import HOST_FILES, MOUNT_OPTIONS, RECORD_SETTINGS, UNITS

INSTALL_TIMEOUT_S = 900
DEVICE_TIMEOUT_S = 30
POLL_S = 0.1


class Setup:
    def __init__(self, host, options, login=None, discovery_login=None):
        self.host = host
        self.options = options
        self.login, self.discovery_login = login, discovery_login
        self.initiator = Initiator(host, IQN_PREFIX + options.volume)
        self.shared = Journal(host, "host")
        self.journal = Journal(host, f"volume-{options.volume}")
        self.changes = 0
        self.complaints = []

    def run(self):
        self.packages()
        self.settings()
        self.units()
        if self.options.dry_run and not shutil.which("iscsiadm"):
            return say("the rest depends on what the installed packages find")
        self.records(self.portals())
        self.sessions()
        device = self.device()
        if device is None:
            return say("the rest depends on what the sessions bring")
        self.file_system(device)
        self.mount(device)
        self.services()

    def change(self, text, journal, entry, action):
        """Returns whether the change was made: in a dry run it was not."""
        self.changes += 1
        if self.options.dry_run:
            say(f"would {text}")
            return False
        say(text)
        if entry:
            journal.add(entry)
        action()
        return True

    def change_file(self, journal, name, content, mode=0o644):
        if self.host.read(name) == content:
            return False
        self.changes += 1
        if self.options.dry_run:
            say(f"would write {name}")
            return False
        say(f"write {name}")
        for folder in reversed(Path(name).parents):
            if not self.host.path(str(folder)).exists():
                journal.add({"kind": "directory", "path": str(folder)})
        journal.add_file(name, content)
        self.host.write(name, content, mode)
        return True

    def packages(self):
        wanted = ["open-iscsi", "multipath-tools", {"ext4": "e2fsprogs", "xfs": "xfsprogs"}[self.options.fs]]
        missing = [name for name in wanted if not self._is_installed(name)]
        if missing:
            self.change(f"install {' '.join(missing)}", self.shared, {"kind": "packages", "names": missing}, lambda: self._install(missing))

    def _is_installed(self, name):
        return self.host.run("dpkg-query", "-W", "-f", "${db:Status-Status}", name, check=False).stdout == "installed"

    def _install(self, names):
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        self.host.run("apt-get", "-q", "update", timeout_s=INSTALL_TIMEOUT_S, env=env)
        self.host.run("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends", *names,
                      timeout_s=INSTALL_TIMEOUT_S, env=env)

    def settings(self):
        changed = [name for name, content in HOST_FILES.items() if self.change_file(self.shared, name, content)]
        if any("multipath" in name for name in changed) and self._answers_multipathd():
            self.host.run("multipathd", "reconfigure")

    def _answers_multipathd(self):
        return self.host.run("multipathd", "show", "daemon", check=False).returncode == 0

    def units(self):
        """Without systemd whoever stands in for it starts iscsid and multipathd."""
        if not self.host.has_systemd():
            return
        for unit in UNITS:
            if self._systemctl("is-enabled", unit) != "enabled":
                self.change(f"enable {unit}", self.shared, {"kind": "unit", "name": unit, "verb": "enable"},
                            lambda unit=unit: self.host.run("systemctl", "enable", unit))
        for unit in ("iscsid.socket", "multipathd.service"):
            if self._systemctl("is-active", unit) != "active":
                self.change(f"start {unit}", self.shared, {"kind": "unit", "name": unit, "verb": "start"},
                            lambda unit=unit: self.host.run("systemctl", "start", unit))

    def _systemctl(self, verb, unit):
        return self.host.run("systemctl", verb, unit, check=False).stdout.strip()

    def portals(self):
        """Each portal that is asked announces all of them; one that answers is enough."""
        found, failures = set(), []
        for portal in self.options.portal:
            address, port = split_portal(portal)
            try:
                found.update(self.initiator.discover(portal_text((address, port, 0)), self.discovery_login))
            except SetupError as error:
                failures.append(f"{portal}: {error}")
        if not found:
            reasons = "\n  ".join(failures) or f"no portal announces {self.initiator.target}: does the volume exist, and may this initiator see it?"
            raise SetupError(f"discovery found nothing:\n  {reasons}")
        self.complaints += [f"discovery at {failure}" for failure in failures]
        return sorted(found)

    def records(self, portals):
        for portal in portals:
            name = self.initiator.record_files().get(portal)
            if name is None:
                made = self.change(f"record portal {portal_text(portal)}", self.journal, {"kind": "record", "portal": portal},
                                   lambda portal=portal: self.initiator.make_record(portal))
                if not made:
                    continue
                name = self.initiator.record_files()[portal]
            self._record_settings(portal, name)

    def _record_settings(self, portal, name):
        values = record_values(self.host.read(name))
        wrong = {key: value for key, value in RECORD_SETTINGS.items() if values.get(key) != value}
        login = self.login if self.login and any(values.get(key) != value for key, value in self.login.lines("node.session.auth").items()) else None
        if not wrong and not login:
            return
        what = [f"{key} = {value}" for key, value in wrong.items()] + (["CHAP"] if login else [])
        if not self.options.dry_run and not self.journal.has({"kind": "record", "portal": portal}):
            self.journal.add_file(name, self.host.read(name))
        self.change(f"set the record of {portal_text(portal)}: {', '.join(what)}", self.journal, None,
                    lambda: self.initiator.set_record(portal, wrong, login))

    def sessions(self):
        """A session keeps the settings that it began with; only its recovery time can be changed while it lasts."""
        running = self.initiator.sessions()
        for portal in self.initiator.record_files():
            if portal[:2] not in running:
                self.change(f"log in at {portal_text(portal)}", self.journal, {"kind": "login", "portal": portal},
                            lambda portal=portal: self._log_in(portal))
        for name in running.values():
            if (self.host.read(f"{name}/recovery_tmo") or "").strip() != "0":
                self.change(f"set recovery_tmo of {Path(name).name} to 0", self.journal, None,
                            lambda name=name: self.host.path(f"{name}/recovery_tmo").write_text("0\n"))

    def _log_in(self, portal):
        """A node that is down now does not keep the others from being used."""
        done = self.initiator.log_in(portal)
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip().splitlines()
            self.complaints.append(f"no session with {portal_text(portal)}: {words[0] if words else 'login failed'}; run this again when that node is up")

    def device(self):
        """The multipath device over the sessions' disks. Its name is its WWID, the same on every host and after every boot."""
        disks = self._await(self._disks, "no session brought a disk") if self.initiator.sessions() else None
        if not disks:
            if self.options.dry_run:
                return None
            raise SetupError("there is no session with the target: " + "; ".join(self.complaints))
        self.host.run("udevadm", "settle", check=False)
        wwid = self._wwid(disks[0])
        if f"/{wwid}/" not in (self.host.read("/etc/multipath/wwids") or ""):
            made = self.change(f"let multipath have {wwid}", self.journal, {"kind": "wwid", "wwid": wwid}, lambda: self._take(disks[0]))
            if not made:
                return None
        device = f"/dev/mapper/{wwid}"
        if not self._has_map(wwid):
            self.host.run("multipathd", "reconfigure")
            self._await(lambda: self._has_map(wwid), f"multipathd makes no device {wwid} (blacklisted in multipath.conf? `multipath -v3 -d` tells)")
        return device

    def _disks(self):
        return [disk for disk in map(self.initiator.disk_of, self.initiator.sessions().values()) if disk]

    def _has_map(self, wwid):
        return self.host.path(f"/dev/mapper/{wwid}").exists()

    def _wwid(self, disk):
        """As multipath sees it, which is as udev does."""
        show = ("udevadm", "info", "--query=property", "--property=ID_SERIAL", "--value", f"--name=/dev/{disk}")
        return self._await(lambda: self.host.run(*show, check=False).stdout.strip(), f"udev has no ID_SERIAL of {disk}")

    def _take(self, disk):
        """With multipath's own default (find_multipaths strict) only what is listed is taken; others' disks are left alone."""
        self.host.path("/etc/multipath").mkdir(exist_ok=True)
        self.host.run("multipath", "-a", f"/dev/{disk}")
        self.host.run("multipathd", "reconfigure")

    def _await(self, condition, complaint):
        give_up = time.monotonic() + DEVICE_TIMEOUT_S
        while not (value := condition()):
            if time.monotonic() > give_up:
                raise SetupError(f"{complaint} within {DEVICE_TIMEOUT_S} s")
            time.sleep(POLL_S)
        return value

    def file_system(self, device):
        """mkfs is not forced either: it looks once more by itself, and refuses."""
        probe = self.host.run("blkid", "--probe", "--output", "export", device, check=False)
        found = dict(line.split("=", 1) for line in probe.stdout.splitlines() if "=" in line)
        if probe.returncode == 2:
            make = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"]}[self.options.fs]
            self.change(f"make {self.options.fs} on {device}", self.journal, None, lambda: self.host.run(*make, device, timeout_s=INSTALL_TIMEOUT_S))
        elif probe.returncode != 0 or found.get("TYPE") != self.options.fs:
            what = found.get("TYPE") or found.get("PTTYPE") or "something that blkid cannot name"
            raise SetupError(f"{device} holds {what}, not {self.options.fs}: it is left as it is (wipefs -a {device} would erase it)")

    def mount(self, device):
        """After the services which bring the device, and not Requires: restarting multipathd would unmount the database."""
        place = self.options.mount
        line = f"{device} {place} {self.options.fs} {MOUNT_OPTIONS} 0 0"
        table = self.host.read("/etc/fstab") or ""
        others = [row for row in table.splitlines() if row.split()[1:2] == [place] and row != line and not row.startswith("#")]
        if others:
            raise SetupError(f"/etc/fstab mounts something else at {place}: {others[0]}")
        if not self.host.path(place).is_dir():
            self.change(f"make {place}", self.journal, {"kind": "directory", "path": place}, lambda: self.host.path(place).mkdir(parents=True))
        if line not in table.splitlines():
            text = table + ("" if not table or table.endswith("\n") else "\n") + line + "\n"
            if self.change(f"add to /etc/fstab: {line}", self.journal, {"kind": "fstab", "line": line},
                           lambda: self.host.write("/etc/fstab", text, self.host.mode("/etc/fstab", 0o644))) and self.host.has_systemd():
                self.host.run("systemctl", "daemon-reload")
        mounted = mounted_at(self.host, place)
        if mounted is None:
            self.change(f"mount {place}", self.journal, {"kind": "mount", "path": place}, lambda: self.host.run("mount", place))
        elif not is_same_device(self.host, mounted, device):
            raise SetupError(f"{mounted} is mounted at {place}, not {device}")

    def services(self):
        """A database must not start on the empty folder below its mount."""
        for service in self.options.service:
            name = f"/etc/systemd/system/{service}.d/holdfast-{self.options.volume}.conf"
            text = f"# Of pg-host-setup: no start without the volume.\n[Unit]\nRequiresMountsFor={self.options.mount}\n"
            if self.change_file(self.journal, name, text) and self.host.has_systemd():
                self.host.run("systemctl", "daemon-reload")

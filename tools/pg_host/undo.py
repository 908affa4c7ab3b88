"""Backwards through the journal. What somebody changed since is left as it is, and said."""
import shutil

from pg_host.host import SetupError, mounted_at, say
from pg_host.initiator import IQN_PREFIX, Initiator, portal_text
from pg_host.journal import STATE, Journal, digest

INSTALL_TIMEOUT_S = 900
RECORDS = "/etc/iscsi/nodes/"


class Undo:
    def __init__(self, host, options):
        self.host, self.options = host, options
        self.initiator = Initiator(host, IQN_PREFIX + options.volume)
        self.left = []

    def run(self):
        volume = Journal(self.host, f"volume-{self.options.volume}")
        if volume.entries:
            self._require_unused()
        self._all(volume)
        others = [entry.name for entry in self.host.path(STATE).glob("volume-*") if entry.name != f"volume-{self.options.volume}"]
        if not others:
            self._all(Journal(self.host, "host"))
        if not self.options.dry_run and self.host.has_systemd():
            self.host.run("systemctl", "daemon-reload")
        return self.left

    def _require_unused(self):
        """Before anything is touched: half an undo helps nobody."""
        places = [entry["path"] for entry in Journal(self.host, f"volume-{self.options.volume}").entries if entry["kind"] == "mount"]
        for place in places:
            users = self.host.run("fuser", "-m", place, check=False).stdout.split() if mounted_at(self.host, place) and shutil.which("fuser") else []
            if users:
                raise SetupError(f"{place} is in use by the processes {' '.join(users)}: stop them first (PostgreSQL?)")

    def _all(self, journal):
        while journal.entries:
            entry = journal.entries[-1]
            text = self._text(entry)
            say(f"would {text}" if self.options.dry_run else text)
            if self.options.dry_run:
                journal.entries.pop()
                continue
            getattr(self, f"_{entry['kind']}")(entry)
            journal.drop_last()
        if not self.options.dry_run:
            journal.forget()

    def _text(self, entry):
        portal = portal_text(entry["portal"]) if "portal" in entry else ""
        return {"file": "put back {path}" if entry.get("former") else "remove {path}", "fstab": "take out of /etc/fstab: {line}",
                "directory": "remove {path}, if it is empty", "record": f"forget portal {portal}", "login": f"log out of {portal}",
                "wwid": "take {wwid} from multipath", "unit": "undo: {verb} {name}", "mount": "unmount {path}",
                "packages": "remove the packages"}[entry["kind"]].format(**entry)

    def _file(self, entry):
        name = entry["path"]
        now = self.host.read(name)
        if now is not None and digest(now) != entry["sha256"] and not name.startswith(RECORDS):  # iscsiadm writes those itself.
            self.left.append(f"{name} was changed since: it is left as it is" + (f"; what it was before: {self._keep(entry)}" if entry["former"] else ""))
        elif entry["former"]:
            self.host.write(name, self.host.read(entry["former"]), entry["mode"])
        elif now is not None:
            self.host.path(name).unlink()

    def _keep(self, entry):
        """The journal's folder goes at the end."""
        kept = f"{entry['path']}.before-holdfast"
        self.host.write(kept, self.host.read(entry["former"]), entry["mode"])
        return kept

    def _fstab(self, entry):
        rows = (self.host.read("/etc/fstab") or "").splitlines()
        if entry["line"] in rows:
            rows.remove(entry["line"])
            self.host.write("/etc/fstab", "".join(f"{row}\n" for row in rows), self.host.mode("/etc/fstab", 0o644))

    def _directory(self, entry):
        try:
            self.host.path(entry["path"]).rmdir()
        except OSError:
            self.left.append(f"{entry['path']} is not empty: it is left")

    def _mount(self, entry):
        if mounted_at(self.host, entry["path"]):
            self.host.run("umount", entry["path"])

    def _wwid(self, entry):
        if self.host.path(f"/dev/mapper/{entry['wwid']}").exists():
            self.host.run("multipath", "-f", entry["wwid"])
        self.host.run("multipath", "-w", entry["wwid"], check=False)

    def _login(self, entry):
        if tuple(entry["portal"][:2]) in self.initiator.sessions():
            self.initiator.log_out(entry["portal"])

    def _record(self, entry):
        self.initiator.delete_record(entry["portal"])

    def _unit(self, entry):
        self.host.run("systemctl", {"enable": "disable", "start": "stop"}[entry["verb"]], entry["name"], check=False)

    def _packages(self, entry):
        """Only what nothing else has come to need."""
        plan = self.host.run("apt-get", "--simulate", "remove", *entry["names"], check=False).stdout
        removed = {line.split()[1] for line in plan.splitlines() if line.startswith("Remv ")}
        if removed - set(entry["names"]):
            self.left.append(f"{' '.join(entry['names'])}: other packages need them by now, they stay")
            return
        self.host.run("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "remove", "--yes", *entry["names"], timeout_s=INSTALL_TIMEOUT_S,
                      env={"DEBIAN_FRONTEND": "noninteractive"})

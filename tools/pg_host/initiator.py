"""open-iscsi: portals, records and sessions of one target. A portal is (address, port, group)."""
import os
import re

from pg_host.host import SetupError

PORT = 3260
IQN_PREFIX = "iqn.2026-11.io.holdfast:"
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 12, 255


class Initiator:
    def __init__(self, host, target):
        self.host = host
        self.target = target

    def discover(self, portal, login):
        """What a portal announces of our target. Nothing is recorded: the portal may serve targets that are none of our business."""
        if not login:
            return self._announced(self.host.run("iscsiadm", "-m", "discovery", "-t", "sendtargets", "-p", portal, "-o", "nonpersistent"))
        record = ("iscsiadm", "-m", "discoverydb", "-t", "sendtargets", "-p", portal)
        self.host.run(*record, "-o", "new")
        try:
            address, port = split_portal(portal)
            name = f"/etc/iscsi/send_targets/{address},{port}/st_config"
            self._set_lines(name, login.lines("discovery.sendtargets.auth"))
            return self._announced(self.host.run(*record, "--discover", "-o", "nonpersistent"))
        finally:
            self.host.run(*record, "-o", "delete", check=False)

    def _announced(self, done):
        lines = (line.split() for line in done.stdout.splitlines())
        return [parse_announced(words[0]) for words in lines if len(words) == 2 and words[1] == self.target]

    def record_files(self):
        """Portal to the file of its record."""
        files = {}
        for path in sorted(self.host.path(f"/etc/iscsi/nodes/{self.target}").glob("*/*")):
            name = "/" + str(path.relative_to(self.host.root))
            values = record_values(self.host.read(name))
            portal = values.get("node.conn[0].address"), int(values.get("node.conn[0].port", PORT)), int(values.get("node.tpgt", -1))
            files[portal] = name
        return files

    def make_record(self, portal):
        self.host.run("iscsiadm", "-m", "node", "-o", "new", "-T", self.target, "-p", portal_text(portal, with_group=True))

    def set_record(self, portal, settings, login):
        for key, value in settings.items():
            self.host.run(*self._node(portal), "-o", "update", "-n", key, "-v", value)
        if login:
            self._set_lines(self.record_files()[portal], login.lines("node.session.auth"))

    def _set_lines(self, name, lines):
        """iscsiadm takes a secret on its command line only, where all can read it; its records are text files of mode 0600."""
        kept = [line for line in self.host.read(name).splitlines() if line.partition(" = ")[0] not in lines]
        end = kept.index("# END RECORD")
        kept[end:end] = [f"{key} = {value}" for key, value in lines.items()]
        self.host.write(name, "\n".join(kept) + "\n", 0o600)

    def delete_record(self, portal):
        self.host.run(*self._node(portal), "-o", "delete", check=False)

    def log_in(self, portal):
        return self.host.run(*self._node(portal), "--login", check=False)

    def log_out(self, portal):
        self.host.run(*self._node(portal), "--logout")

    def _node(self, portal):
        return "iscsiadm", "-m", "node", "-T", self.target, "-p", portal_text(portal)

    def sessions(self):
        """(address, port) to the session's folder in sysfs, of sessions with our target."""
        found = {}
        for session in sorted(self.host.path("/sys/class/iscsi_session").glob("session*")):
            name = f"/sys/class/iscsi_session/{session.name}"
            if (self.host.read(f"{name}/targetname") or "").strip() != self.target:
                continue
            connection = f"/sys/class/iscsi_connection/connection{session.name.removeprefix('session')}:0"
            address = (self.host.read(f"{connection}/persistent_address") or "").strip()
            port = int((self.host.read(f"{connection}/persistent_port") or "0").strip())
            found[address, port] = name
        return found

    def disk_of(self, session):
        """The disk of LUN 0 of a session, like sdb, or None while there is none."""
        disks = sorted(self.host.path(f"{session}/device").glob("target*/*:0/block/*"))
        return disks[0].name if disks else None


class Login:
    """CHAP: who we are to the target, and who the target must be to us. The secrets come from files."""

    def __init__(self, user, secret, mutual_user=None, mutual_secret=None):
        self.user, self.secret = user, secret
        self.mutual_user, self.mutual_secret = mutual_user, mutual_secret

    def lines(self, prefix):
        lines = {f"{prefix}.authmethod": "CHAP", f"{prefix}.username": self.user, f"{prefix}.password": self.secret}
        if self.mutual_user:
            lines |= {f"{prefix}.username_in": self.mutual_user, f"{prefix}.password_in": self.mutual_secret}
        return lines


def record_values(text):
    pairs = (line.partition(" = ") for line in (text or "").splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def split_portal(text):
    """'192.0.2.1', '192.0.2.1:3260', '[2001:db8::1]:3260' or a name."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s\[\]:,]+))(?::(\d{1,5}))?", text)
    if not match or not 0 < int(match[3] or PORT) < 65536:
        raise SetupError(f"--portal {text}: an address with or without a port, like 192.0.2.1:3260 or [2001:db8::1]:3260")
    return match[1] or match[2], int(match[3] or PORT)


def parse_announced(text):
    """'192.0.2.1:3260,1' of iscsiadm."""
    place, _, group = text.rpartition(",")
    address, port = split_portal(place)
    return address, port, int(group)


def portal_text(portal, *, with_group=False):
    address, port, group = portal
    text = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{text},{group}" if with_group else text


def read_secret(option, name):
    """One line, readable by its owner only."""
    try:
        with open(name) as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise SetupError(f"{option}: {name} is readable by others: chmod 600 {name}")
            secret = file.read().removesuffix("\n")
    except OSError as error:
        raise SetupError(f"{option}: {name}: {error.strerror}") from None
    if not SECRET_BYTES_MIN <= len(secret.encode()) <= SECRET_BYTES_MAX or not secret.isprintable() or secret != secret.strip():
        raise SetupError(f"{option}: {name}: one line of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} printable bytes, without blanks around it")
    return secret

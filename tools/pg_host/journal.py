"""What was changed and what was there before, oldest first. An entry is durable before its change is made."""
import hashlib
import json
import shutil
from pathlib import Path

STATE = "/var/lib/holdfast-host"


class Journal:
    def __init__(self, host, name):
        self.host = host
        self.dir = f"{STATE}/{name}"
        self.entries = json.loads(host.read(f"{self.dir}/journal.json") or "[]")

    def add(self, entry):
        if self.has(entry):
            return
        self.entries.append(entry)
        self._save()

    def has(self, entry):
        """As it would be read back: what was noted in an earlier run has lists where this one has tuples."""
        return json.loads(json.dumps(entry)) in json.loads(json.dumps(self.entries))

    def add_file(self, name, content):
        """A second change of a file keeps what was there before the first."""
        known = next((entry for entry in self.entries if entry["kind"] == "file" and entry["path"] == name), None)
        if known:
            known["sha256"] = digest(content)
        else:
            former, kept_as = self.host.read(name), None
            if former is not None:
                kept_as = f"{self.dir}/former-{len(self.entries)}-{Path(name).name}"
                self.host.write(kept_as, former, 0o600)
            self.entries.append({"kind": "file", "path": name, "former": kept_as, "mode": self.host.mode(name, 0o644), "sha256": digest(content)})
        self._save()

    def drop_last(self):
        self.entries.pop()
        self._save()

    def forget(self):
        shutil.rmtree(self.host.path(self.dir), ignore_errors=True)

    def _save(self):
        self.host.path(self.dir).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.host.write(f"{self.dir}/journal.json", json.dumps(self.entries, indent=1) + "\n", 0o600)


def digest(content):
    return hashlib.sha256(content.encode()).hexdigest()

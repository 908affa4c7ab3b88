"""A PostgreSQL host on a volume: what an administrator does by hand, step by step."""
from rig.guest import Guest

STEP_TIMEOUT_S = 180


class PostgresHost:
    def __init__(self, lab, name="pg", guest=None):
        """Several volumes may share a guest, one mounted at a time."""
        self.guest = guest or Guest(lab, name)
        self.device = None  # Valid after attach().

    def attach(self, portal, target):
        self.device = self._run(f"attach {portal} {target}").stdout.strip()
        return self.device

    def format(self, fs, discard=True):
        """Without discard what was written before stays allocated."""
        self._run(f"volume-fs make {fs} {self.device}{'' if discard else ' nodiscard'}")

    def mount(self):
        self._run(f"volume-fs mount {self.device}")

    def unmount(self):
        self._run("volume-fs unmount")

    def has_database(self):
        return self.guest.run("test -e /srv/data/PG_VERSION", check=False).returncode == 0

    def postgres(self, verb):
        return self._run(f"postgres {verb}").stdout

    def sql(self, text):
        return self.guest.run("sql", timeout_s=STEP_TIMEOUT_S, input=text).stdout

    def _run(self, command):
        return self.guest.run(command, timeout_s=STEP_TIMEOUT_S)

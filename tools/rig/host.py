"""A PostgreSQL host on a volume: what an administrator does by hand, step by step."""
from rig.guest import Guest

STEP_TIMEOUT_S = 180


class PostgresHost:
    def __init__(self, lab, name="pg"):
        self.guest = Guest(lab, name)
        self.device = None  # Valid after attach().

    def attach(self, portal, target):
        self.device = self._run(f"attach {portal} {target}").stdout.strip()
        return self.device

    def format(self, fs):
        self._run(f"volume-fs make {fs} {self.device}")

    def mount(self):
        self._run(f"volume-fs mount {self.device}")

    def unmount(self):
        self._run("volume-fs unmount")

    def postgres(self, verb):
        return self._run(f"postgres {verb}").stdout

    def sql(self, text):
        return self.guest.run("sql", timeout_s=STEP_TIMEOUT_S, input=text).stdout

    def _run(self, command):
        return self.guest.run(command, timeout_s=STEP_TIMEOUT_S)

"""A ledger of acknowledged transactions, kept outside the guest: whatever it holds must be in the database after any crash.

Each client works in lock-step: it sends transaction N + 1 only after the acknowledgement of N has arrived here and is on file.
So after a crash each client's rows must be exactly 1..N, or 1..N+1 if the one in flight was committed but its answer was lost.
Each transaction inserts a row and moves its client's head: a torn transaction shows as a head that disagrees with the rows.
"""
import subprocess
import threading
import time

from rig.errors import RigError
from rig.processes import kill_group

SCHEMA = """
CREATE TABLE ledger (client int, seq bigint, body text NOT NULL, PRIMARY KEY (client, seq));
CREATE TABLE ledger_head (client int PRIMARY KEY, last bigint NOT NULL);
"""
BODY = "repeat(md5({client} || ':' || {seq}), 8)"
SESSION_TIMEOUT_S = 3600


class Ledger:
    def __init__(self, guest, path, client_count):
        self.path = path
        self.clients = [_Client(self, number) for number in range(1, client_count + 1)]
        self.ack_times = []  # time.monotonic() of every acknowledgement, in order.
        self._lock = threading.Lock()
        self._file = open(path, "w")
        heads = ", ".join(f"({client.number}, 0)" for client in self.clients)
        guest.run("sql --single-transaction", input=f"{SCHEMA} INSERT INTO ledger_head VALUES {heads};")

    @property
    def acked_count(self):
        return len(self.ack_times)

    def start(self, guest):
        """Also again, after a stop()."""
        for client in self.clients:
            client.start(guest)

    @property
    def is_running(self):
        return any(client.is_running for client in self.clients)

    def record(self, client, seq):
        with self._lock:
            self.ack_times.append(time.monotonic())
            self._file.write(f"{client} {seq}\n")
            self._file.flush()

    def require_healthy(self):
        for client in self.clients:
            if client.failure:
                raise RigError(f"ledger client {client.number} got an error: {client.failure}")

    def stop(self):
        """Lets every client finish the transaction that it has in flight."""
        for client in self.clients:
            client.stop_after_current()
        self.require_healthy()

    def abandon(self):
        """The host died: sessions end wherever they are."""
        for client in self.clients:
            client.abandon()

    def longest_pause(self, since, until):
        """The longest time in seconds without any acknowledgement, within [since, until]."""
        times = [since, *(t for t in self.ack_times if since < t < until), until]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def verify(self, guest):
        """Raises unless every acknowledged transaction is there, whole, and nothing that was never sent; returns the row count.
        What was in flight when a client was abandoned counts as acknowledged from now on if it is there."""
        complaints = []
        rows_total = 0
        for client in self.clients:
            rows, first, last, head, broken = map(int, guest.run("sql", timeout_s=120, input=_SUMMARY.format(client=client.number)).stdout.split())
            rows_total += rows
            acked, sent = client.acked_seq, client.sent_seq
            who = f"client {client.number}"
            if last < acked:
                complaints.append(f"{who}: transactions {last + 1}..{acked} were acknowledged and are LOST")
            if last > sent:
                complaints.append(f"{who}: row {last} was never sent (sent up to {sent})")
            if rows != last or (rows and first != 1):
                complaints.append(f"{who}: {rows} rows in {first}..{last}: there are holes")
            if head != last:
                complaints.append(f"{who}: torn transaction: head {head}, last row {last}")
            if broken:
                complaints.append(f"{who}: {broken} rows have a damaged body")
            client.acked_seq = last
        if complaints:
            raise RigError("the ledger does not match:\n  " + "\n  ".join(complaints))
        return rows_total


_SUMMARY = f"""
SELECT count(*), coalesce(min(seq), 0), coalesce(max(seq), 0),
       (SELECT last FROM ledger_head WHERE client = {{client}}),
       count(*) FILTER (WHERE body <> {BODY.format(client='client', seq='seq')})
FROM ledger WHERE client = {{client}};
"""


class _Client:
    def __init__(self, ledger, number):
        self.ledger = ledger
        self.number = number
        self.sent_seq = 0   # Written before the statement leaves.
        self.acked_seq = 0  # Written after its acknowledgement is on file.
        self.failure = None
        self._stopping = False
        self._thread = None  # Valid after start().

    @property
    def is_running(self):
        return self._thread is not None and self._thread.is_alive()

    def start(self, guest):
        self._stopping = False
        self._session = guest.popen("sql 2>&1", timeout_s=SESSION_TIMEOUT_S, text=True, bufsize=1,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        try:
            while not self._stopping:
                self._transact(self.acked_seq + 1)
        except OSError as error:
            self._fail(str(error))

    def _transact(self, seq):
        """One message, hence one transaction; the echo comes after its acknowledgement."""
        self.sent_seq = seq
        body = BODY.format(client=self.number, seq=seq)
        self._session.stdin.write(
            f"INSERT INTO ledger VALUES ({self.number}, {seq}, {body}) \\; "
            f"UPDATE ledger_head SET last = {seq} WHERE client = {self.number};\n\\echo {seq}\n")
        answer = self._session.stdout.readline()
        if answer.strip() != str(seq):
            self._fail(answer.strip() or "the session ended")
            return
        self.ledger.record(self.number, seq)
        self.acked_seq = seq

    def _fail(self, words):
        if not self._stopping:
            self.failure = words
        self._stopping = True

    def stop_after_current(self):
        self._stopping = True
        if not self.is_running:
            return
        self._thread.join(timeout=60)
        if self._thread.is_alive():
            self.failure = f"transaction {self.sent_seq} got no answer within 60 s"
        kill_group(self._session)

    def abandon(self):
        self._stopping = True
        kill_group(self._session)
        self._thread.join(timeout=10)
        self.failure = None  # What it was told when its server died is what was meant.

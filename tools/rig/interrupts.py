"""Ctrl-C, TERM and HUP end a run as an exception, so that every `with` and `finally` cleans up; a second one changes nothing."""
import signal
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    def __init__(self, number):
        self.number = number
        super().__init__(signal.Signals(number).name)


def _raise(number, _frame):
    ignore()  # Cleaning up has begun.
    raise Interrupted(number)


def catch():
    for number in ENDING:
        signal.signal(number, _raise)


def ignore():
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def held_back():
    """Postpones them to the end of a passage that must be done as a whole."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

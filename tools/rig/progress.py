"""One line a step with the seconds since the start; a terminal sees the running step too."""
import sys
import time
from contextlib import contextmanager

_start = time.monotonic()


def elapsed_s():
    return time.monotonic() - _start


def say(text, *, end="\n"):
    print(f"[{elapsed_s():6.1f} s] {text}", end=end, flush=True)


def detail(text):
    print(f"{'':11}{text}", flush=True)


@contextmanager
def step(text):
    """Prints the step when it starts (terminal) and, with its duration, when it is done."""
    began = time.monotonic()
    live = sys.stdout.isatty()
    if live:
        say(f"{text} ...", end="")
    note = []
    try:
        yield note.append
    except BaseException:
        if live:
            print(flush=True)
        else:
            say(f"{text}: not done")
        raise
    words = "".join(f", {part}" for part in note)
    if live:
        print("\r\033[K", end="")
    say(f"{text}: {time.monotonic() - began:.1f} s{words}")

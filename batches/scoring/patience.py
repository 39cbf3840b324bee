"""How much work scoring one answer may be: one clock for all the assertions of a case."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# Of the thread's own work, so that a busy machine changes nothing. An answer of 400 KB against an
# ordinary schema takes less.
MOST_SECONDS = 1.0
# Kept at once they are memory, and collecting that stops all threads meanwhile.
MOST_COMPLAINTS = 10_000


class OutOfTime(Exception):
    """It is too much work: what is left cannot be decided."""


@dataclass
class _Clock:
    ends: float
    complaints: int = 0


_clock: ContextVar[_Clock | None] = ContextVar("clock", default=None)


@contextmanager
def limited() -> Iterator[None]:
    """Start the clock for what is done inside; one that runs already goes on."""
    token = None
    if _clock.get() is None:
        token = _clock.set(_Clock(time.thread_time() + MOST_SECONDS))
    try:
        yield
    finally:
        if token is not None:
            _clock.reset(token)


def check() -> None:
    """Go on while there is time, or where nobody has started the clock.

    Raises:
        OutOfTime: to be told as "cannot be scored".
    """
    clock = _clock.get()
    if clock is not None and time.thread_time() > clock.ends:
        raise OutOfTime


def complained() -> None:
    """Count one more complaint that is kept. Raises as `check`."""
    clock = _clock.get()
    if clock is not None:
        clock.complaints += 1
        if clock.complaints > MOST_COMPLAINTS:
            raise OutOfTime

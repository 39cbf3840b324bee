"""How much work scoring one answer may be: one clock for all the assertions of a case."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Of the thread's own work, so that a busy machine changes nothing. An answer of 400 KB against an
# ordinary schema takes less.
MOST_SECONDS = 1.0
_ends: ContextVar[float | None] = ContextVar("ends", default=None)


class OutOfTime(Exception):
    """MOST_SECONDS are over: what is left cannot be decided."""


@contextmanager
def limited() -> Iterator[None]:
    """Start the clock for what is done inside; one that runs already goes on."""
    token = None
    if _ends.get() is None:
        token = _ends.set(time.thread_time() + MOST_SECONDS)
    try:
        yield
    finally:
        if token is not None:
            _ends.reset(token)


def check() -> None:
    """Go on while there is time, or where nobody has started the clock.

    Raises:
        OutOfTime: to be told as "cannot be scored".
    """
    ends = _ends.get()
    if ends is not None and time.thread_time() > ends:
        raise OutOfTime

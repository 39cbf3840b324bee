"""One measured number with its limit, and what processes have used so far."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from config import places, processes


@dataclass(frozen=True)
class Figure:
    """`limit` is the most that is allowed, or where `least` is set the least; None is no limit."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False

    @property
    def ok(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        line = f"{self.what:<88} {self.value:>12,.2f} {self.unit}"
        if self.limit is None:
            return line
        side = "least" if self.least else "most"
        return f"{line:<116} at {side} {self.limit:,g}: {'ok' if self.ok else 'OVER'}"


class Meter:
    """The CPU time that groups of processes use from its making on.

    A group is asked for anew at the end: what was started meanwhile counts, and what has ended
    counts through its parent, which has to be of the group.
    """

    def __init__(self, groups: Mapping[str, Callable[[], list[int]]]) -> None:
        self._groups = groups
        self._before = self._now()

    def used_ms(self) -> dict[str, float]:
        return {name: used - self._before[name] for name, used in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {name: cpu_ms(pids()) for name, pids in self._groups.items()}


def cpu_ms(pids: Iterable[int]) -> float:
    """Return the CPU time used by these processes and by their children that have ended."""
    total = 0.0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            used = psutil.Process(pid).cpu_times()
            total += used.user + used.system
            total += getattr(used, "children_user", 0) + getattr(used, "children_system", 0)
    return total * 1000


def family(pid: int) -> list[int]:
    """Return a process and everything it has started that still runs."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def database() -> list[int]:
    """Return PostgreSQL's main process and all its backends."""
    return _of_server("postgres", "postgres")


def redis() -> list[int]:
    return _of_server("redis", "valkey-server")


def _of_server(directory: str, program: str) -> list[int]:
    data_dir = Path(os.environ["EVALSCHED_DATA_DIR"])
    found = processes.working_in(places.noted(data_dir) / directory, program)
    assert found, f"no process named {program} works in {directory}"
    return found


def pss_mib(pid: int) -> float:
    """Return the memory of a process, shared pages divided among those that share them."""
    about = psutil.Process(pid).memory_full_info()
    return float(getattr(about, "pss", about.rss)) / 2**20

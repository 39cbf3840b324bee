"""One measured number, and what processes have used so far."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Figure:
    what: str
    value: float
    unit: str


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


def pss_mib(pid: int) -> float:
    """Return the memory of a process, shared pages divided among those that share them."""
    about = psutil.Process(pid).memory_full_info()
    return float(getattr(about, "pss", about.rss)) / 2**20

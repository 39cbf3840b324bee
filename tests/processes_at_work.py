"""Real workers and beats for tests and benchmarks, and threads that act at the same moment."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from django.apps import apps
from django.db import connection

from access import clock
from config import processes
from evalsched import ticks
from tests.servers import child_environment

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.0/8"
SOFT_SHUTDOWN_SECONDS = 4
_CELERY = (sys.executable, "-m", "celery", "-A")

T = TypeVar("T")


@dataclass(frozen=True)
class Running:
    """A process of ours with everything it has started, and the file it writes to."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """Kill it with all its children, at once: nobody gets to say goodbye."""
        processes.kill_group(self.process)
        self.process.wait()

    def freeze(self) -> None:
        """Stop it with all its children where they are, until `thaw`."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def ask_to_stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal the main process only, as a supervisor does."""
        self.process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Return its exit status; TimeoutExpired where it does not end in time."""
        return self.process.wait(seconds)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@contextmanager
def worker(
    directory: Path,
    *,
    queues: str = "ticks,batches,deliveries",
    concurrency: int = 2,
    pool: str = "prefork",
    app: str = "config.celery",
    settings: Mapping[str, str] = MappingProxyType({}),
    **environment: str,
) -> Iterator[Running]:
    """Run a Celery worker on the calling test's databases until the context ends.

    `app` names the module of the Celery application. `settings` are further variables of its
    environment.
    """
    number = sum(1 for _ in directory.glob("worker*.log"))
    command = (
        *(*_CELERY, app, "worker", "--queues", queues, "--concurrency", str(concurrency)),
        *("--pool", pool),
        *("--hostname", f"tests{number}-{os.getpid()}@%h", "--loglevel", "WARNING"),
        *("--without-mingle", "--without-gossip"),
    )
    own = {"EVALSCHED_PROCESS": "worker", "REMAP_SIGTERM": "SIGQUIT"}
    own |= {**settings, **environment}
    with _running(command, directory / f"worker{number}.log", own) as running:
        yield running


@contextmanager
def beat(directory: Path, **environment: str) -> Iterator[Running]:
    """Run a beat on the calling test's database until the context ends."""
    number = sum(1 for _ in directory.glob("beat*.log"))
    command = (*_CELERY, "config.celery", "beat", "--pidfile=", "--loglevel", "WARNING")
    own = {"EVALSCHED_PROCESS": "beat"}
    with _running(command, directory / f"beat{number}.log", own | environment) as running:
        yield running


@contextmanager
def web(directory: Path, **environment: str) -> Iterator[tuple[int, Running]]:
    """Run the web process as production does until it listens; yield its port and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = (
        *(sys.executable, "-m", "gunicorn", "config.wsgi:application", "--no-control-socket"),
        *("--worker-class", "gthread", "--threads", "4", "--bind", f"127.0.0.1:{port}"),
        *("--preload", "--log-level", "warning"),
    )
    with _running(command, directory / "web.log", environment) as running:
        until(lambda: _listens(port), what=running.said)
        yield port, running


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def managing(directory: Path, *arguments: str, **environment: str) -> Iterator[Running]:
    """Run a command of `manage.py` beside the test, on its databases, until the context ends."""
    number = sum(1 for _ in directory.glob("manage*.log"))
    command = (sys.executable, "manage.py", *arguments)
    with _running(command, directory / f"manage{number}.log", environment) as running:
        yield running


@contextmanager
def _running(command: tuple[str, ...], log: Path, environment: dict[str, str]) -> Iterator[Running]:
    common = {
        "EVALSCHED_PRIVATE_HOSTS": LOOPBACK,
        "EVALSCHED_SOFT_SHUTDOWN_SECONDS": str(SOFT_SHUTDOWN_SECONDS),
    }
    with log.open("ab") as output:
        process = processes.spawn(
            command,
            env=child_environment(str(connection.settings_dict["NAME"])) | common | environment,
            cwd=ROOT,
            output=output,
            orphaned=signal.SIGKILL,
        )
    running = Running(process, log)
    try:
        yield running
    finally:
        running.kill()


@contextmanager
def ticking(every_seconds: float = 0.3) -> Iterator[None]:
    """Tick in a thread of the test's own process, whatever else goes on."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(every_seconds):
            ticks.tick(clock.database_now())

    with beside(tick) as answer:
        try:
            yield
        finally:
            over.set()
        answer()


def make_beats_entries() -> None:
    """Make beat's entries again, as the migration made them: emptying the tables took them."""
    import_module("evalsched.migrations.0001_squashed_0007_agents").make_entries(apps, None)
    import_module("alerts.migrations.0001_squashed_0012_operators").make_entry(apps, None)


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `manage.py` in a process of its own, on the test's databases."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=child_environment(str(connection.settings_dict["NAME"])) | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def at_once(*tasks: Callable[[], T]) -> list[T]:
    """Run each task in a thread with a connection of its own, all let go at the same moment.

    Return what they returned, in their order; what one raised is raised.
    """
    start = threading.Barrier(len(tasks))

    def run(task: Callable[[], T]) -> T:
        try:
            connection.ensure_connection()
            start.wait(10)
            return task()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


@contextmanager
def beside(task: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Run `task` in a thread while the context is open; yield what waits for its answer."""

    def run() -> T:
        try:
            return task()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run)
        yield lambda: future.result(60)


def until(
    condition: Callable[[], object],
    *,
    seconds: float = 20,
    what: str | Callable[[], str] = "the condition",
) -> None:
    """Wait until `condition` holds; fail with `what` where it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        said = what if isinstance(what, str) else what()
        assert time.monotonic() < deadline, f"not within {seconds} s: {said}"
        time.sleep(0.02)

"""A real PostgreSQL and a real Redis-speaking server under the data directory, with no TCP port.

`manage.py up` and the test session start them; every other process only asks for their addresses.
Only the programs of the wheels are used. Importing this needs neither Django nor the wheels.
"""

import contextlib
import fcntl
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from config import places
from config.places import Trouble
from config.postgres import PORT as POSTGRES_PORT
from config.postgres import Postgres
from config.valkey import Valkey

START_SECONDS = 60.0
_PROBE_SECONDS = 0.3


class AlreadyRunning(Trouble):
    """Another process serves this data directory. Stop that one, or choose another directory."""


@dataclass(frozen=True)
class Addresses:
    """Where Django, Celery and the cache find the embedded servers, as URLs."""

    database_url: str
    broker_url: str
    redis_url: str

    def redis(self, number: int) -> tuple[str, str]:
        """Return the broker's and the cache's URL for the `number`th pair of Redis databases."""
        return (
            self.broker_url.replace("virtual_host=0", f"virtual_host={2 * number}"),
            self.redis_url.replace("db=1", f"db={2 * number + 1}"),
        )


class Service(Protocol):
    """A server process that can be watched and started again."""

    name: str

    def launch(self) -> None:
        """Start it, without waiting until it answers."""

    def ready(self) -> bool:
        """Whether it answers."""

    def dead(self) -> bool:
        """Whether nobody can reach it any more, although nobody stopped it."""

    def ask(self) -> None:
        """Ask it to end in order."""

    def ended(self) -> bool:
        """Whether it has ended."""

    def kill(self) -> None:
        """End it at once, with everything it started."""

    def last_words(self) -> str:
        """What it logged last."""


class Servers:
    """The running servers of one data directory; nobody else can start them meanwhile.

    `services` stand in the order of their start; they end in the reverse order. Watch them with
    `dead()` and start a dead one again with `launch()`, both from the main thread.
    """

    def __init__(
        self, data_dir: Path, services: tuple[Service, ...], lock: IO[str], sockets: Path | None
    ) -> None:
        self.addresses = addresses(data_dir)
        self.services = services
        self._lock = lock
        self._sockets = sockets

    def stop(self, patience: float = 8.0) -> None:
        """End the servers in order, each within `patience` seconds, and let others start them."""
        try:
            for service in reversed(self.services):
                service.ask()
                deadline = time.monotonic() + patience
                while not service.ended() and time.monotonic() < deadline:
                    time.sleep(0.02)
                service.kill()
        finally:
            self.release()

    def release(self) -> None:
        """Let others start these servers. For those who ended the services themselves."""
        if self._sockets is not None:
            # A killed server's socket stays in it; the next start clears that away.
            with contextlib.suppress(OSError):
                self._sockets.rmdir()
        self._lock.close()


def addresses(data_dir: Path) -> Addresses:
    """Return the addresses for a data directory, whether or not its servers run.

    They depend on the resolved path alone, so settings can be read before the servers start.
    """
    directory = places.sockets(data_dir)
    valkey = directory / Valkey.SOCKET
    return Addresses(
        # The port is part of the socket's name, and PGPORT would change it.
        database_url=f"postgres://evalsched@/evalsched?host={directory}&port={POSTGRES_PORT}",
        broker_url=f"redis+socket://{valkey}?virtual_host=0",
        redis_url=f"unix://{valkey}?db=1",
    )


def running(data_dir: Path) -> bool:
    """Return whether both servers of this data directory take connections."""
    directory = places.sockets(data_dir)
    return all(
        _takes_connections(directory / name)
        for name in (f".s.PGSQL.{POSTGRES_PORT}", Valkey.SOCKET)
    )


def holder(data_dir: Path) -> int | None:
    """Return the process that has started this data directory's servers, None if nobody has."""
    try:
        with (data_dir / "lock").open(encoding="utf-8") as file:
            if not _try_lock(file):
                return int(file.read().strip() or 0)
    except FileNotFoundError:
        pass
    return None


def start(
    data_dir: Path,
    *,
    durable: bool,
    postgres: bool = True,
    redis: bool = True,
) -> Servers:
    """Start the servers of `data_dir` and wait until they answer. Call it from the main thread.

    What an earlier run left behind is ended first. `durable` False gives up safety against a power
    cut for speed. `postgres` or `redis` False leaves that one out, where another server is used.

    Raises:
        AlreadyRunning: another process has started them.
        Trouble: they cannot run here, or do not come up; the message says what to do.
    """
    places.make_data_directory(data_dir)
    lock = _lock(data_dir)
    services: list[Service] = []
    try:
        if not postgres and not redis:
            return Servers(data_dir, (), lock, None)
        home = places.settle(data_dir)
        cluster = Postgres(home, durable=durable)
        services += [cluster] if postgres else []
        services += [Valkey(home, durable=durable)] if redis else []
        for service in services:
            service.launch()
        for service in services:
            _await(service)
        if postgres:
            cluster.furnish()
    except BaseException:
        for service in services:
            service.kill()
        lock.close()
        raise
    return Servers(data_dir, tuple(services), lock, home.sockets)


def end_leftovers(data_dir: Path) -> None:
    """End the servers that a killed run has left. `start` does so too.

    Raises:
        AlreadyRunning: they are no leftovers.
    """
    lock = _lock(data_dir)
    try:
        home = places.settle(data_dir)
        for service in (Valkey(home, durable=False), Postgres(home, durable=False)):
            service.kill()
    finally:
        lock.close()


def _await(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not service.ready():
        if service.dead():
            raise Trouble(f"The embedded {service.name} does not start:\n{service.last_words()}")
        if time.monotonic() > deadline:
            raise Trouble(
                f"The embedded {service.name} did not answer within {START_SECONDS:.0f} s:\n"
                f"{service.last_words()}"
            )
        time.sleep(0.02)


def _lock(data_dir: Path) -> IO[str]:
    """Hold the data directory until the returned file is closed, at the latest when we end."""
    file = (data_dir / "lock").open("a+", encoding="utf-8")
    # `holder` locks it as well, for a moment.
    deadline = time.monotonic() + _PROBE_SECONDS
    while not (held := _try_lock(file)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if not held:
        file.seek(0)
        by = file.read().strip()
        file.close()
        raise AlreadyRunning(
            f"evalsched already runs on {data_dir} (process {by}). "
            "Stop that one first, or set EVALSCHED_DATA_DIR to another directory."
        )
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _takes_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True

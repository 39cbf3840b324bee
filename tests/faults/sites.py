"""A whole installation of a test's own, whose servers may be killed, frozen and restarted."""

import http.client
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection

from batches.models import Batch
from config import embedded
from config.postgres import Postgres
from config.valkey import Valkey
from tests.faults.long_batches import Ends
from tests.processes_at_work import beside, manage, until, web
from tests.servers import apart


@dataclass(frozen=True)
class Site:
    """PostgreSQL, Redis and a web process. `environment` leads a worker or beat to them."""

    redis: Valkey
    postgres: Postgres
    addresses: embedded.Addresses
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return environment_of(self.addresses)


def environment_of(addresses: embedded.Addresses) -> dict[str, str]:
    return {
        "DATABASE_URL": addresses.database_url,
        "CELERY_BROKER_URL": addresses.broker_url,
        "REDIS_URL": addresses.redis_url,
    }


@contextmanager
def standing_site(directory: Path) -> Iterator[Site]:
    """Start servers, make the tables, and run a web process on them."""
    with apart() as servers:
        redis = next(each for each in servers.services if isinstance(each, Valkey))
        postgres = next(each for each in servers.services if isinstance(each, Postgres))
        environment = environment_of(servers.addresses)
        migrated = manage("migrate", "--verbosity", "0", **environment, EVALSCHED_PROCESS="worker")
        assert migrated.returncode == 0, migrated.stderr
        with web(directory, **environment, EVALSCHED_RATE_LIMIT_WRITES="600") as (port, running):
            until(lambda: Client(port, "").send("GET", "/healthz")[0] == 200, what=running.said)
            yield Site(redis, postgres, servers.addresses, port)


@contextmanager
def pointed_at(site: Site) -> Iterator[None]:
    """Let this process ask the site's database, in every thread."""
    there = site.postgres.socket().parent
    settings = connection.settings_dict
    before = {name: settings[name] for name in ("NAME", "OPTIONS")}
    connection.close()
    settings |= {"NAME": "evalsched", "OPTIONS": before["OPTIONS"] | {"host": str(there)}}
    try:
        yield
    finally:
        connection.close()
        settings |= before


@contextmanager
def counting_ends() -> Iterator[Ends]:
    """Count how often a batch comes to an end, in whichever process, while the context is open."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TABLE noted_ends (batch_id uuid);
            GRANT INSERT ON noted_ends TO PUBLIC;
            CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO noted_ends VALUES (NEW.id); RETURN NULL; END';
            CREATE TRIGGER note_end AFTER UPDATE OF status ON batches_batch FOR EACH ROW
                WHEN (NEW.completed_at IS NOT NULL AND OLD.completed_at IS NULL)
                EXECUTE FUNCTION note_end();
            """
        )

    def count(batch: Batch) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM noted_ends WHERE batch_id = %s", [batch.pk])
            return int(cursor.fetchone()[0])

    yield count
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER note_end ON batches_batch; DROP FUNCTION note_end()")
        cursor.execute("DROP TABLE noted_ends")


def end_redis(site: Site, seconds: float) -> None:
    """Kill Redis, and start it anew after a while with nothing of what it held."""
    os.kill(_pid(site.redis), signal.SIGKILL)
    time.sleep(seconds)
    shutil.rmtree(site.redis.directory / "appendonlydir")
    _launch(site.redis)


def freeze_redis(site: Site, seconds: float) -> None:
    """Make Redis wait: connections are taken and nothing is answered."""
    pid = _pid(site.redis)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def restart_postgres(site: Site, number: signal.Signals, seconds: float) -> None:
    """Stop PostgreSQL with the signal of one of its shutdown modes; start it again after a while.

    SIGINT is the fast mode; SIGQUIT the immediate one, after which it recovers as from a crash.
    """
    os.kill(_pid(site.postgres), number)
    until(site.postgres.ended, what="PostgreSQL stops")
    time.sleep(seconds)
    _launch(site.postgres)
    connection.close()


def _launch(server: Valkey | Postgres) -> None:
    server.launch()
    until(server.ready, what=server.last_words)


def _pid(server: Valkey | Postgres) -> int:
    pid = server.noted()
    assert pid is not None
    return pid


@dataclass
class Client:
    """A program that uses the API of the site, and how long it had to wait for answers."""

    port: int
    key: str
    statuses: Counter[int] = field(default_factory=Counter)
    longest_s: float = 0
    slowest: str = ""

    def send(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        """Return the status of the answer and what it says; status 0 where none came."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        given = None if body is None else json.dumps(body)
        began = time.monotonic()
        try:
            client.request(method, path, given, headers)
            answer = client.getresponse()
            status, said = answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException):
            status, said = 0, {}
        finally:
            client.close()
        waited = time.monotonic() - began
        if waited > self.longest_s:
            self.longest_s, self.slowest = waited, f"{method} {path}: {status}"
        return status, said


@contextmanager
def asking(client: Client, *requests: tuple[str, str, object]) -> Iterator[list[str]]:
    """Make the requests, in turn and each about once a second, while the context is open.

    Yield the ids of what they have made.
    """
    over = threading.Event()
    made: list[str] = []

    def ask() -> None:
        while not over.is_set():
            for method, path, body in requests:
                status, said = client.send(method, path, body)
                client.statuses[status] += 1
                if status == http.client.ACCEPTED:
                    made.append(str(said["id"]))
            over.wait(1)

    with beside(ask) as answered:
        try:
            yield made
        finally:
            over.set()
        answered()


Outage = Callable[[Site], None]

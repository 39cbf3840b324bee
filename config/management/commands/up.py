"""`manage.py up`: servers, web, worker and beat in one terminal, until Ctrl-C."""

import http
import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection, connections
from django.utils import timezone

from access.errors import Conflict
from config import embedded, places, processes, supervisor, surroundings
from config.checks import refuse_unsafe_start
from config.demo import data

MARK = "EVALSCHED_SUPERVISED"
"""Set in what we start, so that what a killed run has left is found by the next one."""

# Together with the two servers' patience under the 30 s that a stop may take.
BEAT_PATIENCE, WEB_PATIENCE, WORKER_PATIENCE = 2.0, 4.0, 15.0
SOFT_SHUTDOWN_SECONDS = 12
_WATCH_FIRST_RUN_SECONDS = 600.0


class Command(BaseCommand):
    help = "Run all of evalsched in this terminal, with servers of its own, until Ctrl-C."
    requires_system_checks = ()  # what matters is asked below, when there are servers

    def handle(self, *args: object, **options: object) -> None:
        del args, options
        started = time.monotonic()
        data_dir: Path = settings.EVALSCHED_DATA_DIR
        refuse_if_running(data_dir)
        refuse_if_taken(settings.HOST, settings.PORT)
        request = supervisor.StopRequest()
        request.listen()
        screen = supervisor.Screen(sys.stdout, ["postgres", "courier"])
        request.interrupts = True
        servers: embedded.Servers | None = None
        keeper: supervisor.Supervisor | None = None
        milestones: Milestones | None = None
        try:
            screen.say("up", f"starting the servers in {data_dir}")
            servers = start_servers(data_dir)
            keeper = supervisor.Supervisor(
                programs(data_dir),
                servers.services,
                screen=screen,
                request=request,
                cwd=settings.BASE_DIR,
            )
            self.prepare_database(screen)
            milestones = Milestones(screen, started)
            request.interrupts = False
            if request.asked_at is None:
                milestones.start()
                keeper.run()
        except supervisor.Interrupted:
            pass
        except places.Trouble as trouble:
            raise CommandError(str(trouble)) from trouble
        finally:
            request.interrupts = False
            end(screen, servers, keeper, milestones)

    def prepare_database(self, screen: supervisor.Screen) -> None:
        """Migrate, make the first operator and the demonstration, and say how to log in."""
        refuse_unsafe_start()
        screen.say("up", "preparing the database")
        call_command("migrate", interactive=False, verbosity=0)
        try:
            first = data.prepare(demo=settings.EVALSCHED_DEMO, now=timezone.now())
        except Conflict as conflict:
            raise CommandError(conflict.message) from None
        for line in greeting(first):
            screen.say("up", line)
        # Children must not inherit a connection, nor the stop wait for one.
        connections.close_all()


def greeting(first: data.FirstTime | None) -> list[str]:
    """Return the lines that tell a newcomer where to go and who they are there."""
    url = settings.PUBLIC_URL
    username = settings.EVALSCHED_ADMIN_USERNAME if first is None else first.username
    lines = ["", f"  address   {url}/admin/", f"  operator  {username}"]
    if first is not None and first.created:
        if not settings.EVALSCHED_ADMIN_PASSWORD:
            lines.append(f"  password  {first.password}    (shown this once)")
        lines += [
            f"  API key   {first.api_key}    (shown this once)",
            "  try it:",
            f"  curl -H 'Authorization: Bearer {first.api_key}' {url}/api/scheduled-evaluations",
        ]
    return [*lines, ""]


def refuse_if_running(data_dir: Path) -> None:
    """Raise CommandError if another `up` uses the data directory."""
    if (holder := embedded.holder(data_dir)) is not None:
        raise CommandError(
            f"evalsched already runs on {data_dir} (process {holder}). Stop that one first, "
            "or set EVALSCHED_DATA_DIR to another directory."
        )


def refuse_if_taken(host: str, port: int) -> None:
    """Raise CommandError if the web process could not listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the web process does: a closed connection that lingers is nobody's.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as problem:
        raise CommandError(
            f"Cannot listen on {host}:{port}: {problem.strerror}. "
            f"Choose another port, for example: make up PORT={port + 1}"
        ) from problem


def start_servers(data_dir: Path) -> embedded.Servers:
    """Start the servers that nobody has named in the environment, and end what was left before."""
    ours = embedded.addresses(data_dir)
    servers = embedded.start(
        data_dir,
        durable=True,
        postgres=not os.environ.get("DATABASE_URL"),
        redis=ours.broker_url == settings.CELERY_BROKER_URL,
    )
    # Only now, under the lock: these can be nobody else's.
    processes.end(lambda: processes.marked(f"{MARK}={data_dir}"), gently=signal.SIGTERM, patience=2)
    return servers


def programs(data_dir: Path) -> list[supervisor.Program]:
    """Return what runs beside the servers, in the order of its start."""
    env = surroundings.for_child(os.environ) | {MARK: str(data_dir)}
    python = sys.executable
    host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
    celery = (python, "-m", "celery", "--quiet", "-A", "config.celery")
    # macOS ends a process that forks after its system libraries have started threads.
    pool = "threads" if sys.platform == "darwin" else "prefork"

    def worker(name: str, queue: str, *, at_once: int, pool: str = pool) -> supervisor.Program:
        command = (
            *(*celery, "worker", "--queues", queue, "--hostname", f"{name}@%h"),
            *("--concurrency", str(at_once), "--pool", pool),
            *("--without-mingle", "--without-gossip", "--loglevel", "WARNING"),
        )
        own = {
            "EVALSCHED_PROCESS": "worker",
            "EVALSCHED_SOFT_SHUTDOWN_SECONDS": str(SOFT_SHUTDOWN_SECONDS),
            "REMAP_SIGTERM": "SIGQUIT",
        }
        return supervisor.Program(name, command, env | own, WORKER_PATIENCE, group="workers")

    return [
        supervisor.Program(
            "web",
            (
                *(python, "-m", "gunicorn", "config.wsgi:application", "--no-control-socket"),
                *("--worker-class", "gthread", "--workers", "1", "--threads", "16"),
                *("--bind", f"{host}:{settings.PORT}", "--log-level", "warning"),
                *("--graceful-timeout", str(int(WEB_PATIENCE) - 1)),
            ),
            env | {"EVALSCHED_PROCESS": "web"},
            WEB_PATIENCE,
        ),
        worker("worker", "batches", at_once=3),
        # Each of its own, as in production: neither full batches nor receivers that do not answer
        # may hold up the tick. Both wait for others mostly; threads take the least memory.
        worker("ticker", "ticks", at_once=3, pool="threads"),
        worker("courier", "deliveries", at_once=8, pool="threads"),
        supervisor.Program(
            "beat",
            (*celery, "beat", "--pidfile=", "--loglevel", "WARNING"),
            env | {"EVALSCHED_PROCESS": "beat"},
            BEAT_PATIENCE,
        ),
    ]


def end(
    screen: supervisor.Screen,
    servers: embedded.Servers | None,
    keeper: supervisor.Supervisor | None,
    milestones: "Milestones | None",
) -> None:
    """End all of it in order, whatever of it was started."""
    if milestones is not None:
        milestones.over.set()
    if servers is None:
        return
    screen.say("up", "stopping")
    if keeper is None:
        servers.stop()
        return
    keeper.stop()
    servers.release()
    screen.say("up", "stopped")


class Milestones(threading.Thread):
    """Says when the web process is ready, and when the first evaluation has completed."""

    def __init__(self, screen: supervisor.Screen, started: float) -> None:
        super().__init__(daemon=True, name="milestones")
        self.over = threading.Event()
        self._screen = screen
        self._since = started

    def run(self) -> None:
        """Wait for one and then for the other, until `over`."""
        while not ready(settings.HOST, settings.PORT):
            if self.over.wait(0.2):
                return
        seconds = time.monotonic() - self._since
        self._screen.say(
            "up", f"ready after {seconds:.1f} s: {settings.PUBLIC_URL}/admin/   Ctrl-C stops it"
        )
        if not settings.EVALSCHED_DEMO:
            return
        self._try(lambda: data.on_ready(timezone.now()))
        deadline = time.monotonic() + _WATCH_FIRST_RUN_SECONDS
        while time.monotonic() < deadline and not self.over.wait(1):
            if sentence := self._try(data.first_completed):
                self._screen.say("up", sentence)
                return

    def _try(self, ask: Callable[[], str | None]) -> str | None:
        """Ask the database; it may be starting again just now, so no answer is one too."""
        try:
            return ask()
        except DatabaseError:
            return None
        finally:
            connection.close()


def ready(host: str, port: int) -> bool:
    """Return whether the web process says on its own address that all is well."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  a name only
    client = http.client.HTTPConnection(reached, port, timeout=2)
    try:
        client.request("GET", "/readyz", headers={"Host": f"localhost:{port}"})
        return client.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()

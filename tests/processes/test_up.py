"""`manage.py up` as a newcomer runs it: ready, a completed evaluation, Ctrl-C, nothing left."""

import http
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import embedded, places, processes
from tests import servers

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.timeout(240),
]

ROOT = Path(__file__).resolve().parents[2]


class Up:
    """One `manage.py up` with its own data directory and port. Nothing of the session's servers."""

    def __init__(self, top: Path) -> None:
        self.data_dir = (top / "the data").resolve()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.env = dict(os.environ)
        servers.clean(self.env)
        self.env |= {
            "PORT": str(self.port),
            "EVALSCHED_DATA_DIR": str(self.data_dir),
            "DJANGO_SETTINGS_MODULE": "somebody.elses",
            "PGPORT": "1",
        }
        self.log = top / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Up":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def wait_for(self, words: str, seconds: float, *, times: int = 1) -> None:
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while self.said().count(words) < times:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, number: signal.Signals) -> tuple[int, float]:
        """Signal the whole group, as a terminal or make does; return exit status and seconds."""
        assert self.process is not None
        started = time.monotonic()
        os.killpg(self.process.pid, number)
        time.sleep(0.2)
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(40), time.monotonic() - started

    def left(self) -> list[int]:
        """What still runs of it, the servers included."""
        place = places.noted(self.data_dir)
        return [
            *processes.marked(f"EVALSCHED_SUPERVISED={self.data_dir}"),
            *processes.working_in(place / "postgres", "postgres"),
            *processes.working_in(place / "redis", "valkey-server"),
        ]


@pytest.fixture
def up() -> Iterator[Up]:
    top = Path(tempfile.mkdtemp(prefix="evalsched up-"))
    top.chmod(0o755)
    one = Up(top)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()
    processes.end(one.left, gently=signal.SIGKILL, patience=5)
    servers.remove(one.data_dir)
    shutil.rmtree(top)


def manage(up: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=up.env,
        capture_output=True,
        text=True,
        check=False,
    )


def status(up: Up, path: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", up.port, timeout=5)
    try:
        client.request("GET", path)
        return client.getresponse().status
    finally:
        client.close()


def test_a_newcomer_sees_an_evaluation_complete_and_stops_it_without_a_trace(up: Up) -> None:
    up.start().wait_for("ready after", 60)

    assert status(up, "/readyz") == http.HTTPStatus.OK
    assert "shown this once" in up.said()
    up.wait_for("evaluation", 60)
    code, seconds = up.stop(signal.SIGTERM)

    assert code == 0, up.said()
    assert seconds < 30
    assert up.left() == []


def test_it_comes_back_with_its_data_after_everything_was_killed(up: Up) -> None:
    up.start().wait_for("ready after", 60)
    assert up.process is not None
    assert embedded.holder(up.data_dir) == up.process.pid
    up.process.kill()
    up.process.wait()
    processes.end(up.left, gently=signal.SIGKILL, patience=5)

    up.start().wait_for("ready after", 60, times=2)
    code, _ = up.stop(signal.SIGINT)

    assert code == 0, up.said()
    assert up.said().count("API key") == 1, "the first operator was made once"
    assert up.left() == []


def test_nothing_survives_a_killed_supervisor(up: Up) -> None:
    up.start().wait_for("ready after", 60)
    assert up.process is not None

    up.process.kill()
    up.process.wait()

    # As long as a stop may take: a worker in a batch waits for the database that went along.
    deadline = time.monotonic() + 30
    while up.left() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert up.left() == []


def test_a_child_and_a_server_that_were_killed_are_replaced(up: Up) -> None:
    up.start().wait_for("ready after", 60)
    place = places.noted(up.data_dir)

    for pid in processes.working_in(place / "postgres", "postgres"):
        os.kill(pid, signal.SIGKILL)
    up.wait_for("postgres has ended", 10)
    deadline = time.monotonic() + 30
    while status(up, "/readyz") != http.HTTPStatus.OK and time.monotonic() < deadline:
        time.sleep(0.2)

    assert status(up, "/readyz") == http.HTTPStatus.OK
    assert manage(up, "migrate", "--check").returncode == 0, "other commands find the servers"
    assert up.stop(signal.SIGINT)[0] == 0


def test_a_second_one_on_the_same_data_says_so(up: Up) -> None:
    up.start().wait_for("preparing the database", 60)

    second = manage(up, "up")

    assert second.returncode == 1
    assert "already runs on" in second.stderr


def test_a_taken_port_is_said_before_anything_starts(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", up.port))
        taken.listen()

        refused = manage(up, "up")

    assert refused.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{up.port}" in refused.stderr
    assert f"make up PORT={up.port + 1}" in refused.stderr
    assert not (up.data_dir / "postgres").exists()

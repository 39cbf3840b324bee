"""`manage.py evaluate` as a process: what it prints, and what it exits with."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from access.actors import Actor
from batches.models import Batch, BatchStatus, Job, ModelEndpoint, TestSuite
from tests.evalsched.compared_runs import bring_results
from tests.factories import (
    NOW,
    make_actor,
    make_agent,
    make_batch,
    make_endpoint,
    make_suite,
    make_user,
)
from tests.processes_at_work import LOOPBACK, ROOT, until
from tests.servers import child_environment
from tests.servers_http import ModelServer

# Each of the processes takes its seconds to start.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.processes,
    pytest.mark.timeout(300),
]


@pytest.fixture
def ada() -> Actor:
    return make_actor(make_user("ada"))


@pytest.fixture
def server(settings: Settings) -> Iterator[ModelServer]:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    with ModelServer() as server:
        yield server


def environment() -> dict[str, str]:
    own = {"EVALSCHED_PRIVATE_HOSTS": LOOPBACK, "EVALSCHED_LOG_LEVEL": "WARNING"}
    return child_environment(str(connection.settings_dict["NAME"])) | own


def command(*more: str) -> list[str]:
    named = ("--suite", "Mine", "--model", "Bot", "--user", "ada")
    return [sys.executable, "manage.py", "evaluate", *named, *more]


def evaluate(*more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*more),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


@contextlib.contextmanager
def at_a_terminal(
    *arguments: str, columns: int = 80
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """Run it where a person sits, so that the bar is there as well; what was shown is its text."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment() | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        # It fails when the other end is closed.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                shown.extend(part)

    reading = threading.Thread(target=read)
    reading.start()

    def text() -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")

    try:
        yield process, text
    finally:
        process.kill()
        process.wait()
        reading.join(30)
        os.close(ours)


def make_asked(actor: Actor, server: ModelServer, cases: int = 12, **fields: Any) -> None:
    make_suite(actor, cases=cases, name="Mine")
    make_endpoint(
        actor, name="Bot", provider="openai", base_url=server.base_url, model="m", **fields
    )


def test_exits_with_0_where_nothing_got_worse_and_1_where_it_did(
    ada: Actor,
    server: ModelServer,
    tmp_path: Path,
) -> None:
    make_asked(ada, server, price_input=1, price_output=2)

    first = evaluate("--baseline", "last", "--repeats", "2", "--max-cost", "5")
    assert first.returncode == 0, first.stderr
    assert "nothing was compared" in first.stdout
    good = Batch.objects.get()
    assert (good.status, good.passed, good.user) == (BatchStatus.COMPLETED, 24, ada.user)
    server.configure(answers={f"Say {number}.": "no" for number in range(1, 13)})
    worse = evaluate("--baseline", str(good.pk), "--junit", str(tmp_path / "results.xml"))

    assert worse.returncode == 1, worse.stdout + worse.stderr
    assert "Regression. Pass rate got worse: 100.0 % to 0.0 %" in worse.stdout
    suite = ElementTree.parse(tmp_path / "results.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("12", "12")


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--suite", "Theirs"), "no suite named 'Theirs' in this project. There is 'Mine'."),
        (("--model", "Theirs"), "Theirs"),
        (("--baseline", "0190a0b0-0000-7000-8000-000000000000"), "no such run or batch"),
        (("--baseline", "newest"), "the id of a run or batch, or 'last'"),
        (("--max-cost", "1"), "The price of 'Bot' is unknown"),
        (("--user", "nobody"), "Say one with --user"),
        (("--junit", "nowhere/results.xml"), "There is no folder nowhere"),
        (("--junit", "tests"), "tests is a folder. Name a file in it"),
    ],
)
def test_what_could_not_run_exits_with_2_and_makes_no_call(
    ada: Actor, server: ModelServer, option: tuple[str, str], sentence: str
) -> None:
    make_asked(ada, server, cases=1)

    with pytest.raises(CommandError, match=sentence) as refused:
        call_command("evaluate", *command()[3:], *option)

    assert refused.value.returncode == 2
    assert server.calls().count == 0
    assert not Batch.objects.exists()


def test_exits_with_2_where_the_endpoint_refuses(
    ada: Actor,
    server: ModelServer,
) -> None:
    make_asked(ada, server)
    server.configure(api_key="another")

    found = evaluate()

    assert found.returncode == 2, found.stdout
    assert "The batch ended failed." in found.stdout


def test_an_agent_is_asked_and_a_terminal_of_80_columns_shows_the_verdicts_whole(
    ada: Actor, server: ModelServer
) -> None:
    make_asked(ada, server)
    suite, endpoint = TestSuite.objects.get(), ModelEndpoint.objects.get()
    agent = make_agent(ada, endpoint=endpoint, name="Helper")
    good = make_batch(ada, suite=suite, agent=agent, endpoint=endpoint)
    bring_results(good.pk, NOW)
    bring_results(make_batch(ada, suite=suite, endpoint=endpoint).pk, NOW + timedelta(hours=1))

    asked = ("--suite", "Mine", "--agent", "Helper", "--user", "ada", "--baseline", "last")
    arguments = (sys.executable, "manage.py", "evaluate", *asked)
    with at_a_terminal(*arguments) as (process, said):
        assert process.wait(90) == 0, said()

    made = Batch.objects.latest("created_at")
    assert (made.agent, made.instructions) == (agent, "Answer briefly.")
    assert "12 calls to Helper on Bot." in said()
    assert "/12" in said()
    for name in ("Quality", "Pass rate"):
        assert re.search(rf"^  {name} .* inconclusive \* *$", said(), re.MULTILINE), said()
    assert "Pass rate shows no change: 100.0 % to 100.0 %" in said()


def test_ctrl_c_cancels_the_batch_and_keeps_what_was_answered(
    ada: Actor,
    server: ModelServer,
) -> None:
    make_asked(ada, server, cases=200)
    server.configure(latency_ms=200)

    with at_a_terminal(*command("--concurrency", "4")) as (process, said):
        until(lambda: Job.objects.filter(status="done").count() > 8, seconds=120)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 2

    batch = Batch.objects.get()
    assert (batch.status, batch.running) == (BatchStatus.CANCELLED, 0)
    assert not Job.objects.filter(status__in=["pending", "running"]).exists()
    assert "/200" in said()
    assert "Stopped. What was answered is kept" in said()

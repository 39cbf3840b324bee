"""Real beats and a real worker: a due schedule runs to its end, and its failure is mailed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from access import clock
from alerts.models import Notification
from evalsched.models import Run, RunStatus, Schedule
from tests.alerts.mail_server import MailServer
from tests.factories import make_actor, make_endpoint, make_schedule, make_suite
from tests.processes_at_work import LOOPBACK, beat, make_beats_entries, manage, until, worker
from tests.servers_http import ModelServer

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture
def server(settings: Settings) -> Iterator[ModelServer]:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    with ModelServer() as server:
        yield server


def make_due(server: ModelServer, **fields: str) -> Schedule:
    """Make a schedule that is due now, on the model server."""
    actor = make_actor()
    endpoint = make_endpoint(
        actor, provider="openai", base_url=server.base_url, model="m", **fields
    )
    schedule = make_schedule(actor, suite=make_suite(actor), endpoint=endpoint)
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=clock.database_now())
    return schedule


def test_two_beats_and_a_worker_run_a_due_schedule_once_and_mail_what_failed(
    server: ModelServer, tmp_path: Path
) -> None:
    make_beats_entries()
    server.configure(api_key="the-right-key")
    good = make_due(server, api_key="the-right-key")
    bad = make_due(server, api_key="the-wrong-key")

    with (
        MailServer() as mailbox,
        worker(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{mailbox.port}") as running,
        beat(tmp_path),
        beat(tmp_path),
    ):
        until(lambda: Run.objects.count() == 2, what=running.said)
        until(lambda: not Run.objects.open().exists(), what=running.said)
        until(lambda: Notification.objects.filter(status="sent").exists(), what=running.said)

    assert good.runs.get().status == RunStatus.COMPLETED
    failed = bad.runs.get()
    assert failed.status == RunStatus.FAILED
    assert "key refused" in failed.error_message
    (mail,) = mailbox.mails
    assert mail["Subject"] == f"Evaluation failed: {bad.name}"
    lines = [json.loads(line) for line in running.said().splitlines() if line.startswith("{")]
    told = [line["event"] for line in lines]
    assert told.count("executing") == 2
    assert told.count("run ended") == 2
    ended = next(line for line in lines if line["event"] == "run ended")
    assert "next_run_at" in ended
    assert "the-wrong-key" not in running.said()


def test_ticks_from_the_command_line_do_what_beat_does(server: ModelServer, tmp_path: Path) -> None:
    schedule = make_due(server)
    with worker(tmp_path) as running:
        first = manage("tick")
        until(lambda: Run.objects.filter(status="completed").exists(), what=running.said)
        second = manage("tick")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert schedule.runs.get().status == RunStatus.COMPLETED

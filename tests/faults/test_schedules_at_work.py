"""Real beats and real workers: what is due runs once, in its turn, and its failure is mailed."""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db.models import QuerySet
from pytest_django import Settings

from access import clock
from access.hints import hint
from alerts.models import Notification
from batches.models import Batch
from evalsched import runs
from evalsched.models import Execution, Run, RunStatus, Schedule
from tests.alerts.mail_server import MailServer
from tests.factories import (
    make_actor,
    make_endpoint,
    make_model_run,
    make_schedule,
    make_suite,
)
from tests.processes_at_work import (
    LOOPBACK,
    Running,
    beat,
    make_beats_entries,
    manage,
    ticking,
    until,
    worker,
)
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


def test_a_worker_executes_due_model_runs_once_without_a_word_of_their_secrets(
    server: ModelServer, tmp_path: Path
) -> None:
    make_beats_entries()
    server.configure(api_key="the-right-key")
    secrets = {"api_key": "in-the-request", "messages": [{"role": "user", "content": "Hello."}]}
    good, bad = (
        make_model_run(
            actor,
            endpoint=make_endpoint(
                actor, provider="openai", base_url=server.base_url, model="m", api_key=key
            ),
            parameters=secrets,
        )
        for actor, key in ((make_actor(), "the-right-key"), (make_actor(), "the-wrong-key"))
    )
    Schedule.objects.update(next_run_at=clock.database_now())

    with worker(tmp_path) as running, beat(tmp_path), beat(tmp_path):
        until(lambda: Execution.objects.count() == 2, what=running.said)
        until(lambda: not Run.objects.open().exists(), what=running.said)

    answered = Execution.objects.get(schedule=good)
    assert (answered.status, answered.trigger) == (RunStatus.COMPLETED, "schedule")
    assert answered.answer is not None
    assert answered.answer.output == "Hello."
    refused = Execution.objects.get(schedule=bad)
    assert refused.status == RunStatus.FAILED
    assert "key refused" in refused.error_message
    assert server.calls().count == 2
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "run ended" in logs
    assert "in-the-request" not in logs


def test_ticks_from_the_command_line_do_what_beat_does(server: ModelServer, tmp_path: Path) -> None:
    schedule = make_due(server)
    with worker(tmp_path) as running:
        first = manage("tick")
        until(lambda: Run.objects.filter(status="completed").exists(), what=running.said)
        second = manage("tick")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert schedule.runs.get().status == RunStatus.COMPLETED


# --- Once per occurrence ---------------------------------------------------------------------

SOAK = bool(os.environ.get("EVALSCHED_SOAK"))
SCHEDULES, ROUNDS = (20, 60) if SOAK else (6, 5)
DELIVERIES = 50


def make_many(server: ModelServer, count: int, **fields: Any) -> list[Schedule]:
    """Make schedules of one person that share a suite of one case, none of them due."""
    actor = make_actor()
    endpoint = make_endpoint(actor, provider="openai", base_url=server.base_url, model="m")
    suite, now = make_suite(actor, cases=1), clock.database_now()
    return [
        make_schedule(actor, suite=suite, endpoint=endpoint, now=now, **fields)
        for _ in range(count)
    ]


def nothing_in(rows: QuerySet[Schedule]) -> bool:
    return not rows.exists()


class Beats:
    """Three beats, of which one is killed now and then and another takes its place."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._chance = random.Random(7)
        self._running = [self._start() for _ in range(3)]

    def kill_one(self) -> None:
        killed = self._running.pop(self._chance.randrange(len(self._running)))
        killed.kill()
        self._running.append(self._start())

    def _start(self) -> Running:
        return self._stack.enter_context(beat(self._directory))


@pytest.mark.timeout(1800 if SOAK else 240)
def test_three_beats_four_workers_and_fifty_deliveries_make_one_run_of_each_occurrence(
    server: ModelServer, tmp_path: Path
) -> None:
    make_beats_entries()
    schedules = make_many(server, SCHEDULES, overlap_policy="allow")
    expected: Counter[tuple[object, object]] = Counter()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                worker(tmp_path, concurrency=1, EVALSCHED_MAX_CONCURRENT_RUNS="100")
            )
            for _ in range(4)
        ]
        beats = Beats(tmp_path, stack)
        for number in range(ROUNDS):
            # A time that somebody wrote is an occurrence like any other, and needs no waiting.
            now = clock.database_now()
            Schedule.objects.update(next_run_at=now)
            expected.update((schedule.pk, now) for schedule in schedules)
            if number % 2:
                beats.kill_one()
            for _ in range(DELIVERIES):
                hint(runs.TICK)
            waiting = Schedule.objects.filter(next_run_at__lte=now)
            until(partial(nothing_in, waiting), seconds=60, what=workers[0].said)
        until(lambda: not Run.objects.open().exists(), seconds=300, what=workers[0].said)

    found = Counter(Run.objects.values_list("schedule_id", "scheduled_for"))
    # The full hours that may have passed meanwhile are occurrences, too.
    assert {key: times for key, times in found.items() if key[1].minute or key in expected} == (
        expected
    )
    assert set(found.values()) == {1}
    assert set(Run.objects.values_list("status", flat=True)) == {RunStatus.COMPLETED}
    assert Batch.objects.count() == len(found)
    assert server.calls().count == len(found)


def test_ten_due_at_once_run_three_at_a_time_first_come_first_served(
    server: ModelServer, tmp_path: Path
) -> None:
    server.configure(latency_ms=300)
    schedules = make_many(server, 10)
    now = clock.database_now()
    for number, schedule in enumerate(schedules):
        written = now - timedelta(seconds=number + 1)
        Schedule.objects.filter(pk=schedule.pk).update(next_run_at=written)
    seen = []

    with worker(tmp_path) as first, worker(tmp_path), ticking():
        until(lambda: Run.objects.count() == 10, what=first.said)
        while Run.objects.open().exists():
            seen.append(Run.objects.filter(status=RunStatus.RUNNING).count())
            assert len(seen) < 5_000, first.said()
            time.sleep(0.01)

    assert max(seen) == 3
    ran = list(Run.objects.order_by("scheduled_for"))
    assert {run.status for run in ran} == {RunStatus.COMPLETED}
    began = [run.started_at for run in ran]
    assert began == sorted(began)  # type: ignore[type-var]


def test_a_run_keeps_its_place_when_its_worker_dies(server: ModelServer, tmp_path: Path) -> None:
    server.configure(latency_ms=500)
    (schedule,) = make_many(server, 1)
    actor_suite = make_suite(make_actor(schedule.user), cases=20)
    Schedule.objects.update(
        suite=actor_suite, next_run_at=clock.database_now(), batch_test_config={"concurrency": 2}
    )
    with ticking():
        with worker(tmp_path) as killed:
            until(lambda: Batch.objects.filter(done__gte=2).exists(), what=killed.said)
            killed.kill()
        run = schedule.runs.get()
        assert run.status == RunStatus.RUNNING
        with worker(tmp_path) as other:
            until(lambda: not Run.objects.open().exists(), seconds=45, what=other.said)

    ended = schedule.runs.get()
    assert (ended.pk, ended.batch_id, ended.status) == (run.pk, run.batch_id, "completed")
    assert (ended.total_prompts, ended.failed_prompts) == (20, 0)

"""Why a run failed, in one line that says what to do: from a real endpoint to the run's row."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from access import clock, egress
from alerts.models import Event
from batches import calls, engine, suites
from batches.calls import Backoff
from batches.models import Job, TestSuite
from evalsched import admission, ticks
from evalsched.models import Run, RunStatus, Schedule
from tests.factories import (
    make_actor,
    make_case_draft,
    make_endpoint,
    make_run,
    make_schedule,
    make_suite,
)
from tests.processes_at_work import LOOPBACK
from tests.servers_http import ModelServer
from tests.servers_http.blackhole import blackhole

pytestmark = pytest.mark.django_db(transaction=True)
# Nobody listens there: it is reserved, and needs rights that no test has.
NOWHERE = "http://127.0.0.1:1/v1"


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def server(
    running: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> ModelServer:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    assert calls.call.__kwdefaults__ is not None
    monkeypatch.setitem(calls.call.__kwdefaults__, "backoff", Backoff(first_s=0.01, most_s=0.02))
    running.reset()
    return running


def make_asking(server: ModelServer, cases: int = 10, **endpoint: Any) -> Schedule:
    actor = make_actor()
    fields = {"provider": "openai", "base_url": server.base_url, "model": "m", **endpoint}
    return make_schedule(
        actor, suite=make_suite(actor, cases=cases), endpoint=make_endpoint(actor, **fields)
    )


def ended(schedule: Schedule) -> Run:
    """Run the schedule to its end, as workers do."""
    now = clock.database_now()
    run = make_run(schedule, scheduled_for=now)
    ticks.tick(now)
    run.refresh_from_db()
    while run.batch_id is not None and engine.work(run.batch_id, stopping=lambda: False):
        pass
    ticks.tick(clock.database_now())
    run.refresh_from_db()
    return run


def assert_failed_with(run: Run, *texts: str) -> None:
    assert run.status == RunStatus.FAILED
    assert "\n" not in run.error_message
    for text in texts:
        assert text in run.error_message
    told = Event.objects.get(key=str(run.pk))
    assert told.summary == f"{run.error_message} Correct this, then press Run now."


def test_an_endpoint_that_nobody_serves(server: ModelServer) -> None:
    run = ended(make_asking(server, base_url=NOWHERE))

    assert_failed_with(run, "127.0.0.1: connection refused", "check that the server runs")


def test_a_host_that_does_not_exist(server: ModelServer) -> None:
    run = ended(make_asking(server, base_url="https://nobody.invalid/v1"))

    assert_failed_with(run, "nobody.invalid: no such host; check the spelling")


@pytest.mark.parametrize("concurrency", [1, 10])
def test_an_endpoint_behind_a_firewall_that_drops_packets(
    concurrency: int, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "CONNECT_S", 0.2)
    backoff = Backoff(first_s=0.01, most_s=0.02, unconnected_s=0.15)
    assert calls.call.__kwdefaults__ is not None
    monkeypatch.setitem(calls.call.__kwdefaults__, "backoff", backoff)
    with blackhole() as port:
        schedule = make_asking(server, cases=20, base_url=f"http://127.0.0.1:{port}/v1")
        Schedule.objects.update(batch_test_config={"concurrency": concurrency})
        schedule.refresh_from_db()

        run = ended(schedule)

    assert_failed_with(run, "broken calls in a row", "no connection in time", "the firewall")
    jobs = Job.objects.filter(batch=run.batch, status="done")
    assert {job.attempts for job in jobs} == {1}
    assert jobs.count() == (5 if concurrency == 1 else 10)


def test_a_judge_that_nobody_serves(server: ModelServer) -> None:
    schedule = make_asking(server)
    actor = make_actor(schedule.user)
    rubric = {"type": "llm-rubric", "value": "It is polite."}
    make_endpoint(actor, name="Judge", provider="openai", base_url=NOWHERE, model="j")
    suite = make_suite(actor, cases=[make_case_draft(n, assertions=[rubric]) for n in range(30)])
    Schedule.objects.update(suite=suite, batch_test_config={"judge_model_id": "Judge"})
    schedule.refresh_from_db()

    run = ended(schedule)

    assert_failed_with(
        run, "unjudged answers in a row", "Judge gave no verdict", "connection refused"
    )
    assert run.batch is not None
    assert (run.batch.errors, run.batch.failed) == (0, 0)


def test_a_small_suite_fails_with_the_reason_too(server: ModelServer) -> None:
    """Its few calls open no circuit."""
    run = ended(make_asking(server, cases=2, base_url=NOWHERE))

    assert_failed_with(run, "Only 0 of 2 calls were answered", "connection refused", "check that")


def test_credentials_that_are_refused(server: ModelServer) -> None:
    server.configure(api_key="the-right-one")

    run = ended(make_asking(server, api_key="the-wrong-one"))

    assert_failed_with(
        run, "401 from 127.0.0.1", "key refused; check the endpoint's key", "run again"
    )
    assert "the-wrong-one" not in run.error_message


def test_a_model_that_the_server_does_not_have(server: ModelServer) -> None:
    run = ended(make_asking(server, base_url=server.base_url.replace("/v1", "/v2")))

    assert_failed_with(run, "404 from", "check the endpoint's base_url and model")


def test_low_coverage_names_what_was_in_the_way(server: ModelServer) -> None:
    broken = {f"Say {number}.": "broken_json" for number in (2, 5, 8)}
    server.configure(prompt_modes=broken)

    run = ended(make_asking(server))

    assert_failed_with(
        run, "Only 7 of 10 calls were answered, at least 80 % are needed", "3 times:"
    )
    assert run.error_details["error_class"] == "coverage"


def test_an_empty_suite(server: ModelServer) -> None:
    run = ended(make_asking(server, cases=0))

    assert_failed_with(run, "has no cases. Add some and run it again.")


@pytest.mark.parametrize("part", ["test suite", "model endpoint"])
def test_a_part_that_was_deleted_while_the_run_waited(part: str, server: ModelServer) -> None:
    schedule = make_asking(server)
    actor = make_actor(schedule.user)
    run = make_run(schedule, scheduled_for=clock.database_now())
    other_suite, other_endpoint = make_suite(actor), make_endpoint(actor)
    before = schedule.suite if part == "test suite" else schedule.endpoint
    Schedule.objects.update(suite=other_suite, endpoint=other_endpoint)
    before.delete()

    ticks.tick(clock.database_now())

    run.refresh_from_db()
    assert_failed_with(
        run,
        f"The {part} '{before.name}' was deleted. Choose another in the schedule, then run now.",
    )


def test_out_of_time(server: ModelServer, settings: Settings) -> None:
    server.configure(latency_ms=400)
    settings.EVALSCHED_RUN_TIMEOUT_SECONDS = 1
    schedule = make_asking(server)
    Schedule.objects.update(batch_test_config={"concurrency": 1})
    schedule.refresh_from_db()

    run = ended(schedule)

    assert_failed_with(run, "Timed out after", "of 10 calls done", "Raise the concurrency")
    assert run.error_details["error_class"] == "timeout"


def test_out_of_time_before_any_worker_took_it_up(server: ModelServer) -> None:
    now = clock.database_now()
    run = make_run(make_asking(server), scheduled_for=now)
    ticks.tick(now)

    ticks.tick(now + timedelta(minutes=11))

    run.refresh_from_db()
    assert_failed_with(run, "Timed out after", "No worker took it up", "'batches'")
    assert "concurrency" not in run.error_message


def test_a_suite_that_was_emptied_while_the_run_waited(server: ModelServer) -> None:
    schedule = make_asking(server, cases=1)
    run = make_run(schedule, scheduled_for=clock.database_now())
    suite = TestSuite.objects.get(schedules=schedule)
    suites.remove(make_actor(schedule.user), suite, suite.cases.get())

    assert admission.start_queued(clock.database_now()) == 0

    run.refresh_from_db()
    assert_failed_with(run, "has no cases")

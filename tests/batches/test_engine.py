"""The engine against a real model server, over real HTTP and real connections."""

import itertools
import threading
import uuid
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from access import clock
from batches import batches, claims, engine, figures, rescues, suites
from batches.batches import WORK
from batches.models import Batch, BatchStatus, Job, JobStatus, ModelEndpoint, TestSuite
from batches.tasks import work as work_task
from tests.batches.engine_at_work import (
    counters_and_aggregates,
    hints,
    make_asked,
    work,
    work_to_the_end,
)
from tests.factories import make_actor, make_case_draft
from tests.processes_at_work import at_once, beside, until
from tests.servers_http import ModelServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_fifty_cases_ten_at_once_with_exact_counters_at_every_moment(server: ModelServer) -> None:
    server.configure(latency_ms=60, first_token_ms=30, prompt_modes={"Say 8.": "html"})
    batch = make_asked(server, 50, concurrency=10)
    over = threading.Event()
    seen: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = []

    def watch() -> None:
        while not over.wait(0.01):
            seen.append(counters_and_aggregates(batch))

    with beside(watch):
        work_to_the_end(batch)
        over.set()

    assert (batch.status, batch.done, batch.running) == (BatchStatus.COMPLETED, 50, 0)
    assert 5 <= server.calls().max_in_flight <= 10
    assert server.calls().prompts == {f"Say {number}.": 1 for number in range(1, 51)}
    assert len({counters for counters, _ in seen}) > 3, "looked while it ran"
    assert [pair for pair in seen if pair[0] != pair[1]] == []
    # As many are claimed ahead, so that each call that lands is followed at once.
    assert max(counters[1] for counters, _ in seen) <= 20
    counters, aggregates = counters_and_aggregates(batch)
    assert counters == aggregates


def test_what_came_out_of_each_call(server: ModelServer) -> None:
    server.configure(
        latency_ms=40,
        first_token_ms=20,
        answers={"Say 2.": "I will not count"},
        prompt_modes={"Say 3.": "html", "Say 4.": "refusal", "Say 5.": "500"},
    )
    drafts = [make_case_draft(number) for number in range(1, 7)]
    drafts.append(make_case_draft(7, assertions=[], weight=3))
    batch = work_to_the_end(make_asked(server, drafts))

    jobs = {job.case_key: job for job in Job.objects.filter(batch=batch)}
    found = {key: (job.outcome, job.score, job.error_class) for key, job in jobs.items()}
    assert found == {
        "case-1": ("passed", 1.0, ""),
        "case-2": ("failed", 0.0, ""),
        "case-3": ("error", None, "infra"),
        "case-4": ("failed", 0.0, "refused"),
        "case-5": ("error", None, "infra"),
        "case-6": ("passed", 1.0, ""),
        "case-7": ("unscored", None, ""),
    }
    one = jobs["case-1"]
    assert (one.output, one.attempts, one.claim_no) == ("Say 1.", 1, 1)
    assert one.latency_ms is not None
    assert one.latency_ms >= 40
    assert one.ttft_ms is not None
    assert 20 <= one.ttft_ms < one.latency_ms
    assert (one.input_tokens, one.output_tokens) == (2, 2)
    assert one.cost == Decimal("0.000006")
    assert jobs["case-5"].attempts == 5
    assert "500" in jobs["case-5"].error_message
    assert (batch.passed, batch.failed, batch.errors, batch.unscored) == (2, 2, 2, 1)
    measured = figures.of(batch)
    assert (measured.rate_scored, measured.rate_strict) == (2 / 4, 2 / 7)
    assert (measured.coverage, measured.avg_score) == (5 / 7, 2 / 4)
    assert batch.total_cost == sum(job.cost or 0 for job in jobs.values())


def test_the_key_and_the_parameters_reach_the_model(server: ModelServer) -> None:
    server.configure(api_key="the-key")
    batch = make_asked(server, 1, parameters={"temperature": 0.5})
    assert isinstance(batch.endpoint, ModelEndpoint)

    work_to_the_end(batch)

    assert (batch.status, batch.passed) == ("completed", 1)
    assert server.calls().last["body"]["temperature"] == 0.5
    assert server.calls().last["body"]["model"] == "m"


def test_two_workers_share_a_batch_and_its_concurrency(server: ModelServer) -> None:
    server.configure(latency_ms=30)
    batch = make_asked(server, 60, concurrency=6)
    looks: Counter[str] = Counter()

    def worker(name: str) -> None:
        def stopping() -> bool:
            looks[name] += 1
            return False

        for _ in range(1000):
            if not work(batch, stopping):
                break

    at_once(lambda: worker("one"), lambda: worker("other"))

    batch.refresh_from_db()
    assert (batch.status, batch.done, batch.running) == ("completed", 60, 0)
    assert server.calls().max_in_flight <= 6
    assert set(server.calls().prompts.values()) == {1}
    assert len(server.calls().prompts) == 60
    assert min(looks["one"], looks["other"]) > 0


def test_a_worker_finds_the_concurrency_filled_and_leaves_the_batch_to_the_others(
    server: ModelServer,
) -> None:
    """It would hint itself again and again until the others are done."""
    server.configure(mode="hang")
    batch = make_asked(server, 6, concurrency=2)
    claims.exchange(batch.pk, [], want=2, now=clock.database_now())

    assert not work(batch)

    assert server.calls().count == 0


def test_leases_are_renewed_while_a_call_takes_longer(
    server: ModelServer, settings: Settings
) -> None:
    settings.EVALSCHED_LEASE_SECONDS = 1
    server.configure(latency_ms=2500)
    batch = make_asked(server, 2)
    over = threading.Event()

    def rescue() -> None:
        while not over.wait(0.1):
            rescues.free_lost(clock.database_now())

    with beside(rescue) as answer:
        work_to_the_end(batch)
        over.set()
        answer()

    assert (batch.status, batch.passed) == ("completed", 2)
    assert set(server.calls().prompts.values()) == {1}
    assert set(Job.objects.values_list("claim_no", flat=True)) == {1}


def test_a_call_whose_job_was_taken_away_is_dropped(
    server: ModelServer, settings: Settings
) -> None:
    settings.EVALSCHED_LEASE_SECONDS = 1
    server.configure(mode="hang")
    batch = make_asked(server, 2, concurrency=2)
    over = threading.Event()

    with beside(lambda: work(batch, over.is_set)):
        until(lambda: server.calls().in_flight == 2)
        Job.objects.filter(batch=batch).update(claim_no=7)
        until(lambda: server.calls().in_flight == 0, what="the calls to be dropped")
        over.set()

    assert set(Job.objects.values_list("claim_no", "status")) == {(7, "running")}


def test_cancelling_stops_the_calls_and_ends_once(
    server: ModelServer, ended: list[uuid.UUID]
) -> None:
    server.configure(mode="hang")
    batch = make_asked(server, 20, concurrency=5)

    with beside(lambda: work(batch)) as answer:
        until(lambda: server.calls().in_flight == 5)
        assert batches.cancel(batch, now=clock.database_now())
        assert not batches.cancel(batch, now=clock.database_now())
        until(lambda: server.calls().in_flight == 0, seconds=2, what="the calls to stop")
        assert answer() is False

    batch.refresh_from_db()
    assert (batch.status, batch.done, batch.running) == ("cancelled", 0, 0)
    assert set(Job.objects.values_list("status", flat=True)) == {JobStatus.CANCELLED}
    assert ended == [batch.pk]


def test_a_batch_cancelled_among_landing_calls_has_none_running(server: ModelServer) -> None:
    """What lands while the batch is told to stop was paid for, and nobody else would free it."""
    server.configure(latency_ms=55)
    for _ in range(5):
        batch = make_asked(server, 400, concurrency=20)
        under_way = Batch.objects.filter(pk=batch.pk, done__gt=40)
        with beside(partial(work, batch)):
            until(under_way.exists)
            batches.cancel(batch, now=clock.database_now())

        batch.refresh_from_db()
        assert (batch.status, batch.running) == ("cancelled", 0)
        assert not Job.objects.filter(batch=batch, status="running").exists()
        assert counters_and_aggregates(batch)[0] == counters_and_aggregates(batch)[1]


def test_resuming_makes_only_the_missing_calls(server: ModelServer) -> None:
    server.configure(latency_ms=30, prompt_modes={f"Say {n}.": "hang" for n in range(5, 9)})
    batch = make_asked(server, 12, concurrency=4)
    with beside(lambda: work(batch)):
        until(lambda: Job.objects.filter(batch=batch, status="done").count() == 4)
        until(lambda: server.calls().in_flight == 4)
        batches.cancel(batch, now=clock.database_now())
    server.reset()

    batches.resume(batch, now=clock.database_now())
    work_to_the_end(batch)

    assert (batch.status, batch.passed, batch.total) == ("completed", 12, 12)
    assert server.calls().prompts == {f"Say {number}.": 1 for number in range(5, 13)}
    assert counters_and_aggregates(batch)[0] == counters_and_aggregates(batch)[1]


def test_refused_credentials_fail_the_batch_at_once_with_what_to_do(
    server: ModelServer, ended: list[uuid.UUID]
) -> None:
    server.configure(mode="401")
    batch = work_to_the_end(make_asked(server, 30, concurrency=3))

    assert (batch.status, batch.error_class) == (BatchStatus.FAILED, "rejected")
    assert "key refused; check the endpoint's key" in batch.error_message
    assert server.calls().count <= 3
    assert batch.running == 0
    assert Job.objects.filter(batch=batch, status="not_run").count() >= 27
    assert not Job.objects.filter(batch=batch, status__in=["pending", "running"]).exists()
    assert ended == [batch.pk]


def test_a_broken_endpoint_opens_the_circuit_and_resuming_completes_it(
    server: ModelServer, ended: list[uuid.UUID]
) -> None:
    server.configure(prompt_modes={f"Say {number}.": "500" for number in range(4, 40)})
    batch = work_to_the_end(make_asked(server, 20, concurrency=1))
    assert (batch.status, batch.passed, batch.errors) == (BatchStatus.STOPPED_CIRCUIT, 3, 5)
    assert "Stopped after 5 broken calls in a row" in batch.error_message
    server.reset()

    batches.resume(batch, now=clock.database_now())
    work_to_the_end(batch)

    assert (batch.status, batch.passed, batch.errors) == (BatchStatus.COMPLETED, 20, 0)
    assert server.calls().prompts == {f"Say {number}.": 1 for number in range(4, 21)}
    assert counters_and_aggregates(batch)[0] == counters_and_aggregates(batch)[1]
    assert ended == [batch.pk, batch.pk]


def test_a_deadline_stops_the_calls(server: ModelServer) -> None:
    server.configure(mode="hang")
    batch = make_asked(
        server, 4, concurrency=2, deadline_at=clock.database_now() + timedelta(seconds=1)
    )

    work_to_the_end(batch)

    assert (batch.status, batch.error_class, batch.running) == (BatchStatus.FAILED, "timeout", 0)
    until(lambda: server.calls().in_flight == 0)


def test_the_end_of_a_slice_lets_calls_land_and_hints_for_the_next(
    server: ModelServer, settings: Settings
) -> None:
    settings.EVALSCHED_SLICE_SECONDS = 0.3
    server.configure(latency_ms=100)
    batch = make_asked(server, 40, concurrency=2)
    before = hints()

    work_task.run(str(batch.pk))

    batch.refresh_from_db()
    assert 0 < batch.done < 40
    assert (batch.status, batch.running) == (BatchStatus.RUNNING, 0)
    assert server.calls().count == server.calls().answered == batch.done
    assert hints() == before + 1


def test_a_long_slice_makes_way_for_a_batch_that_nobody_works_on(
    server: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVALSCHED_SLICE_SECONDS = 60
    monkeypatch.setattr(engine, "QUANTUM_SECONDS", 0.3)
    server.configure(latency_ms=50)
    large = make_asked(server, 400, concurrency=2)
    with beside(partial(work, large)) as answer:
        until(lambda: Batch.objects.filter(pk=large.pk, done__gt=20).exists())
        small = make_asked(server, 4, concurrency=2)
        assert answer() is True

    large.refresh_from_db()
    assert (large.status, large.running) == ("running", 0)
    assert 20 < large.done < 200
    work_to_the_end(small)
    assert small.status == "completed"


def test_a_long_slice_goes_on_beside_batches_that_somebody_works_on(
    server: ModelServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVALSCHED_SLICE_SECONDS = 60
    monkeypatch.setattr(engine, "QUANTUM_SECONDS", 0.1)
    server.configure(latency_ms=50)
    busy = make_asked(server, 5)
    claims.exchange(busy.pk, [], want=1, now=clock.database_now())
    batch = make_asked(server, 20, concurrency=2)

    assert not work(batch)

    batch.refresh_from_db()
    assert batch.status == "completed"


def test_a_worker_going_down_lets_calls_land_and_claims_no_more(server: ModelServer) -> None:
    server.configure(latency_ms=200)
    batch = make_asked(server, 20, concurrency=4)
    down = threading.Event()

    with beside(lambda: work(batch, down.is_set)) as answer:
        until(lambda: server.calls().in_flight == 4)
        down.set()
        assert answer() is True

    batch.refresh_from_db()
    assert (batch.running, batch.done) == (0, server.calls().answered)
    assert set(Job.objects.values_list("status", flat=True)) == {"done", "pending"}


def test_a_worker_going_down_gives_back_what_does_not_land(
    server: ModelServer, settings: Settings
) -> None:
    settings.EVALSCHED_SOFT_SHUTDOWN_SECONDS = 1
    server.configure(mode="hang")
    batch = make_asked(server, 4, concurrency=4)
    down = threading.Event()

    with beside(lambda: work(batch, down.is_set)) as answer:
        until(lambda: server.calls().in_flight == 4)
        down.set()
        assert answer() is True

    batch.refresh_from_db()
    assert batch.running == 0
    assert set(Job.objects.values_list("status", "lost_workers")) == {("pending", 0)}


def test_cases_deleted_while_the_batch_runs_are_errors_that_say_so(server: ModelServer) -> None:
    server.configure(latency_ms=150)
    batch = make_asked(server, 4, concurrency=1)

    with beside(lambda: work_to_the_end(batch)):
        until(lambda: server.calls().count == 1)
        TestSuite.objects.all().delete()

    batch.refresh_from_db()
    # The first one's call was in flight, the second one's case was read ahead.
    assert (batch.status, batch.passed, batch.errors) == (BatchStatus.COMPLETED, 2, 2)
    assert set(Job.objects.filter(outcome="error").values_list("error_message", flat=True)) == {
        "Its case or document was deleted while the batch ran."
    }


def test_an_edited_case_is_asked_as_it_was_when_the_batch_was_made(server: ModelServer) -> None:
    batch = make_asked(server, 2)
    assert batch.suite is not None
    suites.put(make_actor(), batch.suite, [make_case_draft(1, prompt="Say 1 differently.")])

    work_to_the_end(batch)

    assert server.calls().prompts == {"Say 1.": 1, "Say 2.": 1}


def test_a_deleted_endpoint_fails_the_batch_with_a_sentence(server: ModelServer) -> None:
    batch = make_asked(server)
    ModelEndpoint.objects.all().delete()

    assert not work(batch)

    batch.refresh_from_db()
    assert (batch.status, batch.error_class) == (BatchStatus.FAILED, "rejected")
    assert "model endpoint was deleted" in batch.error_message
    assert set(Job.objects.values_list("status", flat=True)) == {JobStatus.NOT_RUN}


def test_a_secret_whose_key_is_gone_fails_the_batch_with_a_sentence(
    server: ModelServer, settings: Settings
) -> None:
    batch = make_asked(server)
    settings.FIELD_ENCRYPTION_KEYS = ["another-key-of-at-least-thirty-two-characters"]

    assert not work(batch)

    batch.refresh_from_db()
    assert batch.status == BatchStatus.FAILED
    assert "FIELD_ENCRYPTION_KEYS" in batch.error_message


def test_an_ended_or_a_missing_batch_is_left_alone(server: ModelServer) -> None:
    batch = make_asked(server)
    batches.cancel(batch, now=clock.database_now())

    assert not work(batch)
    assert not engine.work(uuid.uuid4(), stopping=lambda: False)

    assert server.calls().count == 0


def test_outputs_that_postgresql_cannot_store_are_cleaned(server: ModelServer) -> None:
    server.configure(mode="nul")
    batch = work_to_the_end(make_asked(server, 2))

    assert batch.done == 2
    outputs = set(Job.objects.values_list("output", flat=True))
    assert all("before" in text and "after" in text for text in outputs)


def test_a_slice_leaves_no_connection_open(server: ModelServer) -> None:
    batch = make_asked(server, 5)
    before = _connections()

    work_to_the_end(batch)

    until(lambda: _connections() == before, what="the slice's connections to close")


def test_many_batches_end_each_once(server: ModelServer, ended: list[uuid.UUID]) -> None:
    """Eight batches, four workers that take whichever comes, two of them on each."""
    server.configure(latency_ms=20)
    made = [make_asked(server, 6, concurrency=3) for _ in range(8)]
    turns = itertools.cycle(range(2))
    shares = [made[next(turns) :: 2] for _ in range(4)]

    def worker(share: list[Batch]) -> None:
        for batch in share:
            while work(batch):
                pass

    at_once(*[lambda share=share: worker(share) for share in shares])
    # A worker leaves a batch to the other one when that one fills it.
    for batch in made:
        work_to_the_end(batch)

    assert sorted(map(str, ended)) == sorted(str(batch.pk) for batch in made)
    assert set(Batch.objects.values_list("status", "passed", "running")) == {("completed", 6, 0)}
    assert server.calls().count == 48


def test_a_wide_batch_wakes_as_many_workers_as_it_needs(server: ModelServer) -> None:
    before = hints()

    make_asked(server, 3, concurrency=250)

    assert hints() == before + 3
    assert WORK == "batches.work"


def _connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])

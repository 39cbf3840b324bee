"""Handing out jobs and taking in results, with the time as an argument."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
from django.conf import settings
from django.db import connection, transaction

from batches import batches, claims, endings, rescues
from batches.claims import Exchange
from batches.models import Batch, BatchStatus, Job, JobOutcome, JobStatus
from batches.results import Claim, Result
from batches.signals import batch_finished
from tests.factories import NOW, make_actor, make_batch, make_suite
from tests.processes_at_work import at_once, beside

pytestmark = pytest.mark.django_db
LEASE = timedelta(seconds=settings.EVALSCHED_LEASE_SECONDS)
AFTER_LEASE = NOW + LEASE + timedelta(seconds=1)


def make_batch_of(cases: int) -> Batch:
    actor = make_actor()
    return make_batch(actor, suite=make_suite(actor, cases=cases))


def take(batch: Batch, want: int = 100, *, now: datetime = NOW) -> list[Claim]:
    return claims.exchange(batch.pk, [], want=want, now=now).claims


def give(batch: Batch, *results: Result, now: datetime = NOW, want: int = 0) -> Exchange:
    return claims.exchange(batch.pk, results, want=want, now=now)


def passed(claim: Claim) -> Result:
    return Result(claim, JobOutcome.PASSED, attempts=1, wall_ms=12, score=1.0, output="yes")


def broken(claim: Claim) -> Result:
    return Result(
        claim,
        JobOutcome.ERROR,
        attempts=5,
        wall_ms=12,
        error_class="infra",
        error_message="no connection",
    )


@pytest.fixture
def asked(db: None) -> Batch:
    """A batch of three cases."""
    return make_batch()


def test_jobs_are_handed_out_in_order_and_only_as_many_as_may_run() -> None:
    asked = make_batch_of(6)
    Batch.objects.filter(pk=asked.pk).update(concurrency=2)

    first = claims.exchange(asked.pk, [], want=9, now=NOW)
    other = claims.exchange(asked.pk, [], want=9, now=NOW)
    second = claims.exchange(asked.pk, [passed(first.claims[1])], want=9, held=3, now=NOW)

    ordinals = dict(Job.objects.filter(batch=asked).values_list("pk", "ordinal"))
    # As many again as may be in flight, to follow them.
    assert [ordinals[claim.job_id] for claim in first.claims] == [0, 1, 2, 3]
    assert (first.limit, first.waiting) == (2, 2)
    assert other.claims == []
    assert [ordinals[claim.job_id] for claim in second.claims] == [4]
    assert (second.limit, second.waiting) == (2, 1)


def test_the_first_claim_starts_the_batch_once(asked: Batch) -> None:
    Batch.objects.filter(pk=asked.pk).update(concurrency=2)

    take(asked, 1, now=NOW)
    take(asked, 1, now=NOW + timedelta(seconds=1))
    # Whoever only waits for its last calls keeps nobody from being woken.
    take(asked, 0, now=NOW + timedelta(seconds=2))

    asked.refresh_from_db()
    assert (asked.status, asked.started_at) == (BatchStatus.RUNNING, NOW)
    assert asked.hinted_at == NOW + timedelta(seconds=1)


def test_a_result_is_written_with_all_it_brought(asked: Batch) -> None:
    (claim,) = take(asked, 1)
    result = replace(
        passed(claim),
        assertions=[{"type": "contains", "passed": True}],
        score=0.75,
        weight=2.0,
        latency_ms=10.5,
        ttft_ms=3.5,
        input_tokens=7,
        cached_tokens=2,
        output_tokens=5,
        cost=Decimal("0.000012345678"),
    )

    give(asked, result)

    job = Job.objects.get(pk=claim.job_id)
    assert (job.status, job.outcome, job.finished_at) == ("done", "passed", NOW)
    assert (job.output, job.score, job.latency_ms, job.ttft_ms) == ("yes", 0.75, 10.5, 3.5)
    assert (job.input_tokens, job.cached_tokens, job.output_tokens) == (7, 2, 5)
    assert job.cost == Decimal("0.000012345678")
    assert job.assertions == [{"type": "contains", "passed": True}]
    asked.refresh_from_db()
    assert (asked.done, asked.passed, asked.running) == (1, 1, 0)
    assert (asked.score_sum, asked.weight_sum) == (1.5, 2.0)
    assert (asked.latency_sum_ms, asked.ttft_sum_ms) == (10.5, 3.5)
    assert asked.total_cost == Decimal("0.000012345678")


def test_a_worker_that_was_away_writes_nothing(asked: Batch) -> None:
    (stale,) = take(asked, 1)
    rescues.free_lost(AFTER_LEASE)
    (fresh,) = take(asked, 1, now=AFTER_LEASE)
    assert fresh.job_id == stale.job_id

    give(asked, replace(passed(stale), output="from the dead"), now=AFTER_LEASE)

    asked.refresh_from_db()
    assert (asked.done, asked.running) == (0, 1)
    assert Job.objects.get(pk=fresh.job_id).status == JobStatus.RUNNING
    give(asked, passed(fresh), now=AFTER_LEASE)
    assert Job.objects.get(pk=fresh.job_id).output == "yes"
    assert claims.renew([stale], now=AFTER_LEASE) == set()


def test_a_result_sent_twice_counts_once(asked: Batch) -> None:
    (claim,) = take(asked, 1)

    give(asked, passed(claim))
    give(asked, passed(claim))

    asked.refresh_from_db()
    assert (asked.done, asked.passed, asked.running) == (1, 1, 0)


def test_a_result_of_another_batch_is_not_taken(asked: Batch) -> None:
    (claim,) = take(make_batch(), 1)

    give(asked, passed(claim))

    asked.refresh_from_db()
    assert asked.done == 0
    assert Job.objects.get(pk=claim.job_id).status == JobStatus.RUNNING


def test_a_lease_that_ended_frees_the_job_and_a_renewed_one_does_not(asked: Batch) -> None:
    lost, kept = take(asked, 2)

    assert claims.renew([kept], now=NOW + LEASE) == {kept.fence}
    rescues.free_lost(AFTER_LEASE)

    assert Job.objects.get(pk=lost.job_id).status == JobStatus.PENDING
    assert Job.objects.get(pk=kept.job_id).status == JobStatus.RUNNING
    asked.refresh_from_db()
    assert (asked.running, asked.done) == (1, 0)


def test_the_fourth_lost_worker_ends_the_job(asked: Batch) -> None:
    (claim,) = take(asked, 1)
    # Another worker has the rest, for longer.
    take(asked, now=NOW + timedelta(hours=1))
    now = NOW
    for _ in range(3):
        now += LEASE + timedelta(seconds=1)
        rescues.free_lost(now)
        assert Job.objects.get(pk=claim.job_id).status == JobStatus.PENDING
        (again,) = take(asked, 1, now=now)
        assert again.job_id == claim.job_id

    later = now + LEASE + timedelta(seconds=1)
    rescues.free_lost(later)

    job = Job.objects.get(pk=claim.job_id)
    assert (job.status, job.outcome, job.error_class) == ("done", "error", "infra")
    assert "worker was lost 4 times" in job.error_message
    asked.refresh_from_db()
    assert (asked.done, asked.errors, asked.running) == (1, 1, 2)
    assert asked.hinted_at == later, "the rest would wait until somebody looks"


def test_the_last_job_that_loses_its_workers_ends_the_batch(asked: Batch) -> None:
    Job.objects.filter(batch=asked).update(lost_workers=rescues.MOST_LOST_WORKERS - 1)
    now = NOW
    for _ in range(3):
        assert [claim.suspect for claim in take(asked, now=now)] == [True]
        now += LEASE + timedelta(seconds=1)
        rescues.free_lost(now)

    asked.refresh_from_db()
    assert (asked.status, asked.errors) == (BatchStatus.COMPLETED, 3)


def test_what_is_given_back_does_not_count_as_lost(asked: Batch) -> None:
    for _ in range(6):
        held = take(asked)
        assert len(held) == 3
        claims.give_back(asked.pk, held, now=NOW)

    asked.refresh_from_db()
    assert asked.running == 0
    assert set(Job.objects.filter(batch=asked).values_list("status", "lost_workers")) == {
        ("pending", 0)
    }


def test_giving_back_what_another_has_claimed_changes_nothing(asked: Batch) -> None:
    (stale,) = take(asked, 1)
    rescues.free_lost(AFTER_LEASE)
    (fresh,) = take(asked, 1, now=AFTER_LEASE)

    claims.give_back(asked.pk, [stale], now=AFTER_LEASE)

    asked.refresh_from_db()
    assert asked.running == 1
    assert Job.objects.get(pk=fresh.job_id).status == JobStatus.RUNNING


def test_the_last_result_ends_the_batch_with_its_percentile(asked: Batch) -> None:
    latencies = iter([10.0, 20.0, 30.0])
    results = [replace(passed(claim), latency_ms=next(latencies)) for claim in take(asked)]

    answer = give(asked, *results)

    asked.refresh_from_db()
    assert not answer.open
    assert (asked.status, asked.completed_at, asked.running) == ("completed", NOW, 0)
    # percentile_cont: 20 + 0.9 * (30 - 20).
    assert asked.p95_latency_ms == pytest.approx(29.0)


def test_five_broken_calls_in_a_row_open_the_circuit() -> None:
    batch = make_batch_of(7)
    held = take(batch)

    give(batch, *[broken(claim) for claim in held[:4]])
    batch.refresh_from_db()
    assert batch.status == BatchStatus.RUNNING
    give(batch, broken(held[4]))

    batch.refresh_from_db()
    assert (batch.status, batch.error_class) == (BatchStatus.STOPPED_CIRCUIT, "infra")
    assert batch.error_message == "Stopped after 5 broken calls in a row: no connection"


def test_an_answered_call_closes_the_row_of_broken_ones() -> None:
    batch = make_batch_of(10)
    held = take(batch)

    give(batch, *[broken(claim) for claim in held[:4]], passed(held[4]))
    give(batch, *[broken(claim) for claim in held[5:9]])

    batch.refresh_from_db()
    assert (batch.status, batch.consecutive_infra) == (BatchStatus.RUNNING, 4)


def test_a_batch_whose_every_call_broke_is_completed_not_stopped() -> None:
    """There is nothing left to stop: the coverage says what it was worth."""
    batch = make_batch_of(5)

    give(batch, *[broken(claim) for claim in take(batch)])

    batch.refresh_from_db()
    assert (batch.status, batch.errors) == (BatchStatus.COMPLETED, 5)


def test_a_refused_call_fails_the_batch_at_once(asked: Batch) -> None:
    first, second = take(asked, 2)
    refused = replace(broken(first), error_class="rejected", error_message="key refused")

    answer = give(asked, refused)

    asked.refresh_from_db()
    assert not answer.open
    assert (asked.status, asked.error_class, asked.error_message) == (
        "failed",
        "rejected",
        "key refused",
    )
    statuses = dict(Job.objects.filter(batch=asked).values_list("pk", "status"))
    assert statuses[second.job_id] == "running"
    assert sorted(statuses.values()) == ["done", "not_run", "running"]
    claims.give_back(asked.pk, [second], now=NOW)
    assert Job.objects.get(pk=second.job_id).status == JobStatus.NOT_RUN


def test_a_late_result_of_an_ended_batch_is_kept_and_counted(asked: Batch) -> None:
    (claim,) = take(asked, 1)
    batches.cancel(asked, now=NOW)

    answer = give(asked, passed(claim))

    asked.refresh_from_db()
    assert not answer.open
    assert (asked.status, asked.done, asked.passed, asked.running) == ("cancelled", 1, 1, 0)


def test_the_deadline_ends_the_batch_for_whoever_looks_first(asked: Batch) -> None:
    Batch.objects.filter(pk=asked.pk).update(deadline_at=NOW + timedelta(minutes=10))
    take(asked, 1)
    late = NOW + timedelta(minutes=10)

    assert not give(asked, now=late).open

    asked.refresh_from_db()
    assert (asked.status, asked.error_class) == (BatchStatus.FAILED, "timeout")
    assert asked.error_message == (
        "Timed out after 10 min with 0 of 3 calls done. "
        "Raise the concurrency, shorten the suite, or raise EVALSCHED_RUN_TIMEOUT_SECONDS."
    )
    assert rescues.end_late(late + timedelta(seconds=1)) == 0


def test_a_deadline_passes_also_where_no_worker_looks(asked: Batch) -> None:
    Batch.objects.filter(pk=asked.pk).update(deadline_at=NOW)

    assert rescues.end_late(NOW) == 0
    assert rescues.end_late(NOW + timedelta(seconds=1)) == 1

    asked.refresh_from_db()
    assert asked.status == BatchStatus.FAILED
    assert "No worker took it up" in asked.error_message


def test_a_batch_that_nobody_works_on_is_hinted_again_once(asked: Batch) -> None:
    later = NOW + rescues.HINT_AGAIN + timedelta(seconds=1)

    assert rescues.wake_idle(NOW + rescues.HINT_AGAIN) == 0
    assert rescues.wake_idle(later) == 1
    assert rescues.wake_idle(later) == 0


def test_a_deleted_batch_says_stop() -> None:
    batch = make_batch()
    (claim,) = take(batch, 1)
    Batch.objects.filter(pk=batch.pk).delete()

    assert give(batch, passed(claim)) == Exchange([], open=False, waiting=0)
    claims.give_back(batch.pk, [claim], now=NOW)
    endings.fail(batch.pk, "gone", now=NOW)


@pytest.mark.django_db(transaction=True)
def test_two_last_workers_at_the_same_moment_finalise_each_batch_once() -> None:
    """Under READ COMMITTED each would see the other's job open, were there no lock."""
    told: list[object] = []
    batch_finished.connect(receiver := lambda **given: told.append(given["batch_id"]))
    made = [make_batch_of(2) for _ in range(100)]
    try:
        for batch in made:
            one, other = take(batch)
            at_once(
                partial(give, batch, passed(one)),
                partial(give, batch, passed(other)),
            )
    finally:
        batch_finished.disconnect(receiver)

    assert sorted(map(str, told)) == sorted(str(batch.pk) for batch in made)
    assert set(Batch.objects.values_list("status", "done", "running")) == {("completed", 2, 0)}


@pytest.mark.django_db(transaction=True)
def test_claiming_at_once_never_exceeds_the_concurrency() -> None:
    batch = make_batch_of(40)
    Batch.objects.filter(pk=batch.pk).update(concurrency=7)

    taken = at_once(*[lambda: take(batch, 5)] * 6)

    jobs = [claim.job_id for part in taken for claim in part]
    assert len(jobs) == len(set(jobs)) == 7
    assert Job.objects.filter(batch=batch, status="running").count() == 7


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_a_frozen_worker_has_locked_does_not_hold_up_the_others() -> None:
    locked, free = (make_batch_of(2) for _ in range(2))
    take(locked)
    take(free)
    until_done = threading.Event()
    is_locked = threading.Event()

    def freeze() -> None:
        with transaction.atomic():
            Batch.objects.select_for_update().get(pk=locked.pk)
            is_locked.set()
            until_done.wait(20)

    with beside(freeze) as answer:
        is_locked.wait(10)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 100")
        rescues.free_lost(AFTER_LEASE)
        until_done.set()
        answer()
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")

    assert running(locked) == 2
    assert running(free) == 0
    rescues.free_lost(AFTER_LEASE)
    assert running(locked) == 0


def running(batch: Batch) -> int:
    return Batch.objects.values_list("running", flat=True).get(pk=batch.pk)

"""Batches made with their jobs, cancelled, resumed, ended, and what their counters amount to."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from access.errors import Conflict, Invalid
from batches import batches, claims, figures, rescues, suites
from batches.models import Batch, BatchStatus, Job, JobOutcome, JobStatus, ModelEndpoint, TestSuite
from batches.results import Claim, Result
from tests.factories import NOW, make_actor, make_batch, make_case_draft, make_suite
from tests.processes_at_work import at_once

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def make_batch_of(cases: int, **config: Any) -> Batch:
    actor = make_actor()
    return make_batch(actor, suite=make_suite(actor, cases=cases), **config)


def passed(claim: Claim) -> Result:
    return Result(claim, JobOutcome.PASSED, attempts=1, wall_ms=9, score=1.0, input_tokens=3)


def broken(claim: Claim) -> Result:
    return Result(
        claim, JobOutcome.ERROR, attempts=1, wall_ms=9, error_class="infra", error_message="gone"
    )


def answer(batch: Batch, *results: str) -> None:
    """Bring in one result after the other: "passed" or "broken"."""
    make = {"passed": passed, "broken": broken}
    held = claims.exchange(batch.pk, [], want=len(results), now=NOW).claims
    given = [make[result](claim) for result, claim in zip(results, held, strict=True)]
    claims.exchange(batch.pk, given, want=0, now=NOW)
    batch.refresh_from_db()


def test_a_batch_has_a_job_for_each_case_and_repeat() -> None:
    batch = make_batch_of(3, repeats=2)

    jobs = Job.objects.filter(batch=batch).order_by("repeat", "ordinal")
    assert [(job.repeat, job.ordinal, job.case_key) for job in jobs] == [
        (repeat, ordinal, f"case-{ordinal + 1}") for repeat in (1, 2) for ordinal in range(3)
    ]
    assert (batch.total, batch.status, batch.hinted_at) == (6, BatchStatus.PENDING, None)
    batch.refresh_from_db()
    assert batch.hinted_at == NOW


def test_a_batch_records_what_it_was_made_of() -> None:
    actor = make_actor()
    suite = make_suite(actor)
    batch = make_batch(actor, suite=suite)
    assert batch.endpoint is not None

    TestSuite.objects.all().delete()
    ModelEndpoint.objects.all().delete()

    fresh = Batch.objects.get()
    assert (fresh.suite_id, fresh.endpoint_id) == (None, None)
    assert (fresh.suite_name, fresh.suite_version) == (suite.name, 1)
    assert fresh.suite_hash == suite.content_hash
    assert fresh.model_name == batch.endpoint.name
    assert fresh.project_id == actor.project.pk


def test_a_batch_is_made_of_the_suites_current_cases() -> None:
    actor = make_actor()
    suite = make_suite(actor, cases=3)
    suites.put(actor, suite, [make_case_draft(2, prompt="Say two."), make_case_draft(9)])
    suite.refresh_from_db()
    suites.remove(actor, suite, suite.cases.get(key="case-1"))
    suite.refresh_from_db()

    batch = make_batch(actor, suite=suite)

    keys = Job.objects.filter(batch=batch).values_list("case_key", flat=True)
    assert list(keys) == ["case-2", "case-3", "case-9"]
    edited = Job.objects.get(batch=batch, case_key="case-2")
    assert edited.case is not None
    assert edited.case.prompt == "Say two."
    assert batch.suite_version == 3


def test_an_empty_suite_makes_no_batch() -> None:
    with pytest.raises(Invalid, match="has no cases"):
        make_batch_of(0)
    assert not Batch.objects.exists()


def test_too_many_calls_make_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_JOBS", 5)

    with pytest.raises(Invalid, match="at most 5 calls") as refused:
        make_batch_of(3, repeats=2)
    assert list(refused.value.details) == ["repeats"]


def test_a_suite_that_changes_at_this_moment_makes_no_half_batch() -> None:
    actor = make_actor()
    stale = make_suite(actor)
    TestSuite.objects.update(version=2)
    stale.case_count = 4

    with pytest.raises(Conflict, match="Try again"):
        make_batch(actor, suite=stale)
    assert not Batch.objects.exists()


def test_cancelling_ends_what_waits_and_keeps_what_is_done() -> None:
    batch = make_batch_of(3)
    answer(batch, "passed")

    assert batches.cancel(batch, now=NOW)
    assert not batches.cancel(batch, now=NOW + MINUTE)

    batch.refresh_from_db()
    assert (batch.status, batch.completed_at, batch.done) == ("cancelled", NOW, 1)
    assert batch.error_message == "Cancelled."
    assert sorted(Job.objects.values_list("status", flat=True)) == ["cancelled"] * 2 + ["done"]


def test_resuming_opens_the_missing_and_the_broken_only() -> None:
    batch = make_batch_of(4)
    answer(batch, "passed", "broken")
    batches.cancel(batch, now=NOW)

    batches.resume(batch, now=NOW + MINUTE)

    batch.refresh_from_db()
    assert (batch.status, batch.completed_at, batch.hinted_at) == ("pending", None, NOW + MINUTE)
    assert (batch.done, batch.passed, batch.errors, batch.error_message) == (1, 1, 0, "")
    assert batch.input_tokens == 3
    assert sorted(Job.objects.values_list("status", flat=True)) == ["done"] + ["pending"] * 3
    answer(batch, "passed", "passed", "passed")
    assert (batch.status, batch.passed) == ("completed", 4)


def test_resuming_what_cannot_be_resumed_says_why() -> None:
    batch = make_batch_of(1)
    with pytest.raises(Conflict, match="under way"):
        batches.resume(batch, now=NOW)
    answer(batch, "passed")
    with pytest.raises(Conflict, match="nothing to resume"):
        batches.resume(batch, now=NOW)
    ModelEndpoint.objects.all().delete()
    with pytest.raises(Conflict, match="was deleted"):
        batches.resume(batch, now=NOW)


def test_resuming_what_is_all_in_flight_waits_for_it() -> None:
    batch = make_batch_of(1)
    claimed = claims.exchange(batch.pk, [], want=1, now=NOW).claims
    batches.cancel(batch, now=NOW)

    with pytest.raises(Conflict, match="in flight"):
        batches.resume(batch, now=NOW)

    claims.give_back(batch.pk, claimed, now=NOW)
    assert batches.resume(batch, now=NOW).status == BatchStatus.PENDING


def test_resuming_forgets_the_old_deadline() -> None:
    batch = make_batch_of(2)
    Batch.objects.update(deadline_at=NOW)
    rescues.end_late(NOW + MINUTE)

    batches.resume(batch, now=NOW + MINUTE)

    assert rescues.end_late(NOW + MINUTE) == 0


@pytest.mark.django_db(transaction=True)
def test_resuming_twice_at_once_resumes_once() -> None:
    batch = make_batch_of(3)
    batches.cancel(batch, now=NOW)

    def resume() -> str:
        try:
            return batches.resume(batch, now=NOW).status
        except Conflict as refusal:
            return refusal.message.partition(";")[0]

    assert sorted(at_once(resume, resume)) == ["This batch is under way", "pending"]
    assert set(Job.objects.values_list("status", flat=True)) == {JobStatus.PENDING}


def test_without_data_there_are_no_figures() -> None:
    found = figures.of(make_batch_of(2))

    assert found == figures.Figures(None, 0, None, None, None, None)


def test_figures_of_a_batch_under_way_and_of_one_that_stopped() -> None:
    batch = Batch(
        status=BatchStatus.RUNNING, total=10, done=5, passed=2, failed=1, errors=1, unscored=1
    )
    batch.score_sum, batch.weight_sum = 3.0, 4.0
    batch.latency_sum_ms, batch.latency_count = 90.0, 3
    batch.total_cost = Decimal("0.5")

    running = figures.of(batch)
    batch.status = BatchStatus.STOPPED_CIRCUIT
    stopped = figures.of(batch)

    assert (running.rate_scored, running.rate_strict) == (2 / 3, 2 / 10)
    assert (running.avg_score, running.avg_latency_ms, running.avg_ttft_ms) == (0.75, 30, None)
    assert (running.coverage, stopped.coverage) == (4 / 5, 4 / 10)


def test_how_much_longer_it_takes() -> None:
    batch = Batch(status=BatchStatus.RUNNING, total=10, done=4, passed=4, started_at=NOW)

    assert figures.eta_seconds(batch, NOW + MINUTE) == pytest.approx(90)
    batch.done = 0
    assert figures.eta_seconds(batch, NOW + MINUTE) is None
    batch.done, batch.status = 4, BatchStatus.COMPLETED
    assert figures.eta_seconds(batch, NOW + MINUTE) is None


def test_a_resumed_batch_is_timed_by_what_was_done_since() -> None:
    batch = make_batch_of(10)
    answer(batch, *["passed"] * 6)
    batches.cancel(batch, now=NOW)
    batch = batches.resume(batch, now=NOW)
    assert figures.eta_seconds(batch, NOW + MINUTE) is None

    answer(batch, "passed")

    assert (batch.started_at, batch.done) == (NOW, 7)
    assert figures.eta_seconds(batch, NOW + MINUTE) == pytest.approx(180)

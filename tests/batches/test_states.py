"""Where a batch and a job may go, and the rows that the database refuses."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError

from batches.models import Batch, BatchStatus, Job, JobOutcome, JobStatus, TestCase
from tests.factories import NOW, make_batch, make_endpoint, make_job, make_suite

pytestmark = pytest.mark.django_db

# The contract, written down a second time: from where to where.
BATCH_WAYS = {
    "pending": "running completed failed cancelled stopped_budget stopped_circuit",
    "running": "completed failed cancelled stopped_budget stopped_circuit",
    "completed": "pending",
    "failed": "pending",
    "cancelled": "pending",
    "stopped_budget": "pending",
    "stopped_circuit": "pending",
}
JOB_WAYS = {
    "pending": "running done not_run cancelled",
    "running": "pending done not_run cancelled",
    "done": "pending",
    "not_run": "pending",
    "cancelled": "pending",
}
LEASE = NOW + timedelta(seconds=25)


def batch_columns(status: str) -> dict[str, Any]:
    """What the constraints want of a batch of two jobs in that status."""
    ended = status not in {"pending", "running"}
    return {"completed_at": NOW if ended else None, "done": 2, "passed": 2}


def job_columns(status: str) -> dict[str, Any]:
    done = status == "done"
    return {
        "lease_expires_at": LEASE if status == "running" else None,
        "outcome": "passed" if done else None,
        "finished_at": NOW if done else None,
    }


@pytest.mark.parametrize("to", BatchStatus.values)
@pytest.mark.parametrize("start", BatchStatus.values)
def test_a_batch_moves_where_it_may_and_nowhere_else(start: str, to: str) -> None:
    batch = make_batch(suite=None)
    row = Batch.objects.filter(pk=batch.pk)
    row.update(status=start, **batch_columns(start) | {"total": 2})
    may = to in BATCH_WAYS[start].split()

    moved = row.move(to, **batch_columns(to))

    assert moved == may
    assert row.get().status == (to if may else start)


@pytest.mark.parametrize("to", JobStatus.values)
@pytest.mark.parametrize("start", JobStatus.values)
def test_a_job_moves_where_it_may_and_nowhere_else(start: str, to: str) -> None:
    row = Job.objects.filter(pk=make_job().pk)
    row.update(status=start, **job_columns(start))
    may = to in JOB_WAYS[start].split()

    moved = row.move(to, **job_columns(to))

    assert moved == may
    assert row.get().status == (to if may else start)


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        # PostgreSQL names the first of the broken rules, by their names.
        ("batch_finished_iff_dated|batch_status", {"status": "resting"}),
        ("batch_finished_iff_dated", {"status": "failed"}),
        ("batch_finished_iff_dated", {"completed_at": NOW}),
        ("batch_finished_iff_dated", {"status": "running", "completed_at": NOW}),
        ("batch_outcomes_add_up", {"done": 1}),
        ("batch_outcomes_add_up", {"passed": 1}),
        ("batch_outcomes_add_up", {"done": 1, "passed": 1, "errors": 1}),
        ("batch_within_its_total", {"running": 4}),
        ("batch_within_its_total", {"running": 3, "done": 1, "passed": 1}),
        ("batch_completed_means_all_done", {"status": "completed", "completed_at": NOW}),
        (
            "batch_completed_means_all_done",
            {
                "status": "completed",
                "completed_at": NOW,
                "total": 4,
                "done": 3,
                "failed": 3,
                "running": 1,
            },
        ),
        ("running_check", {"running": -1}),
    ],
)
def test_the_database_refuses_impossible_batches(constraint: str, columns: dict[str, Any]) -> None:
    row = Batch.objects.filter(pk=make_batch().pk)

    with pytest.raises(IntegrityError, match=constraint):
        row.update(**columns)


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        ("job_running_iff_leased", {"status": "running"}),
        ("job_running_iff_leased", {"lease_expires_at": LEASE}),
        ("job_done_iff_outcome", {"status": "done", "finished_at": NOW}),
        ("job_done_iff_outcome", {"outcome": "passed"}),
        ("job_done_iff_outcome", {"status": "done", "finished_at": NOW, "outcome": "fine"}),
        ("job_done_iff_dated", {"status": "done", "outcome": "passed"}),
        ("job_done_iff_dated", {"finished_at": NOW}),
        ("job_score", {"score": 1.01}),
        ("job_score", {"score": -0.01}),
    ],
)
def test_the_database_refuses_impossible_jobs(constraint: str, columns: dict[str, Any]) -> None:
    row = Job.objects.filter(pk=make_job().pk)

    with pytest.raises(IntegrityError, match=constraint):
        row.update(**columns)


def test_a_case_is_asked_once_per_repeat() -> None:
    job = make_job()
    job.pk = None

    with pytest.raises(IntegrityError, match="one_job_per_call"):
        job.save(force_insert=True)


def test_a_batch_cannot_point_into_another_project() -> None:
    batch = make_batch()
    elsewhere = make_endpoint()

    with pytest.raises(IntegrityError, match="endpoint_id_in_project"):
        Batch.objects.filter(pk=batch.pk).update(endpoint=elsewhere)


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        ("prompt_or_messages", {"prompt": None}),
        ("prompt_or_messages", {"messages": [{"role": "user", "content": "x"}]}),
        ("case_weight_positive", {"weight": 0}),
        ("case_removed_after_it_was_added", {"removed_in": 1}),
    ],
)
def test_the_database_refuses_impossible_cases(constraint: str, columns: dict[str, Any]) -> None:
    suite = make_suite(cases=1)

    with pytest.raises(IntegrityError, match=constraint):
        TestCase.objects.filter(suite=suite).update(**columns)


def test_the_tables_of_ways_know_every_state() -> None:
    assert set(BATCH_WAYS) == set(BatchStatus.values)
    assert set(JOB_WAYS) == set(JobStatus.values)
    assert set(JobOutcome.values) == {"passed", "failed", "error", "unscored"}

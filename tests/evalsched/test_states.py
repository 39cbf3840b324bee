"""Where a run may go, and the schedules and runs that the database refuses."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError

from evalsched.models import Run, RunStatus, RunTrigger, Schedule
from tests.factories import NOW, make_batch, make_run, make_schedule

pytestmark = pytest.mark.django_db

# The contract, written down a second time: from where to where.
WAYS = {
    "triggered": "running failed cancelled",
    "running": "completed failed cancelled",
    "completed": "",
    "failed": "",
    "cancelled": "",
    "skipped": "",
    "missed": "",
}


def columns_of(status: str) -> dict[str, Any]:
    """What the constraints want of a run in that status."""
    return {
        "started_at": NOW,
        "deadline_at": NOW + timedelta(minutes=10),
        "completed_at": None if status in {"triggered", "running"} else NOW,
        "error_message": "It went wrong." if status == "failed" else "",
    }


@pytest.mark.parametrize("to", RunStatus.values)
@pytest.mark.parametrize("start", RunStatus.values)
def test_a_run_moves_where_it_may_and_nowhere_else(start: str, to: str) -> None:
    row = Run.objects.filter(pk=make_run().pk)
    row.update(status=start, **columns_of(start))
    may = to in WAYS[start].split()

    moved = row.move(to, **columns_of(to))

    assert moved == may
    assert row.get().status == (to if may else start)


def test_the_table_of_ways_knows_every_state() -> None:
    assert set(WAYS) == set(RunStatus.values)


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        # PostgreSQL names the first of the broken rules, by their names.
        ("run_finished_iff_dated|run_status", {"status": "resting"}),
        ("run_finished_iff_dated", {"status": "cancelled"}),
        ("run_finished_iff_dated", {"completed_at": NOW}),
        ("run_running_has_a_deadline", {"status": "running", "started_at": NOW}),
        ("run_running_has_a_deadline", {"status": "running", "deadline_at": NOW}),
        ("run_failed_says_why", {"status": "failed", "completed_at": NOW}),
    ],
)
def test_the_database_refuses_impossible_runs(constraint: str, columns: dict[str, Any]) -> None:
    row = Run.objects.filter(pk=make_run().pk)

    with pytest.raises(IntegrityError, match=constraint):
        row.update(**columns)


def test_an_occurrence_has_one_scheduled_run_and_any_number_of_manual_ones() -> None:
    schedule = make_schedule()
    make_run(schedule, trigger=RunTrigger.MANUAL)
    make_run(schedule, trigger=RunTrigger.MANUAL)
    make_run(schedule, trigger=RunTrigger.SCHEDULE)

    with pytest.raises(IntegrityError, match="one_run_per_occurrence"):
        make_run(schedule, trigger=RunTrigger.SCHEDULE)


def test_a_run_cannot_point_into_another_project() -> None:
    run = make_run()
    elsewhere = make_batch()

    with pytest.raises(IntegrityError, match="batch_id_in_project"):
        Run.objects.filter(pk=run.pk).update(batch=elsewhere)


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        ("inactive_is_never_due", {"is_active": False}),
        ("cron_iff_custom", {"schedule_type": "custom"}),
        ("cron_iff_custom", {"cron_expression": "* * * * *"}),
        ("threshold_is_a_percentage", {"regression_threshold_percent": 101}),
        ("threshold_is_a_percentage", {"regression_threshold_percent": -1}),
    ],
)
def test_the_database_refuses_impossible_schedules(
    constraint: str, columns: dict[str, Any]
) -> None:
    row = Schedule.objects.filter(pk=make_schedule().pk)

    with pytest.raises(IntegrityError, match=constraint):
        row.update(**columns)

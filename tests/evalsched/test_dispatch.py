"""What is due becomes runs: once per occurrence, whatever happens at the same time."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from access import projects
from access.models import AuditEvent
from alerts.models import AlertType, Event, Notification
from evalsched import admission, agenda, dispatch, schedules, snapshots, ticks
from evalsched.dispatch import dispatch_due
from evalsched.models import Run, RunStatus, RunTrigger, Schedule
from tests.factories import NOW, make_actor, make_endpoint, make_run, make_schedule, make_suite
from tests.processes_at_work import at_once

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
ELEVEN = NOW + HOUR


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2025, 1, 15, hour, minute, tzinfo=UTC)


def make_due(count: int, **fields: Any) -> list[Schedule]:
    """Make schedules of one person that are all due at 11:00."""
    actor = make_actor()
    suite, endpoint = make_suite(actor, cases=1), make_endpoint(actor)
    return [
        make_schedule(actor, suite=suite, endpoint=endpoint, now=NOW, **fields)
        for _ in range(count)
    ]


def statuses(schedule: Schedule) -> dict[datetime, str]:
    return dict(schedule.runs.values_list("scheduled_for", "status"))


def test_a_due_schedule_gets_its_run_and_moves_on() -> None:
    schedule = make_schedule()

    assert dispatch_due(ELEVEN - timedelta(microseconds=1)) == 0
    assert dispatch_due(ELEVEN) == 1
    assert dispatch_due(ELEVEN + timedelta(minutes=1)) == 0

    run = schedule.runs.get()
    assert (run.status, run.trigger) == (RunStatus.TRIGGERED, RunTrigger.SCHEDULE)
    assert (run.scheduled_for, run.triggered_at) == (ELEVEN, ELEVEN)
    assert run.user_id == schedule.user_id
    schedule.refresh_from_db()
    assert schedule.next_run_at == ELEVEN + HOUR


def test_a_run_keeps_the_configuration_of_its_time() -> None:
    actor = make_actor()
    schedule = make_schedule(actor, name="Before", batch_test_config={"concurrency": 3})
    dispatch_due(ELEVEN)

    schedules.change(actor, schedule, now=ELEVEN, name="After", batch_test_config={})

    run = Run.objects.get()
    assert run.snapshot["schedule_name"] == "Before"
    assert run.snapshot["batch_test_config"] == {"concurrency": 3}


def test_a_late_tick_runs_at_the_nominal_time() -> None:
    schedule = make_schedule()

    dispatch_due(at(11, 7))

    assert statuses(schedule) == {ELEVEN: "triggered"}


def test_a_next_run_in_the_past_is_itself_an_occurrence() -> None:
    """Whoever wrote it: SQL, a form. Half past ten is no time of an hourly schedule."""
    schedule = make_schedule()
    Schedule.objects.update(next_run_at=at(10, 30))

    dispatch_due(at(10, 31))

    assert statuses(schedule) == {at(10, 30): "triggered"}
    schedule.refresh_from_db()
    assert schedule.next_run_at == ELEVEN


def test_a_clock_that_goes_backwards_changes_nothing() -> None:
    schedule = make_schedule()
    dispatch_due(ELEVEN)

    for minutes in (30, 90, 5):
        dispatch_due(ELEVEN - timedelta(minutes=minutes))
    dispatch_due(ELEVEN)

    assert statuses(schedule) == {ELEVEN: "triggered"}
    schedule.refresh_from_db()
    assert schedule.next_run_at == at(12)


def test_an_occurrence_dispatched_before_is_not_run_again() -> None:
    """Somebody set the clock back in the row itself; the unique key holds."""
    schedule = make_schedule()
    dispatch_due(ELEVEN)
    Schedule.objects.update(next_run_at=ELEVEN)

    dispatch_due(ELEVEN)

    assert statuses(schedule) == {ELEVEN: "triggered"}


@pytest.mark.parametrize(
    ("policy", "window", "ran"),
    [
        ("latest", None, {5}),
        ("earliest", None, {1}),
        ("all", None, {1, 2, 3, 4, 5}),
        ("none", None, set()),
        ("latest", 120, {5}),
        ("earliest", 120, {4}),
        ("all", 200, {2, 3, 4, 5}),
        ("latest", 10, set()),
    ],
)
def test_what_an_outage_swallowed(policy: str, window: int | None, ran: set[int]) -> None:
    """The scheduler was away from 00:05 to 05:15; the schedule is hourly."""
    schedule = make_schedule(
        now=at(0, 5), catchup_policy=policy, catchup_window_minutes=window, overlap_policy="allow"
    )

    dispatch_due(at(5, 15))

    found = statuses(schedule)
    assert set(found) == {at(hour) for hour in range(1, 6)}
    assert {moment.hour for moment, status in found.items() if status == "triggered"} == ran
    missed = schedule.runs.filter(status=RunStatus.MISSED)
    assert missed.count() == 5 - len(ran)
    for run in missed:
        too_old = window is not None and at(5, 15) - run.scheduled_for > timedelta(minutes=window)
        assert ("catch-up window" if too_old else f"policy is '{policy}'") in run.error_message
    schedule.refresh_from_db()
    assert schedule.next_run_at == at(6)


def test_after_an_outage_with_the_defaults_the_newest_runs() -> None:
    """Down from 00:05 to 05:15, hourly: one run, for 05:00, four missed, next at 06:00."""
    schedule = make_schedule(now=at(0, 5))

    ticks.tick(at(5, 15))

    assert statuses(schedule) == {
        **{at(hour): "missed" for hour in range(1, 5)},
        at(5): "running",
    }
    schedule.refresh_from_db()
    assert schedule.next_run_at == at(6)


@pytest.mark.parametrize("overlap", ["skip", "cancel_previous"])
def test_catching_up_on_all_runs_one_after_the_other_oldest_first(overlap: str) -> None:
    schedule = make_schedule(now=at(0, 5), catchup_policy="all", overlap_policy=overlap)
    order = []

    ticks.tick(at(5, 15))
    for _ in range(5):
        running = schedule.runs.get(status=RunStatus.RUNNING)
        order.append(running.scheduled_for.hour)
        Run.objects.filter(pk=running.pk).move(RunStatus.COMPLETED, completed_at=at(5, 15))
        ticks.tick(at(5, 16))

    assert order == [1, 2, 3, 4, 5]
    assert not schedule.runs.exclude(status=RunStatus.COMPLETED).exists()


def test_catching_up_on_all_waits_for_what_is_under_way() -> None:
    schedule = make_schedule(now=at(0, 5), catchup_policy="all")
    before = make_run(schedule, status=RunStatus.RUNNING, trigger=RunTrigger.SCHEDULE)

    dispatch_due(at(3, 15))
    assert admission.start_queued(at(3, 15)) == 0

    found = {run.scheduled_for.hour: run.status for run in schedule.runs.exclude(pk=before.pk)}
    assert found == {1: "triggered", 2: "triggered", 3: "triggered"}


def test_what_comes_due_while_catching_up_meets_the_overlap_policy() -> None:
    schedule = make_schedule(now=at(0, 5), catchup_policy="all")
    dispatch_due(at(3, 15))

    dispatch_due(at(4, 0))

    assert statuses(schedule)[at(4)] == "skipped"


def test_a_backfill_is_in_nobodys_way() -> None:
    schedule = make_schedule()
    make_run(schedule, trigger=RunTrigger.BACKFILL)

    dispatch_due(ELEVEN)

    assert schedule.runs.get(scheduled_for=ELEVEN).status == RunStatus.TRIGGERED


@pytest.mark.parametrize("error", [KeyError("zone"), OSError("no data"), RuntimeError("bug")])
def test_a_timing_that_breaks_in_an_unforeseen_way_is_set_aside_too(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = make_due(2)
    honest = agenda.due

    def due(schedule: Schedule, now: datetime, *, most: int) -> agenda.Due:
        if schedule.pk == bad.pk:
            raise error
        return honest(schedule, now, most=most)

    monkeypatch.setattr(agenda, "due", due)

    dispatch_due(ELEVEN)

    bad.refresh_from_db()
    assert statuses(good) == {ELEVEN: "triggered"}
    assert not bad.is_active
    assert "cannot be computed" in bad.pause_reason


def test_without_catching_up_an_occurrence_on_time_still_runs() -> None:
    schedule = make_schedule(catchup_policy="none")

    dispatch_due(ELEVEN + timedelta(seconds=30))

    assert statuses(schedule) == {ELEVEN: "triggered"}


def make_minutely(**fields: Any) -> Schedule:
    return make_schedule(
        schedule_type="custom", cron_expression="* * * * *", overlap_policy="allow", **fields
    )


def test_after_a_long_outage_the_newest_runs_in_the_first_tick() -> None:
    schedule = make_minutely()
    later = NOW + timedelta(days=365, seconds=30)

    dispatch_due(later)

    assert schedule.runs.get(status=RunStatus.TRIGGERED).scheduled_for == later.replace(second=0)
    missed = schedule.runs.filter(status=RunStatus.MISSED).order_by("scheduled_for")
    assert missed.count() == 1_000
    first, *others = missed
    assert first.scheduled_for == NOW + timedelta(minutes=1)
    assert first.error_message.endswith(" 524,599 others that nobody ran get no row of their own.")
    assert not any("no row" in run.error_message for run in others)
    schedule.refresh_from_db()
    assert schedule.next_run_at == later.replace(second=0) + timedelta(minutes=1)


@pytest.mark.parametrize(("window", "ran"), [(None, 1), (2_000, 40 * 60 - 2_000 + 1)])
def test_after_a_long_outage_the_earliest_runs_and_no_other(window: int | None, ran: int) -> None:
    schedule = make_minutely(catchup_policy="earliest", catchup_window_minutes=window)
    later = NOW + timedelta(hours=40, seconds=30)

    for seconds in range(0, 30, 10):
        dispatch_due(later + timedelta(seconds=seconds))

    made = schedule.runs.get(status=RunStatus.TRIGGERED)
    assert made.scheduled_for == NOW + timedelta(minutes=ran)


def test_after_a_long_outage_all_are_run_tick_by_tick() -> None:
    schedule = make_minutely(catchup_policy="all")
    later = NOW + timedelta(minutes=1500, seconds=30)

    for _ in range(3):
        dispatch_due(later)

    assert schedule.runs.filter(status=RunStatus.TRIGGERED).count() == 1500


def test_after_a_long_outage_all_within_the_window_are_run_in_the_first_tick() -> None:
    schedule = make_minutely(catchup_policy="all", catchup_window_minutes=60)
    later = NOW + timedelta(days=30)

    dispatch_due(later)

    assert schedule.runs.filter(status=RunStatus.TRIGGERED).count() == 61
    schedule.refresh_from_db()
    assert schedule.next_run_at == later + timedelta(minutes=1)


def test_what_lies_before_the_schedule_was_made_is_no_occurrence() -> None:
    """But the time that somebody wrote is one, however long ago."""
    schedule = make_minutely()
    written = datetime(2020, 1, 1, tzinfo=UTC)
    Schedule.objects.update(created_at=NOW, next_run_at=written)

    dispatch_due(NOW + timedelta(seconds=30))

    assert statuses(schedule) == {written: "triggered"}
    schedule.refresh_from_db()
    assert schedule.next_run_at == NOW + timedelta(minutes=1)


def test_skipping_names_the_run_in_the_way() -> None:
    schedule = make_schedule()
    running = make_run(schedule, status=RunStatus.RUNNING)

    dispatch_due(ELEVEN)

    skipped = schedule.runs.get(scheduled_for=ELEVEN)
    assert (skipped.status, skipped.completed_at) == (RunStatus.SKIPPED, ELEVEN)
    assert str(running.pk) in skipped.error_message


def test_cancelling_the_previous_one_makes_way() -> None:
    schedule = make_schedule(overlap_policy="cancel_previous")
    make_run(schedule, scheduled_for=at(9), trigger=RunTrigger.SCHEDULE)
    assert admission.start_queued(at(9, 1)) == 1

    dispatch_due(ELEVEN)

    previous = schedule.runs.get(scheduled_for=at(9))
    assert previous.status == RunStatus.CANCELLED
    assert previous.batch is not None
    assert previous.batch.status == "cancelled"
    assert schedule.runs.get(scheduled_for=ELEVEN).status == RunStatus.TRIGGERED


def test_an_occurrence_that_has_its_run_cancels_nothing() -> None:
    schedule = make_schedule(overlap_policy="cancel_previous")
    dispatch_due(ELEVEN)
    admission.start_queued(ELEVEN)
    Schedule.objects.update(next_run_at=ELEVEN)

    dispatch_due(ELEVEN + timedelta(minutes=1))

    assert statuses(schedule) == {ELEVEN: "running"}


def test_overlapping_runs_where_that_is_allowed() -> None:
    schedule = make_schedule(overlap_policy="allow")
    make_run(schedule, status=RunStatus.RUNNING)

    dispatch_due(ELEVEN)

    assert statuses(schedule) == {NOW: "running", ELEVEN: "triggered"}


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"schedule_type": "custom", "cron_expression": "61 * * * *"}, "61"),
    ],
)
def test_a_bad_schedule_is_set_aside_while_the_others_go_on(
    columns: dict[str, Any], word: str
) -> None:
    first, bad, last = make_due(3)
    Schedule.objects.filter(pk=bad.pk).update(**columns)

    dispatch_due(ELEVEN)
    dispatch_due(ELEVEN)

    assert {run.schedule_id for run in Run.objects.filter(status="triggered")} == {
        first.pk,
        last.pk,
    }
    bad.refresh_from_db()
    assert (bad.is_active, bad.next_run_at) == (False, None)
    assert word in bad.pause_reason
    assert bad.pause_reason.endswith("enable the schedule again.")
    assert AuditEvent.objects.get(action="schedule.disabled").object_id == str(bad.pk)
    assert Event.objects.get().alert_type == AlertType.SCHEDULE_DISABLED
    assert Notification.objects.get().address == bad.user.email


def test_a_chunk_that_the_database_refuses_is_dispatched_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, bad, last = make_due(3)
    honest = snapshots.of

    def broken(schedule: Schedule) -> dict[str, Any]:
        """A configuration that jsonb cannot hold, as one read from elsewhere might be."""
        return honest(schedule) | ({"note": "\0"} if schedule.pk == bad.pk else {})

    monkeypatch.setattr(snapshots, "of", broken)

    dispatch_due(ELEVEN)

    assert {run.schedule_id for run in Run.objects.all()} == {first.pk, last.pk}
    bad.refresh_from_db()
    assert not bad.is_active
    assert "could not be dispatched" in bad.pause_reason


def test_inactive_schedules_are_not_due() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    schedules.set_active(actor, schedule, False, now=NOW)

    assert dispatch_due(ELEVEN) == 0


def test_more_than_a_chunk_is_dispatched_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "CHUNK", 4)
    make_due(11)

    assert dispatch_due(ELEVEN) == 11

    assert Run.objects.count() == 11


def test_the_oldest_are_dispatched_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "CHUNK", 1)
    due = make_due(3)
    for schedule, minute in zip(due, (20, 5, 40), strict=True):
        Schedule.objects.filter(pk=schedule.pk).update(next_run_at=at(10, minute))

    dispatch_due(at(10, 50))

    made = [run.scheduled_for.minute for run in Run.objects.order_by("pk")]
    assert made == [5, 20, 40]


@pytest.mark.django_db(transaction=True)
def test_two_dispatchers_at_once_make_one_run_per_occurrence() -> None:
    due = make_due(6)
    for hours in range(1, 21):
        now = NOW + hours * HOUR
        at_once(*[partial(dispatch_due, now)] * 2)
        dispatch_due(now)
        Run.objects.filter(status="triggered").update(
            status="completed", completed_at=now, started_at=now
        )

    made = Run.objects.values_list("schedule_id", "scheduled_for")
    expected = {(one.pk, NOW + hours * HOUR) for one in due for hours in range(1, 21)}
    assert len(made) == len(expected)
    assert set(made) == expected


@pytest.mark.django_db(transaction=True)
def test_two_ticks_at_once_start_each_run_once() -> None:
    for schedule in make_due(2):
        assert schedule.is_active

    at_once(lambda: ticks.tick(ELEVEN), lambda: ticks.tick(ELEVEN))
    ticks.tick(ELEVEN)

    assert Run.objects.count() == 2
    started = Run.objects.filter(status=RunStatus.RUNNING)
    batches = set(started.values_list("batch_id", flat=True))
    assert len(batches) == 2
    assert None not in batches


@pytest.mark.django_db(transaction=True)
def test_dispatching_while_schedules_are_edited_loses_and_doubles_nothing() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    for hours in range(1, 11):
        now = NOW + hours * HOUR
        at_once(
            partial(dispatch_due, now),
            partial(schedules.change, actor, schedule, now=NOW, description=f"{hours}"),
        )
        dispatch_due(now)
        Run.objects.filter(status="triggered").update(
            status="completed", completed_at=now, started_at=now
        )

    assert set(statuses(schedule)) == {NOW + hours * HOUR for hours in range(1, 11)}
    schedule.refresh_from_db()
    assert schedule.next_run_at == NOW + 11 * HOUR


def test_a_scheduled_run_belongs_to_the_schedules_author_and_project() -> None:
    schedule = make_schedule()
    dispatch_due(ELEVEN)

    admission.start_queued(ELEVEN)

    run = schedule.runs.get()
    assert run.batch is not None
    assert (run.batch.user_id, run.batch.project_id) == (schedule.user_id, schedule.project_id)
    assert schedule.project_id == projects.personal_of(schedule.user).pk

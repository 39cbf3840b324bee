"""Schedules made, changed, switched on and off, and deleted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from access.errors import Conflict, Invalid
from access.models import AuditEvent
from batches import endpoints, suites
from batches.models import Batch
from evalsched import admission, dispatch, runs, schedules
from evalsched.models import Run, RunStatus, Schedule
from tests.factories import NOW, make_actor, make_endpoint, make_run, make_schedule, make_suite

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2025, 1, 15, hour, minute, tzinfo=UTC)


def test_the_first_occurrence_lies_after_now() -> None:
    assert make_schedule(now=NOW).next_run_at == at(11)
    assert make_schedule(now=NOW - timedelta(microseconds=1)).next_run_at == NOW
    assert make_schedule(is_active=False).next_run_at is None


def test_editing_the_time_recomputes_when_it_is_due_from_now() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)

    schedule = schedules.change(
        actor, schedule, now=at(11, 30), schedule_type="custom", cron_expression="45 * * * *"
    )
    assert schedule.next_run_at == at(11, 45)
    schedule = schedules.change(actor, schedule, now=at(11, 30), schedule_type="daily")
    assert schedule.next_run_at == at(2) + DAY
    assert schedule.cron_expression == ""
    schedule = schedules.change(actor, schedule, now=at(11, 30), timezone="Asia/Kolkata")
    assert schedule.next_run_at == at(20, 30)


def test_editing_anything_else_leaves_the_time_alone() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)

    schedule = schedules.change(actor, schedule, now=at(15), name="Another", description="x")

    assert schedule.next_run_at == at(11)


def test_sending_everything_back_unchanged_keeps_a_due_occurrence_and_the_failures() -> None:
    actor = make_actor()
    schedule = make_schedule(actor, now=NOW)
    Schedule.objects.update(consecutive_failures=2)

    schedules.change(
        actor,
        schedule,
        now=at(11, 30),
        schedule_type=schedule.schedule_type,
        timezone=schedule.timezone,
        is_active=True,
    )

    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.consecutive_failures) == (at(11), 2)


def test_an_edit_of_a_row_read_long_ago_does_not_turn_back_the_clock() -> None:
    actor = make_actor()
    stale = make_schedule(actor)
    dispatch.dispatch_due(at(11))

    schedules.change(actor, stale, now=at(11), name="Another")

    stale.refresh_from_db()
    assert (stale.name, stale.next_run_at) == ("Another", at(12))


def test_a_resumed_schedule_never_fires_for_the_past() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    schedules.set_active(actor, schedule, False, now=NOW)
    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.next_run_at) == (False, None)

    schedules.set_active(actor, schedule, True, now=at(15, 20))
    dispatch.dispatch_due(at(15, 21))

    schedule.refresh_from_db()
    assert schedule.next_run_at == at(16)
    assert not schedule.runs.exists()


def test_switching_on_what_is_on_changes_nothing() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)

    schedules.set_active(actor, schedule, True, now=at(15))

    schedule.refresh_from_db()
    assert schedule.next_run_at == at(11)


@pytest.mark.parametrize("jitter_seconds", [0, 600])
def test_a_time_whose_occurrence_has_its_run_is_refused(jitter_seconds: int) -> None:
    actor = make_actor()
    schedule = make_schedule(actor, jitter_seconds=jitter_seconds)
    due_at = schedule.next_run_at
    assert due_at is not None
    dispatch.dispatch_due(due_at)

    with pytest.raises(Invalid, match="2025-01-15 11:00:00 UTC already") as refused:
        schedules.change(actor, schedule, now=at(11, 30), next_run_at=due_at)

    assert list(refused.value.details) == ["next_run_at"]
    schedules.change(actor, schedule, now=at(11, 30), next_run_at=at(10, 30))


def test_enabling_forgets_the_failures_and_the_reason() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    Schedule.objects.update(consecutive_failures=3)
    schedules.disable(schedule, "It failed.", now=NOW)
    schedule.refresh_from_db()

    schedule = schedules.set_active(actor, schedule, True, now=NOW)

    assert (schedule.consecutive_failures, schedule.pause_reason) == (0, "")


def test_disabling_happens_once() -> None:
    schedule = make_schedule()

    assert schedules.disable(schedule, "It failed.", now=NOW)
    assert not schedules.disable(schedule, "It failed again.", now=NOW)

    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.pause_reason) == (False, "It failed.")
    trail = AuditEvent.objects.get(action="schedule.disabled")
    assert (trail.via, trail.details) == ("service", {"reason": "It failed."})


def test_deleting_a_schedule_stops_its_run_under_way() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    make_run(schedule)
    assert admission.start_queued(NOW) == 1
    batch = Batch.objects.get()

    schedules.delete(actor, schedule, now=NOW)

    batch.refresh_from_db()
    assert (batch.status, batch.error_message) == ("cancelled", "The schedule was deleted.")
    assert not Schedule.objects.exists()
    assert not Run.objects.exists()
    runs.settle(batch.pk, now=NOW)
    assert AuditEvent.objects.filter(action="schedule.deleted").count() == 1


def test_what_a_schedule_uses_is_not_deleted() -> None:
    actor = make_actor()
    suite, endpoint = make_suite(actor), make_endpoint(actor)
    make_schedule(actor, suite=suite, endpoint=endpoint, name="Nightly")

    with pytest.raises(Conflict, match="'Nightly'"):
        suites.delete(actor, suite)
    with pytest.raises(Conflict, match="'Nightly'"):
        endpoints.delete(actor, endpoint)


def test_names_are_unique_in_a_project_only() -> None:
    actor = make_actor()
    make_schedule(actor, name="Nightly")

    with pytest.raises(Invalid, match="this name already"):
        make_schedule(actor, name="Nightly")
    assert make_schedule(name="Nightly").name == "Nightly"


@pytest.mark.parametrize(
    "fields",
    [
        {"timezone": "Mars/Olympus"},
        {"schedule_type": "custom", "cron_expression": "0 0 31 2 *"},
        {"schedule_type": "custom", "cron_expression": ""},
    ],
)
def test_times_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        make_schedule(**fields)
    assert not Schedule.objects.exists()


def test_a_cron_expression_without_the_type_custom_is_refused() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)

    with pytest.raises(Invalid, match="set schedule_type to custom") as refused:
        schedules.change(actor, schedule, now=NOW, cron_expression="*/5 * * * *")

    assert list(refused.value.details) == ["cron_expression"]
    with pytest.raises(Invalid, match="set schedule_type to custom"):
        make_schedule(actor, cron_expression="*/5 * * * *")


def test_a_cron_expression_sent_back_unchanged_goes_with_the_type() -> None:
    actor = make_actor()
    schedule = make_schedule(actor, schedule_type="custom", cron_expression="5 * * * *")

    schedule = schedules.change(
        actor, schedule, now=NOW, schedule_type="daily", cron_expression="5 * * * *"
    )

    assert (schedule.schedule_type, schedule.cron_expression) == ("daily", "")


def test_all_are_paused_and_resumed_but_not_those_somebody_switched_off() -> None:
    actor = make_actor()
    mine, off = make_schedule(actor), make_schedule(actor)
    schedules.set_active(actor, off, False, now=NOW)

    assert schedules.pause_all(now=NOW) == 1
    assert dispatch.dispatch_due(at(12)) == 0
    assert schedules.resume_all(now=at(12, 30)) == 1

    mine.refresh_from_db()
    off.refresh_from_db()
    assert (mine.is_active, mine.next_run_at) == (True, at(13))
    assert not off.is_active
    assert Run.objects.filter(status=RunStatus.TRIGGERED).count() == 0


def test_a_pause_of_peoples_own_comes_back_as_it_was() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    schedules.change(actor, schedule, now=NOW, paused_until=at(18), pause_reason="Vendor moves.")
    Schedule.objects.update(consecutive_failures=2)

    schedules.pause_all(now=at(11))
    schedule.refresh_from_db()
    held = schedule.pause_reason
    assert schedules.resume_all(now=at(12)) == 1

    assert held.startswith(schedules.PAUSED_ALL)
    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.paused_until) == (True, at(18))
    assert (schedule.pause_reason, schedule.paused_by_hand) == ("Vendor moves.", True)
    assert (schedule.next_run_at, schedule.consecutive_failures) == (at(18), 2)


@pytest.mark.parametrize("ticked", [True, False])
def test_a_pause_that_ended_meanwhile_does_not_come_back(ticked: bool) -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    schedules.change(actor, schedule, now=NOW, paused_until=at(12), pause_reason="Vendor moves.")

    schedules.pause_all(now=at(11))
    if ticked:
        dispatch.dispatch_due(at(13))
    assert schedules.resume_all(now=at(13, 30)) == 1

    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.paused_until, schedule.pause_reason) == (True, None, "")
    assert (schedule.next_run_at, schedule.paused_by_hand) == (at(14), False)

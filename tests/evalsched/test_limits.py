"""Start, end, number of runs, pauses and jitter: what counts, and what is due when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from access.errors import Invalid
from access.models import AuditEvent
from alerts.models import Event
from evalsched import agenda, invariants, pulse, schedules
from evalsched.dispatch import dispatch_due
from evalsched.models import RunStatus, Schedule
from tests.factories import NOW, make_actor, make_run, make_schedule

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2025, 1, 15, hour, minute, second, tzinfo=UTC)


def hours(schedule: Schedule, status: str = "triggered") -> list[int]:
    found = schedule.runs.filter(status=status).order_by("scheduled_for")
    return [run.scheduled_for.hour for run in found]


def tick_hourly(first: int, last: int) -> None:
    """Dispatch ten seconds after each hour, and complete what was made."""
    for hour in range(first, last + 1):
        dispatch_due(at(hour, 0, 10))


def make_free(**fields: Any) -> Schedule:
    """Make an hourly schedule in whose way no earlier run is."""
    return make_schedule(overlap_policy="allow", **fields)


# --- Start and end ---------------------------------------------------------------------------


def test_nothing_is_due_before_the_start() -> None:
    schedule = make_free(starts_at=at(12, 30))

    tick_hourly(11, 14)

    assert hours(schedule) == [13, 14]


def test_the_ends_of_the_range_count() -> None:
    schedule = make_free(starts_at=at(12), ends_at=at(14))

    tick_hourly(11, 16)

    assert hours(schedule) == [12, 13, 14]


def test_a_schedule_that_came_to_its_end_is_switched_off_and_nobody_is_told() -> None:
    schedule = make_free(ends_at=at(12, 30))

    tick_hourly(11, 12)

    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.next_run_at) == (False, None)
    assert schedule.pause_reason == (
        "It has ended: no occurrence is left until 2025-01-15 12:30 UTC (ends_at)."
    )
    assert AuditEvent.objects.get(action="schedule.ended").object_id == str(schedule.pk)
    assert not Event.objects.exists()
    assert schedule.consecutive_failures == 0


def test_what_was_missed_after_the_end_does_not_count() -> None:
    schedule = make_free(ends_at=at(12, 30), catchup_policy="latest")

    dispatch_due(at(18))

    assert hours(schedule, "missed") == [11]
    assert hours(schedule) == [12]
    schedule.refresh_from_db()
    assert not schedule.is_active


def test_a_time_written_before_the_start_does_not_count() -> None:
    schedule = make_free(starts_at=at(12, 30))
    Schedule.objects.update(next_run_at=at(10, 30))

    dispatch_due(at(10, 31))

    schedule.refresh_from_db()
    assert not schedule.runs.exists()
    assert schedule.next_run_at == at(13)


def test_moving_the_end_opens_an_ended_schedule_again() -> None:
    actor = make_actor()
    schedule = make_schedule(actor, ends_at=at(11))
    tick_hourly(11, 12)

    schedule = schedules.change(actor, schedule, now=at(15), ends_at=at(17), is_active=True)

    assert (schedule.next_run_at, schedule.pause_reason) == (at(16), "")


# --- Number of runs --------------------------------------------------------------------------


def test_after_max_runs_it_ends() -> None:
    schedule = make_free(max_runs=3)

    tick_hourly(11, 16)

    assert hours(schedule) == [11, 12, 13]
    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.runs_made) == (False, 3)
    assert schedule.pause_reason == "It has ended: it has made its 3 runs (max_runs)."


def test_what_was_missed_or_skipped_or_by_hand_is_no_run_of_them() -> None:
    schedule = make_schedule(max_runs=2)
    make_run(schedule, status=RunStatus.COMPLETED)
    dispatch_due(at(13, 0, 10))
    dispatch_due(at(14, 0, 10))

    schedule.refresh_from_db()
    assert (hours(schedule, "missed"), hours(schedule), hours(schedule, "skipped")) == (
        [11, 12],
        [13],
        [14],
    )
    assert (schedule.is_active, schedule.runs_made) == (True, 1)


def test_catching_up_on_all_stops_at_max_runs() -> None:
    schedule = make_free(max_runs=2, catchup_policy="all")

    dispatch_due(at(15, 30))

    assert [run.scheduled_for for run in schedule.runs.order_by("scheduled_for")] == [
        at(11),
        at(12),
    ]
    schedule.refresh_from_db()
    assert not schedule.is_active


def test_an_occurrence_that_has_its_run_is_not_counted_again() -> None:
    schedule = make_free(max_runs=2)
    dispatch_due(at(11, 0, 10))
    Schedule.objects.update(next_run_at=at(11))

    dispatch_due(at(11, 0, 20))

    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.runs_made, schedule.next_run_at) == (True, 1, at(12))


# --- Pauses ----------------------------------------------------------------------------------


def test_a_paused_schedule_rests_and_goes_on_by_itself() -> None:
    actor = make_actor()
    schedule = make_schedule(actor, overlap_policy="allow")
    schedule = schedules.change(
        actor, schedule, now=NOW, paused_until=at(13, 30), pause_reason="Moving."
    )

    tick_hourly(11, 13)
    during = (schedule.is_active, schedule.next_run_at, schedule.pause_reason)
    dispatch_due(at(13, 30, 5))
    schedule.refresh_from_db()
    after = (schedule.paused_until, schedule.pause_reason, schedule.next_run_at)
    tick_hourly(14, 15)

    assert during == (True, at(14), "Moving.")
    assert after == (None, "", at(14))
    assert hours(schedule) == [14, 15]
    assert not schedule.runs.filter(status="missed").exists()


def test_the_end_of_a_pause_that_was_written_by_hand_never_fires_for_the_past() -> None:
    schedule = make_schedule()
    Schedule.objects.update(paused_until=at(13, 30))

    tick_hourly(11, 13)
    dispatch_due(at(13, 30, 5))

    schedule.refresh_from_db()
    assert schedule.next_run_at == at(14)
    assert not schedule.runs.exists()


def test_a_paused_schedule_is_not_overdue() -> None:
    make_schedule()
    Schedule.objects.update(paused_until=at(18))

    assert pulse.taken(at(15)).oldest_due_seconds is None
    assert invariants.broken(at(15))["schedules_due_over_60_s"] == 0


def test_what_came_after_a_pause_while_nobody_ticked_is_caught_up_on() -> None:
    schedule = make_schedule()
    Schedule.objects.update(paused_until=at(12, 30))

    dispatch_due(at(15, 10))

    assert (hours(schedule, "missed"), hours(schedule)) == ([13, 14], [15])


def test_an_occurrence_at_the_very_end_of_a_pause_runs() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    schedules.change(actor, schedule, now=NOW, paused_until=at(13))

    tick_hourly(12, 13)

    assert hours(schedule) == [13]


def test_a_schedule_switched_off_in_its_pause_stays_off() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    schedules.change(actor, schedule, now=NOW, paused_until=at(13))
    schedules.change(actor, schedule, now=NOW, is_active=False, pause_reason="Not needed.")

    tick_hourly(13, 14)

    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.paused_until) == (False, None)
    assert schedule.pause_reason == "Not needed."


def test_a_pause_that_ends_past_the_end_is_refused() -> None:
    actor = make_actor()
    schedule = make_schedule(actor, ends_at=at(13))

    with pytest.raises(Invalid, match="ends_at"):
        schedules.change(actor, schedule, now=NOW, paused_until=at(14))


def test_resuming_all_leaves_those_that_ended_meanwhile() -> None:
    going, over = make_schedule(), make_schedule(ends_at=at(12))
    schedules.pause_all(now=NOW)

    assert schedules.resume_all(now=at(13, 30)) == 1

    going.refresh_from_db()
    over.refresh_from_db()
    assert (going.is_active, over.is_active) == (True, False)
    assert "ends_at" in over.pause_reason


# --- Jitter ----------------------------------------------------------------------------------


def make_late(seconds: int = 600, **fields: Any) -> tuple[Schedule, timedelta]:
    """Make a schedule whose jitter is neither 0 nor the most, and return it with that."""
    for _ in range(50):
        schedule = make_free(jitter_seconds=seconds, **fields)
        late = agenda.jitter(schedule)
        if timedelta(0) < late < timedelta(seconds=seconds):
            return schedule, late
    pytest.fail("jitter is always at an end of its range")


def test_the_jitter_is_in_the_next_run_and_not_in_the_nominal_time() -> None:
    schedule, late = make_late()

    assert schedule.next_run_at == at(11) + late
    assert dispatch_due(at(11) + late - SECOND) == 0
    assert dispatch_due(at(11) + late) == 1

    schedule.refresh_from_db()
    assert schedule.runs.get().scheduled_for == at(11)
    assert schedule.next_run_at == at(12) + late


def test_the_jitter_stays_the_same_and_differs_between_schedules() -> None:
    late = {agenda.jitter(make_free(jitter_seconds=3600)) for _ in range(20)}
    schedule, before = make_late()

    assert len(late) > 10
    assert all(timedelta(0) <= one <= HOUR for one in late)
    assert agenda.jitter(Schedule.objects.get(pk=schedule.pk)) == before


def test_a_new_schedule_does_not_fire_for_the_hour_it_was_made_in() -> None:
    schedule, late = make_late(3600, now=at(10, 0, 1))

    assert schedule.next_run_at == at(11) + late


def test_an_outage_with_jitter_misses_what_it_misses_without() -> None:
    schedule, late = make_late()

    dispatch_due(at(13) + late)

    assert (hours(schedule, "missed"), hours(schedule)) == ([11, 12], [13])
    schedule.refresh_from_db()
    assert schedule.next_run_at == at(14) + late


def test_an_outage_that_ends_within_the_jitter_leaves_its_occurrence_to_come() -> None:
    schedule, late = make_late()

    dispatch_due(at(13) + late - SECOND)

    assert (hours(schedule, "missed"), hours(schedule)) == ([11], [12])
    schedule.refresh_from_db()
    assert schedule.next_run_at == at(13) + late


def test_a_time_written_by_hand_belongs_to_the_occurrence_before_it() -> None:
    schedule, late = make_late()
    Schedule.objects.update(next_run_at=at(11) + late / 2)

    dispatch_due(at(11) + late / 2)

    schedule.refresh_from_db()
    assert schedule.runs.get().scheduled_for == at(11)
    assert schedule.next_run_at == at(12) + late


def test_a_time_written_by_hand_far_from_any_occurrence_is_one_itself() -> None:
    schedule, late = make_late()
    Schedule.objects.update(next_run_at=at(10, 30))

    dispatch_due(at(10, 31))

    schedule.refresh_from_db()
    assert schedule.runs.get().scheduled_for == at(10, 30)
    assert schedule.next_run_at == at(11) + late


def test_a_time_written_after_its_occurrence_ran_runs_once_more() -> None:
    schedule, late = make_late()
    dispatch_due(at(11) + late)
    again = at(11) + late + timedelta(milliseconds=500)
    Schedule.objects.update(next_run_at=again)

    dispatch_due(at(11, 30))

    assert {run.scheduled_for for run in schedule.runs.all()} == {at(11), again}
    schedule.refresh_from_db()
    assert schedule.next_run_at == at(12) + late


@pytest.mark.parametrize(
    "fields", [{"max_runs": 5}, {"ends_at": at(18)}, {"starts_at": at(11)}, {"ends_at": at(11)}]
)
def test_a_changed_limit_keeps_the_occurrence_whose_jitter_is_running(
    fields: dict[str, Any],
) -> None:
    actor = make_actor()
    schedule, late = make_late(actor=actor)

    schedule = schedules.change(actor, schedule, now=at(11) + late / 2, **fields)

    assert schedule.next_run_at == at(11) + late
    dispatch_due(at(11) + late)
    assert hours(schedule) == [11]


def test_a_changed_limit_keeps_what_is_due_before_the_tick_comes() -> None:
    actor = make_actor()
    schedule = make_free(actor=actor)

    schedule = schedules.change(actor, schedule, now=at(11, 0, 5), max_runs=5)

    assert schedule.next_run_at == at(11)


def test_a_limit_that_leaves_out_what_is_due_next_moves_it() -> None:
    actor = make_actor()
    schedule = make_free(actor=actor)

    later = schedules.change(actor, schedule, now=NOW, starts_at=at(13, 30))
    assert later.next_run_at == at(14)
    earlier = schedules.change(actor, schedule, now=NOW, starts_at=at(12))
    assert earlier.next_run_at == at(12)
    with pytest.raises(Invalid, match="ends_at"):
        schedules.change(actor, schedule, now=NOW, starts_at=None, ends_at=at(10, 30))


@pytest.mark.parametrize(
    ("stored", "sent", "sentence"),
    [
        ({"ends_at": at(18)}, {"starts_at": at(19)}, "before ends_at (2025-01-15 18:00 UTC)"),
        ({"starts_at": at(12)}, {"ends_at": at(11)}, "after starts_at (2025-01-15 12:00 UTC)"),
        ({}, {"starts_at": at(12), "ends_at": at(11)}, "after starts_at (2025-01-15 12:00 UTC)"),
    ],
)
def test_the_field_that_was_sent_is_blamed(
    stored: dict[str, Any], sent: dict[str, Any], sentence: str
) -> None:
    actor = make_actor()
    schedule = make_free(actor=actor, **stored)

    with pytest.raises(Invalid) as refused:
        schedules.change(actor, schedule, now=NOW, **sent)

    assert refused.value.details == {list(sent)[-1]: [f"It has to lie {sentence}."]}


def test_a_clock_set_back_with_jitter_changes_nothing() -> None:
    schedule, late = make_late()
    dispatch_due(at(11) + late)
    Schedule.objects.update(next_run_at=at(11) + late)

    dispatch_due(at(11) + late)

    assert schedule.runs.count() == 1


def test_the_catch_up_window_begins_when_it_was_due() -> None:
    schedule, late = make_late(catchup_window_minutes=5)

    dispatch_due(at(11) + late + timedelta(minutes=5))

    assert hours(schedule) == [11]

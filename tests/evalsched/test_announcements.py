"""What schedules and runs tell: once, to their author, in words that say what to do."""

from datetime import timedelta

import pytest

from alerts.models import AlertType, Event, Notification
from evalsched import announcements, schedules
from evalsched.models import RunStatus
from tests.factories import NOW, make_actor, make_run, make_schedule

pytestmark = pytest.mark.django_db


def test_a_failed_run_is_told_once() -> None:
    schedule = make_schedule(name="Nightly")
    run = make_run(schedule, status=RunStatus.FAILED, error_message="No connection.")

    announcements.evaluation_failed(schedule, run, now=NOW)
    announcements.evaluation_failed(schedule, run, now=NOW + timedelta(hours=1))

    event = Event.objects.get()
    assert event.alert_type == AlertType.EVALUATION_FAILED
    assert event.summary == "No connection. Correct this, then press Run now."
    assert (event.project_id, event.user_id) == (schedule.project_id, schedule.user_id)
    facts = dict(event.facts)
    assert facts["Schedule"] == "Nightly"
    assert facts["Failed at"] == "2025-01-15 10:00 UTC"
    assert "Answered" not in facts


def test_how_many_were_answered_is_told_where_there_were_any() -> None:
    schedule = make_schedule()
    run = make_run(
        schedule,
        status=RunStatus.FAILED,
        error_message="x",
        total_prompts=10,
        successful_prompts=6,
    )

    announcements.evaluation_failed(schedule, run, now=NOW)

    assert dict(Event.objects.get().facts)["Answered"] == "6 of 10"


def test_the_words_are_those_of_the_runs_time() -> None:
    """The suite and the model may have been renamed while it ran."""
    schedule = make_schedule()
    run = make_run(schedule, status=RunStatus.FAILED)
    schedule.suite.name, schedule.endpoint.name = "New suite", "New model"
    schedule.suite.save()
    schedule.endpoint.save()

    announcements.evaluation_failed(schedule, run, now=NOW)

    facts = dict(Event.objects.get().facts)
    assert facts["Suite"] == run.snapshot["test_suite_name"] != "New suite"
    assert facts["Model"] == run.snapshot["model_name"] != "New model"


def test_each_switching_off_is_told_once() -> None:
    actor = make_actor()
    schedule = make_schedule(actor)
    schedules.disable(schedule, "3 runs failed.", now=NOW)
    schedules.disable(schedule, "3 runs failed.", now=NOW)
    schedule.refresh_from_db()
    schedule = schedules.set_active(actor, schedule, True, now=NOW)

    schedules.disable(schedule, "3 runs failed.", now=NOW + timedelta(hours=1))

    assert Event.objects.filter(alert_type=AlertType.SCHEDULE_DISABLED).count() == 2
    assert Notification.objects.count() == 2


def test_a_name_as_long_as_allowed_fits() -> None:
    schedule = make_schedule(name="n" * 200)

    schedules.disable(schedule, "x" * 5000, now=NOW)

    assert Event.objects.get().subject == "Schedule disabled: " + "n" * 200

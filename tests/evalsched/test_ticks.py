"""One whole cycle: each step stands alone, and twice does no harm."""

from datetime import datetime, timedelta

import pytest

from access import heartbeats
from alerts.models import Notification
from batches import rescues
from batches.models import Job
from evalsched import dispatch, pulse, ticks
from evalsched.models import Run, RunStatus, Schedule
from tests.factories import NOW, make_notification, make_schedule

pytestmark = pytest.mark.django_db
ELEVEN = NOW + timedelta(hours=1)


def test_one_tick_makes_and_starts_what_is_due() -> None:
    schedule = make_schedule()

    ticks.tick(ELEVEN)

    run = Run.objects.get()
    assert (run.schedule, run.status, run.started_at) == (schedule, RunStatus.RUNNING, ELEVEN)
    assert Job.objects.filter(batch=run.batch_id, status="pending").count() == 3
    assert pulse.taken(ELEVEN).tick_age_seconds == 0


def test_ticking_again_changes_nothing() -> None:
    make_schedule()
    ticks.tick(ELEVEN)
    before = list(Run.objects.values()), list(Schedule.objects.values("next_run_at"))

    ticks.tick(ELEVEN)
    ticks.tick(ELEVEN + timedelta(seconds=1))

    assert (list(Run.objects.values()), list(Schedule.objects.values("next_run_at"))) == before


def test_a_step_that_fails_leaves_the_others_their_turn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = make_schedule()
    dispatch.dispatch_due(ELEVEN)
    notification = make_notification()

    def broken(now: datetime) -> int:
        raise RuntimeError("no luck")

    monkeypatch.setattr(dispatch, "dispatch_due", broken)
    monkeypatch.setattr(rescues, "end_late", broken)

    ticks.tick(ELEVEN)

    assert schedule.runs.get().status == RunStatus.RUNNING
    assert Notification.objects.get(pk=notification.pk).hinted_at == ELEVEN
    assert caplog.text.count("step of the tick failed") == 2


def test_a_tick_with_nothing_to_do_asks_little(
    django_assert_max_num_queries: pytest.FixtureRequest,
) -> None:
    make_schedule()
    ticks.tick(NOW)
    heartbeats.note("other", now=NOW)

    with django_assert_max_num_queries(25):  # type: ignore[operator]
        ticks.tick(NOW + timedelta(seconds=1))

"""What is too old goes; what runs are compared with, what waits and what is under way stays."""

from datetime import timedelta

import pytest

from alerts.models import Event
from batches import batches
from batches.models import Batch, Job
from evalsched import baselines, retention, schedules
from evalsched.models import Run, RunStatus
from tests.evalsched.compared_runs import make_cases_schedule, make_completed
from tests.factories import (
    NOW,
    make_actor,
    make_batch,
    make_event,
    make_experiment,
    make_notification,
    make_run,
    make_suite,
)

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(days=200)


def forget() -> None:
    retention.forget_old(LATER)


def test_old_runs_go_with_their_results_and_the_last_good_one_stays() -> None:
    schedule = make_cases_schedule(12)
    runs = [make_completed(schedule, hours=hours) for hours in range(3)]
    failed = make_run(schedule, status=RunStatus.FAILED, scheduled_for=NOW + timedelta(hours=9))

    forget()

    assert list(Run.objects.values_list("pk", flat=True)) == [runs[-1].pk]
    assert list(Batch.objects.values_list("pk", flat=True)) == [runs[-1].batch_id]
    assert Job.objects.count() == 12
    assert not Run.objects.filter(pk=failed.pk).exists()


def test_the_last_run_that_says_something_stays_whatever_came_after_it() -> None:
    schedule = make_cases_schedule(12)
    good = make_completed(schedule)
    make_completed(schedule, hours=1, unscored=range(1, 13))

    forget()

    assert list(Run.objects.values_list("pk", flat=True)) == [good.pk]


def test_a_run_of_a_former_suite_goes() -> None:
    schedule = make_cases_schedule(12)
    make_completed(schedule)
    schedule.refresh_from_db()
    actor = make_actor(schedule.user)
    schedules.change(actor, schedule, now=NOW, suite=make_suite(actor, cases=2))

    forget()

    assert not Run.objects.exists()


def test_a_chosen_baseline_stays_with_its_results() -> None:
    schedule = make_cases_schedule(12)
    runs = [make_completed(schedule, hours=hours) for hours in range(3)]
    baselines.pin(make_actor(schedule.user), schedule, runs[0])

    forget()

    kept = set(Run.objects.values_list("pk", flat=True))
    assert kept == {runs[0].pk, runs[-1].pk}
    assert Batch.objects.count() == 2


def test_what_is_young_or_under_way_stays() -> None:
    open_batch = make_batch()
    young = make_batch()
    batches.cancel(young, now=LATER - timedelta(days=179))
    old = make_batch()
    batches.cancel(old, now=LATER - timedelta(days=181))
    make_run(make_cases_schedule(3))

    forget()

    assert set(Batch.objects.values_list("pk", flat=True)) == {open_batch.pk, young.pk}
    assert Run.objects.count() == 1


def test_an_experiment_stays_until_it_expires_however_old_it_is() -> None:
    kept = make_experiment(days=300)
    batches.cancel(kept, now=NOW)
    old = make_batch()
    batches.cancel(old, now=NOW)

    forget()

    assert Batch.objects.get() == kept


def test_old_events_go_unless_somebody_is_still_to_hear_of_them() -> None:
    told, waiting = make_event(), make_event()
    make_notification(waiting)

    forget()

    assert list(Event.objects.values_list("pk", flat=True)) == [waiting.pk]
    assert not Event.objects.filter(pk=told.pk).exists()

"""What batches tell: that they ended, once, unless a schedule tells of it or it was stopped."""

from datetime import timedelta

import pytest
from django.db.models import F

from alerts.models import Event, Notification
from batches import batches
from batches.models import Batch, BatchStatus
from tests.factories import (
    NOW,
    make_actor,
    make_batch,
    make_preference,
    make_run,
    make_schedule,
)

pytestmark = pytest.mark.django_db


def end(batch: Batch, status: BatchStatus, why: str = "") -> bool:
    if status == BatchStatus.COMPLETED:
        Batch.objects.filter(pk=batch.pk).update(done=F("total"), passed=F("total"))
    batch.refresh_from_db()
    return batches.finish(batch, status, now=NOW, error_message=why)


@pytest.mark.parametrize(
    "status", [BatchStatus.FAILED, BatchStatus.STOPPED_BUDGET, BatchStatus.STOPPED_CIRCUIT]
)
def test_a_batch_that_did_not_get_to_its_end_is_told_with_the_reason(status: BatchStatus) -> None:
    batch = make_batch(name="Comparison")

    end(batch, status, "401 from the server: key refused.")
    end(batch, status, "again")

    event = Event.objects.get()
    assert (event.alert_type, event.subject) == ("batch_failed", "Batch failed: Comparison")
    assert event.summary.startswith("401 from the server: key refused.")
    assert (event.project_id, event.user_id) == (batch.project_id, batch.user_id)
    facts = dict(event.facts)
    assert (facts["Model"], facts["Calls"]) == (batch.model_name, "0 of 3")
    assert event.path == f"/admin/batches/batch/{batch.pk}/change/"
    assert Notification.objects.get().address == batch.user.email


def test_a_batch_that_completed_is_told_to_who_asked_for_it() -> None:
    asked, silent = make_actor(), make_actor()
    make_preference(asked, alert_type="batch_completed", enabled=True)

    for actor in (asked, silent):
        end(make_batch(actor), BatchStatus.COMPLETED)

    assert Event.objects.filter(alert_type="batch_completed").count() == 2
    assert Notification.objects.get().address == asked.user.email
    assert Notification.objects.get().event.summary == "3 of 3 calls passed."


def test_a_batch_that_somebody_stopped_is_not_told() -> None:
    batches.cancel(make_batch(), now=NOW)

    assert not Event.objects.exists()


@pytest.mark.parametrize("status", [BatchStatus.COMPLETED, BatchStatus.FAILED])
def test_a_schedule_tells_of_its_own_batches_itself(status: BatchStatus) -> None:
    actor = make_actor()
    batch = make_batch(actor)
    make_run(make_schedule(actor), batch=batch, status="running")

    end(batch, status, "why")

    assert not Event.objects.exists()


def test_a_batch_that_is_resumed_and_fails_again_is_told_again() -> None:
    batch = make_batch()
    end(batch, BatchStatus.FAILED, "first")
    batch.refresh_from_db()
    batches.resume(batch, now=NOW)
    batch.refresh_from_db()

    batches.finish(
        batch, BatchStatus.FAILED, now=NOW + timedelta(minutes=1), error_message="second"
    )

    assert Event.objects.filter(alert_type="batch_failed").count() == 2

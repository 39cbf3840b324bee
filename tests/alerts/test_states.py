"""Where a notification may go, and the rows that the database refuses."""

from typing import Any

import pytest
from django.db import IntegrityError

from alerts.models import Channel, Event, Notification, NotificationStatus
from tests.factories import NOW, make_attempt, make_channel, make_event, make_notification

pytestmark = pytest.mark.django_db

# The contract, written down a second time: from where to where.
WAYS = {
    "pending": "sending failed",
    "sending": "pending sent failed",
    "sent": "pending",
    "failed": "pending",
}


def columns_of(status: str) -> dict[str, Any]:
    """What the constraints want of a notification in that status."""
    return {
        "lease_expires_at": NOW if status == "sending" else None,
        "sent_at": NOW if status == "sent" else None,
    }


@pytest.mark.parametrize("to", NotificationStatus.values)
@pytest.mark.parametrize("start", NotificationStatus.values)
def test_a_notification_moves_where_it_may_and_nowhere_else(start: str, to: str) -> None:
    row = Notification.objects.filter(pk=make_notification().pk)
    row.update(status=start, **columns_of(start))
    may = to in WAYS[start].split()

    moved = row.move(to, **columns_of(to))

    assert moved == may
    assert row.get().status == (to if may else start)


def test_the_table_of_ways_knows_every_state() -> None:
    assert set(WAYS) == set(NotificationStatus.values)


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        ("notification_sending_iff_leased", {"status": "sending"}),
        ("notification_sending_iff_leased", {"lease_expires_at": NOW}),
        ("notification_sent_iff_dated", {"status": "sent"}),
        ("notification_sent_iff_dated", {"sent_at": NOW}),
    ],
)
def test_the_database_refuses_impossible_notifications(
    constraint: str, columns: dict[str, Any]
) -> None:
    row = Notification.objects.filter(pk=make_notification().pk)

    with pytest.raises(IntegrityError, match=constraint):
        row.update(**columns)


def test_an_event_takes_a_way_once() -> None:
    notification = make_notification()

    with pytest.raises(IntegrityError, match="one_notification_per_target"):
        make_notification(notification.event, address="another@example.org")


def test_a_happening_is_one_event() -> None:
    event = make_event(key="the run's id")

    with pytest.raises(IntegrityError, match="one_event_per_happening"):
        make_event(key="the run's id")
    assert event.key == "the run's id"


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        ("channel_reason_only_if_disabled", {"disabled_reason": "410"}),
        ("channel_has_its_secret", {"secret": ""}),
        ("known_channel_kind", {"kind": "pigeon"}),
    ],
)
def test_the_database_refuses_impossible_channels(constraint: str, columns: dict[str, Any]) -> None:
    channel = make_channel(url="https://hooks.example.org/")

    with pytest.raises(IntegrityError, match=constraint):
        Channel.objects.filter(pk=channel.pk).update(**columns)


def test_a_claim_is_one_attempt() -> None:
    attempt = make_attempt()

    with pytest.raises(IntegrityError, match="one_attempt_per_claim"):
        make_attempt(attempt.notification, number=attempt.number)


def test_only_known_alert_types_are_stored() -> None:
    event = make_event()

    with pytest.raises(IntegrityError, match="known_alert_type"):
        Event.objects.filter(pk=event.pk).update(alert_type="rumour")

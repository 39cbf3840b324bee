"""The outbox: events and their notifications, written with what happened, delivered afterwards."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q

from access.hints import hint
from access.models import Membership, User
from alerts.channels import email
from alerts.models import (
    AlertType,
    ChannelKind,
    Event,
    Notification,
    NotificationQuerySet,
    NotificationStatus,
)

logger = structlog.get_logger(__name__)
DELIVER = "alerts.deliver"

# Waits before the attempts. Source: Standard Webhooks' recommended schedule, for mail as well.
RETRY_AFTER = [
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
]
# Longer than a slow mail server takes for all its steps: a delivery under way is not a lost one.
LEASE = timedelta(minutes=5)
HINT_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True)
class Happening:
    """What is to be told. `key` names it among those of its type: told twice, it is stored once."""

    alert_type: AlertType
    key: str
    subject: str
    summary: str
    facts: Sequence[tuple[str, str]] = ()
    path: str = ""


def announce(project_id: uuid.UUID, author: User, what: Happening, *, now: datetime) -> None:
    """Store an event and whom it goes to. Call it in the transaction of what happened."""
    event = Event(
        project_id=project_id,
        user=author,
        alert_type=what.alert_type,
        key=what.key,
        subject=what.subject[:300],
        summary=what.summary,
        facts=[list(fact) for fact in what.facts],
        path=what.path,
        occurred_at=now,
    )
    Event.objects.bulk_create([event], ignore_conflicts=True)
    if not Event.objects.filter(pk=event.pk).exists() or not _may_hear(author, project_id):
        return
    notification = Notification(
        project_id=project_id,
        user=author,
        event=event,
        channel=ChannelKind.EMAIL,
        address=author.email,
        not_before=now,
    )
    notification.save(force_insert=True)
    hint(DELIVER, notification.pk)


def _may_hear(person: User, project_id: uuid.UUID) -> bool:
    """Whether the person can be reached and is still of the project."""
    member = Membership.objects.filter(project_id=project_id, user=person).exists()
    return bool(person.email) and person.is_active and member


def deliver(notification_id: uuid.UUID, *, now: datetime) -> None:
    """Make one attempt: claim it, send it with no transaction open, record what came of it."""
    notification = _claim(notification_id, now)
    if notification is None:
        return
    mine = Notification.objects.filter(pk=notification.pk, claim_no=notification.claim_no)
    try:
        email.send(notification, notification.event)
    except Exception as error:  # noqa: BLE001  any backend, any reason: it is recorded and retried
        _record_failure(mine, notification, error, now)
    else:
        mine.move(NotificationStatus.SENT, sent_at=now, lease_expires_at=None, error_message="")
        logger.info("notification sent", id=str(notification.pk), channel=notification.channel)


def rescue(now: datetime) -> int:
    """Free deliveries whose worker was lost, and hint those whose time has come."""
    Notification.objects.filter(status=NotificationStatus.SENDING, lease_expires_at__lt=now).move(
        NotificationStatus.PENDING, lease_expires_at=None
    )
    waiting = Notification.objects.filter(
        status=NotificationStatus.PENDING, not_before__lte=now
    ).filter(Q(hinted_at=None) | Q(hinted_at__lt=now - HINT_AGAIN))
    due = list(waiting.order_by("not_before").values_list("pk", flat=True)[:500])
    if not due:
        return 0
    with transaction.atomic():
        Notification.objects.filter(pk__in=due).update(hinted_at=now)
        for notification_id in due:
            hint(DELIVER, notification_id)
    return len(due)


def _claim(notification_id: uuid.UUID, now: datetime) -> Notification | None:
    claimed = Notification.objects.filter(pk=notification_id, not_before__lte=now).move(
        NotificationStatus.SENDING,
        claim_no=F("claim_no") + 1,
        attempts=F("attempts") + 1,
        lease_expires_at=now + LEASE,
    )
    if not claimed:
        return None
    return Notification.objects.select_related("event").get(pk=notification_id)


def _record_failure(
    mine: NotificationQuerySet, notification: Notification, error: Exception, now: datetime
) -> None:
    sentence = f"{type(error).__name__}: {error}"[:500]
    logger.warning(
        "notification failed", id=str(notification.pk), attempt=notification.attempts, why=sentence
    )
    if notification.attempts >= len(RETRY_AFTER):
        mine.move(NotificationStatus.FAILED, lease_expires_at=None, error_message=sentence)
        return
    wait = RETRY_AFTER[notification.attempts] * random.uniform(1, 1.1)  # noqa: S311  spread only
    mine.move(
        NotificationStatus.PENDING,
        not_before=now + wait,
        lease_expires_at=None,
        hinted_at=None,
        error_message=sentence,
    )

"""A test message to one channel: stored like any other, sent at once, tried once only."""

import threading
import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from access import audit
from access.actors import Actor
from access.errors import RateLimited
from alerts import deliveries, notifications
from alerts.channels import wording
from alerts.models import AlertType, Attempt, AttemptOutcome, Channel, Event, Notification

# A receiver that answers nothing must not take all threads of the web process.
MOST_TRIALS = 4
_trials = threading.BoundedSemaphore(MOST_TRIALS)


@dataclass(frozen=True)
class Tried:
    """What came of a test, in a sentence. `outcome` is the attempt's."""

    ok: bool
    sentence: str
    outcome: str
    notification_id: uuid.UUID


def make(actor: Actor, channel: Channel, *, now: datetime) -> Notification:
    """Store a message that says it is a test, also for a channel that is switched off."""
    name = wording.one_line(channel.name)
    event = Event(
        project=actor.project,
        user=actor.user,
        alert_type=AlertType.CHANNEL_TEST,
        key=str(uuid.uuid4()),
        subject=f"Test of the channel {name}"[:300],
        summary="This is a test. If you can read it, alerts of this project arrive here.",
        facts=[["Channel", name], ["Asked for by", actor.user.username]],
        occurred_at=now,
    )
    with transaction.atomic():
        notification = notifications.for_one(event, channel, now=now)
        audit.record(actor, "channel.tested", channel)
    return notification


def send(notification: Notification, *, now: datetime) -> Tried:
    """Send what `make` stored, and wait for it. Open no transaction around it.

    Raises:
        RateLimited: the channel is busy, or MOST_TRIALS are under way in this process.
    """
    if not _trials.acquire(blocking=False):
        deliveries.give_up(notification, "Too many channels were being tested at once.")
        raise RateLimited("Too many channels are being tested at once.", retry_after=5)
    try:
        deliveries.deliver(notification.pk, now=now)
    finally:
        _trials.release()
    attempt = Attempt.objects.filter(notification=notification).last()
    if attempt is None:
        deliveries.give_up(notification, "The channel was busy with another message.")
        raise RateLimited("Another message is on its way there. Try again.", retry_after=2)
    ok = attempt.outcome == AttemptOutcome.SENT
    sentence = f"A test was sent to {notification.address}." if ok else attempt.error_message
    return Tried(ok, sentence, attempt.outcome, notification.pk)

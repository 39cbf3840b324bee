"""Celery's edge: a hint names a notification that may be delivered."""

import time
import uuid

from celery import shared_task

from access import clock
from access.hints import hint
from alerts import deliveries, notifications

# How long a worker stays with one channel.
SLICE_S = 20


@shared_task(name=notifications.DELIVER)
def deliver(notification_id: str) -> None:
    """Deliver one, and what else waits for its channel, where that takes one at a time.

    Those that find the channel busy return at once, so one worker serves a busy channel and the
    others the rest.
    """
    until = time.monotonic() + SLICE_S
    waiting = deliveries.deliver(uuid.UUID(notification_id), now=clock.database_now())
    while waiting is not None:
        if time.monotonic() > until:
            hint(notifications.DELIVER, waiting.notification_id)
            return
        time.sleep(waiting.after.total_seconds())
        waiting = deliveries.deliver(waiting.notification_id, now=clock.database_now())

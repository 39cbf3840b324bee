"""Celery's edge: a hint names a notification that may be delivered."""

import uuid

from celery import shared_task

from access import clock
from alerts import notifications


@shared_task(name=notifications.DELIVER)
def deliver(notification_id: str) -> None:
    notifications.deliver(uuid.UUID(notification_id), now=clock.database_now())

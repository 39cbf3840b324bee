"""Beat's scheduler: rows that operators see and change in the admin, and their intervals."""

import os
from typing import Any

from django.conf import settings
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler

TICK = "evalsched.tick"
CLEAN_UP = "batches.clean_up_experiments"


class Scheduler(DatabaseScheduler):
    """django-celery-beat's, with the intervals taken from the environment where they are set.

    The entries themselves are made once, in a migration: beat would write the options of static
    entries anew at every start, and undo what an operator changed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if os.environ.get("EVALSCHED_TICK_SECONDS"):
            set_interval(TICK, settings.EVALSCHED_TICK_SECONDS)
        if os.environ.get("EVALSCHED_CLEANUP_MINUTES"):
            set_interval(CLEAN_UP, settings.EVALSCHED_CLEANUP_MINUTES * 60)
        super().__init__(*args, **kwargs)


def set_interval(name: str, seconds: int) -> None:
    """Make an entry come every `seconds`; one not taken up by the next is dropped."""
    interval, _ = IntervalSchedule.objects.get_or_create(
        every=seconds, period=IntervalSchedule.SECONDS
    )
    changed = PeriodicTask.objects.filter(name=name).exclude(interval=interval)
    if changed.update(interval=interval, expire_seconds=seconds):
        PeriodicTasks.update_changed()

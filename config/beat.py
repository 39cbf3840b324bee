"""Beat's scheduler: rows that operators see and change in the admin, and the tick's interval."""

import os
from typing import Any

from django.conf import settings
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler

TICK = "evalsched.tick"


class Scheduler(DatabaseScheduler):
    """django-celery-beat's, with the tick's interval taken from the environment where it is set.

    The entries themselves are made once, in a migration: beat would write the options of static
    entries anew at every start, and undo what an operator changed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if os.environ.get("EVALSCHED_TICK_SECONDS"):
            set_tick_interval(settings.EVALSCHED_TICK_SECONDS)
        super().__init__(*args, **kwargs)


def set_tick_interval(seconds: int) -> None:
    """Make the tick come every `seconds`; a tick not taken up by the next one is dropped."""
    interval, _ = IntervalSchedule.objects.get_or_create(
        every=seconds, period=IntervalSchedule.SECONDS
    )
    changed = PeriodicTask.objects.filter(name=TICK).exclude(interval=interval)
    if changed.update(interval=interval, expire_seconds=seconds):
        PeriodicTasks.update_changed()

"""`manage.py tick`: one whole cycle, for those who have their own cron. Safe beside beat."""

from typing import Any

from django.core.management.base import BaseCommand

from access import clock
from batches import cleanup
from evalsched import ticks


class Command(BaseCommand):
    help = "Start what is due, free what is lost, wake workers for what waits, clean up."

    def handle(self, *args: Any, **options: Any) -> None:
        now = clock.database_now()
        ticks.tick(now)
        ticks.sweep(now)
        for _ in cleanup.clean_up(now):
            pass

"""`manage.py tick`: one whole cycle, for those who have their own cron. Safe beside beat."""

from typing import Any

from django.core.management.base import BaseCommand

from access import clock
from evalsched import ticks


class Command(BaseCommand):
    help = "Start what is due, free what is lost, wake workers for what waits."

    def handle(self, *args: Any, **options: Any) -> None:
        ticks.tick(clock.database_now())

"""`manage.py resume_all`: take `pause_all` back. What was off before stays off."""

from typing import Any

from django.core.management.base import BaseCommand

from access import clock
from evalsched import schedules


class Command(BaseCommand):
    help = "Resume the schedules that pause_all paused. None of them fires for the past."

    def handle(self, *args: Any, **options: Any) -> None:
        resumed = schedules.resume_all(now=clock.database_now())
        self.stdout.write(f"Resumed {resumed} schedules.")

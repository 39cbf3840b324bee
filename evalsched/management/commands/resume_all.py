"""`manage.py resume_all`: take `pause_all` back. What was off before stays off."""

from typing import Any

from django.core.management.base import BaseCommand

from access import clock
from alerts import rulebook
from evalsched import schedules


class Command(BaseCommand):
    help = "Resume what pause_all paused. Nothing of it runs or fires for the past."

    def handle(self, *args: Any, **options: Any) -> None:
        now = clock.database_now()
        self.stdout.write(f"Resumed {schedules.resume_all(now=now)} schedules.")
        self.stdout.write(f"Resumed {rulebook.resume_all(now=now)} alert rules.")

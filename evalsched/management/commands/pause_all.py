"""`manage.py pause_all`: the big switch. `resume_all` takes back exactly what it did."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from access import clock
from evalsched import schedules


class Command(BaseCommand):
    help = "Pause every active schedule, with an audit entry each."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--schedules", action="store_true", help="schedules only (at present all there is)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        paused = schedules.pause_all(now=clock.database_now())
        self.stdout.write(f"Paused {paused} schedules. 'manage.py resume_all' takes it back.")

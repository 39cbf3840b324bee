"""`manage.py pause_all`: the big switch. `resume_all` takes back exactly what it did."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from access import clock
from alerts import rulebook
from evalsched import schedules


class Command(BaseCommand):
    help = "Pause every active schedule and every enabled alert rule, with an audit entry each."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--schedules", action="store_true", help="only the schedules")
        parser.add_argument("--rules", action="store_true", help="only the alert rules")

    def handle(self, *args: Any, **options: Any) -> None:
        now = clock.database_now()
        both = options["schedules"] == options["rules"]
        if both or options["schedules"]:
            self.stdout.write(f"Paused {schedules.pause_all(now=now)} schedules.")
        if both or options["rules"]:
            self.stdout.write(f"Paused {rulebook.pause_all(now=now)} alert rules.")
        self.stdout.write("'manage.py resume_all' takes it back.")

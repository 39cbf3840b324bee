"""`manage.py cleanup_experiments`: delete expired experiments now. Safe beside beat."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from access import clock
from batches import cleanup


class Command(BaseCommand):
    help = "Delete expired experiments with everything they own; tombstones remain."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say how many, delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        now = clock.database_now()
        waiting = cleanup.expired(now)
        if options["dry_run"]:
            self.stdout.write(f"{waiting} batches of experiments have expired; none was deleted.")
            return
        deleted = 0
        for chunk in cleanup.clean_up(now):
            deleted += chunk
            self.stdout.write(f"{deleted} of {waiting} deleted", ending="\r")
            self.stdout.flush()
        # Others may have deleted some meanwhile.
        left = cleanup.expired(now)
        left_alone = f" {left} were left alone: under way, or somebody else is deleting them."
        self.stdout.write(
            f"{deleted} batches of experiments deleted." + (left_alone if left else "")
        )

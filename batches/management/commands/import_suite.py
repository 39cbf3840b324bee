"""`manage.py import_suite FILE --suite NAME`: bring a file's cases into a suite, all or nothing."""

import sys
import time
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from access import projects
from access.errors import Refusal
from batches import suites
from batches.imports import files, formats
from batches.imports.files import Options, Parsed
from batches.models import TestSuite

_SHOWN_ERRORS = 50


class Command(BaseCommand):
    help = (
        "Bring the cases of a file into a suite, which is made if there is none of that name. "
        "All or nothing; the same file twice changes nothing. Exits with 1 where it is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the file; - is standard input")
        parser.add_argument("--suite", required=True, help="the suite's name")
        parser.add_argument("--user", help="whose suite it is; the first operator if absent")
        parser.add_argument("--project", type=UUID, help="its project; the personal one if absent")
        parser.add_argument(
            "--format", choices=list(formats.FORMATS), default="", help="if absent, the file tells"
        )
        parser.add_argument("--prompt", default="", help="for promptfoo's tests without a prompt")
        parser.add_argument("--scorer", choices=formats.SCORERS, default="")
        parser.add_argument(
            "--replace", action="store_true", help="remove the cases that are not in the file"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would happen")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        content = self._content(options["file"])
        self._say(f"Reading {len(content):,} bytes.", options)
        try:
            parsed = formats.parse(
                content,
                format_=options["format"],
                name=options["file"],
                options=Options(prompt=options["prompt"], scorer=options["scorer"]),
            )
            self._say(f"{len(parsed.drafts):,} cases. Comparing them with the suite.", options)
            done = self._brought_in(parsed, options)
        except Refusal as refusal:
            raise CommandError(_in_lines(refusal)) from None
        for note in parsed.notes:
            self._say(note, options)
        self._say(f"It took {time.monotonic() - started:.1f} s.", options)
        would = "would be " if options["dry_run"] else ""
        self.stdout.write(
            f"'{options['suite']}' {would or 'is '}version {done.version}: {done.added:,} added, "
            f"{done.changed:,} changed, {done.removed:,} removed, {done.unchanged:,} unchanged."
        )

    def _say(self, sentence: str, options: dict[str, Any]) -> None:
        """Tell how far it is, apart from the result."""
        if options["verbosity"]:
            self.stderr.write(sentence)

    def _content(self, name: str) -> bytes:
        if name == "-":
            return _read(sys.stdin.buffer)
        try:
            with Path(name).open("rb") as file:
                return _read(file)
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {error.strerror}.") from None

    def _brought_in(self, parsed: Parsed, options: dict[str, Any]) -> suites.Import:
        actor = projects.commanded_by(options["user"], options["project"])
        found = TestSuite.objects.filter(project=actor.project, name=options["suite"]).first()
        if options["dry_run"]:
            suite = found or TestSuite(project=actor.project, name=options["suite"])
            return suites.preview(suite, parsed.drafts, replace=options["replace"]).outcome
        with transaction.atomic():
            suite = found or suites.create(actor, name=options["suite"])
            return suites.put(actor, suite, parsed.drafts, replace=options["replace"])


def _read(file: BinaryIO) -> bytes:
    """Return the file, or one byte more than may be parsed of a longer one."""
    return file.read(files.MAX_BYTES + 1)


def _in_lines(refusal: Refusal) -> str:
    found = [
        f"{place}: {sentence}"
        for place, sentences in refusal.details.items()
        for sentence in sentences
    ]
    if len(found) > _SHOWN_ERRORS:
        found[_SHOWN_ERRORS:] = [f"And {len(found) - _SHOWN_ERRORS} more."]
    return "\n".join(["Nothing was imported.", *(found or [refusal.message])])

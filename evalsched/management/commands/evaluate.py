"""`manage.py evaluate`: one evaluation in this process, with a verdict as its exit status."""

import os
import signal
import sys
import threading
from argparse import ArgumentTypeError
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from access import clock, projects
from access.errors import Refusal
from batches import batches
from batches.batches import MAX_CONCURRENCY, MAX_REPEATS, Config
from batches.exports import junit
from batches.models import Batch
from evalsched import evaluations
from evalsched.evaluations import LAST, Exit
from evalsched.management import showing

_LOOK_SECONDS = 0.2


class Command(BaseCommand):
    help = (
        "Run a suite against a model or an agent, here and now, and compare it with a baseline. "
        "Exits with 0 (no regression), 1 (regressed) or 2 (cannot say, or could not run)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--suite", required=True, help="the suite's name")
        answering = parser.add_mutually_exclusive_group(required=True)
        answering.add_argument("--model", help="the endpoint's name, id or model")
        answering.add_argument("--agent", help="in place of a model: the agent's name")
        parser.add_argument(
            "--baseline", metavar="RUN", help=f"id of a run or batch, or '{LAST}': the newest one"
        )
        parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit's XML there")
        parser.add_argument("--max-cost", type=_money, metavar="USD", help="stop before it")
        parser.add_argument("--threshold", type=_percent, metavar="PERCENT", help="loss allowed")
        parser.add_argument(
            "--strict", action="store_true", help="exit with 2 where the statistics are undecided"
        )
        parser.add_argument("--concurrency", type=_up_to(MAX_CONCURRENCY), default=10)
        parser.add_argument("--repeats", type=_up_to(MAX_REPEATS), default=1)
        parser.add_argument("--user", help="who runs it; the first operator if absent")
        parser.add_argument("--project", type=UUID, help="where; the personal project if absent")

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Do as Django does, but whatever goes wrong exits with 2: 1 says that it regressed."""
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            error.returncode = Exit.CANNOT_SAY
            raise
        except Refusal as refusal:
            raise _failed(refusal.message) from None
        except KeyboardInterrupt:
            raise _failed("Stopped.") from None
        except Exception as error:
            raise _failed(f"It could not run: {type(error).__name__}: {error}") from error

    def handle(self, *args: Any, **options: Any) -> None:
        if options["junit"]:
            _refuse_unwritable(options["junit"])
        actor = projects.commanded_by(options["user"], options["project"])
        names = ("suite", "model", "agent", "baseline", "threshold")
        question = evaluations.ask(actor, **{name: options[name] for name in names})
        config = Config(**{name: options[name] for name in ("concurrency", "repeats", "max_cost")})
        batch = evaluations.start(actor, question, config, now=clock.database_now())
        self._watch(batch, showing.Progress(batch, quiet=not options["verbosity"]))
        batch.refresh_from_db()
        answer = evaluations.judge(actor, question, batch, strict=options["strict"])
        showing.results(batch, answer)
        if options["junit"]:
            pieces = junit.document([batch], nullcontext)
            options["junit"].write_text("".join(pieces), encoding="utf-8")
        if answer.exit:
            sys.exit(answer.exit)

    def _watch(self, batch: Batch, shown: showing.Progress) -> None:
        """Show how far it is while a thread works; Ctrl-C cancels the batch and waits for it."""
        stopping, interrupted = threading.Event(), threading.Event()
        # Noted only: an exception in the middle of a statement would spoil the connection.
        before = {
            number: signal.signal(number, lambda *_: interrupted.set())
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        with ThreadPoolExecutor(1) as pool, shown:
            working = pool.submit(_work, batch.pk, stopping)
            try:
                _until_done(working, batch, shown, interrupted)
                if interrupted.is_set():
                    batches.cancel(batch, now=clock.database_now(), reason="Stopped by hand.")
            finally:
                stopping.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        if interrupted.is_set():
            raise _failed(f"Stopped. What was answered is kept in batch {batch.pk}.")
        working.result()


def _until_done(
    working: Future[None], batch: Batch, shown: showing.Progress, interrupted: threading.Event
) -> None:
    done = threading.Event()
    working.add_done_callback(lambda _: done.set())
    while not done.wait(_LOOK_SECONDS) and not interrupted.is_set():
        batch.refresh_from_db()
        shown.show(batch, now=clock.database_now())


def _refuse_unwritable(file: Path) -> None:
    """Refuse before any call is paid for what could not be written afterwards."""
    if not file.parent.is_dir():
        raise CommandError(f"There is no folder {file.parent}. Make it first.")
    if file.is_dir():
        raise CommandError(f"{file} is a folder. Name a file in it.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise CommandError(f"{file} cannot be written. Name another file.")


def _work(batch_id: UUID, stopping: threading.Event) -> None:
    try:
        evaluations.work(batch_id, stopping=stopping.is_set)
    finally:
        connection.close()


def _failed(sentence: str) -> CommandError:
    return CommandError(sentence, returncode=Exit.CANNOT_SAY)


def _money(text: str) -> Decimal:
    try:
        money = Decimal(text)
    except InvalidOperation:
        raise ArgumentTypeError(f"'{text}' is no amount of USD") from None
    if not money.is_finite() or money < 0:
        raise ArgumentTypeError("a budget is 0 or more")
    return money


def _percent(text: str) -> float:
    percent = float(text)
    if not 0 <= percent <= 100:  # noqa: PLR2004
        raise ArgumentTypeError("a threshold is 0 to 100 percent")
    return percent


def _up_to(most: int) -> Any:
    def number(text: str) -> int:
        if not 1 <= int(text) <= most:
            raise ArgumentTypeError(f"this is 1 to {most}")
        return int(text)

    return number

"""What `evaluate` shows at a terminal, and the plain lines where there is none."""

import sys
import time
from datetime import datetime
from types import TracebackType
from typing import Self

from rich import box, progress
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from batches import figures
from batches.models import Batch
from evalsched import reports
from evalsched.evaluations import Answer
from evalsched.verdicts import Comparison

# Where nobody watches a bar, a line so often.
_LINE_SECONDS = 10


class Progress:
    """A bar on standard error with what came out so far; lines where that is no terminal."""

    def __init__(self, batch: Batch, *, quiet: bool) -> None:
        console = Console(stderr=True, quiet=quiet)
        self._bar: progress.Progress | None = None
        self._quiet, self._last_line = quiet, time.monotonic()
        if not quiet:
            sys.stderr.write(f"Batch {batch.pk}: {batch.total:,} calls to {_who(batch)}.\n")
        if console.is_terminal:
            self._bar = progress.Progress(
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[so_far]}"),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=batch.total, so_far="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, batch: Batch, *, now: datetime) -> None:
        said = _so_far(batch, now)
        if self._bar is not None:
            self._bar.update(self._task, completed=batch.done, so_far=escape(said))
        elif not self._quiet and time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line = time.monotonic()
            sys.stderr.write(f"{batch.done:,} of {batch.total:,} done, {said}.\n")


def results(batch: Batch, answer: Answer) -> None:
    """Print the batch's figures, the metrics side by side, and the verdict, to standard output."""
    console = Console(soft_wrap=True)
    console.print(_figures(batch))
    if answer.comparison is not None:
        console.print(_metrics(answer.comparison))
    console.print(answer.sentence, markup=False, highlight=False)
    console.print(f"Batch {batch.pk}", markup=False, highlight=False)


def _who(batch: Batch) -> str:
    """Return who answers, as a sentence names them."""
    return f"{batch.agent_name} on {batch.model_name}" if batch.agent_name else batch.model_name


def _so_far(batch: Batch, now: datetime) -> str:
    rate, left = figures.of(batch).rate_scored, figures.eta_seconds(batch, now)
    parts = [] if rate is None else [f"{rate:.1%} passed"]
    parts += [] if batch.total_cost is None else [f"{batch.total_cost:.6f} USD"]
    parts += [] if left is None else [f"about {left:,.0f} s left"]
    return ", ".join(parts) or "waiting for the first answer"


def _figures(batch: Batch) -> Table:
    found = figures.of(batch)
    table = Table(box=box.SIMPLE, show_header=False)
    told = {
        "Suite": f"{batch.suite_name}, version {batch.suite_version}",
        **({"Agent": batch.agent_name} if batch.agent_name else {}),
        "Model": batch.model_name,
        "Status": batch.status,
        "Passed": f"{batch.passed:,} of {batch.total:,}",
        "Failed": f"{batch.failed:,}",
        "Errors": f"{batch.errors:,}",
        "Unscored": f"{batch.unscored:,}",
        "Score": "-" if found.avg_score is None else f"{found.avg_score:.3f}",
        "p95 latency": "-" if batch.p95_latency_ms is None else f"{batch.p95_latency_ms:,.0f} ms",
        "Cost": "unknown" if batch.total_cost is None else f"{batch.total_cost:.6f} USD",
    }
    for name, value in told.items():
        table.add_row(name, escape(value))
    return table


def _metrics(comparison: Comparison) -> Table:
    table = Table("Metric", "Baseline", "Now", "Change", "Cases", box=box.SIMPLE)
    table.add_column("Verdict", no_wrap=True)
    table.caption, table.caption_justify = "* gated: only these can be a regression", "left"
    for found in comparison.metrics:
        difference = found.difference
        if difference is None:
            continue
        old, new = (
            reports.with_unit(found.metric, side)
            for side in (difference.baseline, difference.candidate)
        )
        verdict = f"{found.verdict}{' *' if found.gated else ''}"
        name, change = reports.NAMES[found.metric], reports.change(difference)
        table.add_row(name, old, new, change, f"{difference.n:,}", verdict)
    return table

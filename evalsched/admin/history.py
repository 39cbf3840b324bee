"""What a schedule's page shows of its past: the last runs, and how they developed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from access.admin import words
from access.admin.base import change_url
from batches.models import Batch
from evalsched.admin import charts, standing
from evalsched.admin.charts import Point
from evalsched.models import RUN_OPEN, Run, RunStatus, Schedule

_ROWS = 10
_POINTS = 40


@dataclass(frozen=True)
class Line:
    """One run in a table, ready to be shown."""

    url: str
    time: Any
    status: Any
    trigger: str
    results: Any
    duration: str
    why: str
    schedule: str
    schedule_url: str
    batch_url: str
    cancel_url: str


@dataclass(frozen=True)
class Chart:
    title: str
    drawing: SafeString


def line(run: Run) -> Line:
    """Return the run as a table shows it. Reads its schedule and batch, which must be loaded."""
    return Line(
        url=change_url(run),
        time=words.when(run.scheduled_for, timezone.now()),
        status=standing.of_run(run),
        trigger=run.trigger,
        results=standing.results(run),
        duration=standing.took(run),
        why=run.error_message,
        schedule=run.schedule.name,
        schedule_url=change_url(run.schedule),
        batch_url=reverse("admin:batches_batch_change", args=[run.batch_id])
        if run.batch_id
        else "",
        cancel_url=_cancel_url(run),
    )


def of_schedule(schedule: Schedule) -> dict[str, Any]:
    """Return the table and the charts; two queries."""
    newest = Run.objects.filter(schedule=schedule).select_related("batch", "schedule")[:_ROWS]
    done = Run.objects.filter(schedule=schedule, status=RunStatus.COMPLETED)
    trend = list(reversed(done.select_related("batch")[:_POINTS]))
    return {"runs": [line(run) for run in newest], "charts": _charts(trend)}


def _charts(runs: Sequence[Run]) -> list[Chart]:
    if len(runs) < charts.LEAST_POINTS:
        return []
    rates = [Point(_label(run), _pass_percent(run.batch)) for run in runs]
    times = [Point(_label(run), run.avg_latency_ms) for run in runs]
    return [
        Chart("Cases passed", charts.line_chart("Cases passed", "%", rates, top=100)),
        Chart("Mean latency", charts.line_chart("Mean latency", "ms", times)),
    ]


def _label(run: Run) -> str:
    return f"{run.scheduled_for:%m-%d %H:%M}"


def _pass_percent(batch: Batch | None) -> float | None:
    if batch is None or not batch.passed + batch.failed:
        return None
    return round(100 * batch.passed / (batch.passed + batch.failed), 1)


def _cancel_url(run: Run) -> str:
    if run.status not in RUN_OPEN:
        return ""
    return reverse("admin:evalsched_run_do", args=[run.pk, "cancel"])

"""What a schedule's page shows of its past: the last runs, and how they developed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils import timezone

from access.admin import words
from access.admin.base import change_url
from batches.models import Batch
from evalsched.admin import standing
from evalsched.models import RUN_OPEN, Run, RunStatus, Schedule

_ROWS = 10
_POINTS = 40
_LEAST_POINTS = 2


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
    """One line chart: `data` and `options` are JSON for Chart.js."""

    title: str
    data: str
    options: str


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
    if len(runs) < _LEAST_POINTS:
        return []
    labels = [f"{run.scheduled_for:%m-%d %H:%M}" for run in runs]
    rates = [_pass_percent(run.batch) for run in runs]
    times = [None if run.avg_latency_ms is None else round(run.avg_latency_ms) for run in runs]
    return [
        _chart("Cases passed, in percent", labels, rates, "var(--color-primary-600)", top=100),
        _chart("Mean latency, in ms", labels, times, "var(--color-base-500)"),
    ]


def _pass_percent(batch: Batch | None) -> float | None:
    if batch is None or not batch.passed + batch.failed:
        return None
    return round(100 * batch.passed / (batch.passed + batch.failed), 1)


def _chart(
    title: str,
    labels: list[str],
    values: Sequence[float | None],
    colour: str,
    top: int | None = None,
) -> Chart:
    data = {
        "labels": labels,
        "datasets": [
            {
                "label": title,
                "data": values,
                "borderColor": colour,
                "tension": 0.2,
                "pointRadius": 3,
                "spanGaps": True,
            }
        ],
    }
    # Passing options replaces all of the theme's own.
    y: dict[str, Any] = {"beginAtZero": True, "grid": {}, "ticks": {"maxTicksLimit": 5}}
    if top is not None:
        y["max"] = top
    x = {"grid": {"display": False}, "ticks": {"maxTicksLimit": 4, "maxRotation": 0}}
    options = {
        "responsive": True,
        "maintainAspectRatio": False,
        "animation": False,
        "plugins": {"legend": {"display": False}},
        "scales": {"y": y, "x": x},
    }
    return Chart(title, json.dumps(data), json.dumps(options))


def _cancel_url(run: Run) -> str:
    if run.status not in RUN_OPEN:
        return ""
    return reverse("admin:evalsched_run_do", args=[run.pk, "cancel"])

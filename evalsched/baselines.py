"""Which run a new one is compared with, and what came of the comparison."""

import uuid
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction

from access import audit, rows
from access.actors import Actor
from access.errors import Invalid
from batches.models import Batch
from evalsched import comparisons, reports
from evalsched.comparisons import Compared
from evalsched.metrics import Metric
from evalsched.models import PARTS, Run, RunStatus, Schedule
from evalsched.verdicts import MetricVerdict, Verdict

logger = structlog.get_logger(__name__)

FIRST = "There is no earlier good run to compare with; the next one is compared with this one."
PINNED_WITHOUT_RESULTS = (
    "The results of the run chosen as baseline were deleted. Choose another run as baseline."
)
NOT_JUDGED = "The comparison with the baseline failed unexpectedly: {why}. The run itself is whole."


@dataclass(frozen=True)
class Judgement:
    """What a completed run's row and its schedule keep of the comparison.

    `spread` is None where the comparison told nothing of how far equal runs lie apart.
    """

    details: dict[str, Any]
    detected: bool = False
    baseline: Run | None = None
    spread: float | None = None


def of(schedule: Schedule, run: Run) -> Run | None:
    """Return what `run` is compared with: the pinned run, else the last good one with results."""
    if schedule.baseline_id is not None and schedule.baseline_id != run.pk:
        return Run.objects.select_related("batch").get(pk=schedule.baseline_id)
    good = Run.objects.filter(
        schedule=schedule,
        status=RunStatus.COMPLETED,
        regression_detected=False,
        batch__isnull=False,
    )
    return good.exclude(pk=run.pk).select_related("batch").order_by("-completed_at").first()


def find(schedule: Schedule, run_id: uuid.UUID) -> Run:
    """Return the schedule's run.

    Raises:
        Invalid: it has none of that id.
    """
    run = Run.objects.filter(schedule=schedule, pk=run_id).first()
    if run is None:
        raise Invalid.field("run_id", "This schedule has no such run.")
    return run


def pin(actor: Actor, schedule: Schedule, run: Run | None) -> Schedule:
    """Compare the schedule's runs with `run` from now on, or with the last good one (None).

    Raises:
        Invalid: it is not a completed run of this schedule with results.
    """
    if run is not None and (run.schedule_id != schedule.pk or run.status != RunStatus.COMPLETED):
        raise Invalid.field("run_id", "Only a completed run of this schedule can be its baseline.")
    if run is not None and run.batch_id is None:
        raise Invalid.field("run_id", "The results of this run were deleted. Choose another run.")
    with transaction.atomic():
        schedule = rows.locked(schedule, *PARTS)
        before, after = schedule.baseline_id, None if run is None else run.pk
        if before == after:
            return schedule
        schedule.baseline = run
        schedule.save(update_fields=["baseline", "updated_at"])
        audit.record(
            actor,
            "schedule.baseline_changed",
            schedule,
            {"from": str(before or ""), "to": str(after or "")},
        )
    return schedule


def judge(schedule: Schedule, run: Run, batch: Batch) -> Judgement:
    """Compare a run that completes with its baseline.

    Whatever goes wrong in it is said in the details: a run is settled all the same.
    """
    try:
        with transaction.atomic():
            return _judged(schedule, Compared(batch, run))
    except Exception as error:
        logger.exception("run not compared", run=str(run.pk))
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        sentence = NOT_JUDGED.format(why=why[:300])
        return Judgement(_nothing(schedule, Compared(batch, run), sentence))


def _judged(schedule: Schedule, candidate: Compared) -> Judgement:
    assert candidate.run is not None
    run = of(schedule, candidate.run)
    if run is None:
        return Judgement(_nothing(schedule, candidate, FIRST))
    if run.batch is None:
        details = _nothing(schedule, candidate, PINNED_WITHOUT_RESULTS)
        return Judgement(details, baseline=run)
    baseline = Compared(run.batch, run)
    rules = comparisons.rules_of(schedule)
    comparison = comparisons.compare(baseline, candidate, rules)
    return Judgement(
        details=comparisons.as_json(comparison, baseline, candidate),
        detected=comparison.regression_detected,
        baseline=run,
        spread=_spread(comparison.of(Metric.QUALITY)),
    )


def _spread(quality: MetricVerdict) -> float | None:
    """Return how far equal runs lie apart; of runs that are not equal nothing is learnt of it."""
    if quality.difference is None or quality.verdict not in _EQUAL:
        return None
    return quality.difference.spread


_EQUAL = frozenset({Verdict.UNCHANGED, Verdict.INCONCLUSIVE})


def _nothing(schedule: Schedule, candidate: Compared, sentence: str) -> dict[str, Any]:
    sides = comparisons.sides_as_json(None, candidate)
    return reports.nothing(comparisons.rules_of(schedule), sentence) | sides

"""Which run a new one is compared with, and what came of the comparison."""

import uuid
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Case, F, Q, Value, When

from access import audit, rows
from access.actors import Actor
from access.errors import Invalid
from batches.models import Batch
from evalsched import comparisons, reports, snapshots
from evalsched.comparisons import Compared
from evalsched.metrics import Metric
from evalsched.models import PARTS, Run, RunStatus, RunTrigger, Schedule
from evalsched.pairing import LEAST_COVERAGE_PERCENT
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


# What later runs may be compared with unasked. What a program started must have asked the one who
# answers the schedule.
GOOD = Q(status=RunStatus.COMPLETED, regression_detected=False, batch__isnull=False) & (
    ~Q(trigger=RunTrigger.API)
    | Q(batch__agent=F("schedule__agent"))
    | Q(batch__agent__isnull=True, batch__endpoint=F("schedule__endpoint"))
)
# A run tells nothing of the model where nothing was scored, too little was answered, or no case is
# also in a baseline that it could be compared with. It stands behind every run that does.
TELLING = Case(
    When(avg_quality_score__isnull=True, then=Value(0)),
    When(
        failed_prompts__gt=F("total_prompts") * (100 - LEAST_COVERAGE_PERCENT) / 100.0,
        then=Value(0),
    ),
    When(
        baseline__avg_quality_score__isnull=False,
        regression_details__pairs=0,
        regression_details__not_comparable=[],
        then=Value(0),
    ),
    default=Value(1),
)


def of(schedule: Schedule, run: Run, batch: Batch) -> Run | None:
    """Return what `run` is compared with: the pinned run, else the last good one of its suite."""
    if schedule.baseline_id is not None and schedule.baseline_id != run.pk:
        return Run.objects.select_related("batch").get(pk=schedule.baseline_id)
    good = Run.objects.filter(GOOD, schedule=schedule, batch__suite=batch.suite_id)
    newest = good.exclude(pk=run.pk).select_related("batch").order_by("-completed_at")
    return newest.alias(telling=TELLING).filter(telling=1).first() or newest.first()


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
    candidate = Compared(batch, run)
    baseline = of(schedule, run, batch)
    try:
        with transaction.atomic():
            return _judged(schedule, baseline, candidate)
    except Exception as error:
        logger.exception("run not compared", run=str(run.pk))
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        sentence = NOT_JUDGED.format(why=why[:300])
        return Judgement(_nothing(schedule, candidate, sentence), baseline=baseline)


def _judged(schedule: Schedule, run: Run | None, candidate: Compared) -> Judgement:
    assert candidate.run is not None
    if run is None:
        return Judgement(_nothing(schedule, candidate, FIRST))
    if run.batch is None:
        details = _nothing(schedule, candidate, PINNED_WITHOUT_RESULTS)
        return Judgement(details, baseline=run)
    baseline = Compared(run.batch, run)
    rules = snapshots.rules(schedule, candidate.run)
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
    assert candidate.run is not None
    sides = comparisons.sides_as_json(None, candidate)
    return reports.nothing(snapshots.rules(schedule, candidate.run), sentence) | sides

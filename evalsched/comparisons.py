"""Two batches as the database holds them, read into the sides of a comparison and compared."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Avg, Case, Count, FloatField, Q, Value, When
from django.db.models.fields.json import KeyTextTransform

from access.errors import Conflict, Invalid
from batches.case_comparisons import MOST_CALLS
from batches.models import BATCH_OPEN, Batch, BatchStatus, Job, JobOutcome, JobStatus
from evalsched import reports, verdicts
from evalsched.metrics import Metric, RegressionMethod
from evalsched.models import Run, Schedule
from evalsched.pairing import Measured, Side
from evalsched.verdicts import Comparison, Rules

_PASSED = Case(
    When(outcome=JobOutcome.PASSED, then=Value(1.0)),
    When(outcome=JobOutcome.FAILED, then=Value(0.0)),
    output_field=FloatField(),
)
_ANSWERED = Q(status=JobStatus.DONE) & ~Q(outcome=JobOutcome.ERROR)
# An experiment may have more batches than anybody wants to wait for.
MOST_COMPARED = 20
# Where a run notes the endpoint's own parameters, which its batch does not keep.
ENDPOINT_PARAMETERS = "model_parameters"


@dataclass(frozen=True)
class Compared:
    """A batch, and the run of a schedule that it belongs to, where it belongs to one."""

    batch: Batch
    run: Run | None


def rules_of(schedule: Schedule) -> Rules:
    return Rules(
        method=RegressionMethod(schedule.regression_method),
        threshold_percent=schedule.regression_threshold_percent,
        gated=tuple(metric for metric in Metric if metric in schedule.gated_metrics),
    )


def find(project_id: uuid.UUID, wanted: uuid.UUID, *, field: str) -> Compared:
    """Return the project's run, or batch, of that id; `field` is to blame where there is none.

    Raises:
        Invalid: there is none, or it has no results.
        Conflict: it is under way; compare when it has ended.
    """
    own = Run.objects.evaluations().filter(project_id=project_id)
    runs = own.select_related("batch", "schedule")
    run = runs.filter(pk=wanted).first() or runs.filter(batch=wanted).first()
    batch = Batch.objects.evaluations().filter(project_id=project_id, pk=wanted).first()
    if run is not None:
        batch = run.batch
    elif batch is None:
        raise Invalid.field(field, "There is no such run or batch in this project.")
    if batch is None:
        raise Invalid.field(field, "This run has no results: it got no batch, or it was deleted.")
    if batch.status in BATCH_OPEN:
        raise Conflict(f"The {field} is under way. Compare it when it has ended.")
    return Compared(batch, run)


def compare(baseline: Compared, candidate: Compared, rules: Rules) -> Comparison:
    """Compare the two; one query for each batch, however many cases it has."""
    both = (baseline, candidate)
    old, new = (_side(compared, _conditions(compared, both)) for compared in both)
    return verdicts.compare(old, new, rules)


def report(baseline: Compared, candidate: Compared) -> dict[str, Any]:
    """Return what the API shows of any two, by the rules of the candidate's schedule.

    Raises:
        Conflict: they have more calls than are read while somebody waits.
    """
    if baseline.batch.total + candidate.batch.total > MOST_CALLS:
        raise Conflict(
            f"The two have more than {MOST_CALLS:,} calls together, which are too many to compare "
            "while you wait. A schedule compares its runs however large they are."
        )
    rules = Rules() if candidate.run is None else rules_of(candidate.run.schedule)
    return as_json(compare(baseline, candidate, rules), baseline, candidate)


UNDER_WAY = "One of the two is under way. They are compared when both have ended."
TOO_MANY = (
    f"Not compared here: the batches have more than {MOST_CALLS:,} calls together. Choose fewer of "
    "them; two whose calls are not too many together are compared by POST /api/runs/compare."
)


def of_experiment(batches: Sequence[Batch]) -> dict[str, Any] | None:
    """Compare an experiment's first batch with each of the others; None where there are none.

    What they were called with is what an experiment tries out, so it may differ. Calls are read as
    many as are set beside each other elsewhere; a batch that is too large beside those before it
    is left out, with a sentence.
    """
    if len(batches) < 2:  # noqa: PLR2004
        return None
    first, *others = batches[: MOST_COMPARED + 1]
    old: Side | None = None
    room = MOST_CALLS - first.total
    candidates = []
    for other in others:
        sides = sides_as_json(Compared(first, None), Compared(other, None))
        if {first.status, other.status} & BATCH_OPEN:
            found = reports.nothing(Rules(), UNDER_WAY)
        elif other.total > room:
            found = reports.nothing(Rules(), TOO_MANY)
        else:
            room -= other.total
            old = old or _tried(first)
            found = reports.as_json(verdicts.compare(old, _tried(other), Rules()))
        candidates.append(found | sides)
    return {
        "baseline_batch_id": str(first.pk),
        "left_out": len(batches) - 1 - len(others),
        "candidates": candidates,
    }


def _tried(batch: Batch) -> Side:
    return Side(_cases(batch), _stopped(batch), _grading(batch))


def as_json(comparison: Comparison, baseline: Compared, candidate: Compared) -> dict[str, Any]:
    return reports.as_json(comparison) | sides_as_json(baseline, candidate)


def sides_as_json(baseline: Compared | None, candidate: Compared) -> dict[str, Any]:
    return {
        name: None if side is None else _named(side)
        for name, side in (("baseline", baseline), ("candidate", candidate))
    }


def _named(side: Compared) -> dict[str, Any]:
    run = side.run
    return {
        "run_id": None if run is None else str(run.pk),
        "batch_id": str(side.batch.pk),
        "model_name": side.batch.model_name,
        "agent_name": side.batch.agent_name,
        "test_suite_name": side.batch.suite_name,
        "suite_version": side.batch.suite_version,
    }


def _conditions(compared: Compared, both: Sequence[Compared]) -> dict[str, object]:
    """Return what must not differ: the parameters that the calls were made with.

    The endpoint's own are among them where they are known of both and it is the same endpoint;
    those of another model belong to what is compared.
    """
    own = [{} if side.run is None else side.run.snapshot for side in both]
    known = all(ENDPOINT_PARAMETERS in snapshot for snapshot in own)
    parameters = dict(compared.batch.parameters)
    if known and compared.run and both[0].batch.endpoint_id == both[1].batch.endpoint_id:
        parameters = compared.run.snapshot[ENDPOINT_PARAMETERS] | parameters
    return {"model's parameters": parameters} | _grading(compared.batch)


def _grading(batch: Batch) -> dict[str, object]:
    """Return what grades beside the cases' own assertions, which are part of their hashes."""
    return {"agent's assertions": batch.assertions, "judges": batch.graders}


def _side(compared: Compared, conditions: Mapping[str, object]) -> Side:
    batch = compared.batch
    under_test = {"agent's instructions": batch.instructions}
    return Side(_cases(batch), _stopped(batch), conditions, under_test)


def _stopped(batch: Batch) -> str:
    if batch.status == BatchStatus.COMPLETED:
        return ""
    return batch.error_message or f"it ended {batch.status}."


def _cases(batch: Batch) -> list[Measured]:
    """Return the batch's cases, each with its repeats averaged. Declined and timed out score 0."""
    rows = (
        Job.objects.filter(batch=batch)
        .values("ordinal", "case_key", "case_hash")
        .annotate(
            cluster=KeyTextTransform("cluster", "case__metadata"),
            calls=Count("pk"),
            answered=Count("pk", filter=_ANSWERED),
            mean_score=Avg("score"),
            passed=Avg(_PASSED),
            mean_latency=Avg("latency_ms"),
            mean_ttft=Avg("ttft_ms"),
            mean_cost=Avg("cost"),
        )
        .order_by("ordinal")
    )
    return [_measured(row) for row in rows]


def _measured(row: Mapping[str, Any]) -> Measured:
    cost = row["mean_cost"]
    return Measured(
        key=row["case_key"],
        content_hash=row["case_hash"],
        cluster=row["cluster"],
        calls=row["calls"],
        answered=row["answered"],
        score=row["mean_score"],
        passed=row["passed"],
        latency_ms=row["mean_latency"],
        ttft_ms=row["mean_ttft"],
        cost=None if cost is None else float(cost),
    )

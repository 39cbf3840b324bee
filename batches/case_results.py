"""What a batch found about each case, its repeats taken together."""

from typing import Any

from django.db.models import Avg, Count, Q, QuerySet

from batches import repeats
from batches.models import Batch, Job, JobOutcome, JobStatus
from batches.repeats import Repeated

_ANSWERED = Q(status=JobStatus.DONE) & ~Q(outcome=JobOutcome.ERROR)
_SCORED = Q(outcome__in=[JobOutcome.PASSED, JobOutcome.FAILED])
# Of the calls of a case: counts, and averages of what they brought.
AVERAGED: dict[str, Any] = {
    "calls": Count("pk"),
    "answered": Count("pk", filter=_ANSWERED),
    "scored": Count("pk", filter=_SCORED),
    "passed": Count("pk", filter=Q(outcome=JobOutcome.PASSED)),
    "score": Avg("score"),
    "latency_ms": Avg("latency_ms"),
    "ttft_ms": Avg("ttft_ms"),
    "cost": Avg("cost"),
}


def of(batch: Batch) -> QuerySet[Any, Any]:
    """Return a row for each case, in their order: counts of its calls, and their averages."""
    return (
        Job.objects.filter(batch=batch)
        .values("ordinal", "case_key", "case_hash", "tags")
        .annotate(**AVERAGED)
        .order_by("ordinal")
    )


def with_repeats(row: dict[str, Any]) -> dict[str, Any]:
    """Add what the repeats of a row of `of` tell."""
    scored, passed = row["scored"], row["passed"]
    return row | {
        "pass_rate": passed / scored if scored else None,
        "pass_at_k": repeats.of_case(scored, passed),
        "flip_rate": repeats.flip_rate(scored, passed),
        "flaky": repeats.flaky(scored, passed),
    }


def repeated(batch: Batch) -> Repeated | None:
    """Return how the repeats of all cases agree; None where each was asked once."""
    if batch.repeats == 1:
        return None
    counts = of(batch).values_list("scored", "passed")
    return repeats.together((scored, passed) for *_, scored, passed in counts)

"""What a finished batch means for its run: whether it completed, its figures, its verdict."""

from collections import Counter
from typing import Any

from django.conf import settings

from batches import figures
from batches.models import Batch, BatchStatus, Job, JobOutcome
from evalsched import baselines, model_runs
from evalsched.models import Run, RunStatus, Schedule, ScheduleKind


def judged(schedule: Schedule, batch: Batch) -> tuple[RunStatus, str, dict[str, Any]]:
    """Say whether the run completed, and why not. Wrong answers alone do not fail a run."""
    if batch.status == BatchStatus.CANCELLED:
        return RunStatus.CANCELLED, batch.error_message, {}
    if schedule.kind == ScheduleKind.MODEL_RUN:
        failure = model_runs.failure(batch)
        if failure is None:
            return RunStatus.COMPLETED, "", {}
        return RunStatus.FAILED, failure[1], {"error_class": failure[0]}
    if batch.status != BatchStatus.COMPLETED:
        details = {"error_class": batch.error_class, "batch_status": batch.status}
        return RunStatus.FAILED, batch.error_message or f"The batch ended {batch.status}.", details
    answered = batch.total - batch.errors
    least = settings.EVALSCHED_MIN_COVERAGE_PERCENT
    if answered * 100 >= least * batch.total:
        return RunStatus.COMPLETED, "", {}
    reasons = Counter(
        Job.objects.filter(batch=batch, outcome=JobOutcome.ERROR).values_list(
            "error_message", flat=True
        )
    )
    (worst, times), *_ = reasons.most_common(1)
    why = (
        f"Only {answered} of {batch.total} calls were answered, at least {least} % are needed. "
        f"{times} times: {worst}"
    )
    return (
        RunStatus.FAILED,
        why,
        {"error_class": "coverage", "errors": dict(reasons.most_common(5))},
    )


def summary(batch: Batch) -> dict[str, Any]:
    measured = figures.of(batch)
    return {
        "total_prompts": batch.total,
        # Answered, rightly or wrongly; quality is what tells them apart.
        "successful_prompts": batch.done - batch.errors,
        "failed_prompts": batch.errors,
        "avg_latency_ms": measured.avg_latency_ms,
        "p95_latency_ms": batch.p95_latency_ms,
        "avg_ttft_ms": measured.avg_ttft_ms,
        "avg_quality_score": measured.avg_score,
        "total_cost": batch.total_cost,
    }


def compared(schedule: Schedule, run: Run, batch: Batch) -> dict[str, Any]:
    """Compare with the baseline; the schedule learns how far its runs lie apart."""
    found = baselines.judge(schedule, run, batch)
    if found.spread is not None:
        Schedule.objects.filter(pk=schedule.pk).update(paired_spread=found.spread)
    return {
        "regression_detected": found.detected,
        "regression_details": found.details,
        "baseline": found.baseline,
    }

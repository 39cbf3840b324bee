"""What a batch's counters amount to."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from batches.models import BATCH_OPEN, Batch


@dataclass(frozen=True)
class Figures:
    """What the counters amount to. Rates and scores 0..1, times in milliseconds; None: no data.

    `rate_scored` is passed of those that passed or failed, `rate_strict` passed of all.
    `coverage` is what was answered, or declined by the model itself, of what has ended; of all
    calls once the batch has ended.
    """

    rate_scored: float | None
    rate_strict: float | None
    coverage: float | None
    avg_score: float | None
    avg_latency_ms: float | None
    avg_ttft_ms: float | None


def of(batch: Batch) -> Figures:
    ended = batch.done if batch.status in BATCH_OPEN else batch.total
    return Figures(
        rate_scored=_share(batch.passed, batch.passed + batch.failed),
        rate_strict=_share(batch.passed, batch.total),
        coverage=_share(batch.done - batch.errors, ended),
        avg_score=_share(batch.score_sum, batch.weight_sum),
        avg_latency_ms=_share(batch.latency_sum_ms, batch.latency_count),
        avg_ttft_ms=_share(batch.ttft_sum_ms, batch.ttft_count),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def eta_seconds(batch: Batch, now: datetime) -> float | None:
    """Return how much longer the batch needs at its pace so far; None before the first result."""
    done = batch.done - batch.done_before
    if batch.status not in BATCH_OPEN or batch.started_at is None or not done:
        return None
    elapsed = (now - batch.started_at) / timedelta(seconds=1)
    return elapsed / done * (batch.total - batch.done)

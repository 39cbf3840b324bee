"""What runs are compared by, and how it is decided that one got worse."""

from enum import StrEnum


class Metric(StrEnum):
    QUALITY = "quality"  # the score of a case, 0..1
    PASS_RATE = "pass_rate"  # noqa: S105  the share of a case's calls that passed
    LATENCY = "latency"
    TTFT = "ttft"
    COST = "cost"


# More is better; of the others less is.
RATES = frozenset({Metric.QUALITY, Metric.PASS_RATE})
GATED_BY_DEFAULT = (Metric.QUALITY, Metric.PASS_RATE)
# Less than this and more than nothing asks for more cases than anybody has.
LEAST_THRESHOLD_PERCENT = 0.01
THRESHOLD_TOO_SMALL = f"A threshold is 0, or at least {LEAST_THRESHOLD_PERCENT} percent."


class RegressionMethod(StrEnum):
    AUTO = "auto"  # the statistics; with fewer than 10 cases the plain threshold
    STATISTICAL = "statistical"
    THRESHOLD = "threshold"


def gated_by_default() -> list[str]:
    return [str(metric) for metric in GATED_BY_DEFAULT]


def too_small(threshold_percent: float) -> bool:
    return 0 < threshold_percent < LEAST_THRESHOLD_PERCENT

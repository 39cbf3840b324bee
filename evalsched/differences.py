"""How far two batches lie apart in one metric, by the test that fits its numbers. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalsched import statistics
from evalsched.metrics import RATES, Metric
from evalsched.pairing import Measured, Pair, clusters_of

LEAST_PAIRS = 10
# Binary fractions: 0.1 + 0.2 is not 0.3.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """The difference of `n` pairs, oriented: positive is better.

    `baseline` and `candidate` are means over the pairs, geometric ones where `ratio` holds;
    `value`, `low`, `high` and `margin` are then logarithms. Below LEAST_PAIRS, or with a single
    cluster, nothing is tested: `p`, `low` and `high` are None. `worse` and `better` count pairs.
    `spread` is the standard deviation of a pair's difference; `changing` the share of pairs that
    changed, where each is 0 or 1.
    """

    metric: Metric
    n: int
    method: str
    baseline: float
    candidate: float
    value: float
    margin: float
    worse: int
    better: int
    ratio: bool = False
    clusters: int | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    spread: float | None = None
    changing: float | None = None
    # Nothing differs, so the data tell no spread.
    identical: bool = False

    @property
    def estimate(self) -> float:
        """Candidate minus baseline, or candidate to baseline where it is a ratio."""
        return self._natural(self.value)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the estimate at 95 %; None where nothing was tested."""
        if self.low is None or self.high is None:
            return None
        low, high = sorted((self._natural(self.low), self._natural(self.high)))
        return low, high

    @property
    def loss(self) -> float:
        """The margin on the scale of the estimate, as a positive number: 0.05, or 0.1 of 1.1."""
        return math.expm1(self.margin) if self.ratio else self.margin

    def _natural(self, value: float) -> float:
        if self.ratio:
            return math.exp(-value)
        return value if self.metric in RATES else -value

    @property
    def cannot_drop(self) -> bool:
        return self.metric in RATES and self.baseline == 0


def of(metric: Metric, pairs: Sequence[Pair], threshold_percent: float) -> Difference | None:
    """Return the difference in `metric` of the pairs that have it on both sides; None: none has.

    The margin is `threshold_percent` of the baseline's mean, or, of a ratio, log(1 + that).
    """
    having = [
        pair
        for pair in pairs
        if _value(metric, pair.baseline) is not None and _value(metric, pair.candidate) is not None
    ]
    if not having:
        return None
    old = [_value(metric, pair.baseline) or 0.0 for pair in having]
    new = [_value(metric, pair.candidate) or 0.0 for pair in having]
    share = threshold_percent / 100
    if metric in RATES:
        return _of_rates(metric, having, old, new, share)
    return _of_costs(metric, having, old, new, share)


def same(pairs: Sequence[Pair]) -> bool:
    """Whether score and passing are the same numbers: testing both would test one thing twice."""
    return all(
        side.score is not None
        and side.passed is not None
        and abs(side.score - side.passed) <= _ROUNDING
        for pair in pairs
        if pair.scored
        for side in pair
    )


def _value(metric: Metric, case: Measured) -> float | None:
    match metric:
        case Metric.QUALITY:
            return case.score
        case Metric.PASS_RATE:
            return case.passed
        case Metric.LATENCY:
            return case.latency_ms
        case Metric.TTFT:
            return case.ttft_ms
        case Metric.COST:
            return case.cost


def _of_rates(
    metric: Metric, pairs: Sequence[Pair], old: list[float], new: list[float], share: float
) -> Difference:
    """Test passing by McNemar where each case passed or not, everything else by paired t.

    McNemar's test takes the cases for independent and for one call each, so clusters and repeats
    that disagree are tested by (clustered) t as well.
    """
    n = len(pairs)
    changes = _rounded(new, old)
    worse, better = sum(d < 0 for d in changes), sum(d > 0 for d in changes)
    clusters = clusters_of(pairs)
    mean = math.fsum(old) / n
    found = Difference(
        metric,
        n,
        method="",
        baseline=mean,
        candidate=math.fsum(new) / n,
        value=math.fsum(changes) / n,
        margin=share * mean,
        worse=worse,
        better=better,
    )
    binary = {*old, *new} <= {0.0, 1.0}
    if metric == Metric.PASS_RATE and binary and clusters is None:
        return _by_mcnemar(found)
    return _by_t(found, changes, clusters, sign=1, binary=binary)


def _of_costs(
    metric: Metric, pairs: Sequence[Pair], old: list[float], new: list[float], share: float
) -> Difference:
    """Compare times and costs by their ratio, or by their difference where there are zeros."""
    n = len(pairs)
    ratio = min(*old, *new) > 0
    changes = statistics.log_ratios(old, new) if ratio else _rounded(new, old)
    logs = [math.log(each) for each in old] if ratio else []
    middle = math.exp(math.fsum(logs) / n) if ratio else math.fsum(old) / n
    change = math.fsum(changes) / n
    found = Difference(
        metric,
        n,
        method="",
        baseline=middle,
        candidate=middle * math.exp(change) if ratio else math.fsum(new) / n,
        value=-change,
        margin=math.log1p(share) if ratio else share * middle,
        worse=sum(d > 0 for d in changes),
        better=sum(d < 0 for d in changes),
        ratio=ratio,
    )
    return _by_t(found, changes, clusters_of(pairs), sign=-1, binary=False)


def _by_mcnemar(found: Difference) -> Difference:
    if found.n < LEAST_PAIRS:
        return replace(found, method="exact McNemar")
    low, high = statistics.agresti_min(found.n, found.worse, found.better)
    changing = (found.worse + found.better) / found.n
    return replace(
        found,
        method="exact McNemar",
        low=low,
        high=high,
        p=statistics.mcnemar(found.worse, found.better),
        spread=math.sqrt(max(changing - found.value * found.value, 0.0)),
        changing=changing,
        identical=not changing,
    )


def _by_t(
    found: Difference,
    changes: list[float],
    clusters: list[object] | None,
    *,
    sign: int,
    binary: bool,
) -> Difference:
    """Test by paired t. Rates of which none differs get the interval of so many equal pairs."""
    count = found.n if clusters is None else len(set(clusters))
    scale = "log ratio" if found.ratio else "differences"
    method = f"paired t of {scale}" if clusters is None else f"clustered paired t of {scale}"
    named = replace(found, method=method, clusters=None if clusters is None else count)
    if found.n < LEAST_PAIRS or count < 2:  # noqa: PLR2004  one cluster says nothing of others
        return named
    estimate = statistics.mean_of(changes, clusters)
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    if found.metric in RATES and not estimate.error and not estimate.value:
        low, high = statistics.agresti_min(count, 0, 0)
    return replace(
        named,
        low=low,
        high=high,
        p=estimate.p,
        # What it would be if cases were independent and told as much.
        spread=estimate.error * math.sqrt(found.n),
        changing=(found.worse + found.better) / found.n if binary else None,
        identical=not any(changes),
    )


def _rounded(new: list[float], old: list[float]) -> list[float]:
    """Return the differences; what is only the rounding of averages is none."""
    changes = (after - before for before, after in zip(old, new, strict=True))
    return [0.0 if abs(change) <= _ROUNDING else change for change in changes]

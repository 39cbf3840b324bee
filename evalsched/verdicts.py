"""Did it get worse: one verdict for each metric, and whether that is a regression. Pure.

The decision in its order: not comparable, insufficient, regressed, drifted down, improved,
drifted up, unchanged, else inconclusive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from evalsched import differences, statistics
from evalsched.differences import LEAST_PAIRS, Difference
from evalsched.metrics import GATED_BY_DEFAULT, RATES, Metric, RegressionMethod
from evalsched.pairing import Pairing, Side, changes, obstacles, pair

# Binary fractions: a loss of 0.05 is not less than a margin of 0.05.
_ROUNDING = 1e-12
# Smaller ones ask for more cases than there are, or than a number holds.
_LEAST_MARGIN = 1e-6


class Verdict(StrEnum):
    REGRESSED = "regressed"  # significant, and at least the margin
    DRIFTED_DOWN = "drifted_down"  # significant, and less
    UNCHANGED = "unchanged"  # a loss of the margin is ruled out
    DRIFTED_UP = "drifted_up"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"  # more cases would tell
    INSUFFICIENT = "insufficient"  # fewer than 10 pairs
    NOT_COMPARABLE = "not_comparable"


@dataclass(frozen=True)
class Rules:
    """How a schedule wants it decided. The margin is a percentage of the baseline's value."""

    method: RegressionMethod = RegressionMethod.AUTO
    threshold_percent: float = 10
    gated: Sequence[Metric] = GATED_BY_DEFAULT


@dataclass(frozen=True)
class MetricVerdict:
    """`worse` is whether it counts as a regression, `decided_by` what said so.

    `needed` is the number of cases that would decide an inconclusive one; None: no number would.
    """

    metric: Metric
    verdict: Verdict
    gated: bool
    difference: Difference | None
    p_adjusted: float | None
    decided_by: RegressionMethod
    worse: bool
    needed: int | None


@dataclass(frozen=True)
class Comparison:
    """What comparing two batches brought: a verdict for every metric.

    `not_comparable` says why they cannot be compared, in sentences; `changed` names what of the
    thing under test is another.
    """

    rules: Rules
    pairing: Pairing
    metrics: Sequence[MetricVerdict]
    not_comparable: Sequence[str] = ()
    changed: Sequence[str] = ()

    @property
    def regression_detected(self) -> bool:
        return any(found.worse and found.gated for found in self.metrics)

    def of(self, metric: Metric) -> MetricVerdict:
        return next(found for found in self.metrics if found.metric == metric)


def compare(baseline: Side, candidate: Side, rules: Rules | None = None) -> Comparison:
    """Compare two batches, metric by metric."""
    rules = rules or Rules()
    pairing = pair(baseline, candidate)
    found = [differences.of(metric, pairing.pairs, rules.threshold_percent) for metric in Metric]
    by_metric = dict(zip(Metric, found, strict=True))
    reasons = obstacles(baseline, candidate, pairing)
    if differences.same(pairing.pairs) and by_metric[Metric.PASS_RATE] is not None:
        # Both are the same numbers: the test that fits them best speaks for both.
        by_metric[Metric.QUALITY] = _twin(by_metric[Metric.PASS_RATE])
    adjusted = {} if reasons else _adjusted(by_metric, pairing, rules)
    return Comparison(
        rules=rules,
        pairing=pairing,
        not_comparable=reasons,
        changed=changes(baseline, candidate),
        metrics=[
            _judged(metric, None if reasons else difference, adjusted.get(metric), reasons, rules)
            for metric, difference in by_metric.items()
        ],
    )


def decide(found: Difference, p_adjusted: float | None) -> Verdict:
    """Return the verdict on a difference whose p-value was adjusted for the others tested."""
    if found.n < LEAST_PAIRS or found.p is None or p_adjusted is None or found.low is None:
        return Verdict.INSUFFICIENT
    if p_adjusted < statistics.ALPHA:
        large = abs(found.value) >= found.margin - _ROUNDING
        if found.value < 0:
            return Verdict.REGRESSED if large else Verdict.DRIFTED_DOWN
        return Verdict.IMPROVED if large else Verdict.DRIFTED_UP
    # What is 0 cannot drop, and costs that are the same to the last digit did not change.
    certain = found.cannot_drop or (found.identical and found.metric not in RATES)
    if certain or found.low > -found.margin:
        return Verdict.UNCHANGED
    return Verdict.INCONCLUSIVE


def _judged(
    metric: Metric,
    found: Difference | None,
    p_adjusted: float | None,
    reasons: Sequence[str],
    rules: Rules,
) -> MetricVerdict:
    if reasons:
        verdict = Verdict.NOT_COMPARABLE
    else:
        verdict = Verdict.INSUFFICIENT if found is None else decide(found, p_adjusted)
    plain = rules.method == RegressionMethod.THRESHOLD or (
        rules.method == RegressionMethod.AUTO
        and verdict == Verdict.INSUFFICIENT
        and (found is None or found.n < LEAST_PAIRS)
    )
    by_plain = found is not None and found.value < 0 and found.value <= _ROUNDING - found.margin
    return MetricVerdict(
        metric=metric,
        verdict=verdict,
        gated=metric in rules.gated,
        difference=found,
        p_adjusted=p_adjusted,
        decided_by=RegressionMethod.THRESHOLD if plain else RegressionMethod.STATISTICAL,
        worse=by_plain if plain else verdict == Verdict.REGRESSED,
        needed=_needed(found) if found and verdict == Verdict.INCONCLUSIVE else None,
    )


def _adjusted(
    found: Mapping[Metric, Difference | None], pairing: Pairing, rules: Rules
) -> dict[Metric, float]:
    """Return p adjusted for all that is tested: Holm over the gated, the others by discovery rate.

    Where passing and score are the same numbers only one of them is a test.
    """
    tested = {
        metric: difference.p
        for metric, difference in found.items()
        if difference is not None and difference.p is not None
    }
    twins = differences.same(pairing.pairs) and {*RATES} <= {*tested}
    shadow, light = Metric.QUALITY, Metric.PASS_RATE
    if twins and light not in rules.gated:
        shadow, light = light, shadow
    alone = {metric: p for metric, p in tested.items() if not (twins and metric == shadow)}
    gated = {metric: p for metric, p in alone.items() if metric in rules.gated}
    others = {metric: p for metric, p in alone.items() if metric not in rules.gated}
    adjusted = statistics.holm(gated) | statistics.benjamini_hochberg(others)
    if twins:
        adjusted[shadow] = adjusted[light]
    return adjusted


def _twin(found: Difference | None) -> Difference | None:
    return None if found is None else replace(found, metric=Metric.QUALITY)


def _needed(found: Difference) -> int | None:
    """Return how many cases would detect a loss of the margin; None where no number would."""
    if found.margin < _LEAST_MARGIN or found.spread is None:
        return None
    if not found.spread or (found.changing is not None and found.clusters is None):
        # Where nothing has changed yet, something may: about what Agresti and Min assume.
        changing = max(found.changing or 0.0, 1 / (found.n + 2))
        margin = min(found.margin, 1.0)
        needed = statistics.required_for_rate(min(max(changing, margin), 1.0), margin)
    else:
        needed = statistics.required_for_mean(found.spread, found.margin)
    return max(needed, found.n + 1)

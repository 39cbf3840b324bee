"""A comparison in sentences for people, and as the object that the API shows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evalsched import statistics
from evalsched.differences import LEAST_PAIRS, Difference
from evalsched.metrics import RATES, Metric, RegressionMethod
from evalsched.pairing import Why
from evalsched.verdicts import Comparison, MetricVerdict, Rules, Verdict

NAMES = {
    Metric.QUALITY: "Quality",
    Metric.PASS_RATE: "Pass rate",
    Metric.LATENCY: "Latency",
    Metric.TTFT: "Time to first token",
    Metric.COST: "Cost of a call",
}
_WHY = {
    Why.ADDED: ("is new", "are new"),
    Why.REMOVED: ("was removed", "were removed"),
    Why.EDITED: ("was edited", "were edited"),
    Why.AMBIGUOUS: ("is there twice", "are there twice"),
    Why.ERROR: (
        "was left out, as its call was not answered",
        "were left out, as their calls were not answered",
    ),
    Why.UNSCORED: ("could not be scored", "could not be scored"),
}
_OPEN = frozenset({Verdict.INCONCLUSIVE, Verdict.INSUFFICIENT})
_SMALL_P = 0.001


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison with a sentence for the whole and one for each metric."""
    return _frame(comparison.rules, overall(comparison)) | {
        "regression_detected": comparison.regression_detected,
        "pairs": comparison.pairing.scored,
        "unpaired": comparison.pairing.as_json(),
        "not_comparable": list(comparison.not_comparable),
        "metrics": {found.metric.value: _metric(found) for found in comparison.metrics},
    }


def nothing(rules: Rules, sentence: str) -> dict[str, Any]:
    """Return the object where there was nothing to compare with, as the sentence says."""
    return _frame(rules, sentence)


def overall(comparison: Comparison) -> str:
    """Return what came of it, the gated metrics first of all."""
    gated = _told(comparison)
    worse = [found for found in gated if found.worse]
    if comparison.not_comparable:
        said = "Not comparable with the baseline. " + " ".join(comparison.not_comparable)
    elif worse:
        said = "Regression. " + " ".join(of_metric(found) for found in worse)
    else:
        certain = all(found.verdict not in _OPEN for found in gated)
        said = "No regression. " if certain else "No regression is shown. "
        said += " ".join(of_metric(found) for found in gated)
    return " ".join([said, *_changed(comparison), *_left_out(comparison)])


def of_metric(found: MetricVerdict) -> str:
    """Return the verdict on one metric as a sentence or two."""
    name, difference = NAMES[found.metric], found.difference
    if found.verdict == Verdict.NOT_COMPARABLE:
        return f"{name}: not comparable."
    if difference is None:
        return f"{name}: no case has it in both runs."
    said = f"{name} {_outcome(found.verdict, difference)}: {_figures(difference)}."
    rest = _reason(found, difference)
    return f"{said} {rest}" if rest else said


def short(metric: Metric, shown: Mapping[str, Any]) -> str:
    """Return what the object shows of one metric as "85.0 % to 75.0 % (100 cases)"."""
    old, new = (with_unit(metric, shown[name]) for name in ("baseline", "candidate"))
    return f"{old} to {new} ({shown['n']:,} cases)"


def change(difference: Difference) -> str:
    """Return the estimate in words: "-10.0 points", "12.0 % more", "0.0021 less"."""
    if not difference.value:
        return "no change"
    if difference.ratio:
        percent = (difference.estimate - 1) * 100
        return f"{abs(percent):.1f} % {'more' if percent > 0 else 'less'}"
    if difference.metric in RATES:
        return f"{difference.estimate * 100:+.1f} points"
    return f"{abs(difference.estimate):.3g} {'more' if difference.estimate > 0 else 'less'}"


def _told(comparison: Comparison) -> list[MetricVerdict]:
    """Return the gated verdicts, one of quality and pass rate where both are the same numbers."""
    gated = [found for found in comparison.metrics if found.gated]
    tested = {found.metric: found.difference for found in gated}
    quality, passing = tested.get(Metric.QUALITY), tested.get(Metric.PASS_RATE)
    if quality and passing and replace(quality, metric=Metric.PASS_RATE) == passing:
        return [found for found in gated if found.metric != Metric.QUALITY]
    return gated


def _frame(rules: Rules, sentence: str) -> dict[str, Any]:
    return {
        "sentence": sentence,
        "regression_detected": False,
        "regression_method": rules.method.value,
        "threshold_percent": rules.threshold_percent,
        "gated_metrics": [metric.value for metric in rules.gated],
        "pairs": 0,
        "unpaired": {"count": 0, "reasons": {}, "keys": {}},
        "not_comparable": [],
        "metrics": {},
    }


def _metric(found: MetricVerdict) -> dict[str, Any]:
    """Return one metric's verdict. Estimates are candidate minus baseline, or their ratio."""
    difference = found.difference
    shown: dict[str, Any] = {
        "verdict": found.verdict.value,
        "gated": found.gated,
        "regressed": found.worse,
        "decided_by": found.decided_by.value,
        "sentence": of_metric(found),
    }
    if difference is None:
        return shown | {"n": 0, "method": "", "scale": "difference"} | dict.fromkeys(_FIGURES)
    interval = difference.interval
    return shown | {
        "n": difference.n,
        "method": difference.method,
        "scale": "ratio" if difference.ratio else "difference",
        "clusters": difference.clusters,
        "worse": difference.worse,
        "better": difference.better,
        "baseline": difference.baseline,
        "candidate": difference.candidate,
        "candidate_interval": _rate_interval(difference),
        "estimate": difference.estimate,
        "interval": None if interval is None else list(interval),
        "margin": difference.loss,
        "p": difference.p,
        "p_adjusted": found.p_adjusted,
        "spread": difference.spread,
        "cases_needed": found.needed,
    }


_FIGURES = (
    *("clusters", "worse", "better", "baseline", "candidate", "candidate_interval", "estimate"),
    *("interval", "margin", "p", "p_adjusted", "spread", "cases_needed"),
)


def _rate_interval(difference: Difference) -> list[float] | None:
    """Return Wilson's interval of the candidate's pass rate, of cases that stand alone."""
    if difference.metric != Metric.PASS_RATE or difference.clusters is not None:
        return None
    return list(statistics.wilson(min(difference.candidate, 1.0) * difference.n, difference.n))


_OUTCOMES = {
    Verdict.REGRESSED: "got worse",
    Verdict.DRIFTED_DOWN: "got a little worse",
    Verdict.IMPROVED: "got better",
    Verdict.DRIFTED_UP: "got a little better",
    Verdict.UNCHANGED: "is unchanged",
    Verdict.INCONCLUSIVE: "may have changed",
    Verdict.INSUFFICIENT: "cannot be judged by statistics",
}


def _outcome(verdict: Verdict, difference: Difference) -> str:
    seen = difference.value or verdict != Verdict.INCONCLUSIVE
    return _OUTCOMES[verdict] if seen else "shows no change"


def _reason(found: MetricVerdict, difference: Difference) -> str:
    said = _verdicts_reason(found, difference)
    if found.decided_by != RegressionMethod.THRESHOLD:
        return said
    over = "at least" if found.worse else "less than"
    return f"{said} The plain threshold decides: the loss is {over} {_loss(difference)}.".strip()


def _verdicts_reason(found: MetricVerdict, difference: Difference) -> str:
    loss = _loss(difference)
    match found.verdict:
        case Verdict.REGRESSED:
            return f"That is at least the threshold of {loss}."
        case Verdict.DRIFTED_DOWN:
            return f"That is less than the threshold of {loss}."
        case Verdict.UNCHANGED:
            ruled_out = f"A loss of {loss} or more is ruled out." if difference.margin > 0 else ""
            return "It was 0 and cannot drop." if difference.cannot_drop else ruled_out
        case Verdict.INCONCLUSIVE:
            return _undecided(found.needed, loss if difference.margin > 0 else "")
        case Verdict.INSUFFICIENT:
            return _too_little(difference)
    return ""


def _undecided(needed: int | None, loss: str) -> str:
    if needed is None and loss:
        return f"A loss of {loss} is not ruled out, and no number of cases would decide it."
    if needed is None:
        return "With a threshold of 0 % no number of cases can show that nothing changed."
    return f"A loss of {loss} is not ruled out; about {needed:,} cases would decide it."


def _too_little(difference: Difference) -> str:
    if difference.n < LEAST_PAIRS:
        return f"Statistics need {LEAST_PAIRS} cases."
    return "All of its cases belong to one cluster; at least two clusters are needed."


def _figures(difference: Difference) -> str:
    """Return "0.850 to 0.750 over 100 cases (12 worse, 2 better; -10.0 points, ...)"."""
    values = " to ".join(
        with_unit(difference.metric, value) for value in (difference.baseline, difference.candidate)
    )
    plural = "" if difference.n == 1 else "s"
    parts = [change(difference)]
    if difference.interval is not None and difference.p is not None:
        low, high = difference.interval
        small = difference.p < _SMALL_P
        p = f"p < {_SMALL_P}" if small else f"p = {difference.p:.3f}"
        parts += [f"95 % interval {_bound(difference, low)} to {_bound(difference, high)}", p]
    counted = f"{difference.worse} worse, {difference.better} better"
    return f"{values} over {difference.n:,} case{plural} ({counted}; {', '.join(parts)})"


def with_unit(metric: Metric, value: float) -> str:
    """Return a metric's value with its unit."""
    match metric:
        case Metric.QUALITY:
            return f"{value:.3f}"
        case Metric.PASS_RATE:
            return f"{value * 100:.1f} %"
        case Metric.COST:
            return f"{value:.3g} USD"
        case _:
            return f"{value:,.0f} ms"


def _bound(difference: Difference, value: float) -> str:
    if difference.ratio:
        return f"{(value - 1) * 100:+.1f} %"
    return f"{value * 100:+.1f}" if difference.metric in RATES else f"{value:+.3g}"


def _loss(difference: Difference) -> str:
    if difference.ratio:
        return f"{difference.loss * 100:.3g} %"
    if difference.metric in RATES:
        return f"{difference.loss * 100:.3g} points"
    return with_unit(difference.metric, difference.loss)


def _changed(comparison: Comparison) -> Sequence[str]:
    return [f"The {name} differ from the baseline's." for name in comparison.changed]


def _left_out(comparison: Comparison) -> Sequence[str]:
    """Return which cases are not in it and why, in a sentence, where there are any."""
    parts = []
    for why, keys in comparison.pairing.unpaired.items():
        one, many = _WHY[why]
        parts.append(
            f"{len(keys):,} {'case' if len(keys) == 1 else 'cases'} "
            f"{one if len(keys) == 1 else many}"
        )
    return [f"Not compared: {', '.join(parts)}."] if parts else []

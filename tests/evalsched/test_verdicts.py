"""Verdicts: the decision in its order, and what people read of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from evalsched import reports, verdicts
from evalsched.metrics import Metric, RegressionMethod
from evalsched.pairing import Measured, Side
from evalsched.verdicts import Comparison, Rules, Verdict


def case(number: int, score: float | None = 1.0, **fields: Any) -> Measured:
    wanted = {"key": f"case-{number}", "content_hash": f"hash {number}", "passed": score}
    return Measured(score=score, **(wanted | fields))


def side(scores: Sequence[float | None], **fields: Any) -> Side:
    return Side([case(number, score) for number, score in enumerate(scores)], **fields)


def flips(n: int, worse: int, better: int) -> tuple[Side, Side]:
    """Return two sides of `n` cases that pass or fail, so many of which changed."""
    before = [1.0] * worse + [0.0] * better + [1.0] * (n - worse - better)
    after = [0.0] * worse + [1.0] * better + [1.0] * (n - worse - better)
    return side(before), side(after)


def compared(n: int, worse: int, better: int, *, margin: float, **rules: Any) -> Comparison:
    """Compare with a threshold that makes the margin so large."""
    before, after = flips(n, worse, better)
    threshold = 100 * margin / ((n - better) / n)
    return verdicts.compare(before, after, Rules(threshold_percent=threshold, **rules))


# --- The examples of the contract ------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "worse", "better", "verdict"),
    [
        (100, 12, 2, Verdict.REGRESSED),
        (200, 2, 2, Verdict.UNCHANGED),
        (20, 4, 0, Verdict.INCONCLUSIVE),
        (8, 3, 0, Verdict.INSUFFICIENT),
        (2000, 30, 12, Verdict.DRIFTED_DOWN),
        (100, 2, 12, Verdict.IMPROVED),
        (2000, 12, 30, Verdict.DRIFTED_UP),
        (20, 0, 0, Verdict.INCONCLUSIVE),
    ],
)
def test_the_pass_rate_is_judged(n: int, worse: int, better: int, verdict: Verdict) -> None:
    found = compared(n, worse, better, margin=0.05).of(Metric.PASS_RATE)

    assert found.verdict == verdict


def test_the_figures_are_those_of_mcnemar_and_of_agresti_and_min() -> None:
    comparison = compared(100, 12, 2, margin=0.05)

    shown = reports.as_json(comparison)["metrics"]["pass_rate"]
    assert round(shown["p"], 6) == 0.012939
    assert [round(bound, 6) for bound in shown["interval"]] == [-0.169987, -0.026092]
    assert (round(shown["estimate"], 12), shown["n"]) == (-0.1, 100)
    assert (shown["worse"], shown["better"]) == (12, 2)
    assert shown["method"] == "exact McNemar"
    assert comparison.regression_detected


def test_a_loss_of_exactly_the_margin_is_a_regression() -> None:
    assert compared(1000, 60, 10, margin=0.05).regression_detected
    assert not compared(1000, 60, 11, margin=0.05).regression_detected


def test_where_both_are_the_same_numbers_only_one_is_tested() -> None:
    found = compared(100, 12, 2, margin=0.05)

    for metric in (Metric.QUALITY, Metric.PASS_RATE):
        assert found.of(metric).p_adjusted == pytest.approx(0.012939, abs=1e-6)
    assert reports.overall(found).count("12 worse") == 1


def test_two_tests_are_stricter_than_one() -> None:
    """p is 0.0386 of passing alone; with quality beside it Holm asks for half of 0.05."""
    before = [case(n, 0.5 + n % 3 / 10, passed=1.0 if n < 98 else 0.0) for n in range(100)]
    after = [case(n, 0.5 + n % 3 / 10, passed=0.0 if n < 11 else 1.0) for n in range(100)]
    after = [
        replace(c, score=(c.score or 0) + (0.01 if i % 2 else -0.01)) for i, c in enumerate(after)
    ]

    both = verdicts.compare(Side(before), Side(after), Rules(threshold_percent=5))
    alone = verdicts.compare(
        Side(before), Side(after), Rules(threshold_percent=5, gated=[Metric.PASS_RATE])
    )

    p = alone.of(Metric.PASS_RATE).p_adjusted
    assert p is not None
    assert 0.01 < p < 0.05
    assert both.of(Metric.PASS_RATE).p_adjusted == pytest.approx(2 * p)


def test_three_cases_with_errors_are_no_regression() -> None:
    before = side([1.0] * 20)
    broken = [case(n, None, answered=0) for n in range(3)]
    after = Side([*broken, *[case(n) for n in range(3, 20)]])

    found = verdicts.compare(before, after)

    shown = reports.as_json(found)
    assert not found.regression_detected
    assert (shown["pairs"], shown["unpaired"]["reasons"]) == (17, {"error": 3})
    assert shown["unpaired"]["keys"] == {"error": ["case-0", "case-1", "case-2"]}
    assert "3 cases were left out, as their calls were not answered" in shown["sentence"]


def test_six_cases_with_errors_of_twenty_are_not_comparable() -> None:
    broken = [case(n, None, answered=0) for n in range(6)]
    after = Side([*broken, *[case(n) for n in range(6, 20)]])

    found = verdicts.compare(side([1.0] * 20), after)

    assert {each.verdict for each in found.metrics} == {Verdict.NOT_COMPARABLE}
    assert not found.regression_detected
    assert "70%" in found.not_comparable[0]


def test_six_cases_that_timed_out_score_nothing_and_count() -> None:
    after = side([0.0] * 6 + [1.0] * 14)

    found = verdicts.compare(side([1.0] * 20), after)

    assert found.regression_detected
    assert found.of(Metric.PASS_RATE).difference is not None
    assert reports.as_json(found)["pairs"] == 20


def test_the_same_content_twice_without_a_key_is_ambiguous() -> None:
    twice = [case(0, key="", content_hash="same"), case(1, key="", content_hash="same")]
    before = Side([*twice, *[case(n) for n in range(2, 20)]])
    after = Side([*twice, *[case(n) for n in range(2, 20)]])

    shown = reports.as_json(verdicts.compare(before, after))

    assert (shown["pairs"], shown["unpaired"]["reasons"]) == (18, {"ambiguous": 1})
    assert "is there twice" in shown["sentence"]


# --- What stands in the way ------------------------------------------------------------------


def test_an_edited_case_is_left_out_and_the_rest_compared() -> None:
    before = side([1.0] * 20)
    after = Side([replace(case(0, 0.0), content_hash="new"), *[case(n) for n in range(1, 20)]])

    shown = reports.as_json(verdicts.compare(before, after))

    assert (shown["pairs"], shown["unpaired"]["reasons"]) == (19, {"edited": 1})
    assert shown["not_comparable"] == []


def test_a_suite_of_which_a_quarter_was_edited_is_not_comparable() -> None:
    before = side([1.0] * 20)
    edited = [replace(case(n), content_hash="new") for n in range(5)]
    after = Side([*edited, *[case(n) for n in range(5, 20)]])

    found = verdicts.compare(before, after)

    assert found.of(Metric.QUALITY).verdict == Verdict.NOT_COMPARABLE
    assert "Only 75% of the cases are the same" in found.not_comparable[0]


def test_a_suite_that_grew_is_compared_where_it_overlaps() -> None:
    found = verdicts.compare(side([1.0] * 20), side([1.0] * 60))

    shown = reports.as_json(found)
    assert (shown["pairs"], shown["unpaired"]["reasons"]) == (20, {"added": 40})
    assert shown["not_comparable"] == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stopped": "Stopped at 12 of 20 calls."}, "stopped early: Stopped at 12 of 20 calls."),
        ({"conditions": {"model's parameters": {"temperature": 1}}}, "model's parameters changed"),
    ],
)
def test_what_is_not_the_same_is_not_compared(fields: dict[str, Any], said: str) -> None:
    before = side([1.0] * 20, conditions={"model's parameters": {}})

    found = verdicts.compare(
        before, side([0.0] * 20, **({"conditions": before.conditions} | fields))
    )

    assert {each.verdict for each in found.metrics} == {Verdict.NOT_COMPARABLE}
    assert said in found.not_comparable[0]
    assert not found.regression_detected
    assert reports.as_json(found)["metrics"]["quality"]["p"] is None


# --- Method ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "n", "worse", "detected"),
    [
        (RegressionMethod.AUTO, 8, 3, True),
        (RegressionMethod.AUTO, 8, 0, False),
        (RegressionMethod.STATISTICAL, 8, 3, False),
        (RegressionMethod.THRESHOLD, 8, 3, True),
        (RegressionMethod.AUTO, 20, 4, False),
        (RegressionMethod.THRESHOLD, 20, 4, True),
        (RegressionMethod.THRESHOLD, 200, 2, False),
    ],
)
def test_who_decides(method: RegressionMethod, n: int, worse: int, detected: bool) -> None:
    found = compared(n, worse, 0, margin=0.05, method=method)

    assert found.regression_detected is detected


def test_below_ten_cases_the_sentence_says_that_the_threshold_decides() -> None:
    found = compared(8, 3, 0, margin=0.05)

    assert found.of(Metric.PASS_RATE).verdict == Verdict.INSUFFICIENT
    assert (
        "Statistics need 10 cases. The plain threshold decides: the loss is at least 5 points."
        in (reports.overall(found))
    )


def test_only_gated_metrics_raise_a_regression() -> None:
    slow = [replace(case(n), latency_ms=100.0 + n) for n in range(20)]
    slower = [replace(case(n), latency_ms=150.0 + n * 1.5 + n % 2) for n in range(20)]

    informative = verdicts.compare(Side(slow), Side(slower))
    gated = verdicts.compare(Side(slow), Side(slower), Rules(gated=[Metric.LATENCY]))

    assert informative.of(Metric.LATENCY).verdict == Verdict.REGRESSED
    assert not informative.regression_detected
    assert gated.regression_detected
    assert "Latency got worse" in reports.overall(gated)


# --- Quality, repeats and clusters -----------------------------------------------------------


def test_quality_is_judged_by_paired_t() -> None:
    """Paired, each case is 0.1 worse or a little more; unpaired this would drown."""
    before = [case(n, n / 20, passed=1.0) for n in range(5, 20)]
    after = [case(n, n / 20 - 0.1 - n % 3 / 100, passed=1.0) for n in range(5, 20)]

    found = verdicts.compare(Side(before), Side(after)).of(Metric.QUALITY)

    assert found.verdict == Verdict.REGRESSED
    assert found.difference is not None
    assert found.difference.method == "paired t of differences"
    assert found.difference.n == 15


def test_repeats_that_disagree_are_judged_by_t_over_cases() -> None:
    before = side([1.0, 0.6] * 10)
    after = side([0.8, 0.6] * 10)

    found = verdicts.compare(before, after).of(Metric.PASS_RATE).difference

    assert found is not None
    assert (found.method, found.n) == ("paired t of differences", 20)


def test_cases_that_fall_together_count_as_one() -> None:
    """Twelve cases of one document that failed together are one observation, not twelve."""
    before, after = flips(60, 12, 2)
    alone = verdicts.compare(before, after).of(Metric.PASS_RATE)

    def clustered(which: Side) -> Side:
        cases = [replace(c, cluster=f"document {n // 12}") for n, c in enumerate(which.cases)]
        return Side(cases)

    together = verdicts.compare(clustered(before), clustered(after)).of(Metric.PASS_RATE)
    assert alone.verdict == Verdict.REGRESSED
    assert together.verdict == Verdict.INCONCLUSIVE
    assert together.difference is not None
    assert together.difference.clusters == 5


def test_a_single_cluster_tells_nothing() -> None:
    before, after = flips(20, 8, 0)
    first, second = (
        Side([replace(c, cluster="all") for c in each.cases]) for each in (before, after)
    )

    found = verdicts.compare(first, second)

    assert found.of(Metric.QUALITY).verdict == Verdict.INSUFFICIENT
    assert "at least two clusters" in reports.of_metric(found.of(Metric.QUALITY))


def test_nothing_that_differs_is_no_certainty() -> None:
    """Ten equal answers do not rule out a loss of five points; a thousand do."""
    few, many = compared(10, 0, 0, margin=0.05), compared(1000, 0, 0, margin=0.05)

    assert few.of(Metric.QUALITY).verdict == Verdict.INCONCLUSIVE
    assert (few.of(Metric.QUALITY).needed or 0) > 10
    assert many.of(Metric.QUALITY).verdict == Verdict.UNCHANGED


def test_the_same_averages_summed_in_another_order_are_no_difference() -> None:
    found = verdicts.compare(side([0.1 + 0.2] * 500), side([0.3] * 500))

    assert found.of(Metric.QUALITY).verdict == Verdict.UNCHANGED
    difference = found.of(Metric.QUALITY).difference
    assert difference is not None
    assert difference.p == 1


def test_so_many_cases_as_are_said_to_decide_do() -> None:
    """Four of twenty: as many as needed, changing alike, rule the loss out or find it."""
    found = compared(20, 4, 0, margin=0.05).of(Metric.PASS_RATE)

    assert found.needed is not None
    scaled = compared(found.needed, found.needed // 5, 0, margin=0.05)
    assert scaled.of(Metric.PASS_RATE).verdict == Verdict.REGRESSED


# --- Times and costs -------------------------------------------------------------------------


def with_cost(before: Sequence[float], after: Sequence[float]) -> Comparison:
    old = [replace(case(n), cost=cost) for n, cost in enumerate(before)]
    new = [replace(case(n), cost=cost) for n, cost in enumerate(after)]
    return verdicts.compare(Side(old), Side(new), Rules(gated=[Metric.COST]))


def test_times_are_judged_by_their_ratio() -> None:
    before = [replace(case(n), latency_ms=100.0 * (n + 1)) for n in range(20)]
    after = [
        replace(c, latency_ms=(c.latency_ms or 0) * (1.2 + n % 2 / 50))
        for n, c in enumerate(before)
    ]

    shown = reports.as_json(verdicts.compare(Side(before), Side(after)))["metrics"]["latency"]

    assert (shown["verdict"], shown["scale"]) == ("regressed", "ratio")
    assert shown["estimate"] == pytest.approx((1.2 * 1.22) ** 0.5)
    low, high = shown["interval"]
    assert 1.2 < low < shown["estimate"] < high < 1.22
    assert shown["margin"] == pytest.approx(0.1)
    assert shown["worse"] == 20


def test_calls_without_an_answer_have_no_time_and_are_left_out_of_it() -> None:
    before = [replace(case(n), latency_ms=100.0 + n) for n in range(30)]
    after = [replace(c, latency_ms=None if n < 5 else c.latency_ms) for n, c in enumerate(before)]

    shown = reports.as_json(verdicts.compare(Side(before), Side(after)))["metrics"]

    assert (shown["latency"]["n"], shown["quality"]["n"]) == (25, 30)
    assert (shown["ttft"]["n"], shown["ttft"]["verdict"]) == (0, "insufficient")


def test_what_was_free_and_costs_now_is_worse_by_any_amount() -> None:
    found = with_cost([0.0] * 12, [0.0001 + n / 1e6 for n in range(12)])

    assert found.of(Metric.COST).verdict == Verdict.REGRESSED
    assert reports.as_json(found)["metrics"]["cost"]["scale"] == "difference"


@pytest.mark.parametrize("cost", [0.0, 0.002])
def test_costs_that_are_the_same_to_the_last_digit_did_not_change(cost: float) -> None:
    assert with_cost([cost] * 12, [cost] * 12).of(Metric.COST).verdict == Verdict.UNCHANGED


# --- The edges of the threshold --------------------------------------------------------------


def test_what_was_0_cannot_drop() -> None:
    found = verdicts.compare(side([0.0] * 20), side([0.0] * 20))

    assert found.of(Metric.PASS_RATE).verdict == Verdict.UNCHANGED
    assert "It was 0 and cannot drop." in reports.overall(found)


def test_what_was_0_is_improved_by_any_significant_change() -> None:
    found = verdicts.compare(side([0.0] * 20), side([1.0] * 8 + [0.0] * 12))

    assert found.of(Metric.PASS_RATE).verdict == Verdict.IMPROVED


def test_a_threshold_of_0_calls_every_significant_loss_a_regression() -> None:
    worse = compared(2000, 30, 12, margin=0.0)
    same = compared(2000, 12, 12, margin=0.0)

    assert worse.regression_detected
    assert same.of(Metric.QUALITY).verdict == Verdict.INCONCLUSIVE
    assert "With a threshold of 0 % no number of cases" in reports.overall(same)


@pytest.mark.parametrize("sizes", [(0, 20), (20, 0), (0, 0)])
def test_a_side_without_cases_is_not_comparable(sizes: tuple[int, int]) -> None:
    before, after = (side([1.0] * size) for size in sizes)

    found = verdicts.compare(before, after)

    assert {each.verdict for each in found.metrics} == {Verdict.NOT_COMPARABLE}


def test_cases_that_nothing_scored_are_compared_by_their_times() -> None:
    before = [replace(case(n, None), latency_ms=100.0 + n) for n in range(20)]

    shown = reports.as_json(verdicts.compare(Side(before), Side(before)))

    assert (shown["pairs"], shown["unpaired"]["reasons"]) == (0, {"unscored": 20})
    assert shown["metrics"]["latency"]["verdict"] == "unchanged"
    assert shown["metrics"]["quality"]["verdict"] == "insufficient"


def test_the_sentence_says_what_happened_in_figures() -> None:
    said = reports.of_metric(compared(100, 12, 2, margin=0.05).of(Metric.PASS_RATE))

    assert said == (
        "Pass rate got worse: 98.0 % to 88.0 % over 100 cases (12 worse, 2 better; -10.0 points, "
        "95 % interval -17.0 to -2.6, p = 0.013). That is at least the threshold of 5 points."
    )

"""The formulas of verdicts, held against SciPy and statsmodels to nine digits over wide ranges."""

import math
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from evalsched import statistics

NINE_DIGITS = 1e-9
differences = st.lists(
    st.floats(-1, 1).filter(lambda d: d == 0 or abs(d) > 1e-6), min_size=3, max_size=60
).filter(lambda values: float(np.std(values)) > 1e-4)
p_values = st.lists(st.floats(1e-12, 1), min_size=1, max_size=12)


def close(ours: float, theirs: Any) -> bool:
    return math.isclose(ours, float(theirs), rel_tol=NINE_DIGITS, abs_tol=1e-280)


@given(df=st.integers(1, 200_000), t=st.floats(1e-6, 1e3))
def test_the_tails_of_t_are_scipys(df: int, t: float) -> None:
    assert close(statistics.t_tails(t, df), 2 * stats.t.sf(t, df))
    assert statistics.t_tails(-t, df) == statistics.t_tails(t, df)


@given(df=st.integers(1, 200_000), tails=st.floats(1e-9, 0.999))
def test_the_quantiles_of_t_are_scipys(df: int, tails: float) -> None:
    assert close(statistics.t_quantile(tails, df), stats.t.isf(tails / 2, df))


@pytest.mark.parametrize(("df", "tails"), [(1_999, 0.05 / 3), (10_000, 0.05), (49_999, 0.05)])
def test_a_quantile_is_found_in_a_few_steps(
    df: int, tails: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At these, rounding leads to and fro."""
    steps: list[float] = []
    tails_of = statistics.t_tails

    def counted(t: float, df: int) -> float:
        steps.append(t)
        return tails_of(t, df)

    monkeypatch.setattr(statistics, "t_tails", counted)
    statistics.t_quantile.cache_clear()

    assert close(statistics.t_quantile(tails, df), stats.t.isf(tails / 2, df))
    assert len(steps) < 10


@given(values=differences)
def test_the_paired_t_test_is_scipys(values: list[float]) -> None:
    ours = statistics.mean_of(values)

    theirs = stats.ttest_1samp(values, 0)
    low, high = theirs.confidence_interval(0.95)
    assert math.isclose(ours.p, theirs.pvalue, rel_tol=NINE_DIGITS)
    assert math.isclose(ours.low, low, rel_tol=NINE_DIGITS, abs_tol=1e-12)
    assert math.isclose(ours.high, high, rel_tol=NINE_DIGITS, abs_tol=1e-12)


@given(values=differences, count=st.integers(2, 12))
def test_the_clustered_error_is_that_of_statsmodels(values: list[float], count: int) -> None:
    clusters = [index % min(count, len(values)) for index in range(len(values))]

    ours = statistics.mean_of(values, clusters)

    fitted = sm.OLS(np.array(values), np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(clusters)}, use_t=True
    )
    error = float(fitted.bse[0])
    assert math.isclose(ours.error, error, rel_tol=1e-7, abs_tol=1e-12)
    if error > 1e-6:
        assert math.isclose(ours.error, error, rel_tol=NINE_DIGITS)
        assert math.isclose(ours.p, fitted.pvalues[0], rel_tol=1e-8)
        low, high = fitted.conf_int()[0]
        assert math.isclose(ours.low, low, rel_tol=NINE_DIGITS, abs_tol=1e-10)
        assert math.isclose(ours.high, high, rel_tol=NINE_DIGITS, abs_tol=1e-10)


def test_the_clustered_error_by_hand() -> None:
    """Two clusters with sums of residuals -2 and 2: sqrt(2/1 * 8) / 4."""
    ours = statistics.mean_of([0.0, 0.0, 2.0, 2.0], ["a", "a", "b", "b"])

    assert (ours.value, ours.error) == (1.0, 1.0)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.1, 0.0), (-0.1, 0.0)])
def test_values_that_are_all_alike_have_no_error(value: float, p: float) -> None:
    ours = statistics.mean_of([value] * 7)

    assert ours == statistics.Estimate(ours.value, ours.value, ours.value, 0.0, p)
    assert math.isclose(ours.value, value, abs_tol=1e-15)


@given(worse=st.integers(0, 3_000), better=st.integers(0, 3_000))
def test_mcnemars_test_is_the_exact_one(worse: int, better: int) -> None:
    """Against whole numbers: SciPy's binomial says 0 where 4e-280 is right."""
    ours = statistics.mcnemar(worse, better)

    n = worse + better
    tail = chosen = 1
    for k in range(min(worse, better)):
        chosen = chosen * (n - k) // (k + 1)
        tail += chosen
    assert math.isclose(ours, min(1.0, 2 * tail / 2**n), rel_tol=NINE_DIGITS, abs_tol=1e-300)
    assert ours == statistics.mcnemar(better, worse)


@pytest.mark.parametrize(("worse", "better"), [(12, 2), (4, 0), (30, 12), (0, 0), (5, 5)])
def test_mcnemars_test_is_that_of_statsmodels(worse: int, better: int) -> None:
    theirs = statsmodels_mcnemar([[50, worse], [better, 50]], exact=True).pvalue

    assert close(statistics.mcnemar(worse, better), min(theirs, 1.0))


def test_mcnemars_test_of_very_many_changes() -> None:
    theirs = stats.binomtest(99_000, 200_000, 0.5).pvalue

    assert math.isclose(statistics.mcnemar(101_000, 99_000), theirs, rel_tol=NINE_DIGITS)


@given(st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_wilsons_interval_is_that_of_statsmodels(counted: tuple[int, int]) -> None:
    n, successes = counted

    low, high = statistics.wilson(successes, n)

    their_low, their_high = proportion_confint(successes, n, alpha=0.05, method="wilson")
    assert math.isclose(low, their_low, rel_tol=NINE_DIGITS, abs_tol=1e-12)
    assert math.isclose(high, their_high, rel_tol=NINE_DIGITS, abs_tol=1e-12)


def test_repeats_make_no_interval_narrower() -> None:
    """Seven of ten cases asked five times each are seven of ten, not 35 of 50."""
    low, high = statistics.wilson(7, 10)

    assert (round(low, 4), round(high, 4)) == (0.3968, 0.8922)


@given(
    st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 2_000)),
    st.sampled_from([0.05, 0.01, 0.2]),
)
def test_agresti_and_mins_interval_adds_half_to_each_cell(
    cells: tuple[int, int, int], alpha: float
) -> None:
    """Wald's interval of the table with half an observation more in each cell."""
    worse, better, same = cells
    n = worse + better + same

    low, high = statistics.agresti_min(n, worse, better, alpha=alpha)

    b, c, total = worse + 0.5, better + 0.5, n + 2
    middle = (c - b) / total
    variance = (b + c - (c - b) ** 2 / total) / total**2
    reach = stats.norm.isf(alpha / 2) * math.sqrt(variance)
    assert math.isclose(low, max(middle - reach, -1), rel_tol=NINE_DIGITS, abs_tol=1e-12)
    assert math.isclose(high, min(middle + reach, 1), rel_tol=NINE_DIGITS, abs_tol=1e-12)
    assert high > low


@given(
    st.lists(st.tuples(st.floats(1e-3, 1e5), st.floats(0.2, 5)), min_size=3, max_size=40).filter(
        lambda pairs: float(np.std([math.log(r) for _, r in pairs])) > 1e-3
    )
)
def test_the_ratio_is_that_of_geometric_means(pairs: list[tuple[float, float]]) -> None:
    old = [value for value, _ in pairs]
    new = [value * ratio for value, ratio in pairs]

    ours = statistics.mean_of(statistics.log_ratios(old, new))

    theirs = stats.ttest_rel(np.log(new), np.log(old))
    ratio = stats.gmean(new) / stats.gmean(old)
    assert math.isclose(math.exp(ours.value), ratio, rel_tol=NINE_DIGITS)
    assert math.isclose(ours.p, theirs.pvalue, rel_tol=1e-7)


# Theirs takes a tenth of a second.
@settings(max_examples=10)
@given(p_values)
def test_holm_and_the_discovery_rate_are_those_of_statsmodels(values: list[float]) -> None:
    found = dict(enumerate(values))

    for ours, method in (
        (statistics.holm(found), "holm"),
        (statistics.benjamini_hochberg(found), "fdr_bh"),
    ):
        theirs = multipletests(values, method=method)[1]
        assert ours.keys() == found.keys()
        for name, adjusted in zip(found, theirs, strict=True):
            assert math.isclose(ours[name], adjusted, rel_tol=NINE_DIGITS)


# --- Power -----------------------------------------------------------------------------------


def exact_power(n: int, noise: float, drop: float) -> float:
    """Return the chance that exact McNemar finds the drop, summed over all that may happen."""
    changing = drop + noise
    better = noise / 2 / changing
    power = 0.0
    for changed in range(n + 1):
        chance = stats.binom.pmf(changed, n, changing)
        significant = [
            k for k in range(changed // 2 + 1) if statistics.mcnemar(changed - k, k) < 0.05
        ]
        if significant and chance > 1e-12:
            power += chance * stats.binom.cdf(max(significant), changed, better)
    return power


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("n", [20, 40, 100])
def test_the_drop_said_to_be_detectable_is_detected(n: int, noise: float) -> None:
    drop = statistics.detectable_rate(n, noise)

    assert drop is not None
    assert 0.78 < exact_power(n, noise, drop) < 0.9


def test_so_many_as_required_detect_the_margin() -> None:
    n = statistics.required_for_rate(0.15, 0.05)

    assert 0.78 < exact_power(n, 0.10, 0.05) < 0.85


def test_too_few_detect_no_drop_at_all() -> None:
    assert statistics.detectable_rate(5, 0.1) is None
    assert statistics.detectable_rate(100, 1.0) is None


def test_the_required_number_is_that_of_the_normal_formula() -> None:
    """2.80159 standard errors: (2.80159 * 0.3 / 0.05)^2."""
    assert statistics.required_for_mean(0.3, 0.05) == 283

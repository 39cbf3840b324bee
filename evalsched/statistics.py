"""The statistics of verdicts: pure functions over numbers, with the standard library alone.

Differences are candidate minus baseline of the same case. Intervals are two-sided with `alpha`
outside of them, p-values two-sided. Formulas and sources stand at each function.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)

ALPHA = 0.05
# The chance with which a difference that is said to be detectable is detected.
POWER = 0.8

_NORMAL = NormalDist()
_LARGE = 40.0
_TINY = 1e-300
_EPSILON = 1e-16
_STEPS = 100_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, its standard error, and the p-value of its being 0."""

    value: float
    low: float
    high: float
    error: float
    p: float


def mean_of(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, *, alpha: float = ALPHA
) -> Estimate:
    """Return the mean of paired differences with its t interval, clustered where told.

    SE = (1/n) sqrt(C/(C-1) sum over clusters of (sum of the residuals in it)^2), with t and C - 1
    degrees of freedom; every value its own cluster is the paired t test. There must be two
    clusters at least. Values that are all alike have no error: p is then 0, or 1 where they are 0.

    Source: Miller 2024, Adding Error Bars to Evals (arXiv:2411.00640), with the correction
    C/(C-1) of statsmodels' cov_cluster.
    """
    mean = math.fsum(values) / len(values)
    residuals: dict[Hashable, list[float]] = {}
    for index, value in enumerate(values):
        key = index if clusters is None else clusters[index]
        residuals.setdefault(key, []).append(value - mean)
    sums = [math.fsum(group) for group in residuals.values()]
    count = len(sums)
    error = math.sqrt(math.fsum(each * each for each in sums) * count / (count - 1)) / len(values)
    # All alike, but for the rounding of their mean.
    if error <= 1e-12 * abs(mean):
        return Estimate(mean, mean, mean, 0.0, 0.0 if mean else 1.0)
    reach = t_quantile(alpha, count - 1) * error
    p = t_tails(mean / error, count - 1) if error else 1.0
    return Estimate(mean, mean - reach, mean + reach, error, p)


def log_ratios(baseline: Sequence[float], candidate: Sequence[float]) -> list[float]:
    """Return log(candidate / baseline) of each pair; exp of their mean is the typical ratio.

    Source: the ratio of geometric means, as in any analysis of skewed paired durations.
    """
    return [math.log(new / old) for old, new in zip(baseline, candidate, strict=True)]


def mcnemar(worse: int, better: int) -> float:
    """Return the exact p-value of so many pairs that changed for the worse and for the better.

    p = min(1, 2 sum of C(n, i) / 2^n over i <= min(worse, better)), n = worse + better.

    Source: McNemar 1947; the exact form is the sign test of the pairs that changed.
    """
    n, k = worse + better, min(worse, better)
    term = total = _even_chance(n, k)
    # Downwards from the largest term, each made from the one before it.
    for i in range(k, 0, -1):
        term *= i / (n - i + 1)
        total += term
        if term < total * _EPSILON:
            break
    return min(1.0, 2 * total)


def _even_chance(n: int, k: int) -> float:
    """Return C(n, k) / 2^n; of many without their factorials, whose digits would take seconds.

    Source: Loader 2000, Fast and accurate computation of binomial probabilities.
    """
    if min(k, n - k) < _LARGE:
        return math.comb(n, k) / (1 << n)
    distance = k * math.log(2 * k / n) + (n - k) * math.log(2 * (n - k) / n)
    rest = _stirlings_error(n) - _stirlings_error(k) - _stirlings_error(n - k)
    return math.sqrt(n / (2 * math.pi * k * (n - k))) * math.exp(rest - distance)


def _stirlings_error(n: int) -> float:
    """Return log(n!) less Stirling's approximation, to 16 digits from _LARGE on."""
    square = n * n
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / n


def agresti_min(n: int, worse: int, better: int, *, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the interval of the difference of two paired rates, in -1..1.

    (better - worse)/(n+2) +- z sqrt(worse + better + 1 - (better - worse)^2/(n+2)) / (n+2). It has
    a width also where nothing changed.

    Source: Agresti and Min 2005, Simple improved confidence intervals for comparing matched
    proportions: half an observation is added to each cell.
    """
    size, change = n + 2, better - worse
    middle = change / size
    reach = _z(alpha / 2) * math.sqrt(worse + better + 1 - change * change / size) / size
    return max(middle - reach, -1.0), min(middle + reach, 1.0)


def wilson(successes: float, n: int, *, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the interval of a rate. `n` is cases, never calls: repeats tell no more cases.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    z = _z(alpha / 2)
    rate, weight = successes / n, z * z / n
    middle = (rate + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(rate * (1 - rate) / n + weight / (4 * n))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return p-values adjusted so that any false alarm among them has the chance alpha.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    adjusted: dict[Name, float] = {}
    most = 0.0
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for place, name in enumerate(ordered):
        most = max(most, min(1.0, (len(ordered) - place) * p_values[name]))
        adjusted[name] = most
    return adjusted


def benjamini_hochberg(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return p-values adjusted so that of all that are called, a share alpha is called wrongly.

    Source: Benjamini and Hochberg 1995, Controlling the false discovery rate.
    """
    adjusted: dict[Name, float] = {}
    least = 1.0
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for place in range(len(ordered), 0, -1):
        name = ordered[place - 1]
        least = min(least, len(ordered) * p_values[name] / place)
        adjusted[name] = least
    return adjusted


def required_for_mean(spread: float, margin: float) -> int:
    """Return how many pairs detect a difference of means of `margin` with POWER at ALPHA.

    n = ((z_(alpha/2) + z_beta) spread / margin)^2, with `spread` the standard deviation of the
    paired differences.

    Source: Miller 2024 (arXiv:2411.00640), section on power.
    """
    return math.ceil((_Z_SUM * spread / margin) ** 2)


def required_for_rate(changing: float, margin: float) -> int:
    """Return how many pairs detect a difference of `margin` between two paired rates.

    `changing` is the share of pairs whose outcome differs, at least `margin`.
    n = ((z_(alpha/2) sqrt(changing) + z_beta sqrt(changing - margin^2)) / margin)^2, and 1/margin
    more because the exact test is stricter than the normal one that the formula is for.

    Source: Connor 1987, Sample size for testing differences in proportions for the paired-sample
    design, Biometrics 43; the correction as Fleiss' for independent rates.
    """
    asked = _Z_ALPHA * math.sqrt(changing) + _Z_BETA * math.sqrt(changing - margin * margin)
    return math.ceil((asked / margin) ** 2 + 1 / margin)


def detectable_rate(n: int, noise: float) -> float | None:
    """Return the drop of a rate that `n` pairs detect with POWER at ALPHA; None: not even all.

    `noise` is the variance of the paired differences where nothing got worse: of cases that pass
    or fail the share that changes, in both directions alike. The drop comes on top of it, as whole
    cases that fail, which is how a drop is hardest to see. It is `required_for_rate` solved by
    bisection.
    """
    low, high = 0.0, 1.0 - noise
    if high <= 0 or required_for_rate(1.0, high) > n:
        return None
    return _falling_root(lambda drop: required_for_rate(drop + noise, drop) - n, low, high)


def t_tails(t: float, df: int) -> float:
    """Return the chance that Student's t is as far from 0 as `t`, on either side.

    It is the incomplete beta function I_x(df/2, 1/2) at x = df/(df + t^2), by the continued
    fraction.

    Source: Abramowitz and Stegun 26.7.1 and 26.5.8, evaluated by Lentz's method.
    """
    square = t * t
    if not square:
        return 1.0
    a, b = df / 2, 0.5
    log_front = (
        _log_half_step(a)
        - 0.5 * math.log(math.pi)
        - a * math.log1p(square / df)
        - b * math.log1p(df / square)
    )
    x, rest = df / (df + square), square / (df + square)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _beta_fraction(a, b, x) / a
    return 1.0 - math.exp(log_front) * _beta_fraction(b, a, rest) / b


@lru_cache(maxsize=4096)
def t_quantile(tails: float, df: int) -> float:
    """Return the t that is exceeded on both sides together with the chance `tails`.

    By Newton's method from the normal quantile, which lies below: the tails are convex, so no
    step goes too far, and one that leads back is rounding.
    """
    t = max(_z(tails / 2), _EPSILON)
    for _ in range(_STEPS):
        density = math.exp(
            _log_half_step(df / 2)
            - 0.5 * math.log(math.pi * df)
            - (df + 1) / 2 * math.log1p(t * t / df)
        )
        step = (t_tails(t, df) - tails) / (2 * density)
        t += step
        if step <= 1e-14 * t:
            break
    return t


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d or _TINY)
    found = d
    for m in range(1, _STEPS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + numerator * d) or _TINY)
            c = (1 + numerator / c) or _TINY
            found *= c * d
        if abs(c * d - 1) < _EPSILON * 10:
            break
    return found


def _log_half_step(a: float) -> float:
    """Return log(Gamma(a + 1/2) / Gamma(a)), without cancellation where `a` is large.

    Source: Abramowitz and Stegun 6.1.47.
    """
    if a < _LARGE:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    series = -1 / 8 + (1 / 128 + (5 / 1024 - (21 / 32768 + 399 / 262144 / a) / a) / a) / a
    return 0.5 * math.log(a) + math.log1p(series / a)


def _falling_root(f: Callable[[float], float], low: float, high: float) -> float:
    """Return where `f`, which falls, is no longer positive, from above."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) > 0 else (low, middle)
    return high


def _z(tail: float) -> float:
    return -_NORMAL.inv_cdf(tail)


_Z_ALPHA = _z(ALPHA / 2)
_Z_BETA = _z(1 - POWER)
_Z_SUM = _Z_ALPHA + _Z_BETA

"""What several calls of the same case tell: pass@k, and whether the answer flips. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import comb

# The k that are told, as far as a case was called so often.
KS = (1, 2, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Repeated:
    """How repeats agree; shares 0..1. None: no case has two calls that passed or failed.

    `pass_at_k` by k is the chance that one of k calls at least passes, averaged over the cases that
    have k scored calls or more. `flip_rate` is the chance that two calls of a case disagree.
    """

    pass_at_k: dict[str, float]
    flip_rate: float | None
    flaky_cases: int


def pass_at_k(scored: int, passed: int, k: int) -> float | None:
    """Estimate the chance that one of `k` calls at least passes, without bias.

    None where fewer than `k` calls were scored.
    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1.
    """
    if scored < k:
        return None
    return 1 - comb(scored - passed, k) / comb(scored, k)


def flip_rate(scored: int, passed: int) -> float | None:
    """Return the share of pairs of calls of which one passed and one failed; None: no pair."""
    pairs = comb(scored, 2)
    return passed * (scored - passed) / pairs if pairs else None


def flaky(scored: int, passed: int) -> bool:
    """Whether some calls of the case passed and some failed."""
    return 0 < passed < scored


def of_case(scored: int, passed: int) -> dict[str, float]:
    """Return pass@k by each k that the case has calls for."""
    found = {str(k): pass_at_k(scored, passed, k) for k in KS}
    return {k: chance for k, chance in found.items() if chance is not None}


def together(cases: Iterable[tuple[int, int]]) -> Repeated:
    """Take cases together, each given as its scored and its passed calls."""
    chances: dict[str, list[float]] = {}
    flips, flaky_cases = [], 0
    for scored, passed in cases:
        for k, chance in of_case(scored, passed).items():
            chances.setdefault(k, []).append(chance)
        rate = flip_rate(scored, passed)
        flips += [] if rate is None else [rate]
        flaky_cases += flaky(scored, passed)
    return Repeated(
        pass_at_k={k: sum(found) / len(found) for k, found in chances.items()},
        flip_rate=sum(flips) / len(flips) if flips else None,
        flaky_cases=flaky_cases,
    )

"""What a suite can see before it has run: the smallest drop it is likely to detect. Pure."""

import math
from dataclasses import dataclass

from evalsched import statistics
from evalsched.differences import LEAST_PAIRS

# Of cases that pass or fail: one in twenty changes from run to run though nothing got worse. Models
# asked at temperature 0 change less, those asked for long free texts more.
ASSUMED_NOISE = 0.05


@dataclass(frozen=True)
class Detection:
    """`drop` is the share of the score that a run has to lose, None where no loss is detected.

    `assumed` holds until the schedule's first comparison has shown how far its runs lie apart.
    """

    cases: int
    drop: float | None
    assumed: bool
    sentence: str


def of_suite(cases: int, *, repeats: int = 1, spread: float | None = None) -> Detection:
    """Return what a run over so many cases detects, in four of five times.

    `spread` is the standard deviation of a case's difference between two equal runs, as the last
    comparison of such found it, or None: then ASSUMED_NOISE is taken, divided by the repeats, whose
    mean is steadier. A spread of nothing counts as one case among all of them. The formula
    is `statistics.detectable_rate`, in the worst case: the drop comes as whole cases that fail.
    """
    assumed = spread is None
    if cases < LEAST_PAIRS:
        sentence = (
            f"This suite of {_counted(cases)} is too small for statistics, which need "
            f"{LEAST_PAIRS}; the plain threshold decides. Add cases."
        )
        return Detection(cases, None, assumed, sentence)
    noise = ASSUMED_NOISE / repeats if spread is None else max(spread * spread, 1 / (cases + 2))
    drop = statistics.detectable_rate(cases, noise)
    if drop is None:
        sentence = (
            f"This suite of {_counted(cases)} varies too much from run to run to detect a drop. "
            "Add cases or repeats."
        )
        return Detection(cases, None, assumed, sentence)
    said = f"This suite of {_counted(cases)} detects a drop of {points(drop)} or more"
    if assumed:
        share = "1 case in 20" if repeats == 1 else "1 answer in 20"
        return Detection(
            cases, drop, assumed, f"{said}, if {share} changes from run to run by chance."
        )
    return Detection(cases, drop, assumed, f"{said}, by how much its last runs differed.")


def points(drop: float) -> str:
    """Return the drop in whole points of a hundred, upwards: what is said must hold."""
    whole = math.ceil(drop * 100)
    return f"{whole} point" if whole == 1 else f"{whole} points"


def _counted(cases: int) -> str:
    return "1 case" if cases == 1 else f"{cases:,} cases"

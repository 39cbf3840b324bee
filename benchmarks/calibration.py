"""How often verdicts are wrong: simulated pairs of runs, beside the plain rule "10 % worse".

`python -m benchmarks.calibration` prints the tables that docs/verdicts.md shows. Pure CPU, seeded.

A simulated suite has 20 to 500 cases and asks each 1 to 5 times. Most cases are easy, some are a
matter of luck, a few hopeless. Three kinds: one assertion a case; several, so that scores are
graded; and cases in clusters of five that have good and bad runs together. One call in a hundred
is not answered. Latencies are log-normal with stalls, and each run has a day of its own, up to a
few percent slower or faster.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.figures import Figure
from evalsched import detection, statistics, verdicts
from evalsched.metrics import RATES, Metric
from evalsched.pairing import Measured, Side
from evalsched.verdicts import Comparison, Rules, Verdict

SEED = 20250115
SIZES = (20, 40, 80, 150, 300, 500)
REPEATS = (1, 1, 2, 3, 5)
KINDS = ("pass or fail", "graded", "clustered")
DROPS = (0.05, 0.10, 0.15, 0.20, 0.30)
PLAIN = 0.10
SAME_PAIRS = 5_400
WORSE_PAIRS = 900
DETECTABLE_PAIRS = 300
RANGES = ((20, 40), (80, 150), (300, 500))
_CLUSTER = 5
_RULES = Rules()


@dataclass(frozen=True)
class Case:
    """One case as it truly is: the chance of each assertion, and what a call takes."""

    chances: tuple[float, ...]
    latency_ms: float
    cost: float
    cluster: str | None


@dataclass(frozen=True)
class Trial:
    """What became of one pair of runs.

    `detected` is by the gated metrics, `any_metric` of any of the five. `fell` is how far the worse
    of quality and pass rate fell, as a share of the baseline's value.
    """

    size: int
    detected: bool
    any_metric: bool
    fell: float


@dataclass
class Conditions:
    """What one run's calls have in common: how often each is made, the day, clusters' moods."""

    repeats: int
    day: float
    moods: dict[str, float] = field(default_factory=dict)


def suite(dice: random.Random, size: int, kind: str) -> list[Case]:
    cases = []
    for number in range(size):
        luck = dice.random()
        if luck < 0.7:
            chance = dice.betavariate(40, 1)
        elif luck < 0.9:
            chance = dice.betavariate(2, 2)
        else:
            chance = dice.betavariate(1, 20)
        assertions = dice.randint(2, 4) if kind == "graded" else 1
        cases.append(
            Case(
                chances=(chance, *(_near(dice, chance) for _ in range(assertions - 1))),
                latency_ms=dice.lognormvariate(math.log(800), 0.5),
                cost=dice.lognormvariate(math.log(0.001), 0.5),
                cluster=f"cluster {number // _CLUSTER}" if kind == "clustered" else None,
            )
        )
    return cases


def _near(dice: random.Random, chance: float) -> float:
    return min(max(chance + dice.uniform(-0.1, 0.1), 0.0), 1.0)


def run(dice: random.Random, cases: Sequence[Case], repeats: int) -> Side:
    """Ask every case so often and average, as the service does."""
    conditions = Conditions(repeats, day=dice.gauss(0, 0.02))
    return Side(
        [_asked(dice, f"case {number}", case, conditions) for number, case in enumerate(cases)]
    )


def _asked(dice: random.Random, key: str, case: Case, conditions: Conditions) -> Measured:
    mood = 0.0
    if case.cluster is not None:
        mood = conditions.moods.setdefault(case.cluster, dice.gauss(0, 0.7))
    chances = [_shifted(chance, mood) for chance in case.chances]
    scores, passes, latencies, costs = [], [], [], []
    for _ in range(conditions.repeats):
        if dice.random() < 0.01:
            continue
        right = [dice.random() < chance for chance in chances]
        scores.append(sum(right) / len(right))
        passes.append(float(all(right)))
        stall = 3.0 if dice.random() < 0.02 else 1.0
        latencies.append(case.latency_ms * stall * math.exp(conditions.day + dice.gauss(0, 0.2)))
        costs.append(case.cost * math.exp(dice.gauss(0, 0.1)))
    return Measured(
        key,
        "content",
        cluster=case.cluster,
        calls=conditions.repeats,
        answered=len(scores),
        score=_mean(scores),
        passed=_mean(passes),
        latency_ms=_mean(latencies),
        ttft_ms=None if not latencies else 0.3 * math.fsum(latencies) / len(latencies),
        cost=_mean(costs),
    )


def _shifted(chance: float, mood: float) -> float:
    """Return the chance, moved by so much on the logistic scale."""
    if not mood or not 0 < chance < 1:
        return chance
    return 1 / (1 + (1 - chance) / chance * math.exp(-mood))


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def worse(
    dice: random.Random, cases: Sequence[Case], drop: float, *, spread: bool | None = None
) -> list[Case]:
    """Return the cases for a model that lost the share `drop` of its quality.

    It answers everything a little worse where `spread`, else it fails at some of it wholly; half
    of the models each where that is not said.
    """
    if spread is None:
        spread = dice.random() < 0.5
    changed = []
    for case in cases:
        factor = 1 - drop if spread else float(dice.random() >= drop)
        chances = tuple(chance * factor for chance in case.chances)
        changed.append(Case(chances, case.latency_ms, case.cost, case.cluster))
    return changed


def trial(dice: random.Random, number: int, drop: float) -> Trial:
    size = SIZES[number % len(SIZES)]
    kind = KINDS[number // len(SIZES) % len(KINDS)]
    repeats = dice.choice(REPEATS)
    cases = suite(dice, size, kind)
    before = run(dice, cases, repeats)
    after = run(dice, worse(dice, cases, drop) if drop else cases, repeats)
    found = verdicts.compare(before, after, _RULES)
    return Trial(
        size=size,
        detected=found.regression_detected,
        any_metric=any(each.verdict == Verdict.REGRESSED for each in found.metrics),
        fell=_fell(found),
    )


def _fell(found: Comparison) -> float:
    falls = []
    for metric in RATES:
        difference = found.of(metric).difference
        if difference is not None and difference.baseline:
            falls.append(-difference.value / difference.baseline)
    return max(falls, default=0.0)


def trials(drop: float, pairs: int) -> list[Trial]:
    dice = random.Random(f"{SEED} {drop}")
    return [trial(dice, number, drop) for number in range(pairs)]


def detectable(size: int, pairs: int) -> tuple[float, float]:
    """Return the drop that suites of this size are said to detect, and how often they did.

    As the service does: an earlier comparison of two equal runs tells the spread, that the drop.
    Each model then fails at so many of the cases that its score falls by that much.
    """
    dice = random.Random(f"{SEED} detectable {size}")
    said, seen = [], 0
    for _ in range(pairs):
        cases = suite(dice, size, KINDS[0])
        first, second = run(dice, cases, 1), run(dice, cases, 1)
        quality = verdicts.compare(first, second, _RULES).of(Metric.QUALITY).difference
        assert quality is not None
        drop = detection.of_suite(size, spread=quality.spread).drop
        mean = math.fsum(case.chances[0] for case in cases) / size
        if drop is None or drop > mean:
            continue
        said.append(drop)
        after = run(dice, worse(dice, cases, drop / mean, spread=False), 1)
        verdict = verdicts.compare(second, after, _RULES).of(Metric.QUALITY).verdict
        seen += verdict in {Verdict.REGRESSED, Verdict.DRIFTED_DOWN}
    return math.fsum(said) / len(said), seen / len(said)


def share(trials: Sequence[Trial], holds: Callable[[Trial], bool]) -> float:
    return sum(holds(each) for each in trials) / len(trials)


def equal_percentage(same: Sequence[Trial]) -> float:
    """Return the fall from which the plain rule alarms as rarely as the verdicts did."""
    falls = sorted((each.fell for each in same), reverse=True)
    return falls[sum(each.detected for each in same)]


def detected(each: Trial) -> bool:
    return each.detected


def any_metric(each: Trial) -> bool:
    return each.any_metric


def plain(percentage: float) -> Callable[[Trial], bool]:
    # Rounded: a fall of 2 in 20 is one of 10 %.
    return lambda each: each.fell > percentage - 1e-9


def measure() -> list[Figure]:
    """Print the tables and return the figures."""
    same = trials(0.0, SAME_PAIRS)
    equal = equal_percentage(same)
    # As many as the verdicts, not one more.
    rules = (detected, any_metric, plain(PLAIN), plain(equal + 1e-6))
    print(f"{SAME_PAIRS:,} pairs of runs of the same model: false alarms in percent\n")
    print("| cases | verdicts | all five metrics | 10 % worse |\n|---|---|---|---|")
    for size in SIZES:
        print(_row(f"{size}", [each for each in same if each.size == size], rules[:3]))
    print(_row("together", same, rules[:3]))
    low, high = statistics.wilson(sum(map(detected, same)), len(same))
    print(f"\n95 % interval of the verdicts together: {low:.2%} to {high:.2%}\n")
    figures = [
        Figure("false alarms of the verdicts, gated metrics", 100 * share(same, detected), "%"),
        Figure("... any of the five metrics", 100 * share(same, any_metric), "%"),
        Figure("false alarms of the plain rule, 10 % worse", 100 * share(same, rules[2]), "%"),
    ]
    print(f"{WORSE_PAIRS:,} pairs for each drop: detected in percent\n")
    print(f"| drop | cases | verdicts | 10 % worse | {equal:.1%} worse |\n|---|---|---|---|---|")
    means: list[tuple[float, float]] = []
    for drop in DROPS:
        worse_pairs = trials(drop, WORSE_PAIRS)
        compared = (detected, rules[2], rules[3])
        for low_size, high_size in RANGES:
            some = [each for each in worse_pairs if low_size <= each.size <= high_size]
            print(_row(f"{drop:.0%} | {low_size} to {high_size}", some, compared))
        print(_row(f"{drop:.0%} | all", worse_pairs, compared))
        means.append((share(worse_pairs, detected), share(worse_pairs, rules[3])))
        figures.append(Figure(f"drop of {drop:.0%} detected", 100 * means[-1][0], "%"))
        figures.append(
            Figure(f"... by the plain rule at {equal:.1%}, as few alarms", 100 * means[-1][1], "%")
        )
    ours, theirs = (100 * math.fsum(each) / len(means) for each in zip(*means, strict=True))
    print(f"\nmean over the drops: verdicts {ours:.1f}, plain rule at {equal:.1%} {theirs:.1f}\n")
    print("| cases | said to detect a drop of | did so |\n|---|---|---|")
    for size in SIZES:
        said, seen = detectable(size, DETECTABLE_PAIRS)
        print(f"| {size} | {said * 100:.0f} points | {seen:.0%} |")
        figures.append(Figure(f"drop said detectable with {size} cases, detected", 100 * seen, "%"))
    return figures


def _row(name: str, trials: Sequence[Trial], rules: Sequence[Callable[[Trial], bool]]) -> str:
    return f"| {name} | " + " | ".join(f"{100 * share(trials, rule):.1f}" for rule in rules) + " |"


if __name__ == "__main__":
    measure()

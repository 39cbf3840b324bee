"""Which cases of two batches can be compared, and what stands in the way. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

# Below this share of answered calls, or of cases that have a partner, a comparison would say more
# about what is missing than about the model.
LEAST_COVERAGE_PERCENT = 80
_LISTED = 20


@dataclass(frozen=True)
class Measured:
    """What one case brought, averaged over its repeats; None where no call brought it.

    `answered` of its `calls` have an outcome that is the model's own; a model that timed out or
    declined scored 0. `passed` is the share of its scored calls that passed. Times are working
    time in milliseconds, `cost` is USD a call.
    """

    key: str
    content_hash: str
    cluster: str | None = None
    calls: int = 1
    answered: int = 1
    score: float | None = None
    passed: float | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Side:
    """One of the two batches.

    `stopped` says why it ended before all of its calls were made, or is empty. `conditions` are
    what must be the same on both sides, by its name in a sentence; `under_test` may differ, and
    whoever reads the verdict is told. How a case is graded is part of its content hash.
    """

    cases: Sequence[Measured]
    stopped: str = ""
    conditions: Mapping[str, object] = field(default_factory=dict)
    under_test: Mapping[str, object] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """The share of calls that were answered, 0..1."""
        calls = sum(case.calls for case in self.cases)
        return sum(case.answered for case in self.cases) / calls if calls else 0.0


class Why(StrEnum):
    """Why a case could not be compared."""

    ADDED = "added"  # the baseline did not have it
    REMOVED = "removed"  # the candidate does not have it
    EDITED = "edited"  # the same key with another content
    AMBIGUOUS = "ambiguous"  # twice in one batch
    ERROR = "error"  # no call of it was answered: the endpoint's fault, or it did not run
    UNSCORED = "unscored"  # answered, but nothing could score it


class Pair(NamedTuple):
    baseline: Measured
    candidate: Measured

    @property
    def scored(self) -> bool:
        return self.baseline.score is not None and self.candidate.score is not None

    @property
    def cluster(self) -> str | None:
        return self.candidate.cluster or self.baseline.cluster


@dataclass(frozen=True)
class Pairing:
    """The pairs, and the keys of what is not compared by its reason. `share` is of partners.

    Pairs that nothing could score are among both: their times can be compared.
    """

    pairs: Sequence[Pair]
    unpaired: Mapping[Why, Sequence[str]]
    share: float

    @property
    def scored(self) -> int:
        return sum(pair.scored for pair in self.pairs)

    def as_json(self) -> dict[str, object]:
        """Return how many are not compared and why, with the first keys of each reason."""
        return {
            "count": sum(len(keys) for keys in self.unpaired.values()),
            "reasons": {why.value: len(keys) for why, keys in self.unpaired.items()},
            "keys": {why.value: list(keys[:_LISTED]) for why, keys in self.unpaired.items()},
        }


def pair(baseline: Side, candidate: Side) -> Pairing:
    """Pair the cases of two batches by key and content.

    An edited case is one removed and one added, so it has no partner. `share` is the pairs among
    the smaller batch's cases: a suite that only grew or shrank is compared where it overlaps.
    """
    old, new = _by_identity(baseline.cases), _by_identity(candidate.cases)
    unpaired: dict[Why, list[str]] = {}
    pairs: list[Pair] = []
    partners = 0
    edited = {key for key, _ in old if key} & {key for key, _ in new if key}
    for identity in {**old, **new}:
        olds, news = old.get(identity, []), new.get(identity, [])
        if len(olds) == 1 == len(news):
            partners += 1
            both = Pair(olds[0], news[0])
            if both.baseline.answered and both.candidate.answered:
                pairs.append(both)
        why = _why_not(olds, news, edited)
        if why is not None and not (why == Why.EDITED and not olds):
            unpaired.setdefault(why, []).append(identity[0] or identity[1][:12])
    smaller = min(len(baseline.cases), len(candidate.cases))
    return Pairing(pairs, unpaired, partners / smaller if smaller else 0.0)


def _by_identity(cases: Sequence[Measured]) -> dict[tuple[str, str], list[Measured]]:
    found: dict[tuple[str, str], list[Measured]] = {}
    for case in cases:
        found.setdefault((case.key, case.content_hash), []).append(case)
    return found


def _why_not(olds: list[Measured], news: list[Measured], edited: set[str]) -> Why | None:
    """Return why the cases of one identity are not compared, or None where they are."""
    if len(olds) > 1 or len(news) > 1:
        return Why.AMBIGUOUS
    if olds and news:
        both = Pair(olds[0], news[0])
        if not (both.baseline.answered and both.candidate.answered):
            return Why.ERROR
        return None if both.scored else Why.UNSCORED
    if (olds or news)[0].key in edited:
        return Why.EDITED
    return Why.REMOVED if olds else Why.ADDED


def obstacles(baseline: Side, candidate: Side, pairing: Pairing) -> list[str]:
    """Return why the two cannot be compared at all, in sentences that say what to do."""
    found = []
    for name, side in (("baseline", baseline), ("candidate", candidate)):
        if side.stopped:
            found.append(f"The {name} stopped early: {side.stopped}")
        elif side.coverage * 100 < LEAST_COVERAGE_PERCENT:
            found.append(
                f"Only {side.coverage:.0%} of the {name}'s calls were answered, at least "
                f"{LEAST_COVERAGE_PERCENT} % are needed."
            )
    different = _different(baseline.conditions, candidate.conditions)
    if different:
        found.append(
            f"The {' and the '.join(different)} changed since the baseline. "
            "Use a run with the new ones as baseline."
        )
    if pairing.share * 100 < LEAST_COVERAGE_PERCENT:
        found.append(
            f"Only {pairing.share:.0%} of the cases are the same in both, at least "
            f"{LEAST_COVERAGE_PERCENT} % are needed. Use a run of the changed suite as baseline."
        )
    return found


def changes(baseline: Side, candidate: Side) -> list[str]:
    """Return what of the thing under test is not the same, by its name in a sentence."""
    return _different(baseline.under_test, candidate.under_test)


def _different(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def clusters_of(pairs: Sequence[Pair]) -> list[object] | None:
    """Return the cluster of each pair, its own where it has none; None where no two share one."""
    sizes = Counter(pair.cluster for pair in pairs if pair.cluster is not None)
    if not any(size > 1 for size in sizes.values()):
        return None
    return [index if pair.cluster is None else pair.cluster for index, pair in enumerate(pairs)]

"""What a rule makes of a value, minute by minute. Pure: a state machine and nothing else.

Time is whole minutes: `at` is the end of the window that was judged.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from alerts.rule_models import Aggregation, Comparison, Health, Metric, NoDataMode, RuleStatus
from alerts.windows import Measured, Value

_MINUTE = timedelta(minutes=1)


class Finding(StrEnum):
    """What a minute says about a rule."""

    BREACH = "breach"
    # Not breached, and not beyond the recovery threshold either: what fires goes on.
    BETWEEN = "between"
    CLEAR = "clear"
    # No data, too little, or an error: neither good news nor bad.
    UNKNOWN = "unknown"


class Notice(StrEnum):
    FIRING = "firing"
    AGAIN = "again"
    RESOLVED = "resolved"


class Policy(NamedTuple):
    """How a rule judges. Minutes are whole numbers of them."""

    comparison: str
    threshold: Decimal
    recovery: Decimal | None = None
    tolerance: Decimal = Decimal(0)
    for_minutes: int = 0
    keep_firing_minutes: int = 0
    cooldown_minutes: int = 60
    renotify: bool = True
    min_samples: int = 1
    no_data: str = NoDataMode.NO_DATA
    # Counts and sums say something of however little there is, and so do anomalies.
    always_sufficient: bool = False


class Judged(NamedTuple):
    finding: Finding
    health: Health
    value: Value | None


@dataclass(frozen=True)
class Memory:
    """What a rule, or one of its groups, remembers from minute to minute.

    `since` is the first breach while pending and the first clear minute while recovering.
    `notified_at` is the last firing notice of all episodes; `told` whether this one had one.
    """

    state: RuleStatus = RuleStatus.INACTIVE
    since: datetime | None = None
    notified_at: datetime | None = None
    told: bool = False


@dataclass(frozen=True)
class Step:
    """What a minute leads to. An episode began or ended in it, and this has to be told."""

    memory: Memory
    began: bool = False
    ended: bool = False
    notice: Notice | None = None


ACTIVE = frozenset({RuleStatus.FIRING, RuleStatus.RECOVERING})


def no_data_mode(given: str, metric: str, aggregation: str) -> str:
    """Return what an empty window means: of counts and sums 0, unless the rule says otherwise."""
    counts = metric == Metric.THROUGHPUT or aggregation in {Aggregation.COUNT, Aggregation.SUM}
    return given or (NoDataMode.ZERO if counts else NoDataMode.NO_DATA)


def judge(policy: Policy, measured: Measured) -> Judged:
    """Compare what was measured with the rule's thresholds."""
    value = measured.value
    if not measured.samples:
        match policy.no_data:
            case NoDataMode.ALERT:
                return Judged(Finding.BREACH, Health.NO_DATA, None)
            case NoDataMode.ZERO:
                value = 0.0 if value is None else value
            case _:
                return Judged(Finding.UNKNOWN, Health.NO_DATA, None)
    elif measured.samples < policy.min_samples and not policy.always_sufficient:
        return Judged(Finding.UNKNOWN, Health.INSUFFICIENT, value)
    if value is None:
        return Judged(Finding.UNKNOWN, Health.NO_DATA, None)
    return Judged(compare(policy, value), Health.OK, value)


def compare(policy: Policy, value: Value) -> Finding:
    """Return on which side of the thresholds the value lies; Decimal is compared as such."""
    if _holds(policy.comparison, value, policy.threshold, policy.tolerance):
        return Finding.BREACH
    if policy.recovery is not None and _holds(policy.comparison, value, policy.recovery):
        return Finding.BETWEEN
    return Finding.CLEAR


def _holds(comparison: str, value: Value, limit: Decimal, tolerance: Decimal = Decimal(0)) -> bool:
    # Typed as one of the two: both are exact, or none is.
    mine: Any = value
    exact = isinstance(value, Decimal)
    given, near = (limit, tolerance) if exact else (float(limit), float(tolerance))
    return bool(_COMPARISONS[comparison](mine, given, near))


_COMPARISONS: Mapping[str, Callable[[Any, Any, Any], bool]] = {
    Comparison.ABOVE: lambda value, limit, _: value > limit,
    Comparison.BELOW: lambda value, limit, _: value < limit,
    Comparison.AT_LEAST: lambda value, limit, _: value >= limit,
    Comparison.AT_MOST: lambda value, limit, _: value <= limit,
    Comparison.EQUAL: lambda value, limit, near: abs(value - limit) <= near,
    Comparison.UNEQUAL: lambda value, limit, near: abs(value - limit) > near,
}


def step(
    policy: Policy, memory: Memory, finding: Finding, at: datetime, *, acknowledged: bool = False
) -> Step:
    """Return what follows from `finding` in the minute that ends at `at`.

    Who has acknowledged an episode is not told of it again, only of the end of what was told.
    """
    if finding is Finding.UNKNOWN:
        return Step(memory)
    if memory.state in ACTIVE:
        moved = _active(policy, memory, finding, at)
    else:
        moved = _waiting(policy, memory, finding, at)
    if moved.memory.state is RuleStatus.FIRING:
        return _noticed(policy, moved, at, acknowledged)
    return moved


def _waiting(policy: Policy, memory: Memory, finding: Finding, at: datetime) -> Step:
    if finding is not Finding.BREACH:
        # Where almost all rules stand almost always.
        if memory.state is RuleStatus.INACTIVE:
            return Step(memory)
        return Step(replace(memory, state=RuleStatus.INACTIVE, since=None))
    first = memory.since if memory.since is not None else at
    if at - first >= policy.for_minutes * _MINUTE:
        return Step(replace(memory, state=RuleStatus.FIRING, since=None, told=False), began=True)
    return Step(replace(memory, state=RuleStatus.PENDING, since=first))


def _active(policy: Policy, memory: Memory, finding: Finding, at: datetime) -> Step:
    if finding is not Finding.CLEAR:
        return Step(replace(memory, state=RuleStatus.FIRING, since=None))
    first = memory.since if memory.since is not None else at
    if at - first >= policy.keep_firing_minutes * _MINUTE:
        return ended(memory)
    return Step(replace(memory, state=RuleStatus.RECOVERING, since=first))


def ended(memory: Memory) -> Step:
    """Return the end of the episode: told if its beginning was."""
    after = replace(memory, state=RuleStatus.INACTIVE, since=None, told=False)
    return Step(after, ended=True, notice=Notice.RESOLVED if memory.told else None)


def _noticed(policy: Policy, moved: Step, at: datetime, acknowledged: bool) -> Step:
    """Add the notice that is due while the rule fires: the cooldown defers it, and repeats it."""
    memory = moved.memory
    cooldown = policy.cooldown_minutes * _MINUTE
    if memory.notified_at is not None and at - memory.notified_at < cooldown:
        return moved
    if acknowledged or (memory.told and (not policy.renotify or not cooldown)):
        return moved
    notice = Notice.AGAIN if memory.told else Notice.FIRING
    return replace(moved, memory=replace(memory, notified_at=at, told=True), notice=notice)

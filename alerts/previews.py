"""What a rule would have done: replayed over past minutes, with nothing stored and nobody told."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from access.errors import Invalid
from alerts import rollups, rules, watches
from alerts.rule_models import Aggregation, AlertRule
from alerts.rules import Memory, Notice
from alerts.watches import Result, Watch
from alerts.windows import KINDS, Series

MINUTE = timedelta(minutes=1)
LONGEST_MINUTES = 1440
# With single values there is much more to read.
LONGEST_WITH_VALUES_MINUTES = 360
# Minutes times groups: enough for an hour of as many groups as a rule may have.
MOST_ROWS = 60 * watches.MOST_GROUPS
# There are no traces from before; long before, there are no dates either.
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


class Replayed(NamedTuple):
    """One minute of one group: what was found, where the rule would stand, what it would tell."""

    minute: datetime
    group: str
    metric_value: float | None
    sample_count: int
    triggered: bool
    state: str
    health: str
    notice: str | None


def replay(rule: AlertRule, *, end: datetime, minutes: int) -> list[Replayed]:
    """Return what the rule would have found in the minutes up to `end`, the oldest first.

    Raises:
        Invalid: `minutes` is more than can be replayed at once, or `end` is too long ago.
    """
    watch = watches.of(rule)
    most = LONGEST_WITH_VALUES_MINUTES if watch.values_of else LONGEST_MINUTES
    if not 1 <= minutes <= most:
        raise Invalid.field("minutes", f"For this rule this lies between 1 and {most}.")
    if end < _FIRST + 2 * LONGEST_MINUTES * MINUTE:
        raise Invalid.field("end", "There are no traces of that time.")
    end = end.replace(second=0, microsecond=0)
    window = watch.time_window_minutes + minutes
    with_values = {name: window if name == watch.values_of else 0 for name in KINDS}
    series = Series(
        rollups.read(rule.project_id, end=end, window=window, with_values=with_values),
        rollups.anomalies(rule.project_id, end=end, window=window),
    )
    _check_groups(watch, series, minutes)
    policy, memories, found = watch.policy, dict[str, Memory](), list[Replayed]()
    for ago in reversed(range(minutes)):
        at = end - ago * MINUTE
        for result in watches.look(watch, policy, series, list(memories), ago=ago):
            before = memories.get(result.group, Memory())
            step = rules.step(policy, before, result.judged.finding, at)
            memories[result.group] = step.memory
            found.append(_replayed(at, result, step))
    return found


def notices(found: Sequence[Replayed]) -> dict[str, int]:
    """Return how often each kind of notice would have been sent."""
    return {kind: sum(one.notice == kind for one in found) for kind in map(str, Notice)}


def _check_groups(watch: Watch, series: Series, minutes: int) -> None:
    shape = watch.shape
    longest = shape._replace(
        aggregation=Aggregation.COUNT, window_minutes=shape.window_minutes + minutes
    )
    # With more the rule is in error, which is one row a minute.
    groups = min(len(series.measure(longest)), watches.MOST_GROUPS)
    if groups * minutes > MOST_ROWS:
        most = MOST_ROWS // groups
        raise Invalid.field(
            "minutes", f"With the {groups} groups of that time this is at most {most}."
        )


def _replayed(at: datetime, result: Result, step: rules.Step) -> Replayed:
    value = result.judged.value
    return Replayed(
        minute=at,
        group=result.group,
        metric_value=None if value is None else float(value),
        sample_count=result.samples,
        triggered=result.judged.finding is rules.Finding.BREACH,
        state=str(step.memory.state),
        health=str(result.judged.health),
        notice=None if step.notice is None else str(step.notice),
    )

"""From what minutes say to episodes: states written, alerts opened and closed, people told.

Rows are locked in the order rule, state, alert.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import F

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict
from alerts import announcements, rules
from alerts.rule_models import Alert, AlertRule, AlertStatus, Health, RuleState, RuleStatus
from alerts.rules import Memory, Notice, Step
from alerts.watches import Result

# This many errors in a row are told of, once.
ERRORS_TOLD = 3
Key = tuple[uuid.UUID, str]


class Turn(NamedTuple):
    """A result with where its rule stood before and what it leads to; `state` None: no row yet."""

    result: Result
    state: RuleState | None
    step: Step

    @property
    def key(self) -> Key:
        return self.result.watch.id, self.result.group


def memory_of(state: RuleState | None) -> Memory:
    if state is None:
        return Memory()
    return Memory(RuleStatus(state.state), state.since, state.notified_at, state.told)


def changes(turn: Turn) -> bool:
    """Whether there is anything to write besides the history."""
    state, step, result = turn.state, turn.step, turn.result
    if state is None:
        fresh = step.memory == Memory() and result.judged.health == Health.OK
        # Groups are remembered from the first time they are seen.
        return not fresh or bool(result.group)
    errors = _errors(state, result)
    return (
        step.memory != memory_of(state)
        or result.judged.health != state.health
        or errors != state.errors_in_row
    )


def apply(
    project_id: uuid.UUID,
    turns: Sequence[Turn],
    alerts: Mapping[Key, Alert],
    *,
    at: datetime,
    now: datetime,
) -> None:
    """Write where the turns' rules stand now, and tell whom it concerns.

    A rule that was disabled or deleted meanwhile is left alone, and so is a group whose state
    somebody else has changed since it was read.
    """
    found = _locked_rules([turn.result.watch.id for turn in turns])
    states = _locked_states([turn.state.pk for turn in turns if turn.state])
    fresh: list[RuleState] = []
    for turn in turns:
        rule = found.get(turn.result.watch.id)
        if rule is None:
            continue
        if turn.state is None:
            state = RuleState(
                project_id=project_id, user_id=rule.user_id, rule=rule, group=turn.result.group
            )
            _remember(state, turn)
            fresh.append(state)
        else:
            current = states.get(turn.state.pk)
            if current is None or current.revision != turn.state.revision:
                continue
            _remember(current, turn)
            current.save(force_update=True)
        _tell(rule, turn, alerts.get(turn.key), at, now)
    RuleState.objects.bulk_create(fresh, batch_size=2_000)


def follow(turns: Sequence[Turn], alerts: Mapping[Key, Alert]) -> None:
    """Note in the open episodes what this minute found."""
    changed = []
    for turn in turns:
        alert = alerts.get(turn.key)
        if alert is None or turn.step.ended:
            continue
        value = turn.result.judged.value
        alert.samples += turn.result.samples
        # What is too little to judge by is too little to be a peak.
        if value is not None and turn.result.judged.health is Health.OK:
            alert.last_value = float(value)
            alert.peak_value = _peak(turn, alert.peak_value)
        changed.append(alert)
    # One statement; the status is not written, as somebody may have ended it meanwhile.
    Alert.objects.bulk_update(changed, ["samples", "last_value", "peak_value"], batch_size=2_000)


def heal(judged: set[Key], project_id: uuid.UUID) -> None:
    """Forget the errors of rules as a whole where their groups could be judged again."""
    ill = RuleState.objects.filter(
        project_id=project_id, group="", health=Health.ERROR, rule__group_by__gt=""
    )
    healed = [state.pk for state in ill if (state.rule_id, "") not in judged]
    if healed:
        RuleState.objects.filter(pk__in=healed).update(
            health=Health.OK, errors_in_row=0, revision=F("revision") + 1
        )


def acknowledge(actor: Actor, alert: Alert, *, now: datetime) -> Alert:
    """Note that somebody looks after it: it is not told of again until it ends."""
    with transaction.atomic():
        taken = Alert.objects.filter(
            pk=alert.pk, status=AlertStatus.FIRING, acknowledged_at=None
        ).update(acknowledged_at=now, acknowledged_by=actor.user, updated_at=now)
        alert.refresh_from_db()
        if taken:
            audit.record(actor, "alert.acknowledged", alert)
        elif alert.status != AlertStatus.FIRING:
            raise Conflict("This alert is over already.")
    return alert


def resolve(actor: Actor, alert: Alert, *, now: datetime) -> Alert:
    """End the episode by hand. What still holds in the next minute begins another one."""
    with transaction.atomic():
        rule = rows.locked(alert.rule)
        states = RuleState.objects.select_for_update(no_key=True)
        state = states.filter(rule=rule, group=alert.group).first()
        end = rules.ended(memory_of(state))
        if not _close(alert, announcements.BY_HAND, now, actor):
            raise Conflict("This alert is over already.")
        if state is not None:
            _write(state, end.memory)
            state.save(force_update=True)
        audit.record(actor, "alert.resolved", alert)
        if end.notice is not None and rule.enabled:
            alert.refresh_from_db()
            announcements.of_episode(
                rule, alert, end.notice, value=alert.last_value, samples=0, at=now, now=now
            )
    return alert


def abandon(found: Sequence[AlertRule], resolution: str, *, now: datetime) -> None:
    """End all episodes of locked rules without a word, and forget where they stood."""
    Alert.objects.filter(rule__in=found).move(
        AlertStatus.RESOLVED, resolved_at=now, resolution=resolution
    )
    RuleState.objects.filter(rule__in=found).delete()


def forget(rule: AlertRule, groups: Collection[str], *, now: datetime) -> int:
    """End what fires of a rule's groups that have fallen silent, forget them, and count them."""
    with transaction.atomic():
        found = _locked_rules([rule.pk]).get(rule.pk)
        if found is None:
            return 0
        fires = Alert.objects.filter(rule=found, status=AlertStatus.FIRING, group__in=groups)
        alerts = {alert.group: alert for alert in fires}
        states = RuleState.objects.filter(rule=found, group__in=groups)
        for state in states.select_for_update(no_key=True).order_by("pk"):
            end, alert = rules.ended(memory_of(state)), alerts.get(state.group)
            if alert is None or not _close(alert, announcements.SILENT, now):
                continue
            if end.notice is not None:
                alert.resolution = announcements.SILENT
                announcements.of_episode(
                    found, alert, end.notice, value=None, samples=0, at=now, now=now
                )
        return states.delete()[0]


def _locked_rules(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, AlertRule]:
    found = AlertRule.objects.filter(pk__in=set(ids), enabled=True)
    return {rule.pk: rule for rule in found.select_for_update(no_key=True).order_by("pk")}


def _locked_states(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, RuleState]:
    locked = RuleState.objects.filter(pk__in=ids).select_for_update(no_key=True).order_by("pk")
    return {state.pk: state for state in locked}


def _remember(state: RuleState, turn: Turn) -> None:
    state.errors_in_row = _errors(state, turn.result)
    state.health = turn.result.judged.health
    _write(state, turn.step.memory)


def _write(state: RuleState, memory: Memory) -> None:
    state.state, state.since = memory.state, memory.since
    state.notified_at, state.told = memory.notified_at, memory.told
    state.revision += 1


def _errors(state: RuleState, result: Result) -> int:
    if result.judged.health != Health.ERROR:
        return 0
    # Not counted on: each would be a row written for nothing.
    return min(state.errors_in_row + 1, ERRORS_TOLD)


def _tell(rule: AlertRule, turn: Turn, alert: Alert | None, at: datetime, now: datetime) -> None:
    """Open or close the episode and announce what is to be told."""
    step, result = turn.step, turn.result
    if step.began:
        alert = _opened(rule, turn, at)
    if alert is not None and step.ended:
        _close(alert, "recovered", at)
    if alert is not None and step.notice is not None:
        if step.notice is not Notice.RESOLVED:
            AlertRule.objects.filter(pk=rule.pk).update(
                trigger_count=F("trigger_count") + 1, last_triggered_at=at
            )
            Alert.objects.filter(pk=alert.pk).update(notices=F("notices") + 1)
        announcements.of_episode(
            rule,
            alert,
            step.notice,
            value=result.judged.value,
            samples=result.samples,
            at=at,
            now=now,
        )
    before = turn.state.errors_in_row if turn.state else 0
    if result.error and before == ERRORS_TOLD - 1:
        announcements.of_error(rule, result.error, at=at, now=now)


def _opened(rule: AlertRule, turn: Turn, at: datetime) -> Alert:
    value = turn.result.judged.value
    shown = None if value is None else float(value)
    alert = Alert(
        project_id=rule.project_id,
        user_id=rule.user_id,
        rule=rule,
        group=turn.result.group,
        severity=rule.severity,
        started_at=at,
        first_value=shown,
        last_value=shown,
        peak_value=shown,
        samples=turn.result.samples,
    )
    alert.save(force_insert=True)
    return alert


def _close(alert: Alert, resolution: str, at: datetime, actor: Actor | None = None) -> bool:
    moved = Alert.objects.filter(pk=alert.pk).move(
        AlertStatus.RESOLVED,
        resolved_at=max(at, alert.started_at),
        resolution=resolution,
        resolved_by=actor.user if actor else None,
    )
    if moved:
        alert.status, alert.resolved_at = AlertStatus.RESOLVED, max(at, alert.started_at)
    return bool(moved)


def _peak(turn: Turn, before: float | None) -> float:
    """Return the value furthest beyond the threshold."""
    value = float(turn.result.judged.value or 0)
    if before is None:
        return value
    watch = turn.result.watch
    match watch.comparison_operator:
        case "<" | "<=":
            return min(before, value)
        case ">" | ">=":
            return max(before, value)
        case _:
            limit = float(watch.threshold_value)
            return max(before, value, key=lambda found: abs(found - limit))

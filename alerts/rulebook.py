"""Alert rules: made, changed and deleted, and refused where they make no sense."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict, Invalid
from access.models import AuditEvent, Membership
from alerts import announcements, episodes, history, rollups, rules
from alerts.rule_models import (
    Aggregation,
    AlertRule,
    Comparison,
    GroupBy,
    Metric,
    RuleState,
    RuleStatus,
)
from alerts.rules import Policy
from alerts.windows import OTHER, PERCENTILES, Group

# Longer windows would need more single values than a minute's evaluation should read.
LONGEST_PERCENTILE_MINUTES = 60
# From how many samples on a percentile means something: 1 - p ** n >= 0.95.
SUGGESTED_SAMPLES = {Aggregation.P50: 5, Aggregation.P95: 59, Aggregation.P99: 299}
_EXACT = frozenset({Metric.COST})
_COUNTED = frozenset({Metric.ERROR_RATE, Metric.THROUGHPUT})
# Of each call, or of each minute, these are whole numbers.
_WHOLE = _COUNTED | {Metric.TOKEN_USAGE, Metric.ANOMALY_SEVERITY}
_SENSIBLE = (Aggregation.AVG, Aggregation.COUNT, Aggregation.SUM)
# What makes a rule another one: where it stood says nothing of where it stands then.
_IDENTITY = frozenset(
    {
        *("metric_type", "aggregation_method", "model_filter", "operation_filter"),
        *("status_filter", "source_filter", "group_by"),
    }
)
_NOT_OF_ANOMALIES = ("operation_filter", "status_filter")
PAUSED_ALL = "Paused with all others by pause_all. Take it back with resume_all."
# What it takes for each way to notify to reach anybody.
_TAKES = {
    "notify_email": "a mail address of its author or a mail channel",
    "notify_webhooks": "a webhook channel",
    "notify_integrations": "a chat channel",
}
# A little more than the longest window: what that still holds is not silent.
_SILENT_GROUPS = timedelta(days=1, minutes=5)


def create(actor: Actor, *, now: datetime, **fields: Any) -> AlertRule:
    """Make a rule in the actor's project; it is looked at from the next minute on.

    Raises:
        Invalid: a field breaks a rule, the combination makes no sense, or the name is taken.
    """
    rule = AlertRule(project=actor.project, user=actor.user, watched_from=now)
    _assign(rule, fields)
    _save(rule)
    audit.record(actor, "alert_rule.created", rule)
    return rule


def change(actor: Actor, rule: AlertRule, *, now: datetime, **fields: Any) -> AlertRule:
    """Change the given fields. Where it watches something else from now on, it starts anew."""
    with transaction.atomic():
        rule = rows.locked(rule)
        changed = {name for name, value in fields.items() if getattr(rule, name) != value}
        was_enabled = rule.enabled
        _assign(rule, fields)
        if was_enabled and not rule.enabled:
            episodes.abandon([rule], "rule_disabled", now=now)
        elif changed & _IDENTITY:
            episodes.abandon([rule], "rule_changed", now=now)
        if rule.enabled and not was_enabled:
            rule.watched_from, rule.pause_reason = now, ""
        _save(rule)
        audit.record(actor, "alert_rule.changed", rule, {"fields": sorted(fields)})
    return rule


def delete(actor: Actor, rule: AlertRule) -> None:
    """Delete a rule with its history and its alerts."""
    with transaction.atomic():
        rule = rows.locked(rule)
        audit.record(actor, "alert_rule.deleted", rule)
        history.forget(rule)
        rule.delete()


def pause_all(*, now: datetime) -> int:
    """Switch every enabled rule off until `resume_all`, and return how many they were.

    As when one is disabled: its episodes end without a word.
    """
    with transaction.atomic():
        found = list(AlertRule.objects.filter(enabled=True).select_for_update().order_by("pk"))
        AlertRule.objects.filter(pk__in=[rule.pk for rule in found]).update(
            enabled=False, pause_reason=PAUSED_ALL, updated_at=now
        )
        episodes.abandon(found, "rule_disabled", now=now)
        _note(found, "alert_rule.paused")
    return len(found)


def resume_all(*, now: datetime) -> int:
    """Switch on what `pause_all` switched off: looked at anew, from the next minute on."""
    with transaction.atomic():
        paused = AlertRule.objects.filter(enabled=False, pause_reason=PAUSED_ALL)
        found = list(paused.select_for_update().order_by("pk"))
        AlertRule.objects.filter(pk__in=[rule.pk for rule in found]).update(
            enabled=True, pause_reason="", watched_from=now, updated_at=now
        )
        _note(found, "alert_rule.resumed")
    return len(found)


def _note(rules: Iterable[AlertRule], action: str) -> None:
    """Leave a trail for what the operator's command line did."""
    AuditEvent.objects.bulk_create(
        AuditEvent(
            project_id=rule.project_id,
            user_id=rule.user_id,
            via="service",
            action=action,
            object_type="alertrule",
            object_id=str(rule.pk),
            object_name=rule.rule_name,
        )
        for rule in rules
    )


def send_test(actor: Actor, rule: AlertRule, *, now: datetime) -> None:
    """Send what the rule would send, marked as a test, to whom it would go.

    Raises:
        Conflict: it would go nowhere.
    """
    if not announcements.through(rule):
        raise Conflict("This rule tells nobody. Switch on one of its ways to notify.")
    with transaction.atomic():
        if not announcements.of_test(rule, now=now):
            wanted = " or ".join(words for name, words in _TAKES.items() if getattr(rule, name))
            raise Conflict(
                f"Nobody would be told. It takes {wanted}, enabled, and not muted in the "
                "preferences of the rule's author."
            )
        audit.record(actor, "alert_rule.tested", rule)


def standing(states: Sequence[RuleState]) -> tuple[str, str]:
    """Return the state and the health of a rule: the worst of its groups'."""
    order = [RuleStatus.INACTIVE, RuleStatus.PENDING, RuleStatus.RECOVERING, RuleStatus.FIRING]
    healths = ["ok", "no_data", "insufficient", "error"]
    state = max((RuleStatus(one.state) for one in states), key=order.index, default=order[0])
    health = max((one.health for one in states), key=healths.index, default="ok")
    return str(state), str(health)


def suggested_samples(rule: AlertRule) -> int:
    """Return the least `min_samples` from which the aggregation means something."""
    return SUGGESTED_SAMPLES.get(Aggregation(rule.aggregation_method), 1)


def with_authors(rules: QuerySet[AlertRule]) -> QuerySet[AlertRule]:
    """Return the rules with what `warnings` would otherwise ask of each one's author."""
    return rules.annotate(author_is_there=Exists(_authors(OuterRef("project"), OuterRef("user"))))


def _has_lost_its_author(rule: AlertRule) -> bool:
    there = getattr(rule, "author_is_there", None)
    return not (_authors(rule.project_id, rule.user_id).exists() if there is None else there)


def _authors(project: Any, user: Any) -> QuerySet[Membership]:
    return Membership.objects.filter(project=project, user=user, user__is_active=True)


def warnings(rule: AlertRule) -> list[str]:
    """Return what is allowed and yet perhaps not meant, in sentences."""
    found = []
    floating = rule.metric_type not in _EXACT and not _is_whole(rule)
    if rule.notify_email and _has_lost_its_author(rule):
        found.append(
            "Its author is no longer a member of the project: mails go to the project's admins."
        )
    equality = rule.comparison_operator in {Comparison.EQUAL, Comparison.UNEQUAL}
    if equality and floating and not rule.tolerance:
        found.append("Measured values are hardly ever equal to a number. Set a tolerance.")
    suggested = suggested_samples(rule)
    if rule.min_samples < suggested:
        found.append(
            f"A {rule.aggregation_method} of fewer than {suggested} samples says little. "
            f"Set min_samples to {suggested} or more."
        )
    return found


def _is_whole(rule: AlertRule) -> bool:
    """Whether its values are whole numbers."""
    whole = {Aggregation.SUM, Aggregation.MAX, Aggregation.MIN}
    counted = rule.metric_type in _WHOLE and rule.aggregation_method in whole
    return counted or rule.aggregation_method == Aggregation.COUNT


def forget_groups(now: datetime) -> int:
    """End and forget the groups of which nothing was heard for a day, wherever they stand."""
    known: dict[uuid.UUID, dict[uuid.UUID, set[str]]] = {}
    states = RuleState.objects.filter(group__gt="")
    for project_id, rule_id, group in states.values_list("project_id", "rule_id", "group"):
        known.setdefault(project_id, {}).setdefault(rule_id, set()).add(group)
    forgotten = 0
    for project_id, groups in known.items():
        heard = rollups.heard_of(project_id, since=now - _SILENT_GROUPS)
        # Who was put together with others may be among them.
        if any(one.model == OTHER for one in heard):
            continue
        for rule in AlertRule.objects.filter(pk__in=groups):
            silent = groups[rule.pk] - _groups_among(rule, heard)
            if silent:
                forgotten += episodes.forget(rule, silent, now=now)
    return forgotten


def _groups_among(rule: AlertRule, heard: Iterable[Group]) -> set[str]:
    """Return the names of the rule's groups among what was heard of."""
    wanted = history.filters(rule)
    if rule.metric_type == Metric.ANOMALY_SEVERITY:
        # Anomalies are of a model, wherever its calls came from.
        wanted.pop("source", None)
    return {
        getattr(one, rule.group_by)
        for one in heard
        if rule.group_by and all(getattr(one, name) == value for name, value in wanted.items())
    }


def _assign(rule: AlertRule, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        setattr(rule, name, value)
    complaints: dict[str, list[str]] = {}
    for name, sentence in _flaws(rule):
        complaints.setdefault(name, []).append(sentence)
    if complaints:
        name, (sentence, *_) = next(iter(complaints.items()))
        raise Invalid(f"{name}: {sentence}", complaints)


def _flaws(rule: AlertRule) -> list[tuple[str, str]]:
    found = []
    metric, aggregation = Metric(rule.metric_type), Aggregation(rule.aggregation_method)
    if metric in _COUNTED and aggregation not in _SENSIBLE:
        names = ", ".join(_SENSIBLE)
        found.append(("aggregation_method", f"For {metric} this is one of: {names}."))
    if metric is Metric.ERROR_RATE and rule.status_filter:
        found.append(("status_filter", "An error rate needs both successes and errors."))
    if metric is Metric.ANOMALY_SEVERITY:
        sentence = "Anomalies are found by model: this has no meaning for them."
        found += [(name, sentence) for name in _NOT_OF_ANOMALIES if getattr(rule, name)]
        if rule.group_by == GroupBy.OPERATION:
            found.append(("group_by", "Anomalies are found by model: group by that or not at all."))
    if aggregation in PERCENTILES and rule.time_window_minutes > LONGEST_PERCENTILE_MINUTES:
        sentence = f"For percentiles this is at most {LONGEST_PERCENTILE_MINUTES}."
        found.append(("time_window_minutes", sentence))
    if rule.recovery_threshold is not None:
        found += _recovery_flaws(rule, rule.recovery_threshold)
    if rule.tolerance < 0:
        found.append(("tolerance", "This is 0 or more."))
    return found


def _recovery_flaws(rule: AlertRule, recovery: Decimal) -> list[tuple[str, str]]:
    if rule.comparison_operator in {Comparison.EQUAL, Comparison.UNEQUAL}:
        return [("recovery_threshold", f"This has no meaning with {rule.comparison_operator}.")]
    policy = Policy(rule.comparison_operator, rule.threshold_value)
    if rules.compare(policy, recovery) is rules.Finding.BREACH:
        sentence = f"A value of {float(recovery):g} is itself a breach. Choose a safe one."
        return [("recovery_threshold", sentence)]
    return []


def _save(rule: AlertRule) -> None:
    try:
        with transaction.atomic():
            rule.save(force_update=not rule._state.adding)
    except IntegrityError as error:
        if "one_rule_of_a_name" not in str(error):
            raise
        sentence = "A rule of this project has this name already."
        raise Invalid.field("rule_name", sentence) from None

"""What rules tell people, in words that say what fires and what to do."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import urlencode

from access.models import User
from alerts import notifications, rules
from alerts.models import INTEGRATIONS, AlertType, ChannelKind
from alerts.notifications import Happening
from alerts.rule_models import Alert, AlertRule, Comparison, Metric, SourceFilter
from alerts.rules import Finding, Notice, Policy
from alerts.trace_models import Anomaly
from alerts.windows import Value

_TYPES = {
    Metric.LATENCY: AlertType.TRACE_LATENCY_HIGH,
    Metric.ERROR_RATE: AlertType.TRACE_ERROR_RATE_HIGH,
    Metric.COST: AlertType.TRACE_COST_HIGH,
    Metric.THROUGHPUT: AlertType.TRACE_THROUGHPUT_LOW,
    Metric.TTFT: AlertType.TRACE_TTFT_HIGH,
    Metric.TOKEN_USAGE: AlertType.TOKEN_USAGE_HIGH,
}
_NAMES = {
    Metric.LATENCY: "Latency",
    Metric.ERROR_RATE: "Error rate",
    Metric.COST: "Cost",
    Metric.THROUGHPUT: "Throughput",
    Metric.TTFT: "Time to first token",
    Metric.TOKEN_USAGE: "Token usage",
    Metric.ANOMALY_SEVERITY: "Anomaly severity",
}
_UNITS = {
    Metric.LATENCY: " ms",
    Metric.ERROR_RATE: " %",
    Metric.COST: "$",
    Metric.THROUGHPUT: " a minute",
    Metric.TTFT: " ms",
    Metric.TOKEN_USAGE: " tokens",
    Metric.ANOMALY_SEVERITY: "",
}
# What every call has; the others hold only calls that reported it.
_OF_ALL_CALLS = frozenset({Metric.LATENCY, Metric.ERROR_RATE, Metric.THROUGHPUT})
# How an episode ends of which no minute said that it is over.
BY_HAND = "by_hand"
SILENT = "group_silent"
_OUR_WORDS = {
    Notice.FIRING: "Firing",
    Notice.AGAIN: "Still firing",
    Notice.RESOLVED: "Resolved",
}


class _Found(NamedTuple):
    what: str
    what_to_do: str


def amount(rule: AlertRule, value: Value | None) -> str:
    """Return a value of the rule's metric with its unit, as a person reads it."""
    if value is None:
        return "no data"
    metric, counts = Metric(rule.metric_type), rule.aggregation_method == "count"
    if metric is Metric.COST and not counts:
        return f"${_number(Decimal(str(value)), 6)}"
    return _number(Decimal(str(value)), 2) + unit(rule)


def unit(rule: AlertRule) -> str:
    """Return what stands behind a value of the rule's metric; "$" stands before it."""
    metric = Metric(rule.metric_type)
    counted = metric in {Metric.ERROR_RATE, Metric.THROUGHPUT} and _summed(rule)
    if counted or rule.aggregation_method == "count":
        return ""
    return _UNITS[metric]


def condition(rule: AlertRule) -> str:
    """Return the rule's condition: "p95 of latency > 500 ms over 5 min"."""
    threshold = amount(rule, rule.threshold_value)
    return (
        f"{rule.aggregation_method} of {_name(rule)} "
        f"{rule.comparison_operator} {threshold} over {rule.time_window_minutes} min"
    )


def measured(rule: AlertRule, value: Value | None, samples: int) -> str:
    """Return what a minute found: "p95 latency 2,300 ms > 1,000 ms over 5 minutes, 420 samples".

    The threshold is left out of a value that is not beyond it: a rule with a recovery threshold
    fires on until that is reached.
    """
    threshold = amount(rule, rule.threshold_value)
    what = f"{rule.aggregation_method} {_name(rule)}"
    beyond = f" {rule.comparison_operator} {threshold}" if _breached(rule, value) else ""
    return (
        f"{what} {_apart(rule, value)}{beyond} "
        f"over {_counted(rule.time_window_minutes, 'minute')}, {_counted(samples, 'sample')}"
    )


def of_episode(
    rule: AlertRule,
    alert: Alert,
    notice: Notice,
    *,
    value: Value | None,
    samples: int,
    at: datetime,
    now: datetime,
) -> None:
    """Tell of an episode's beginning, of its going on, or of its end. Once for each minute."""
    what = _NAMES[Metric(rule.metric_type)]
    group = f" ({alert.group})" if alert.group else ""
    _announce(
        rule,
        Happening(
            alert_type=_type(rule, max(float(value or 0), alert.peak_value or 0)),
            key=f"{alert.pk} {notice} {at:%Y-%m-%dT%H:%M}",
            subject=f"{_OUR_WORDS[notice]}: {rule.rule_name}{group}: {_briefly(rule, value)}",
            summary=_summary(rule, alert, notice, _found(rule, alert, value, samples), at),
            facts=[
                ("Metric", what),
                ("Current value", _apart(rule, value)),
                ("Threshold", f"{rule.comparison_operator} {amount(rule, rule.threshold_value)}"),
                ("Aggregation", rule.aggregation_method),
                ("Time window", f"{rule.time_window_minutes} min until {at:%Y-%m-%d %H:%M} UTC"),
                *_sample_count(alert, samples),
                *_filters(rule, alert),
                *(_of_the_end(rule, alert) if notice is Notice.RESOLVED else ()),
            ],
            path=f"/admin/alerts/alert/{alert.pk}/change/",
            links=_links(alert, notice),
            episode=str(alert.pk),
            notice=str(notice),
            through=through(rule),
        ),
        now,
    )


def of_error(rule: AlertRule, error: str, *, at: datetime, now: datetime) -> None:
    """Tell that a rule could not be evaluated three times in a row."""
    what = Happening(
        alert_type=AlertType.RULE_ERROR,
        key=f"{rule.pk} {at:%Y-%m-%dT%H:%M}",
        subject=f"Rule cannot be evaluated: {rule.rule_name}",
        summary=f"{error} Until that is put right the rule keeps its state and watches nothing.",
        facts=[("Rule", rule.rule_name), ("Condition", condition(rule))],
        path=f"/admin/alerts/alertrule/{rule.pk}/change/",
        through=through(rule),
    )
    _announce(rule, what, now)


def of_test(rule: AlertRule, *, now: datetime) -> int:
    """Send what the rule would send, marked as a test; return to how many."""
    what = Happening(
        alert_type=_type(rule),
        key=f"test {rule.pk} {now.isoformat()}",
        subject=f"Test: {rule.rule_name}",
        summary="This is a test of the rule's notifications. Nothing is wrong.",
        facts=[("Rule", rule.rule_name), ("Condition", condition(rule))],
        path=f"/admin/alerts/alertrule/{rule.pk}/change/",
        through=through(rule),
    )
    return _announce(rule, what, now)


def _type(rule: AlertRule, worst: float = 0) -> AlertType:
    """Return the type of what a rule tells; `worst` is the highest value of the episode."""
    metric = Metric(rule.metric_type)
    if metric is not Metric.ANOMALY_SEVERITY:
        return _TYPES[metric]
    critical = worst >= Anomaly.Severity.CRITICAL
    return AlertType.ANOMALY_CRITICAL if critical else AlertType.ANOMALY_HIGH


def through(rule: AlertRule) -> frozenset[ChannelKind]:
    """Return the kinds of channels that the rule's notices go out by; none: nobody is told."""
    mail = {ChannelKind.EMAIL} if rule.notify_email else set()
    webhooks = {ChannelKind.WEBHOOK} if rule.notify_webhooks else set()
    return frozenset(mail | webhooks | (INTEGRATIONS if rule.notify_integrations else set()))


def _announce(rule: AlertRule, what: Happening, now: datetime) -> int:
    if not what.through:
        return 0
    # The API may not read all of a person's row.
    author = User.objects.only("id", "email", "is_active").get(pk=rule.user_id)
    return notifications.announce(rule.project_id, author, what, now=now)


def _summed(rule: AlertRule) -> bool:
    return rule.aggregation_method == "sum"


def _breached(rule: AlertRule, value: Value | None) -> bool:
    policy = Policy(rule.comparison_operator, rule.threshold_value, tolerance=rule.tolerance)
    return value is not None and rules.compare(policy, value) is Finding.BREACH


def _apart(rule: AlertRule, value: Value | None) -> str:
    """Return the value; one that only looks like the threshold, as it is rounded, says so."""
    shown, limit = amount(rule, value), rule.threshold_value
    strict = rule.comparison_operator in {Comparison.ABOVE, Comparison.BELOW, Comparison.UNEQUAL}
    if value is None or not strict or shown != amount(rule, limit):
        return shown
    difference = value - limit if isinstance(value, Decimal) else value - float(limit)
    if not difference:
        return shown
    return f"just {'over' if difference > 0 else 'under'} {shown}"


def _briefly(rule: AlertRule, value: Value | None) -> str:
    if value is None:
        return f"no data for {_counted(rule.time_window_minutes, 'minute')}"
    threshold = amount(rule, rule.threshold_value)
    return f"{_apart(rule, value)} (threshold {rule.comparison_operator} {threshold})"


def _found(rule: AlertRule, alert: Alert, value: Value | None, samples: int) -> _Found:
    """Return what a minute found; of an empty one, whose calls there were none of."""
    if samples:
        return _Found(measured(rule, value, samples), "Look at the calls of that time.")
    what_to_do = "Check whether the program still runs and reports."
    if value is not None:
        return _Found(measured(rule, value, samples), what_to_do)
    apart = {rule.group_by: alert.group}
    model = apart.get("model") or rule.model_filter
    operation = apart.get("operation") or rule.operation_filter
    calls = (
        "No calls",
        f" of {model}" if model else "",
        f" ({operation})" if operation else "",
        f" with status {rule.status_filter}" if rule.status_filter else "",
        "" if rule.metric_type in _OF_ALL_CALLS else f" with a {_name(rule)}",
        f" for {_counted(rule.time_window_minutes, 'minute')}",
    )
    return _Found("".join(calls), what_to_do)


def _summary(rule: AlertRule, alert: Alert, notice: Notice, found: _Found, at: datetime) -> str:
    lasted = _length(at - alert.started_at)
    if notice is Notice.RESOLVED:
        if alert.resolution == BY_HAND:
            return f"Somebody ended it after {lasted}. What still holds begins another one."
        if alert.resolution == SILENT:
            return (
                f"It is over, after {lasted}: nothing was heard of {alert.group} for a day. "
                "It is watched again from its next call on."
            )
        return f"It is over, after {lasted}: {found.what}."
    if notice is Notice.AGAIN:
        return (
            f"{found.what}. It has fired for {lasted}. "
            "Acknowledge it to hear no more until it ends."
        )
    since = "" if at == alert.started_at else f" It has fired for {lasted}."
    return (
        f"{found.what}.{since} {found.what_to_do} Who looks after it acknowledges it; "
        "then nobody is told again until it ends."
    )


def _links(alert: Alert, notice: Notice) -> list[tuple[str, str]]:
    if notice is Notice.RESOLVED:
        return []
    project = urlencode({"project": str(alert.project_id)})
    return [("Acknowledge", f"/alerts/{alert.pk}/acknowledge?{project}")]


def _sample_count(alert: Alert, samples: int) -> list[tuple[str, str]]:
    measured = alert.resolution not in {BY_HAND, SILENT}
    return [("Sample count", f"{samples:,}")] if measured else []


def _filters(rule: AlertRule, alert: Alert) -> list[tuple[str, str]]:
    given = [
        ("Model", rule.model_filter),
        ("Operation", rule.operation_filter),
        ("Status", rule.status_filter),
        ("Source", "" if rule.source_filter == SourceFilter.INGEST else rule.source_filter),
        (rule.group_by.capitalize(), alert.group),
    ]
    return [(name, value) for name, value in given if value]


def _of_the_end(rule: AlertRule, alert: Alert) -> list[tuple[str, str]]:
    assert alert.resolved_at is not None
    return [
        ("Duration", _length(alert.resolved_at - alert.started_at)),
        ("Peak", amount(rule, alert.peak_value)),
        ("Samples in all", f"{alert.samples:,}"),
    ]


def _name(rule: AlertRule) -> str:
    return _NAMES[Metric(rule.metric_type)].lower()


def _number(value: Decimal, places: int) -> str:
    """Return it with at most so many places; what would be 0 then keeps its first digits."""
    if value and abs(value) < Decimal(10) ** -places:
        places = 12
    return f"{value:,.{places}f}".rstrip("0").rstrip(".")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _length(length: timedelta) -> str:
    minutes = length // timedelta(minutes=1)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"

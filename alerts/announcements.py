"""What rules tell people, in words that say what fires and what to do."""

from datetime import datetime, timedelta
from decimal import Decimal

from access.models import User
from alerts import notifications
from alerts.channels import wording
from alerts.models import INTEGRATIONS, AlertType, ChannelKind
from alerts.notifications import Happening
from alerts.rule_models import Alert, AlertRule, Metric
from alerts.rules import Notice
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
}
_UNITS = {
    Metric.LATENCY: " ms",
    Metric.ERROR_RATE: " %",
    Metric.COST: "$",
    Metric.THROUGHPUT: " a minute",
    Metric.TTFT: " ms",
    Metric.TOKEN_USAGE: " tokens",
}
_OUR_WORDS = {
    Notice.FIRING: "Firing",
    Notice.AGAIN: "Still firing",
    Notice.RESOLVED: wording.RESOLVED,
}


def amount(rule: AlertRule, value: Value | None) -> str:
    """Return a value of the rule's metric with its unit, as a person reads it."""
    if value is None:
        return "no data"
    metric, counts = Metric(rule.metric_type), rule.aggregation_method == "count"
    if metric is Metric.COST and not counts:
        text = f"{Decimal(str(value)):,.6f}".rstrip("0").rstrip(".")
        return f"${text or 0}"
    text = f"{float(value):,.2f}".rstrip("0").rstrip(".")
    return text + unit(rule)


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
        f"{rule.aggregation_method} of {_NAMES[Metric(rule.metric_type)].lower()} "
        f"{rule.comparison_operator} {threshold} over {rule.time_window_minutes} min"
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
    subject = (
        f"{_OUR_WORDS[notice]}: {rule.rule_name}{group}: {amount(rule, value)} "
        f"(threshold {rule.comparison_operator} {amount(rule, rule.threshold_value)})"
    )
    _announce(
        rule,
        Happening(
            alert_type=_TYPES[Metric(rule.metric_type)],
            key=f"{alert.pk} {notice} {at:%Y-%m-%dT%H:%M}",
            subject=subject,
            summary=_summary(rule, alert, notice, at),
            facts=[
                ("Metric", what),
                ("Current value", amount(rule, value)),
                ("Threshold", f"{rule.comparison_operator} {amount(rule, rule.threshold_value)}"),
                ("Aggregation", rule.aggregation_method),
                ("Time window", f"{rule.time_window_minutes} min until {at:%Y-%m-%d %H:%M} UTC"),
                ("Sample count", f"{samples:,}"),
                *_filters(rule, alert),
                *(_of_the_end(rule, alert) if notice is Notice.RESOLVED else ()),
            ],
            path=f"/admin/alerts/alert/{alert.pk}/change/",
            episode=str(alert.pk),
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


def of_test(rule: AlertRule, *, now: datetime) -> None:
    """Send what the rule would send, marked as a test."""
    what = Happening(
        alert_type=_TYPES[Metric(rule.metric_type)],
        key=f"test {rule.pk} {now.isoformat()}",
        subject=f"Test: {rule.rule_name}",
        summary="This is a test of the rule's notifications. Nothing is wrong.",
        facts=[("Rule", rule.rule_name), ("Condition", condition(rule))],
        path=f"/admin/alerts/alertrule/{rule.pk}/change/",
        through=through(rule),
    )
    _announce(rule, what, now)


def through(rule: AlertRule) -> frozenset[ChannelKind]:
    """Return the kinds of channels that the rule's notices go out by; none: nobody is told."""
    mail = {ChannelKind.EMAIL} if rule.notify_email else set()
    webhooks = {ChannelKind.WEBHOOK} if rule.notify_webhooks else set()
    return frozenset(mail | webhooks | (INTEGRATIONS if rule.notify_integrations else set()))


def _announce(rule: AlertRule, what: Happening, now: datetime) -> None:
    if what.through:
        # The API may not read all of a person's row.
        author = User.objects.only("id", "email", "is_active").get(pk=rule.user_id)
        notifications.announce(rule.project_id, author, what, now=now)


def _summed(rule: AlertRule) -> bool:
    return rule.aggregation_method == "sum"


def _summary(rule: AlertRule, alert: Alert, notice: Notice, at: datetime) -> str:
    lasted = _length(at - alert.started_at)
    if notice is Notice.RESOLVED:
        return f"{condition(rule)} no longer holds. It lasted {lasted}."
    if notice is Notice.AGAIN:
        return f"{condition(rule)} still holds, for {lasted} now. Acknowledge it to hear no more."
    since = "" if at == alert.started_at else f" It has for {lasted}."
    return f"{condition(rule)} holds.{since} Look at what it watches, then acknowledge it."


def _filters(rule: AlertRule, alert: Alert) -> list[tuple[str, str]]:
    given = [
        ("Model", rule.model_filter),
        ("Operation", rule.operation_filter),
        ("Status", rule.status_filter),
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


def _length(length: timedelta) -> str:
    minutes = length // timedelta(minutes=1)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"

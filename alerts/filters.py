"""What lists can be narrowed by."""

import django_filters

from access.api.filters import Instant, YesOrNo
from alerts.models import (
    OFFERED,
    Alert,
    AlertRule,
    AttemptOutcome,
    Channel,
    ChannelKind,
    Notification,
    NotificationStatus,
    Trace,
)
from alerts.rule_models import AlertStatus, Metric, Severity
from alerts.trace_models import TraceSource, TraceStatus


class TraceFilter(django_filters.FilterSet):
    model = django_filters.CharFilter(max_length=200)
    operation = django_filters.CharFilter(max_length=128)
    status = django_filters.ChoiceFilter(choices=TraceStatus.choices)
    source = django_filters.ChoiceFilter(choices=TraceSource.choices)
    trace_id = django_filters.CharFilter(max_length=64)
    # Half-open, by the spans' end.
    start = Instant(field_name="ended_at", lookup_expr="gte")
    end = Instant(field_name="ended_at", lookup_expr="lt")

    class Meta:
        model = Trace
        fields: list[str] = []


class AlertRuleFilter(django_filters.FilterSet):
    enabled = YesOrNo()
    metric_type = django_filters.ChoiceFilter(choices=Metric.choices)
    severity = django_filters.ChoiceFilter(choices=Severity.choices)

    class Meta:
        model = AlertRule
        fields: list[str] = []


class AlertFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=AlertStatus.choices)
    severity = django_filters.ChoiceFilter(choices=Severity.choices)
    rule_id = django_filters.UUIDFilter()
    acknowledged = YesOrNo(field_name="acknowledged_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Alert
        fields: list[str] = []


class ChannelFilter(django_filters.FilterSet):
    kind = django_filters.ChoiceFilter(choices=ChannelKind.choices)
    enabled = YesOrNo()

    class Meta:
        model = Channel
        fields: list[str] = []


class NotificationFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=NotificationStatus.choices)
    kind = django_filters.ChoiceFilter(choices=ChannelKind.choices)
    channel_id = django_filters.UUIDFilter()
    event_id = django_filters.UUIDFilter()
    alert_type = django_filters.ChoiceFilter(field_name="event__alert_type", choices=OFFERED)
    # Those with an attempt that ended so.
    outcome = django_filters.ChoiceFilter(
        field_name="history__outcome", choices=AttemptOutcome.choices, distinct=True
    )

    class Meta:
        model = Notification
        fields: list[str] = []

"""The API's shapes of traces, rules and alerts."""

import math
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from access.api.serializers import OwnedSerializer, StrictModelSerializer, StrictSerializer
from alerts import previews, rulebook
from alerts.models import Alert, AlertRule, Trace
from alerts.rule_models import EvaluationPass, Health, RuleStatus
from alerts.trace_models import TraceStatus


class TraceSerializer(StrictModelSerializer):
    id = serializers.IntegerField(read_only=True)
    project_id = serializers.UUIDField(read_only=True)
    user_id = serializers.UUIDField(read_only=True)
    attributes = serializers.JSONField(read_only=True)

    class Meta:
        model = Trace
        fields = (
            "id",
            "project_id",
            "user_id",
            "created_at",
            "source",
            "trace_id",
            "span_id",
            "parent_span_id",
            "span_name",
            "operation",
            "model",
            "model_requested",
            "provider",
            "status",
            "error_type",
            "latency_ms",
            "ttft_ms",
            "input_tokens",
            "cached_tokens",
            "output_tokens",
            "total_tokens",
            "cost",
            "cost_source",
            "started_at",
            "ended_at",
            "attributes",
        )
        read_only_fields = fields


class ReportSerializer(serializers.Serializer[Any]):
    """One span as a program reports it; only described here, `reports.span` reads it."""

    span_name = serializers.CharField(max_length=256)
    latency_ms = serializers.FloatField(min_value=0, required=False)
    status = serializers.ChoiceField(choices=TraceStatus.choices)
    operation = serializers.CharField(max_length=128, required=False)
    model = serializers.CharField(max_length=200, required=False)
    provider = serializers.CharField(max_length=100, required=False)
    error_type = serializers.CharField(max_length=200, required=False)
    ttft_ms = serializers.FloatField(min_value=0, required=False)
    input_tokens = serializers.IntegerField(min_value=0, required=False)
    cached_tokens = serializers.IntegerField(min_value=0, required=False)
    output_tokens = serializers.IntegerField(min_value=0, required=False)
    total_tokens = serializers.IntegerField(min_value=0, required=False)
    cost = serializers.DecimalField(max_digits=18, decimal_places=12, required=False)
    started_at = serializers.DateTimeField(required=False)
    ended_at = serializers.DateTimeField(required=False)
    trace_id = serializers.CharField(max_length=64, required=False)
    span_id = serializers.CharField(max_length=64, required=False)
    parent_span_id = serializers.CharField(max_length=64, required=False)
    attributes = serializers.DictField(required=False)


class RefusedReportSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="Where it stood in the list, from 0.")
    message = serializers.CharField()
    details = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))


class TakenReportsSerializer(serializers.Serializer[Any]):
    accepted = serializers.IntegerField(help_text="Spans sent before count, and are not doubled.")
    rejected = serializers.IntegerField()
    errors: Any = RefusedReportSerializer(many=True)


# What numeric(30, 12) holds, with room to spare.
_MOST = 1e15


class AmountField(serializers.FloatField):
    """A JSON number that is kept exactly as it was written: 0.1 is 0.1."""

    default_error_messages = {"finite": f"This lies between -{_MOST:g} and {_MOST:g}."}

    def to_internal_value(self, data: Any) -> Decimal:  # type: ignore[override]
        value = super().to_internal_value(data)
        if isinstance(data, bool) or not math.isfinite(value) or abs(value) > _MOST:
            self.fail("finite")
        return round(Decimal(repr(value)), 12)


class AlertRuleSerializer(OwnedSerializer):
    threshold_value = AmountField()
    recovery_threshold = AmountField(required=False, allow_null=True)
    tolerance = AmountField(required=False)
    time_window_minutes = serializers.IntegerField(min_value=1, max_value=1440)
    cooldown_minutes = serializers.IntegerField(min_value=0, max_value=525_600, required=False)
    for_minutes = serializers.IntegerField(min_value=0, max_value=10_080, required=False)
    keep_firing_minutes = serializers.IntegerField(min_value=0, max_value=10_080, required=False)
    min_samples = serializers.IntegerField(min_value=0, max_value=1_000_000, required=False)
    status_filter = serializers.ChoiceField(
        choices=TraceStatus.choices, required=False, allow_null=True, allow_blank=True
    )
    group_by = serializers.ChoiceField(
        choices=["model", "operation"], required=False, allow_null=True, allow_blank=True
    )
    no_data_mode = serializers.ChoiceField(
        choices=["zero", "no_data", "alert"], required=False, allow_null=True, allow_blank=True
    )
    model_filter = serializers.CharField(
        max_length=200, required=False, allow_null=True, allow_blank=True
    )
    operation_filter = serializers.CharField(
        max_length=128, required=False, allow_null=True, allow_blank=True
    )
    state = serializers.SerializerMethodField()
    health = serializers.SerializerMethodField()
    suggested_min_samples = serializers.SerializerMethodField()
    warnings = serializers.SerializerMethodField()

    class Meta:
        model = AlertRule
        fields = (
            *OwnedSerializer.Meta.fields,
            "rule_name",
            "description",
            "metric_type",
            "threshold_value",
            "comparison_operator",
            "time_window_minutes",
            "aggregation_method",
            "model_filter",
            "operation_filter",
            "status_filter",
            "source_filter",
            "group_by",
            "notify_email",
            "notify_webhooks",
            "notify_integrations",
            "cooldown_minutes",
            "renotify",
            "for_minutes",
            "keep_firing_minutes",
            "recovery_threshold",
            "tolerance",
            "min_samples",
            "suggested_min_samples",
            "no_data_mode",
            "severity",
            "enabled",
            "state",
            "health",
            "warnings",
            "last_triggered_at",
            "trigger_count",
            "updated_at",
        )
        read_only_fields = ("last_triggered_at", "trigger_count")

    def get_state(self, rule: AlertRule) -> str:
        return rulebook.standing(list(rule.states.all()))[0]

    def get_health(self, rule: AlertRule) -> str:
        return rulebook.standing(list(rule.states.all()))[1]

    def get_suggested_min_samples(self, rule: AlertRule) -> int:
        return rulebook.suggested_samples(rule)

    def get_warnings(self, rule: AlertRule) -> list[str]:
        return rulebook.warnings(rule)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return them as they are kept: texts that say nothing are empty."""
        return attrs | {name: attrs[name] or "" for name in _EMPTY_IS_NULL if name in attrs}

    def to_representation(self, instance: AlertRule) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        return shown | {name: shown[name] or None for name in _EMPTY_IS_NULL}


_EMPTY_IS_NULL = ("model_filter", "operation_filter", "status_filter", "group_by", "no_data_mode")


class EvaluationMetadataSerializer(serializers.Serializer[Any]):
    late_samples = serializers.IntegerField(help_text="Spans that came after it was judged.")
    error_message = serializers.CharField()


class EvaluationSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(help_text="Always the same for a rule, a minute and a group.")
    rule_id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    user_id = serializers.UUIDField()
    group = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=EvaluationPass.Status.choices)
    metric_value = serializers.FloatField(allow_null=True)
    threshold_value = serializers.FloatField(allow_null=True)
    triggered = serializers.BooleanField(allow_null=True)
    state = serializers.ChoiceField(choices=RuleStatus.choices, allow_null=True)
    health = serializers.ChoiceField(choices=Health.choices, allow_null=True)
    time_window_start = serializers.DateTimeField(allow_null=True)
    time_window_end = serializers.DateTimeField()
    sample_count = serializers.IntegerField(allow_null=True)
    metadata = EvaluationMetadataSerializer()
    evaluated_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()


class PreviewRequestSerializer(StrictSerializer):
    minutes = serializers.IntegerField(min_value=1, max_value=previews.LONGEST_MINUTES, default=60)
    end = serializers.DateTimeField(required=False, help_text="Without it: now.")


class ReplayedSerializer(serializers.Serializer[Any]):
    minute = serializers.DateTimeField(help_text="The end of the window.")
    group = serializers.CharField(allow_blank=True)
    metric_value = serializers.FloatField(allow_null=True)
    sample_count = serializers.IntegerField()
    triggered = serializers.BooleanField()
    state = serializers.ChoiceField(choices=RuleStatus.choices)
    health = serializers.ChoiceField(choices=Health.choices)
    notice = serializers.ChoiceField(choices=["firing", "again", "resolved"], allow_null=True)


class NoticesSerializer(serializers.Serializer[Any]):
    firing = serializers.IntegerField()
    again = serializers.IntegerField()
    resolved = serializers.IntegerField()


class PreviewSerializer(serializers.Serializer[Any]):
    notices = NoticesSerializer(help_text="How many of each would have been sent.")
    evaluations = ReplayedSerializer(many=True)


class SentSerializer(serializers.Serializer[Any]):
    sent = serializers.BooleanField()


class AlertSerializer(OwnedSerializer):
    rule_id = serializers.UUIDField(read_only=True)
    rule_name = serializers.CharField(source="rule.rule_name", read_only=True)
    group = serializers.SerializerMethodField()
    resolved_by = serializers.UUIDField(source="resolved_by_id", read_only=True, allow_null=True)
    acknowledged_by = serializers.UUIDField(
        source="acknowledged_by_id", read_only=True, allow_null=True
    )

    class Meta:
        model = Alert
        fields = (
            *OwnedSerializer.Meta.fields,
            "rule_id",
            "rule_name",
            "group",
            "status",
            "severity",
            "started_at",
            "resolved_at",
            "resolution",
            "resolved_by",
            "acknowledged_at",
            "acknowledged_by",
            "first_value",
            "last_value",
            "peak_value",
            "samples",
            "notices",
            "updated_at",
        )
        read_only_fields = fields

    def get_group(self, alert: Alert) -> str | None:
        return alert.group or None

"""The API's shapes of traces, rules and alerts."""

from typing import Any

from rest_framework import serializers

from access.api.serializers import StrictModelSerializer
from alerts.models import Trace


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
    status = serializers.ChoiceField(choices=["success", "error"])
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

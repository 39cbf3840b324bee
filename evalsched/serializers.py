"""The API's shapes of schedules and runs."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.serializers import OwnedSerializer, StrictSerializer
from batches.serializers import BatchConfigSerializer
from evalsched import agenda, forecasts, occurrences, schedules
from evalsched.metrics import THRESHOLD_TOO_SMALL, Metric, RegressionMethod, too_small
from evalsched.models import (
    METHOD_CHOICES,
    METRIC_CHOICES,
    MOST_JITTER_SECONDS,
    LastRunStatus,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
    ScheduleType,
)
from evalsched.occurrences import GAPS, OVERLAPS
from evalsched.pairing import Why
from evalsched.verdicts import Verdict

MOST_SHOWN = 1_000
_OWNED = OwnedSerializer.Meta.fields


class DetectionSerializer(serializers.Serializer[Any]):
    cases = serializers.IntegerField()
    drop = serializers.FloatField(allow_null=True, help_text="Share of the score, 0 to 1.")
    assumed = serializers.BooleanField()
    sentence = serializers.CharField()


class ScheduleSerializer(OwnedSerializer):
    test_suite_id = serializers.UUIDField(source="suite_id")
    test_suite_name = serializers.CharField(source="suite.name", read_only=True)
    model_id = serializers.CharField(
        source="endpoint_id",
        max_length=200,
        required=False,
        help_text=(
            "An endpoint's id, its name, or its unambiguous model; left out where an agent "
            "answers. Answers give the id, of an agent's model too."
        ),
    )
    model_name = serializers.CharField(source="model_endpoint.name", read_only=True)
    agent_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="Instead of model_id: an agent has its own."
    )
    agent_name = serializers.CharField(
        source="agent.name", read_only=True, allow_null=True, default=None
    )
    cron_expression = serializers.CharField(max_length=200, required=False, allow_blank=True)
    timezone = serializers.CharField(max_length=64, required=False)
    dst_gap = serializers.ChoiceField(
        choices=list(GAPS), required=False, allow_null=True, allow_blank=False
    )
    dst_overlap = serializers.ChoiceField(
        choices=list(OVERLAPS), required=False, allow_null=True, allow_blank=False
    )
    jitter_seconds = serializers.IntegerField(
        min_value=0,
        max_value=MOST_JITTER_SECONDS,
        required=False,
        help_text="Starts at most so much later, by always the same, which the id decides.",
    )
    max_runs = serializers.IntegerField(
        min_value=1, max_value=2_147_483_647, required=False, allow_null=True
    )
    pause_reason = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    batch_test_config = BatchConfigSerializer(required=False)
    regression_threshold_percent = serializers.FloatField(
        min_value=0,
        max_value=100,
        required=False,
        help_text=THRESHOLD_TOO_SMALL,
    )
    regression_method = serializers.ChoiceField(choices=METHOD_CHOICES, required=False)
    gated_metrics = serializers.ListField(
        child=serializers.ChoiceField(choices=METRIC_CHOICES),
        min_length=1,
        max_length=len(Metric),
        required=False,
        help_text="Only these can raise a regression; the others are informative.",
    )
    baseline_run_id = serializers.UUIDField(source="baseline_id", read_only=True, allow_null=True)
    detects = serializers.SerializerMethodField()
    last_run_status = serializers.ChoiceField(
        choices=LastRunStatus.choices, read_only=True, allow_null=True
    )
    description_of_times = serializers.SerializerMethodField()
    warnings = serializers.SerializerMethodField()

    class Meta:
        model = Schedule
        fields = (
            *_OWNED,
            "name",
            "description",
            "schedule_type",
            "cron_expression",
            "timezone",
            "dst_gap",
            "dst_overlap",
            "jitter_seconds",
            "starts_at",
            "ends_at",
            "max_runs",
            "runs_made",
            "description_of_times",
            "warnings",
            "test_suite_id",
            "test_suite_name",
            "model_id",
            "model_name",
            "agent_id",
            "agent_name",
            "batch_test_config",
            "is_active",
            "overlap_policy",
            "catchup_policy",
            "catchup_window_minutes",
            "alert_on_failure",
            "alert_on_regression",
            "regression_threshold_percent",
            "regression_method",
            "gated_metrics",
            "baseline_run_id",
            "detects",
            "next_run_at",
            "last_run_at",
            "last_run_status",
            "last_run_id",
            "consecutive_failures",
            "paused_until",
            "pause_reason",
            "updated_at",
        )
        read_only_fields = (
            "runs_made",
            "next_run_at",
            "last_run_at",
            "last_run_id",
            "consecutive_failures",
        )

    def validate_batch_test_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return it as it is kept: JSON has no decimals."""
        money = config.get("max_cost")
        return config if money is None else config | {"max_cost": str(money)}

    def validate_regression_threshold_percent(self, percent: float) -> float:
        if too_small(percent):
            raise serializers.ValidationError(THRESHOLD_TOO_SMALL)
        return percent

    def validate_gated_metrics(self, names: list[str]) -> list[str]:
        """Return each once, in the order in which they are shown."""
        return [metric.value for metric in Metric if metric in names]

    @extend_schema_field(DetectionSerializer)
    def get_detects(self, schedule: Schedule) -> dict[str, Any]:
        return vars(schedules.detection(schedule))

    def get_description_of_times(self, schedule: Schedule) -> str:
        return occurrences.describe(agenda.timing(schedule))

    def get_warnings(self, schedule: Schedule) -> list[str]:
        found = occurrences.warnings(agenda.timing(schedule), self.context["view"].now)
        # In a list it would be a query for each.
        return found if self.parent else found + forecasts.of_schedule(schedule)

    def to_representation(self, instance: Schedule) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        for name in ("dst_gap", "dst_overlap", "last_run_status"):
            shown[name] = shown[name] or None
        return shown | {"model_id": str(instance.model_endpoint.pk)}


class OccurrenceSerializer(serializers.Serializer[Any]):
    scheduled_for = serializers.DateTimeField()
    local = serializers.CharField(help_text="The same on the wall clock of the schedule's zone.")
    note = serializers.CharField(
        allow_null=True, help_text="What a change of the clock has to do with it."
    )


class TimesSerializer(serializers.Serializer[Any]):
    """When a schedule fires, in words and in instants."""

    description = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField())
    occurrences = OccurrenceSerializer(many=True)


class CountSerializer(StrictSerializer):
    count = serializers.IntegerField(min_value=1, max_value=MOST_SHOWN, default=10)


class PreviewSerializer(CountSerializer):
    """What a schedule that is not saved holds about time. Occurrences lie in (after, until]."""

    schedule_type = serializers.ChoiceField(choices=ScheduleType.choices)
    cron_expression = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default=""
    )
    timezone = serializers.CharField(max_length=64, required=False, default="UTC")
    dst_gap = serializers.ChoiceField(choices=list(GAPS), allow_null=True, default=None)
    dst_overlap = serializers.ChoiceField(choices=list(OVERLAPS), allow_null=True, default=None)
    after = serializers.DateTimeField(required=False, help_text="Now, where it is left out.")
    until = serializers.DateTimeField(required=False, allow_null=True, default=None)


class NewBackfillSerializer(StrictSerializer):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField(help_text="Both ends count.")
    dry_run = serializers.BooleanField(default=False)


class BackfillSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(allow_null=True, help_text="Its runs carry it as backfill_id.")
    dry_run = serializers.BooleanField()
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    count = serializers.IntegerField()
    occurrences = OccurrenceSerializer(many=True)


class BaselineSerializer(StrictSerializer):
    run_id = serializers.UUIDField(
        allow_null=True, help_text="A completed run of the schedule; null: the last good one."
    )


class CompareSerializer(StrictSerializer):
    baseline = serializers.UUIDField(help_text="A run's or a batch's id.")
    candidate = serializers.UUIDField(help_text="A run's or a batch's id.")


class MetricVerdictSerializer(serializers.Serializer[Any]):
    """One metric. Estimates are candidate minus baseline, or candidate to baseline as a ratio."""

    verdict = serializers.ChoiceField(choices=[verdict.value for verdict in Verdict])
    gated = serializers.BooleanField()
    regressed = serializers.BooleanField()
    decided_by = serializers.ChoiceField(choices=["statistical", "threshold"])
    sentence = serializers.CharField()
    n = serializers.IntegerField()
    method = serializers.CharField()
    scale = serializers.ChoiceField(choices=["difference", "ratio"])
    clusters = serializers.IntegerField(allow_null=True)
    worse = serializers.IntegerField(allow_null=True)
    better = serializers.IntegerField(allow_null=True)
    baseline = serializers.FloatField(allow_null=True)
    candidate = serializers.FloatField(allow_null=True)
    candidate_interval = serializers.ListField(child=serializers.FloatField(), allow_null=True)
    estimate = serializers.FloatField(allow_null=True)
    interval = serializers.ListField(child=serializers.FloatField(), allow_null=True)
    margin = serializers.FloatField(allow_null=True)
    p = serializers.FloatField(allow_null=True)
    p_adjusted = serializers.FloatField(allow_null=True)
    spread = serializers.FloatField(allow_null=True)
    cases_needed = serializers.IntegerField(allow_null=True)


class MetricVerdictsSerializer(serializers.Serializer[Any]):
    """All of them, or none where there was nothing to compare with."""

    quality = MetricVerdictSerializer(required=False)
    pass_rate = MetricVerdictSerializer(required=False)
    latency = MetricVerdictSerializer(required=False)
    ttft = MetricVerdictSerializer(required=False)
    cost = MetricVerdictSerializer(required=False)


class UnpairedSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    reasons = serializers.DictField(
        child=serializers.IntegerField(),
        help_text=f"Cases by reason: {', '.join(why.value for why in Why)}.",
    )
    keys = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="The first keys of each reason.",
    )


class ComparedSerializer(serializers.Serializer[Any]):
    run_id = serializers.UUIDField(allow_null=True)
    batch_id = serializers.UUIDField()
    model_name = serializers.CharField()
    agent_name = serializers.CharField(
        required=False, allow_blank=True, help_text="Empty where a model answered by itself."
    )
    test_suite_name = serializers.CharField()
    suite_version = serializers.IntegerField()


class ComparisonSerializer(serializers.Serializer[Any]):
    """Two runs or batches compared; a run's `regression_details` is the same object."""

    sentence = serializers.CharField()
    regression_detected = serializers.BooleanField()
    regression_method = serializers.ChoiceField(choices=[each.value for each in RegressionMethod])
    threshold_percent = serializers.FloatField()
    gated_metrics = serializers.ListField(
        child=serializers.ChoiceField(choices=[metric.value for metric in Metric])
    )
    pairs = serializers.IntegerField()
    unpaired = UnpairedSerializer()
    not_comparable = serializers.ListField(child=serializers.CharField())
    metrics = MetricVerdictsSerializer()
    baseline = ComparedSerializer(allow_null=True)
    candidate = ComparedSerializer()


@extend_schema_field(ComparisonSerializer)
class ComparisonField(serializers.JSONField):
    """The stored object as it is."""


class RunSerializer(OwnedSerializer):
    scheduled_evaluation_id = serializers.UUIDField(source="schedule_id", read_only=True)
    status = serializers.ChoiceField(choices=RunStatus.choices, read_only=True)
    trigger = serializers.ChoiceField(choices=RunTrigger.choices, read_only=True)
    batch_test_run_id = serializers.UUIDField(source="batch_id", read_only=True, allow_null=True)
    baseline_run_id = serializers.UUIDField(source="baseline_id", read_only=True, allow_null=True)
    regression_details = ComparisonField(read_only=True, allow_null=True)

    class Meta:
        model = Run
        fields = (
            *_OWNED,
            "scheduled_evaluation_id",
            "status",
            "trigger",
            "scheduled_for",
            "backfill_id",
            "triggered_at",
            "started_at",
            "completed_at",
            "batch_test_run_id",
            "total_prompts",
            "successful_prompts",
            "failed_prompts",
            "avg_latency_ms",
            "p95_latency_ms",
            "avg_ttft_ms",
            "avg_quality_score",
            "total_cost",
            "regression_detected",
            "regression_details",
            "baseline_run_id",
            "error_message",
            "error_details",
            "snapshot",
            "updated_at",
        )
        read_only_fields = fields

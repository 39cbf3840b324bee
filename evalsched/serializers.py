"""The API's shapes of schedules and runs."""

from typing import Any

from rest_framework import serializers

from access.api.serializers import OwnedSerializer, StrictSerializer
from batches.serializers import BatchConfigSerializer
from evalsched import agenda, forecasts, occurrences
from evalsched.models import (
    MOST_JITTER_SECONDS,
    LastRunStatus,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
    ScheduleType,
)
from evalsched.occurrences import GAPS, OVERLAPS

MOST_SHOWN = 1_000
_OWNED = OwnedSerializer.Meta.fields


class ScheduleSerializer(OwnedSerializer):
    test_suite_id = serializers.UUIDField(source="suite_id")
    test_suite_name = serializers.CharField(source="suite.name", read_only=True)
    model_id = serializers.CharField(
        source="endpoint_id",
        max_length=200,
        help_text="An endpoint's id, its name, or its unambiguous model. Answers give the id.",
    )
    model_name = serializers.CharField(source="endpoint.name", read_only=True)
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
        min_value=0, max_value=100, required=False
    )
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
            "batch_test_config",
            "is_active",
            "overlap_policy",
            "catchup_policy",
            "catchup_window_minutes",
            "alert_on_failure",
            "alert_on_regression",
            "regression_threshold_percent",
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
        return shown


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


class RunSerializer(OwnedSerializer):
    scheduled_evaluation_id = serializers.UUIDField(source="schedule_id", read_only=True)
    status = serializers.ChoiceField(choices=RunStatus.choices, read_only=True)
    trigger = serializers.ChoiceField(choices=RunTrigger.choices, read_only=True)
    batch_test_run_id = serializers.UUIDField(source="batch_id", read_only=True, allow_null=True)

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
            "error_message",
            "error_details",
            "snapshot",
            "updated_at",
        )
        read_only_fields = fields

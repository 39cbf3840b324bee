"""The API's shapes of scheduled model runs and their executions."""

from typing import Any

from rest_framework import serializers

from access.api.serializers import OwnedSerializer, StrictModelSerializer
from evalsched import model_runs
from evalsched.models import Execution, ModelRun, RunStatus, RunTrigger

_OWNED = OwnedSerializer.Meta.fields


class ParametersField(serializers.DictField):
    """Goes in as it is, comes out with masks."""

    def get_attribute(self, instance: Any) -> Any:
        return instance

    def to_representation(self, value: Any) -> dict[str, Any]:
        return model_runs.shown(value)


class ModelRunSerializer(OwnedSerializer):
    model_name = serializers.CharField(
        source="endpoint",
        max_length=200,
        help_text="An endpoint's name, its id, or its unambiguous model. Answers give the name.",
    )
    schedule = serializers.CharField(
        source="cron_expression", max_length=200, help_text="A cron expression."
    )
    timezone = serializers.CharField(max_length=64, required=False)
    enabled = serializers.BooleanField(source="is_active", required=False)
    parameters = ParametersField(
        help_text="A prompt or messages, the model's options, and in sensitive the names of keys "
        "whose values are shown as masks. A mask that is sent back keeps the value."
    )
    last_run = serializers.DateTimeField(source="last_run_at", read_only=True, allow_null=True)
    next_run = serializers.DateTimeField(source="next_run_at", read_only=True, allow_null=True)

    class Meta:
        model = ModelRun
        fields: tuple[str, ...] = (
            *_OWNED,
            "model_name",
            "schedule",
            "timezone",
            "enabled",
            "parameters",
            "last_run",
            "next_run",
            "updated_at",
        )


class ReplaceModelRunSerializer(ModelRunSerializer):
    """What is left out is as in a new one, but for the model, which stays."""

    model_name = serializers.CharField(source="endpoint", max_length=200, required=False)
    timezone = serializers.CharField(max_length=64, default="UTC")
    enabled = serializers.BooleanField(source="is_active", default=True)


class ExecutionSerializer(StrictModelSerializer):
    """The figures are null until there is an answer; so is a cost whose price is unknown."""

    project_id = serializers.UUIDField(read_only=True)
    user_id = serializers.UUIDField(read_only=True)
    scheduled_run_id = serializers.UUIDField(source="schedule_id", read_only=True)
    status = serializers.ChoiceField(choices=RunStatus.choices, read_only=True)
    trigger = serializers.ChoiceField(choices=RunTrigger.choices, read_only=True)
    output = serializers.CharField(source="answer.output", read_only=True, allow_null=True)
    latency_ms = serializers.FloatField(source="answer.latency_ms", read_only=True, allow_null=True)
    ttft_ms = serializers.FloatField(source="answer.ttft_ms", read_only=True, allow_null=True)
    input_tokens = serializers.IntegerField(
        source="answer.input_tokens", read_only=True, allow_null=True
    )
    output_tokens = serializers.IntegerField(
        source="answer.output_tokens", read_only=True, allow_null=True
    )
    cost = serializers.DecimalField(
        source="answer.cost", max_digits=18, decimal_places=12, read_only=True, allow_null=True
    )

    class Meta:
        model = Execution
        fields = (
            *_OWNED,
            "scheduled_run_id",
            "status",
            "trigger",
            "scheduled_for",
            "started_at",
            "completed_at",
            "output",
            "error_message",
            "latency_ms",
            "ttft_ms",
            "input_tokens",
            "output_tokens",
            "cost",
            "updated_at",
        )
        read_only_fields = fields

"""The API's shapes of experiments, whose batches are compared, and of estimates."""

from typing import Any

from rest_framework import serializers

from batches.serializers import BatchSerializer
from batches.serializers_experiments import ExperimentSerializer
from evalsched.serializers import ComparisonSerializer, DetectionSerializer


class ExperimentComparisonSerializer(serializers.Serializer[Any]):
    """The first batch of an experiment against each of the others."""

    baseline_batch_id = serializers.UUIDField()
    left_out = serializers.IntegerField(help_text="Batches beyond the most that are compared.")
    candidates = ComparisonSerializer(many=True)


class OneExperimentSerializer(ExperimentSerializer):
    runs = BatchSerializer(many=True, help_text="Its batches, oldest first.")
    comparison = ExperimentComparisonSerializer(
        allow_null=True, help_text="Null while it has one batch only."
    )


class EstimateSerializer(serializers.Serializer[Any]):
    """What a batch would take. Costs are decimal strings in USD; null is unknown, never free."""

    items = serializers.IntegerField(help_text="Cases or documents.")
    calls = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost = serializers.DecimalField(max_digits=18, decimal_places=6, allow_null=True)
    judge_cost = serializers.DecimalField(max_digits=18, decimal_places=6, allow_null=True)
    cost_unknown_because = serializers.CharField(allow_blank=True)
    detects = DetectionSerializer(allow_null=True, help_text="What the suite can see.")

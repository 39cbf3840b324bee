"""The API's shapes of what was found about cases."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.serializers import StrictSerializer
from batches import case_results
from batches.case_comparisons import Row, Show
from batches.models import Batch, Job, JobOutcome
from batches.serializers import BatchSerializer


class _Chances(serializers.DictField):
    """By k, as text, the unbiased estimate."""

    child = serializers.FloatField()


class RepeatedSerializer(serializers.Serializer[Any]):
    """How the repeats of a batch agree; shares 0..1."""

    pass_at_k = _Chances()
    flip_rate = serializers.FloatField(
        allow_null=True, help_text="The chance that two calls of a case disagree."
    )
    flaky_cases = serializers.IntegerField()


class OneBatchSerializer(BatchSerializer):
    """A batch with what takes a look at all of its calls."""

    repeated = serializers.SerializerMethodField()

    class Meta(BatchSerializer.Meta):
        fields = (*BatchSerializer.Meta.fields, "repeated")
        read_only_fields = fields

    @extend_schema_field(RepeatedSerializer(allow_null=True))
    def get_repeated(self, batch: Batch) -> dict[str, Any] | None:
        found = case_results.repeated(batch)
        return None if found is None else dict(RepeatedSerializer(found).data)


class CaseResultSerializer(serializers.Serializer[Any]):
    """A case of a batch: counts of its calls, averages over them, and how they agree."""

    case_key = serializers.CharField()
    case_hash = serializers.CharField()
    ordinal = serializers.IntegerField()
    tags = serializers.ListField(child=serializers.CharField())
    calls = serializers.IntegerField()
    answered = serializers.IntegerField()
    scored = serializers.IntegerField(help_text="Calls that passed or failed.")
    passed = serializers.IntegerField()
    pass_rate = serializers.FloatField(allow_null=True)
    score = serializers.FloatField(allow_null=True)
    latency_ms = serializers.FloatField(allow_null=True)
    ttft_ms = serializers.FloatField(allow_null=True)
    cost = serializers.DecimalField(max_digits=18, decimal_places=12, allow_null=True)
    pass_at_k = _Chances()
    flip_rate = serializers.FloatField(allow_null=True)
    flaky = serializers.BooleanField()

    def to_representation(self, instance: dict[str, Any]) -> dict[str, Any]:
        row = instance if "flaky" in instance else case_results.with_repeats(instance)
        # An average has more digits than a price.
        cost = row["cost"]
        shown: dict[str, Any] = super().to_representation(
            row | {"cost": None if cost is None else round(cost, 12)}
        )
        return shown


class ComparedSideSerializer(CaseResultSerializer):
    """A case in one of the compared batches, with the first of its answers."""

    batch_id = serializers.UUIDField()
    outcome = serializers.ChoiceField(
        choices=[*JobOutcome.values, "mixed"],
        allow_null=True,
        help_text="mixed: its repeats differ; null: it has not ended.",
    )
    output = serializers.CharField(allow_blank=True)
    error_message = serializers.CharField(allow_blank=True)


class ComparedCaseSerializer(serializers.Serializer[Any]):
    """A case side by side, in the order of the ids; null where a batch does not have it."""

    case_key = serializers.CharField()
    case_hash = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    different = serializers.BooleanField(
        help_text="Outcome, score or pass rate differ, or one lacks it."
    )
    loss = serializers.FloatField(
        allow_null=True, help_text="How much lower than the first the worst of the others scored."
    )
    sides = serializers.ListField(child=ComparedSideSerializer(allow_null=True))

    def to_representation(self, instance: Row) -> dict[str, Any]:
        answers: dict[int, Job] = self.context["answers"]
        # Deleted at this very moment.
        gone = Job()
        sides = [
            None
            if side is None
            else {
                **vars(side),
                "case_key": instance.key,
                "case_hash": instance.content_hash,
                "output": answers.get(side.job_id, gone).output,
                "error_message": answers.get(side.job_id, gone).error_message,
            }
            for side in instance.sides
        ]
        shown: dict[str, Any] = super().to_representation(
            {
                "case_key": instance.key,
                "case_hash": instance.content_hash,
                "tags": next(side.tags for side in instance.sides if side is not None),
                "different": instance.differs,
                "loss": instance.loss,
                "sides": [side and case_results.with_repeats(side) for side in sides],
            }
        )
        return shown


class CompareBatchesSerializer(StrictSerializer):
    """What the address of a comparison may say."""

    ids = serializers.CharField(
        max_length=1000, help_text="2 to 10 ids of batches, with commas; the first is the baseline."
    )
    show = serializers.ChoiceField(
        choices=[show.value for show in Show],
        default=Show.ALL.value,
        help_text="results: only cases whose results differ; answers: whose texts do.",
    )
    only_different = serializers.BooleanField(default=False, help_text="The same as show=results.")
    ordering = serializers.ChoiceField(
        choices=["ordinal", "-loss"], default="ordinal", help_text="-loss: the worst cases first."
    )
    limit = serializers.IntegerField(required=False)
    offset = serializers.IntegerField(required=False)

"""The API's shapes of endpoints, suites, cases, batches and jobs."""

from typing import Any

from rest_framework import serializers

from access.api.serializers import OwnedSerializer, StrictModelSerializer, StrictSerializer
from access.secrets import UnreadableSecret
from batches import cases, endpoints, figures
from batches.batches import MAX_CONCURRENCY, MAX_REPEATS
from batches.imports import formats
from batches.models import Batch, BatchStatus, Job, ModelEndpoint, Provider, TestCase, TestSuite
from batches.providers.http import MAX_PATH_CHARACTERS

_OWNED = OwnedSerializer.Meta.fields
_LONGEST_TIMEOUT_MS = 600_000


class ModelEndpointSerializer(OwnedSerializer):
    provider = serializers.ChoiceField(choices=Provider.choices)
    base_url = serializers.CharField(max_length=500, required=False, allow_blank=True)
    api_key = serializers.CharField(
        write_only=True, required=False, allow_blank=True, max_length=4000
    )
    headers = serializers.DictField(
        child=serializers.CharField(max_length=4000, allow_blank=True),
        write_only=True,
        required=False,
    )
    parameters = serializers.DictField(required=False)
    request_template = serializers.DictField(
        required=False,
        allow_null=True,
        help_text="Provider http: the JSON object to send, with {{ prompt }} or {{ messages }} in.",
    )
    answer_path = serializers.CharField(
        max_length=MAX_PATH_CHARACTERS,
        required=False,
        allow_blank=True,
        help_text="Provider http: where the answer is, like choices[0].text. Empty: all of it.",
    )
    api_key_configured = serializers.SerializerMethodField()
    header_names = serializers.SerializerMethodField()

    class Meta:
        model = ModelEndpoint
        fields = (
            *_OWNED,
            "name",
            "provider",
            "base_url",
            "model",
            "api_key",
            "headers",
            "api_key_configured",
            "header_names",
            "parameters",
            "request_template",
            "answer_path",
            "requests_per_minute",
            "tokens_per_minute",
            "price_input",
            "price_cached_input",
            "price_output",
            "updated_at",
        )
        extra_kwargs = {
            "requests_per_minute": {"min_value": 1},
            "tokens_per_minute": {"min_value": 1},
            "price_input": {"min_value": 0},
            "price_cached_input": {"min_value": 0},
            "price_output": {"min_value": 0},
        }

    def get_api_key_configured(self, endpoint: ModelEndpoint) -> bool:
        return bool(endpoint.api_key)

    def get_header_names(self, endpoint: ModelEndpoint) -> list[str]:
        try:
            return sorted(endpoints.stored_headers(endpoint))
        except UnreadableSecret:
            # The list has to be seen by whoever is to enter them again; a call says what is wrong.
            return []


class CheckSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    sentence = serializers.CharField()
    latency_ms = serializers.FloatField(allow_null=True)
    model = serializers.CharField(allow_blank=True)


class TestSuiteSerializer(OwnedSerializer):
    __test__ = False

    class Meta:
        model = TestSuite
        fields = (
            *_OWNED,
            "name",
            "description",
            "version",
            "content_hash",
            "case_count",
            "updated_at",
        )
        read_only_fields = ("version", "content_hash", "case_count")


class MessageSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=["system", "user", "assistant"])
    content = serializers.CharField()


class TestCaseSerializer(OwnedSerializer):
    """How a case is shown. What may be written is `batches.cases.draft`'s to say."""

    __test__ = False

    suite_id = serializers.UUIDField(read_only=True)
    key = serializers.CharField(max_length=128, required=False)
    messages = serializers.ListField(child=MessageSerializer(), required=False, allow_null=True)
    variables = serializers.DictField(required=False)
    expected = serializers.CharField(required=False, allow_null=True)
    assertions = serializers.ListField(child=serializers.DictField(), required=False)
    metadata = serializers.DictField(required=False)

    class Meta:
        model = TestCase
        fields = (
            *_OWNED,
            "suite_id",
            "key",
            "prompt",
            "messages",
            "variables",
            "expected",
            "assertions",
            "tags",
            "weight",
            "threshold",
            "metadata",
            "content_hash",
            "added_in",
        )
        read_only_fields = ("content_hash", "added_in")


class ImportOptionsSerializer(StrictSerializer):
    replace = serializers.BooleanField(
        default=False, help_text="Remove the suite's cases that are not in the import."
    )
    dry_run = serializers.BooleanField(
        default=False, help_text="Say what would happen, and change nothing."
    )
    prompt = serializers.CharField(
        default="",
        allow_blank=True,
        trim_whitespace=False,
        max_length=cases.MAX_TEXT_CHARACTERS,
        help_text="The template for promptfoo's tests where the file has none.",
    )
    scorer = serializers.ChoiceField(
        choices=formats.SCORERS,
        required=False,
        help_text="How OpenAI-evals and Inspect samples compare with their reference answers.",
    )


class ImportSerializer(ImportOptionsSerializer):
    format = serializers.ChoiceField(choices=list(formats.FORMATS))
    content = serializers.CharField(trim_whitespace=False)


class ImportFileSerializer(ImportOptionsSerializer):
    """A form with a file. Without `format` the file's name and beginning tell."""

    file = serializers.FileField()
    format = serializers.ChoiceField(choices=list(formats.FORMATS), required=False)


class PreviewedCaseSerializer(serializers.Serializer[Any]):
    """One of the first cases of an import, and what it would be."""

    change = serializers.ChoiceField(choices=["added", "changed", "unchanged"])
    key = serializers.CharField()
    prompt = serializers.CharField(allow_null=True)
    messages = serializers.ListField(child=MessageSerializer(), allow_null=True)
    variables = serializers.DictField()
    expected = serializers.CharField(allow_null=True)
    assertions = serializers.ListField(child=serializers.DictField())
    tags = serializers.ListField(child=serializers.CharField())
    weight = serializers.FloatField()
    threshold = serializers.FloatField(allow_null=True)
    metadata = serializers.DictField()


class ImportedSerializer(serializers.Serializer[Any]):
    added = serializers.IntegerField()
    changed = serializers.IntegerField()
    removed = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    version = serializers.IntegerField()
    notes = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="What of the file is in no case; left out where there is nothing to say.",
    )
    cases = PreviewedCaseSerializer(
        many=True, required=False, help_text="The first cases, after a dry_run."
    )


class BatchConfigSerializer(StrictSerializer):
    """How a batch is executed; a schedule keeps one as its `batch_test_config`."""

    concurrency = serializers.IntegerField(min_value=1, max_value=MAX_CONCURRENCY, required=False)
    repeats = serializers.IntegerField(min_value=1, max_value=MAX_REPEATS, required=False)
    timeout_ms = serializers.IntegerField(
        min_value=100, max_value=_LONGEST_TIMEOUT_MS, required=False
    )
    delay_ms = serializers.IntegerField(min_value=0, max_value=3_600_000, required=False)
    max_cost = serializers.DecimalField(
        max_digits=18,
        decimal_places=6,
        min_value=0,
        required=False,
        help_text="USD. The batch stops before a call that might exceed it.",
    )
    parameters = serializers.DictField(required=False)
    judge_model_id = serializers.CharField(
        max_length=200,
        required=False,
        help_text="Judges for llm-rubric assertions without a provider; an id, name or model.",
    )
    embedding_model_id = serializers.CharField(
        max_length=200,
        required=False,
        help_text="Embeds for similar assertions without a provider, in the tested model's place.",
    )
    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), max_length=50, required=False
    )


class GraderSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    provider = serializers.CharField(allow_blank=True)
    model_id = serializers.UUIDField()
    model_name = serializers.CharField()
    model = serializers.CharField()
    parameters = serializers.DictField()


class BatchSerializer(OwnedSerializer):
    test_suite_id = serializers.UUIDField(source="suite_id", read_only=True, allow_null=True)
    test_suite_name = serializers.CharField(source="suite_name", read_only=True)
    model_id = serializers.UUIDField(source="endpoint_id", read_only=True, allow_null=True)
    model_name = serializers.CharField(read_only=True)
    agent_id = serializers.UUIDField(read_only=True, allow_null=True)
    rescored_from_id = serializers.UUIDField(read_only=True, allow_null=True)
    status = serializers.ChoiceField(choices=BatchStatus.choices, read_only=True)
    graders = GraderSerializer(many=True, read_only=True)
    rate_scored = serializers.FloatField(read_only=True, allow_null=True)
    rate_strict = serializers.FloatField(read_only=True, allow_null=True)
    coverage = serializers.FloatField(read_only=True, allow_null=True)
    avg_score = serializers.FloatField(read_only=True, allow_null=True)
    avg_latency_ms = serializers.FloatField(read_only=True, allow_null=True)
    avg_ttft_ms = serializers.FloatField(read_only=True, allow_null=True)
    eta_seconds = serializers.FloatField(read_only=True, allow_null=True)

    class Meta:
        model = Batch
        fields = (
            *_OWNED,
            "name",
            "status",
            "test_suite_id",
            "test_suite_name",
            "suite_version",
            "suite_hash",
            "model_id",
            "model_name",
            "agent_id",
            "agent_name",
            "rescored_from_id",
            "tracking_id",
            "description",
            "is_ephemeral",
            "expires_at",
            "waiting_documents",
            "concurrency",
            "repeats",
            "timeout_ms",
            "delay_ms",
            "max_cost",
            "parameters",
            "graders",
            "tags",
            "total",
            "done",
            "passed",
            "failed",
            "errors",
            "unscored",
            "rate_scored",
            "rate_strict",
            "coverage",
            "avg_score",
            "avg_latency_ms",
            "p95_latency_ms",
            "avg_ttft_ms",
            "input_tokens",
            "output_tokens",
            "total_cost",
            "judge_cost",
            "eta_seconds",
            "started_at",
            "completed_at",
            "error_class",
            "error_message",
            "updated_at",
        )
        read_only_fields = fields

    def to_representation(self, instance: Batch) -> dict[str, Any]:
        for name, value in vars(figures.of(instance)).items():
            setattr(instance, name, value)
        instance.eta_seconds = figures.eta_seconds(instance, self.context["view"].now)  # type: ignore[attr-defined]
        shown: dict[str, Any] = super().to_representation(instance)
        return shown


class StartedBatchSerializer(BatchSerializer):
    """What starting a batch answers: the batch, and its id under the names of older clients."""

    test_run_id = serializers.UUIDField(source="id", read_only=True)
    scheduled_evaluation_run_id = serializers.UUIDField(
        read_only=True, allow_null=True, default=None
    )

    class Meta(BatchSerializer.Meta):
        fields = (*BatchSerializer.Meta.fields, "test_run_id", "scheduled_evaluation_run_id")
        read_only_fields = fields


class BatchChangeSerializer(StrictSerializer):
    name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=100), max_length=50, required=False
    )
    max_cost = serializers.DecimalField(
        max_digits=18,
        decimal_places=6,
        min_value=0,
        required=False,
        allow_null=True,
        help_text="USD. Raise it to resume a batch that stopped at its budget; null: no limit.",
    )
    shown_only = BatchSerializer.Meta.fields


class AssertionScoreSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    metric = serializers.CharField(allow_null=True)
    passed = serializers.BooleanField(allow_null=True)
    score = serializers.FloatField(allow_null=True)
    weight = serializers.FloatField()
    reason = serializers.CharField()


class PricesSerializer(serializers.Serializer[Any]):
    """USD per million tokens, as decimal strings; `source` is `endpoint` or `list`."""

    input = serializers.CharField(allow_null=True)
    cached_input = serializers.CharField(allow_null=True)
    output = serializers.CharField(allow_null=True)
    source = serializers.CharField()  # type: ignore[assignment]


class JobSerializer(StrictModelSerializer):
    project_id = serializers.UUIDField(read_only=True)
    batch_id = serializers.UUIDField(read_only=True)
    case_id = serializers.UUIDField(read_only=True, allow_null=True)
    document_id = serializers.UUIDField(read_only=True, allow_null=True)
    assertions = AssertionScoreSerializer(many=True, read_only=True)
    prices = PricesSerializer(read_only=True, allow_null=True)

    class Meta:
        model = Job
        fields = (
            "id",
            "project_id",
            "batch_id",
            "case_id",
            "document_id",
            "case_key",
            "case_hash",
            "ordinal",
            "repeat",
            "tags",
            "weight",
            "status",
            "outcome",
            "output",
            "score",
            "assertions",
            "latency_ms",
            "ttft_ms",
            "wall_ms",
            "input_tokens",
            "cached_tokens",
            "output_tokens",
            "cost",
            "prices",
            "cost_unknown_because",
            "judge_cost",
            "attempts",
            "error_class",
            "error_message",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields

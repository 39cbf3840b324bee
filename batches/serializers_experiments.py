"""The API's shapes of agents, documents and experiments."""

import uuid
from typing import Any

from rest_framework import serializers

from access.api.serializers import OwnedSerializer, StrictSerializer
from batches import experiments, tracking_ids
from batches.documents import MAX_CONTENT_CHARACTERS, MAX_TITLE_CHARACTERS, MAX_URL_CHARACTERS
from batches.experiments import MAX_DAYS
from batches.models import Agent, Document, DocumentStatus
from batches.serializers import BatchConfigSerializer, StartedBatchSerializer

_OWNED = OwnedSerializer.Meta.fields
# A system prompt is a page, at most a handbook.
MAX_INSTRUCTIONS_CHARACTERS = 100_000
# More than any setting allows; the cap itself is the domain's to tell.
_MOST_ITEMS = 100_000


class AgentSerializer(OwnedSerializer):
    model_id = serializers.CharField(
        source="endpoint_id",
        max_length=200,
        help_text="An endpoint's id, its name, or its unambiguous model. Answers give the id.",
    )
    model_name = serializers.CharField(source="endpoint.name", read_only=True)
    primary_instructions = serializers.CharField(
        max_length=MAX_INSTRUCTIONS_CHARACTERS, required=False, allow_blank=True
    )
    parameters = serializers.DictField(required=False)
    assertions = serializers.ListField(child=serializers.DictField(), required=False)
    ephemeral_batch_id = serializers.UUIDField(read_only=True, allow_null=True)
    expires_at = serializers.DateTimeField(
        source="ephemeral_batch.expires_at", read_only=True, allow_null=True, default=None
    )

    class Meta:
        model = Agent
        fields = (
            *_OWNED,
            "name",
            "model_id",
            "model_name",
            "primary_instructions",
            "parameters",
            "assertions",
            "ephemeral_batch_id",
            "expires_at",
            "updated_at",
        )


class DocumentSerializer(OwnedSerializer):
    title = serializers.CharField(max_length=MAX_TITLE_CHARACTERS, required=False, allow_blank=True)
    content = serializers.CharField(
        max_length=MAX_CONTENT_CHARACTERS, required=False, trim_whitespace=False
    )
    source_url = serializers.CharField(
        max_length=MAX_URL_CHARACTERS,
        required=False,
        help_text="Instead of content: a worker fetches it and keeps the article's text.",
    )
    status = serializers.ChoiceField(choices=DocumentStatus.choices, read_only=True)
    ephemeral_batch_id = serializers.UUIDField(read_only=True, allow_null=True)
    expires_at = serializers.DateTimeField(
        source="ephemeral_batch.expires_at", read_only=True, allow_null=True, default=None
    )

    class Meta:
        model = Document
        fields = (
            *_OWNED,
            "title",
            "content",
            "source_url",
            "content_hash",
            "status",
            "error_message",
            "fetched_at",
            "ephemeral_batch_id",
            "expires_at",
            "updated_at",
        )
        read_only_fields = ("content_hash", "error_message", "fetched_at")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if self.instance is None:
            if ("content" in attrs) == ("source_url" in attrs):
                raise serializers.ValidationError(
                    {"content": ["A document has either content or a source_url, and not both."]}
                )
        elif "source_url" in attrs:
            raise serializers.ValidationError(
                {"source_url": ["The address stays. Make another document instead."]}
            )
        return attrs


class ListedDocumentSerializer(DocumentSerializer):
    """A document in a list: its content, which may be long, is in the document itself."""

    class Meta(DocumentSerializer.Meta):
        fields = tuple(name for name in DocumentSerializer.Meta.fields if name != "content")


class EphemeralAgentSerializer(StrictSerializer):
    name = serializers.CharField(max_length=200)
    model_id = serializers.CharField(
        max_length=200, required=False, help_text="Left out: the batch's own."
    )
    primary_instructions = serializers.CharField(
        max_length=MAX_INSTRUCTIONS_CHARACTERS, required=False, allow_blank=True
    )
    parameters = serializers.DictField(required=False)
    assertions = serializers.ListField(child=serializers.DictField(), required=False)


class InlineDocumentSerializer(StrictSerializer):
    title = serializers.CharField(max_length=MAX_TITLE_CHARACTERS, required=False, allow_blank=True)
    content = serializers.CharField(max_length=MAX_CONTENT_CHARACTERS, trim_whitespace=False)


class EphemeralDocumentsSerializer(StrictSerializer):
    urls = serializers.ListField(
        child=serializers.CharField(max_length=MAX_URL_CHARACTERS),
        max_length=_MOST_ITEMS,
        required=False,
    )
    inline = serializers.ListField(
        child=InlineDocumentSerializer(), max_length=_MOST_ITEMS, required=False
    )


class StartBatchSerializer(BatchConfigSerializer):
    """A batch over a suite or documents, answered by a model or an agent; or an experiment."""

    name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    test_suite_id = serializers.UUIDField(required=False)
    document_ids = serializers.ListField(
        child=serializers.UUIDField(), max_length=_MOST_ITEMS, required=False
    )
    target_count = serializers.IntegerField(
        min_value=1,
        max_value=_MOST_ITEMS,
        required=False,
        help_text="The first so many cases or documents; without either, the newest documents.",
    )
    model_id = serializers.CharField(
        max_length=200,
        required=False,
        help_text="An endpoint's id, its name, or its unambiguous model. An agent has its own.",
    )
    agent_id = serializers.UUIDField(required=False)
    tracking_id = serializers.RegexField(
        tracking_ids.PATTERN,
        required=False,
        error_messages={"invalid": tracking_ids.COMPLAINT},
        help_text="Groups the batches of an experiment; made up where an experiment has none.",
    )
    description = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    is_ephemeral = serializers.BooleanField(required=False)
    expires_in_days = serializers.IntegerField(min_value=1, max_value=MAX_DAYS, required=False)
    ephemeral_agent = EphemeralAgentSerializer(required=False)
    ephemeral_documents = EphemeralDocumentsSerializer(required=False)
    shown_only = StartedBatchSerializer.Meta.fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        complaints = {}
        model_id = attrs.get("model_id") or attrs.get("ephemeral_agent", {}).get("model_id")
        if "agent_id" in attrs and ("ephemeral_agent" in attrs or "model_id" in attrs):
            complaints["agent_id"] = [
                "Give a model_id, an agent_id or an ephemeral_agent, not several."
            ]
        elif not model_id and "agent_id" not in attrs:
            complaints["model_id"] = ["Say which model or agent answers."]
        if not any(attrs.get("ephemeral_documents", {}).values()):
            attrs.pop("ephemeral_documents", None)
        subjects = ("test_suite_id", "document_ids", "target_count", "ephemeral_documents")
        if "test_suite_id" in attrs and "document_ids" in attrs:
            complaints["document_ids"] = ["A batch asks about a suite or about documents."]
        elif not any(name in attrs for name in subjects):
            complaints["test_suite_id"] = ["Give a test suite, documents, or a target_count."]
        if complaints:
            raise serializers.ValidationError(complaints)
        return attrs


class BatchTestRunSerializer(StrictSerializer):
    config = StartBatchSerializer()


class ExtendSerializer(StrictSerializer):
    expires_in_days = serializers.IntegerField(min_value=1, max_value=MAX_DAYS)


class ExperimentSerializer(serializers.Serializer[Any]):
    """An experiment as a row of a list: its batches taken together."""

    tracking_id = serializers.CharField()
    description = serializers.CharField()
    user_id = serializers.SerializerMethodField()
    is_ephemeral = serializers.BooleanField()
    status = serializers.ChoiceField(
        choices=experiments.STATUSES, help_text="running while one of its batches is under way."
    )
    batches = serializers.IntegerField()
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    passed = serializers.IntegerField()
    failed = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]  # DRF takes it out of the class
    unscored = serializers.IntegerField()
    total_cost = serializers.DecimalField(max_digits=18, decimal_places=12, allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)

    def get_user_id(self, experiment: dict[str, Any]) -> uuid.UUID:
        """Who made its first batch."""
        first: uuid.UUID = experiment["users"][0]
        return first

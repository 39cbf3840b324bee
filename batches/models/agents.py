"""Who is asked and about what: agents, and the documents they are given."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from access.isolation import owned_key
from access.models import Owned
from access.states import StatefulQuerySet


class Agent(Owned):
    """An endpoint with a system prompt, parameters and assertions of its own.

    One with an `ephemeral_batch` belongs to that experiment and goes with it.
    """

    name = models.CharField(max_length=200)
    endpoint = owned_key("batches.ModelEndpoint", related_name="agents")
    primary_instructions = models.TextField(blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    assertions = models.JSONField(default=list, blank=True)
    ephemeral_batch = owned_key("batches.Batch", null=True, related_name="ephemeral_agents")
    updated_at = models.DateTimeField(auto_now=True)

    endpoint_id: uuid.UUID
    ephemeral_batch_id: uuid.UUID | None

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(ephemeral_batch__isnull=True),
                name="one_agent_of_a_name",
            ),
        ]
        indexes = [models.Index(fields=["project", "-created_at"], name="agent_newest")]

    def __str__(self) -> str:
        return self.name


class DocumentStatus(models.TextChoices):
    READY = "ready"
    WAITING = "waiting"  # for a worker to fetch its address
    FETCHING = "fetching"  # claimed by a worker until its lease ends
    FAILED = "failed"


DOCUMENT_OPEN = frozenset({DocumentStatus.WAITING, DocumentStatus.FETCHING})


class DocumentQuerySet(StatefulQuerySet["Document"]):
    SOURCES: ClassVar = {
        DocumentStatus.WAITING: frozenset({DocumentStatus.FETCHING, DocumentStatus.FAILED}),
        DocumentStatus.FETCHING: frozenset({DocumentStatus.WAITING}),
        DocumentStatus.READY: DOCUMENT_OPEN,
        DocumentStatus.FAILED: DOCUMENT_OPEN,
    }


class Document(Owned):
    """A text that is given to a model, typed in or fetched from `source_url`.

    `content_hash` is the SHA-256 of the content, hexadecimal, once there is one. One with an
    `ephemeral_batch` belongs to that experiment and goes with it.
    """

    title = models.CharField(max_length=300)
    content = models.TextField(blank=True)
    content_hash = models.CharField(max_length=64, blank=True)
    source_url = models.CharField(max_length=2000, blank=True)
    status = models.CharField(max_length=10, choices=DocumentStatus, default=DocumentStatus.READY)
    claim_no = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    # When a worker was last woken for it.
    hinted_at = models.DateTimeField(null=True)
    fetched_at = models.DateTimeField(null=True)
    error_message = models.TextField(blank=True)
    ephemeral_batch = owned_key("batches.Batch", null=True, related_name="ephemeral_documents")
    updated_at = models.DateTimeField(auto_now=True)

    ephemeral_batch_id: uuid.UUID | None

    objects = DocumentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=DocumentStatus.values), name="document_status"
            ),
            models.CheckConstraint(
                condition=~Q(status=DocumentStatus.READY) | ~Q(content_hash=""),
                name="document_ready_means_hashed",
            ),
            models.CheckConstraint(
                condition=Q(status=DocumentStatus.READY) | ~Q(source_url=""),
                name="document_without_address_is_ready",
            ),
            models.CheckConstraint(
                condition=Q(status=DocumentStatus.FETCHING, lease_expires_at__isnull=False)
                | (~Q(status=DocumentStatus.FETCHING) & Q(lease_expires_at__isnull=True)),
                name="document_fetching_iff_leased",
            ),
            models.CheckConstraint(
                condition=~Q(status=DocumentStatus.FAILED) | ~Q(error_message=""),
                name="document_failed_says_why",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "-created_at"], name="document_newest"),
            # The tick looks for addresses that nobody fetches.
            models.Index(
                fields=["hinted_at"],
                condition=Q(status__in=["waiting", "fetching"]),
                name="document_open",
            ),
        ]

    def __str__(self) -> str:
        return self.title

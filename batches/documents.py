"""Documents: texts that are given to a model, typed in or fetched from an address."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from access import audit, rows
from access.actors import Actor
from access.egress import check_url
from access.errors import Conflict, Invalid, Refusal
from access.hints import hint
from batches import endpoints
from batches.models import Batch, Document, DocumentStatus, Job, JobStatus

FETCH = "batches.fetch_documents"
# About 100,000 tokens: the longest text that models read in one go.
MAX_CONTENT_CHARACTERS = 400_000
MAX_URL_CHARACTERS = 2_000
MAX_TITLE_CHARACTERS = 300


@dataclass(frozen=True)
class Draft:
    """A document that is not stored yet: either its content, or the address to fetch it from.

    `field` is what to blame where several came together.
    """

    title: str = ""
    content: str = ""
    url: str = ""
    field: str = ""


def create(actor: Actor, draft: Draft) -> Document:
    """Store a document in the actor's project; one with an address is fetched by a worker.

    Raises:
        Invalid: the address is not one that may be fetched.
    """
    document = _row(draft, actor.project.pk, actor.user.pk)
    with transaction.atomic():
        document.save(force_insert=True)
        audit.record(actor, "document.created", document, {"source_url": draft.url})
        if draft.url:
            hint(FETCH)
    return document


def draft_ephemeral(batch: Batch, drafts: Sequence[Draft]) -> list[Document]:
    """Return the documents that `create_ephemeral` would store.

    Raises:
        Invalid: an address is not one that may be fetched.
    """
    return [
        _row(
            draft,
            batch.project_id,
            batch.user_id,
            batch,
            path=draft.field or f"ephemeral_documents[{index}]",
        )
        for index, draft in enumerate(drafts)
    ]


def create_ephemeral(batch: Batch, drafts: Sequence[Draft]) -> list[Document]:
    """Store documents that belong to an experiment and go with it, in one statement."""
    return Document.objects.bulk_create(draft_ephemeral(batch, drafts), batch_size=500)


def change(actor: Actor, document: Document, **fields: Any) -> Document:
    """Change title or content. Results that were made with the old content keep their hash."""
    with transaction.atomic():
        document = rows.locked(document)
        if "content" in fields:
            if document.status != DocumentStatus.READY:
                raise Conflict("This document is still being fetched, or could not be.")
            document.content_hash = content_hash(fields["content"])
        for name, value in fields.items():
            setattr(document, name, value)
        document.save(update_fields=[*fields, "content_hash", "updated_at"])
        audit.record(actor, "document.changed", document, {"fields": sorted(fields)})
    return document


def delete(actor: Actor, document: Document) -> None:
    """Delete a document. What was answered about it stays.

    Raises:
        Conflict: it belongs to an experiment.
    """
    if document.ephemeral_batch_id:
        raise Conflict("This document belongs to an experiment and goes with it.")
    audit.record(actor, "document.deleted", document)
    document.delete()


def find_all(
    project_id: uuid.UUID, ids: Sequence[uuid.UUID], *, tracking_id: str = ""
) -> list[Document]:
    """Return the project's documents in the order of `ids`.

    Raises:
        Invalid: one is missing, not ready, or belongs to another experiment.
    """
    found = Document.objects.filter(project_id=project_id, pk__in=ids)
    by_id = {document.pk: document for document in found.select_related("ephemeral_batch")}
    for index, wanted in enumerate(ids):
        _refuse_unusable(by_id.get(wanted), tracking_id, f"document_ids[{index}]")
    return [by_id[wanted] for wanted in ids]


def fetch_again(batch: Batch) -> int:
    """Queue the batch's documents that could not be fetched once more, and return how many."""
    asked = Document.objects.filter(
        project_id=batch.project_id,
        pk__in=Job.objects.filter(batch=batch, status=JobStatus.PENDING).values("document_id"),
    )
    waiting = asked.move(DocumentStatus.WAITING, hinted_at=None, error_message="")
    if waiting:
        hint(FETCH)
    return waiting


def newest(project_id: uuid.UUID, count: int) -> list[Document]:
    """Return the newest `count` documents of the project, those of experiments left out."""
    ready = Document.objects.filter(
        project_id=project_id, ephemeral_batch=None, status=DocumentStatus.READY
    )
    return list(ready.order_by("-created_at", "-pk")[:count])


def retry(actor: Actor, document: Document) -> None:
    """Fetch a document of the project that could not be fetched once more.

    Raises:
        Conflict: nothing failed, or it belongs to an experiment, whose batch is resumed instead.
    """
    if document.ephemeral_batch_id:
        raise Conflict("This document belongs to an experiment. Resume its batch.")
    with transaction.atomic():
        failed = Document.objects.filter(pk=document.pk, status=DocumentStatus.FAILED)
        if not failed.move(DocumentStatus.WAITING, hinted_at=None, error_message=""):
            raise Conflict("This document is being fetched, or has been; there is nothing to do.")
        audit.record(actor, "document.retried", document)
        hint(FETCH)


def content_hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _refuse_unusable(document: Document | None, tracking_id: str, field: str) -> None:
    if document is None:
        raise Invalid.field(field, "There is no such document in this project. See /api/documents.")
    experiment = document.ephemeral_batch
    if experiment is not None and experiment.tracking_id != tracking_id:
        raise Invalid.field(
            field, f"This document belongs to the experiment '{experiment.tracking_id}'."
        )
    if document.status != DocumentStatus.READY:
        why = document.error_message or "It is still being fetched."
        raise Invalid.field(field, f"'{document.title}' has no content yet. {why}")


def _row(
    draft: Draft,
    project_id: uuid.UUID,
    user_id: uuid.UUID,
    batch: Batch | None = None,
    *,
    path: str = "",
) -> Document:
    document = Document(project_id=project_id, user_id=user_id, ephemeral_batch=batch)
    if draft.url:
        try:
            check_url(draft.url, endpoints.private_hosts())
        except Refusal as refusal:
            raise Invalid.field(path or "url", refusal.message) from None
        document.status = DocumentStatus.WAITING
        document.source_url = draft.url
        document.title = draft.title or draft.url[:MAX_TITLE_CHARACTERS]
        return document
    document.content = draft.content
    document.content_hash = content_hash(draft.content)
    document.title = draft.title or _first_line(draft.content)
    return document


def _first_line(content: str) -> str:
    return content.strip().partition("\n")[0][:100] or "Untitled"

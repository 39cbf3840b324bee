"""Documents: texts that are given to a model, typed in or fetched from an address."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from access import audit, rows
from access.actors import Actor
from access.egress import check_url
from access.errors import Conflict, Invalid, Refusal
from access.hints import hint
from batches import endpoints
from batches.models import DOCUMENT_OPEN, Batch, Document, DocumentStatus, Job, JobStatus

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
        Invalid: the address is not one that may be fetched, or the content is blank.
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
    """Change title or content. Results that were made with the old content keep their hash.

    Raises:
        Conflict: it belongs to an experiment, or has no content yet.
        Invalid: the content is blank.
    """
    if document.ephemeral_batch_id:
        raise Conflict("This document belongs to an experiment and stays as it is.")
    with transaction.atomic():
        document = rows.locked(document)
        if "content" in fields:
            if document.status != DocumentStatus.READY:
                raise Conflict("This document is still being fetched, or could not be.")
            _refuse_blank(fields["content"], "content")
            document.content_hash = content_hash(fields["content"])
        for name, value in fields.items():
            setattr(document, name, value)
        document.title = document.title or _name(document.content, document.source_url)
        document.save(update_fields={*fields, "title", "content_hash", "updated_at"})
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
    """Return the project's documents in the order of `ids`, each once and without its content.

    Raises:
        Invalid: one is missing, not ready, or belongs to another experiment.
    """
    found = Document.objects.filter(project_id=project_id, pk__in=ids)
    wanted = found.select_related("ephemeral_batch").only(
        *("title", "status", "error_message", "ephemeral_batch__tracking_id")
    )
    by_id = {document.pk: document for document in wanted}
    for index, id_ in enumerate(ids):
        _refuse_unusable(by_id.get(id_), tracking_id, f"document_ids[{index}]")
    return [by_id[id_] for id_ in dict.fromkeys(ids)]


def fetch_again(batch: Batch) -> int:
    """Queue the locked batch's documents that could not be fetched once more.

    Return for how many the batch waits: those that are being fetched anyway are among them.
    """
    asked = Document.objects.filter(
        project_id=batch.project_id,
        pk__in=Job.objects.filter(batch=batch, status=JobStatus.PENDING).values("document_id"),
    )
    failed = asked.filter(status=DocumentStatus.FAILED)
    if failed.move(DocumentStatus.WAITING, hinted_at=None, error_message=""):
        hint(FETCH)
    return asked.filter(status__in=DOCUMENT_OPEN).count()


def newest(project_id: uuid.UUID, count: int) -> list[Document]:
    """Return the newest `count` documents of the project, without their contents.

    Those of experiments are left out.
    """
    ready = Document.objects.filter(
        project_id=project_id, ephemeral_batch=None, status=DocumentStatus.READY
    )
    return list(ready.only("title", "status").order_by("-created_at", "-pk")[:count])


# What an article has that nobody has seen yet.
UNSEEN_CHARACTERS = 10_000


def characters(documents: Sequence[Document]) -> int:
    """Return about how long the stored documents are together; no text leaves the database.

    Those that are to be fetched are guessed. A length in bytes is known without reading the text,
    and for English it is the same.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(CASE content_hash WHEN '' THEN %s ELSE octet_length(content) END),"
            " 0) FROM batches_document WHERE id = ANY(%s)",
            [UNSEEN_CHARACTERS, [document.pk for document in documents]],
        )
        return int(cursor.fetchone()[0])


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


def is_as_asked(document: Document, job: Job) -> bool:
    """Return whether the document's text is what the job asked, or would ask."""
    return job.status != JobStatus.DONE or job.case_hash == document.content_hash


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
            raise Invalid.field(path or "source_url", refusal.message) from None
        document.status = DocumentStatus.WAITING
        document.source_url = draft.url
    else:
        _refuse_blank(draft.content, path or "content")
        document.content = draft.content
        document.content_hash = content_hash(draft.content)
    document.title = draft.title or _name(draft.content, draft.url)
    return document


def _refuse_blank(content: str, field: str) -> None:
    if not content.strip():
        raise Invalid.field(field, "There is no text in this document.")


def _name(content: str, url: str) -> str:
    """Return the first line, or the address of what is not fetched yet."""
    return content.strip().partition("\n")[0][:100] or url[:MAX_TITLE_CHARACTERS] or "Untitled"

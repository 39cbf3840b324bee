"""The jobs of batches in their order, page by page, so that memory does not grow with them."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Case, F, Q, When
from django.db.models.functions import Left

from batches import figures
from batches.models import Batch, Job, JobStatus

# So many jobs are in memory at a time; their outputs may be long.
PAGE = 200

# Of a document's text; a page of whole ones would be too much.
LONGEST_QUESTION = 20_000

# Else the document was changed since; as `documents.is_as_asked`.
_AS_ASKED = ~Q(status=JobStatus.DONE) | Q(document__content_hash=F("case_hash"))

# Opens the project's context: a transaction for each page, and none while a client reads slowly.
Acting = Callable[[], AbstractContextManager[None]]

COLUMNS = (
    *("batch_id", "model_name", "agent_name", "case_key", "repeat", "tags", "weight"),
    *("status", "outcome", "score", "prompt", "source_url", "expected", "output", "assertions"),
    *("latency_ms", "ttft_ms", "wall_ms"),
    *("input_tokens", "cached_tokens", "output_tokens", "cost", "judge_cost", "attempts"),
    *("error_class", "error_message", "started_at", "finished_at"),
)


def jobs(batch: Batch, acting: Acting) -> Iterator[Job]:
    """Yield the batch's jobs by case and repeat, each page read in a context of its own."""
    after: tuple[int, int] | None = None
    while page := _page(batch.pk, after, acting):
        yield from page
        after = page[-1].ordinal, page[-1].repeat


def _page(batch_id: uuid.UUID, after: tuple[int, int] | None, acting: Acting) -> list[Job]:
    with acting():
        found = Job.objects.filter(batch=batch_id).select_related("case")
        found = found.annotate(
            document_text=Case(When(_AS_ASKED, Left("document__content", LONGEST_QUESTION + 1))),
            document_url=F("document__source_url"),
        )
        if after is not None:
            ordinal, repeat = after
            found = found.filter(ordinal__gte=ordinal).filter(
                Q(ordinal__gt=ordinal) | Q(repeat__gt=repeat)
            )
        return list(found.order_by("ordinal", "repeat")[:PAGE])


def values(batch: Batch, job: Job) -> dict[str, Any]:
    """Return what a file tells of a job, by the names of `COLUMNS`. The model has its name.

    The question is that of the case, or the beginning of the document, which has an address where
    it was fetched; None where it was deleted, or changed since.
    """
    case = job.case
    own = {
        "model_name": batch.model_name,
        "agent_name": batch.agent_name,
        "prompt": _beginning(job) if case is None else case.prompt or case.messages,
        "source_url": vars(job)["document_url"] or None,
        "expected": None if case is None else case.expected,
    }
    return {name: own[name] if name in own else getattr(job, name) for name in COLUMNS}


def _beginning(job: Job) -> str | None:
    text: str | None = vars(job)["document_text"]
    if text is None or len(text) <= LONGEST_QUESTION:
        return text
    return text[:LONGEST_QUESTION] + " [...]"


def summary(batch: Batch) -> dict[str, Any]:
    """Return what a file tells of a batch as a whole."""
    names = (
        *("name", "status", "tracking_id", "suite_name", "suite_version", "model_name"),
        *("agent_name", "repeats", "total", "done", "passed", "failed", "errors", "unscored"),
        *("p95_latency_ms", "input_tokens", "output_tokens", "total_cost", "judge_cost"),
        *("created_at", "started_at", "completed_at", "error_class", "error_message"),
    )
    told = {name: getattr(batch, name) for name in names}
    return {"id": batch.pk} | told | vars(figures.of(batch))


def as_json(value: object) -> str:
    """Return JSON on one line; ids and money as texts, times in ISO 8601."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def reasons(job: Job) -> Sequence[str]:
    """Return why the job did not pass, a sentence for each assertion, or its error."""
    failed = [
        f"{found['type']}: {found['reason']}"
        for found in job.assertions
        if found.get("passed") is not True
    ]
    return failed or ([job.error_message] if job.error_message else [])

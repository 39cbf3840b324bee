"""Documents fetched from their addresses, a few at a time, each with an outcome of its own.

A document's row is the work: claimed with a lease, fetched with no transaction open, recorded
where the claim still holds. The last one of a batch wakes the batch.
"""

import asyncio
from datetime import datetime, timedelta
from http import HTTPStatus

import structlog
from django.db import transaction
from django.db.models import F, Q

from access import clock, egress
from access.errors import Invalid
from access.hints import hint
from batches import articles, batches, documents, endings, endpoints
from batches.documents import FETCH, MAX_CONTENT_CHARACTERS, MAX_TITLE_CHARACTERS
from batches.models import BATCH_OPEN, Batch, Document, DocumentStatus, Job, JobOutcome, JobStatus

logger = structlog.get_logger(__name__)

# By one task, and by all of them: pages take their turn with batches, and leave them a place.
AT_ONCE = 10
MOST_AT_ONCE = 20
TIMEOUT_S = 30.0
MAX_BYTES = 10 * 1024 * 1024
# Longer than one may take, its text included.
LEASE = timedelta(minutes=2)
# A page whose reading kills its worker is given up.
MOST_CLAIMS = 4
HINT_AGAIN = timedelta(seconds=30)


def fetch_waiting() -> int:
    """Fetch a few of the documents that wait, and return how many.

    0: none waits any more, or as many as may be are being fetched already.
    """
    claimed = _claim(clock.database_now())
    if claimed:
        for document, found in asyncio.run(_fetch_all(claimed)):
            record(document, found, now=clock.database_now())
    return len(claimed)


def rescue(now: datetime) -> int:
    """Free documents whose worker was lost, and wake one for those that wait."""
    lost = Document.objects.filter(status=DocumentStatus.FETCHING, lease_expires_at__lt=now)
    for document in lost.filter(claim_no__gte=MOST_CLAIMS):
        record(document, Invalid(f"Reading it failed {MOST_CLAIMS} times."), now=now)
    lost.filter(claim_no__lt=MOST_CLAIMS).move(
        DocumentStatus.WAITING, lease_expires_at=None, hinted_at=None
    )
    waiting = Document.objects.filter(status=DocumentStatus.WAITING).filter(
        Q(hinted_at=None) | Q(hinted_at__lt=now - HINT_AGAIN)
    )
    with transaction.atomic():
        woken = waiting.update(hinted_at=now)
        if woken:
            hint(FETCH)
    return woken


def record(document: Document, found: articles.Article | Invalid, *, now: datetime) -> None:
    """Store what came of a claimed document, and let the batch that waited for it go on."""
    with transaction.atomic():
        batch = None
        if document.ephemeral_batch_id:
            batch = Batch.objects.select_for_update().filter(pk=document.ephemeral_batch_id).first()
            if batch is None:
                # The experiment was deleted meanwhile, and the document with it.
                return
        mine = Document.objects.filter(pk=document.pk, claim_no=document.claim_no)
        if isinstance(found, Invalid):
            recorded = mine.move(
                DocumentStatus.FAILED, lease_expires_at=None, error_message=found.message
            )
        else:
            recorded = mine.move(
                DocumentStatus.READY,
                lease_expires_at=None,
                fetched_at=now,
                title=(found.title or document.title)[:MAX_TITLE_CHARACTERS],
                content=found.text,
                content_hash=documents.content_hash(found.text),
            )
        if recorded and batch is not None and batch.waiting_documents:
            _tell(batch, document, now)
    logger.info("document fetched", id=str(document.pk), ready=not isinstance(found, Invalid))


def _tell(batch: Batch, document: Document, now: datetime) -> None:
    """Bring the locked batch up to date; what could not be fetched is not asked about."""
    jobs = Job.objects.filter(batch=batch, document=document).exclude(status=JobStatus.DONE)
    if not jobs.exists():
        # It asks about the first few of its documents only, and does not wait for the others.
        return
    document.refresh_from_db()
    batch.waiting_documents -= 1
    if document.status == DocumentStatus.READY:
        # A batch that has ended meanwhile may be resumed.
        jobs.update(case_key=document.title[:128], case_hash=document.content_hash)
    elif batch.status in BATCH_OPEN:
        ended = jobs.filter(status=JobStatus.PENDING).move(
            JobStatus.DONE,
            outcome=JobOutcome.ERROR,
            finished_at=now,
            error_class="infra",
            error_message=f"The document could not be fetched: {document.error_message}",
        )
        batch.done += ended
        batch.errors += ended
    batch.save(update_fields=["waiting_documents", "done", "errors", "updated_at"])
    if not endings.of_itself(batch, now) and not batch.waiting_documents:
        batches.wake(batch, now)


def _claim(now: datetime) -> list[Document]:
    under_way = Document.objects.filter(
        status=DocumentStatus.FETCHING, lease_expires_at__gte=now
    ).count()
    free = max(0, min(AT_ONCE, MOST_AT_ONCE - under_way))
    with transaction.atomic():
        waiting = Document.objects.filter(status=DocumentStatus.WAITING).order_by("created_at")
        chosen = [one.pk for one in waiting.select_for_update(skip_locked=True)[:free]]
        Document.objects.filter(pk__in=chosen).move(
            DocumentStatus.FETCHING,
            claim_no=F("claim_no") + 1,
            lease_expires_at=now + LEASE,
            hinted_at=now,
        )
        return list(Document.objects.filter(pk__in=chosen))


async def _fetch_all(
    claimed: list[Document],
) -> list[tuple[Document, articles.Article | Invalid]]:
    async with egress.session(private=endpoints.private_hosts(), limit=AT_ONCE) as session:
        found = await asyncio.gather(*(_fetch(session, document) for document in claimed))
    return list(zip(claimed, found, strict=True))


async def _fetch(session: egress.Session, document: Document) -> articles.Article | Invalid:
    try:
        async with session.follow(
            document.source_url, timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES
        ) as response:
            if response.status != HTTPStatus.OK:
                return Invalid(f"{response.host} answered {response.status}.")
            body = await response.read()
            kind = response.headers.get("Content-Type", "")
        # Large pages take a while to be read, and the others are still on their way.
        article = await asyncio.to_thread(articles.read, body, kind)
    except egress.EgressFailed as failure:
        return Invalid(failure.sentence)
    except Invalid as refusal:
        return refusal
    except Exception as error:
        logger.exception("document not read", id=str(document.pk))
        return Invalid(f"It could not be read: {type(error).__name__}.")
    if len(article.text) > MAX_CONTENT_CHARACTERS:
        return Invalid(f"Its text is longer than {MAX_CONTENT_CHARACTERS:,} characters.")
    return article

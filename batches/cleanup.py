"""What ends experiments: the expired ones are deleted with all they own, and leave tombstones."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate

import structlog
from django.db import OperationalError, connection, transaction
from django.db.models import Exists, OuterRef
from psycopg.errors import DeadlockDetected as Deadlock
from psycopg.errors import LockNotAvailable

from batches.models import JOB_OPEN, Batch, Job

logger = structlog.get_logger(__name__)

# Deleted in one transaction, which takes a few hundred milliseconds: so many batches at most, and
# no further one where they made more calls than that.
CHUNK, CHUNK_CALLS = 100, 10_000


def expired(now: datetime) -> int:
    """Return how many experiments wait to be cleaned up, those under way included."""
    return Batch.objects.filter(is_ephemeral=True, expires_at__lte=now).count()


def clean_up(now: datetime) -> Iterator[int]:
    """Delete what has expired, oldest first; yield after each chunk how many batches it was.

    One whose experiment has an unfinished job is left for later, and so is a chunk that somebody
    else stands in the way of. Two at once share the work.
    """
    after: _Place | None = None
    while True:
        deleted = 0
        try:
            with transaction.atomic():
                locked = _lock_expired(now, after)
                if not locked:
                    return
                after = locked[-1].expires_at, locked[-1].pk
                gone = _deletable([batch.pk for batch in locked])
                bury(gone, now)
            deleted = len(gone)
        except OperationalError as error:
            # After a lock was waited for in vain, or two waited for each other, the next chunk may
            # do. Everything else, such as a lost connection, meets that one as well.
            if after is None or not isinstance(error.__cause__, (LockNotAvailable, Deadlock)):
                raise
            logger.warning("experiments left for later", reason=str(error.__cause__))
        yield deleted


# When a batch expired, and its id.
_Place = tuple[datetime | None, uuid.UUID]


def _lock_expired(now: datetime, after: _Place | None) -> list[Batch]:
    waiting = Batch.objects.filter(is_ephemeral=True, expires_at__lte=now)
    if after is not None:
        waiting = waiting.filter(expires_at__gte=after[0]).exclude(
            expires_at=after[0], pk__lte=after[1]
        )
    rows = waiting.select_for_update(skip_locked=True).order_by("expires_at", "pk")
    locked = list(rows.only("pk", "expires_at", "total")[:CHUNK])
    calls = accumulate(batch.total for batch in locked)
    few = sum(made <= CHUNK_CALLS for made in calls)
    return locked[: max(few, 1)]


def _deletable(locked: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Return which of the locked batches have ended with all of their experiment, calls included.

    Locked first and looked at then: whoever starts or reruns a job locks its batch, and whoever
    makes one about a document of another batch of the experiment locks the document.
    """
    lock_documents(locked)
    open_ = Batch.objects.open().exclude(tracking_id="")
    ended = (
        Batch.objects.filter(pk__in=locked)
        .exclude(pk__in=_copied_and_in_use(locked))
        .filter(
            ~Exists(open_.filter(project=OuterRef("project"), tracking_id=OuterRef("tracking_id")))
        )
    )
    # A cancelled batch may have calls in flight. State by state, as the indexes are.
    for status in JOB_OPEN:
        ended = ended.filter(~Exists(Job.objects.filter(batch=OuterRef("pk"), status=status)))
    return list(ended.order_by().values_list("pk", flat=True))


def _copied_and_in_use(locked: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Lock the copies that were scored anew; return the originals of those that others hold.

    Deleting an original changes its copies. To wait for whoever holds one, who may wait for the
    original in turn, would be a deadlock.
    """
    copies = Batch.objects.filter(rescored_from__in=locked).order_by()
    free = copies.select_for_update(skip_locked=True, no_key=True)
    mine = set(free.values_list("pk", flat=True))
    originals = copies.values_list("pk", "rescored_from_id")
    return [original for copy, original in originals if copy not in mine]


def lock_documents(batch_ids: Sequence[uuid.UUID]) -> None:
    """Let nobody ask about the batches' own documents any more until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT FROM batches_document WHERE ephemeral_batch_id = ANY(%s)"
            " ORDER BY id FOR UPDATE) AS locked",
            [list(batch_ids)],
        )


def bury(batch_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Delete locked batches with all they own, from the leaves up, and leave tombstones."""
    with connection.cursor() as cursor:
        cursor.execute(_BURY_OWNED, {"batches": list(batch_ids), "now": now})
        # Their agents go by the foreign key: deleted before, each would still be taken out of its
        # batch, which is a new version of a row that is about to go.
        cursor.execute("DELETE FROM batches_batch WHERE id = ANY(%s)", [list(batch_ids)])
    if batch_ids:
        logger.info("experiments cleaned up", batches=len(batch_ids))


# What is counted and hashed is what is deleted, read once. The tombstone has the batch's id.
_BURY_OWNED = """
    WITH calls AS (
        DELETE FROM batches_job WHERE batch_id = ANY(%(batches)s)
        RETURNING batch_id, case_hash, ordinal, repeat
    ), hashes AS (
        SELECT batch_id, string_agg(case_hash, '' ORDER BY ordinal, repeat) AS hashes
        FROM calls GROUP BY batch_id
    ), pages AS (
        DELETE FROM batches_document WHERE ephemeral_batch_id = ANY(%(batches)s)
        RETURNING ephemeral_batch_id
    ), counts AS (
        SELECT ephemeral_batch_id, count(*) AS documents FROM pages GROUP BY ephemeral_batch_id
    )
    INSERT INTO batches_tombstone (id, project_id, user_id, created_at, batch_id, name,
        tracking_id, suite_name, suite_hash, model_name, agent_name, status, total, passed, failed,
        errors, unscored, documents, content_hash, avg_score, total_cost, began_at, ended_at,
        expired_at)
    SELECT b.id, b.project_id, b.user_id, %(now)s, b.id, b.name, b.tracking_id, b.suite_name,
        b.suite_hash, b.model_name, b.agent_name, b.status, b.total, b.passed, b.failed, b.errors,
        b.unscored, coalesce(counts.documents, 0),
        encode(sha256(convert_to(coalesce(hashes.hashes, ''), 'UTF8')), 'hex'),
        b.score_sum / nullif(b.weight_sum, 0), b.total_cost, b.created_at,
        coalesce(b.completed_at, %(now)s), b.expires_at
    FROM batches_batch b
    LEFT JOIN hashes ON hashes.batch_id = b.id
    LEFT JOIN counts ON counts.ephemeral_batch_id = b.id
    WHERE b.id = ANY(%(batches)s)
    ON CONFLICT DO NOTHING
"""

"""What the tick does for batches: frees what lost its worker, ends what is late, wakes workers."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import DatabaseError, transaction
from django.db.models import F, Q

from batches import batches, endings
from batches.claims import without_worker
from batches.models import Batch, Job, JobOutcome, JobStatus

logger = structlog.get_logger(__name__)

# The fourth lost worker is the job's doing: it ends as an error instead of a fifth attempt.
MOST_LOST_WORKERS = 4
# A hint is repeated when nobody has worked on the batch for so long.
HINT_AGAIN = timedelta(seconds=30)
_AT_ONCE = 500


def free_lost(now: datetime) -> int:
    """Free the jobs whose lease has ended, and return how many batches had some."""
    lost = Job.objects.filter(status=JobStatus.RUNNING, lease_expires_at__lt=now)
    found = sorted(set(lost.values_list("batch_id", flat=True)))
    return sum(_each(batch_id, _free, now) for batch_id in found)


def end_late(now: datetime) -> int:
    """End the batches whose deadline has passed while no worker looked. Return how many."""
    late = Batch.objects.open().filter(deadline_at__lt=now)
    found = list(late.values_list("pk", flat=True)[:_AT_ONCE])
    return sum(_each(batch_id, endings.in_time, now) for batch_id in found)


def wake_idle(now: datetime) -> int:
    """Wake workers for open batches that nobody works on, and return how many there were."""
    unattended = Q(hinted_at=None) | Q(hinted_at__lt=now - HINT_AGAIN)
    idle = Batch.objects.open().filter(unattended, waiting_documents=0)
    woken = 0
    for batch in idle.order_by("hinted_at")[:_AT_ONCE]:
        with transaction.atomic():
            # The condition again: two ticks at once hint once.
            if Batch.objects.filter(pk=batch.pk, hinted_at=batch.hinted_at).update(hinted_at=now):
                batches.wake(batch, now)
                woken += 1
    return woken


def others_wait(batch_id: uuid.UUID) -> bool:
    """Whether another batch has jobs to do and nobody working on it."""
    idle = Batch.objects.open().filter(running=0, done__lt=F("total"), waiting_documents=0)
    return idle.exclude(pk=batch_id).exists()


def _each(batch_id: uuid.UUID, rescue: Callable[[Batch, datetime], bool], now: datetime) -> bool:
    """Do `rescue` to one locked batch; what goes wrong with it does not stop the others."""
    try:
        with transaction.atomic():
            batch = Batch.objects.select_for_update().filter(pk=batch_id).first()
            return batch is not None and rescue(batch, now)
    except DatabaseError as error:
        logger.warning("batch not rescued", batch=str(batch_id), error=repr(error))
        return False


def _free(batch: Batch, now: datetime) -> bool:
    # Locked and looked at again: a lease may have been renewed at the last moment.
    lost = list(
        Job.objects.select_for_update()
        .filter(batch=batch, status=JobStatus.RUNNING, lease_expires_at__lt=now)
        .only("pk", "lost_workers", "reserved_cost")
    )
    poisonous = [job.pk for job in lost if job.lost_workers + 1 >= MOST_LOST_WORKERS]
    ended = Job.objects.filter(pk__in=poisonous).move(
        JobStatus.DONE,
        outcome=JobOutcome.ERROR,
        lease_expires_at=None,
        finished_at=now,
        lost_workers=F("lost_workers") + 1,
        error_class="infra",
        error_message=f"Its worker was lost {MOST_LOST_WORKERS} times; it is not tried again.",
    )
    freed = Job.objects.filter(pk__in=[job.pk for job in lost], status=JobStatus.RUNNING).move(
        without_worker(batch), lease_expires_at=None, lost_workers=F("lost_workers") + 1
    )
    # The calls may have been made and paid for.
    spent = sum((job.reserved_cost for job in lost), Decimal(0))
    if spent:
        batch.total_cost = (batch.total_cost or Decimal(0)) + spent
    batch.reserved_cost -= spent
    batch.running -= ended + freed
    batch.done += ended
    batch.errors += ended
    batch.save(
        update_fields=["running", "done", "errors", "reserved_cost", "total_cost", "updated_at"]
    )
    # Those that were lost were perhaps all that worked on it, also where nothing was freed.
    if not endings.of_itself(batch, now) and lost:
        batches.wake(batch, now)
    return bool(lost)

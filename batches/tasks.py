"""Celery's edge: a hint names a batch, the engine works on it."""

import uuid

from celery import shared_task

from access import clock
from access.hints import hint
from access.shutdown import stopping
from batches import cleanup, engine, fetching
from batches.batches import WORK
from batches.documents import FETCH


@shared_task(name=WORK)
def work(batch_id: str) -> None:
    """Work on a batch for one slice; what is left is hinted again."""
    engine.work(uuid.UUID(batch_id), stopping=stopping.is_set, hand_on=lambda: hint(WORK, batch_id))


@shared_task(name=FETCH)
def fetch_documents() -> None:
    """Fetch a few of the documents that wait; for the others it queues up again."""
    if fetching.fetch_waiting():
        hint(FETCH)


@shared_task(name="batches.clean_up_experiments")
def clean_up_experiments() -> None:
    for _ in cleanup.clean_up(clock.database_now()):
        pass

"""One whole cycle. Safe to run twice, at once, and beside any number of beats."""

from datetime import datetime

import structlog

from access import idempotency
from alerts import notifications
from batches import claims
from evalsched import dispatch, runs

logger = structlog.get_logger(__name__)


def tick(now: datetime) -> None:
    """Start what is due, free what is lost, and wake a worker for everything that waits.

    Each step stands alone: one that fails is logged and leaves the others their turn.
    """
    steps = (
        dispatch.dispatch_due,
        claims.expire,
        runs.settle_lost,
        runs.start_queued,
        claims.rescue,
        notifications.rescue,
    )
    for step in steps:
        try:
            step(now)
        except Exception:
            logger.exception("step of the tick failed", step=step.__qualname__)


def sweep(now: datetime) -> None:
    """Forget what nobody may ask for again."""
    idempotency.forget_old(now)

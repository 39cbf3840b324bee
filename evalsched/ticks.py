"""One whole cycle. Safe to run twice, at once, and beside any number of beats."""

from datetime import datetime, timedelta

import structlog

from access import heartbeats, idempotency
from alerts import deliveries, evaluations, history, rollups, rulebook, traces
from batches import fetching, rescues
from evalsched import admission, dispatch, invariants, pulse, retention, runs

logger = structlog.get_logger(__name__)


def tick(now: datetime) -> None:
    """Start what is due, free what is lost, and wake a worker for everything that waits.

    Each step stands alone: one that fails is logged and leaves the others their turn.
    """
    steps = (
        dispatch.dispatch_due,
        rescues.end_late,
        runs.settle_lost,
        admission.start_queued,
        rescues.free_lost,
        rescues.wake_idle,
        fetching.rescue,
        evaluations.evaluate,
        deliveries.rescue,
        invariants.scan,
    )
    heartbeats.note(pulse.TICK, now=now)
    for step in steps:
        try:
            step(now)
        except Exception:
            logger.exception("step of the tick failed", step=step.__qualname__)


def sweep(now: datetime) -> None:
    """Forget what nobody may ask for again, and make room for the days to come."""
    steps = (
        idempotency.forget_old,
        traces.keep_days,
        rollups.forget_old,
        history.keep_days,
        rulebook.forget_groups,
        retention.forget_old,
        _forget_heartbeats,
    )
    for step in steps:
        try:
            step(now)
        except Exception:
            logger.exception("step of the sweep failed", step=step.__qualname__)


def _forget_heartbeats(now: datetime) -> None:
    heartbeats.forget_old(now - timedelta(days=1))

"""What a worker's main process does on its timer, busy or idle.

It shows that it lives, and looks whether the scheduler does: one that stands still cannot tell.
"""

from collections.abc import Callable
from typing import Any

import structlog
from celery import bootsteps
from django.db import DatabaseError, connection

from access import clock, heartbeats
from alerts import deliveries
from config import queues
from evalsched import outages, pulse

logger = structlog.get_logger(__name__)
EVERY_SECONDS = 15.0
# So many looks in a row have to find the scheduler stuck: when all starts at once, it may be late.
LOOKS = 4


class SignOfLife(bootsteps.StartStopStep):
    """Renews the row `worker <hostname>` on the worker's timer."""

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:
        self._renew(worker.hostname)
        self._timer = worker.timer.call_repeatedly(
            EVERY_SECONDS, self._renew, args=(worker.hostname,)
        )

    def stop(self, worker: Any) -> None:
        self._timer.cancel()

    @staticmethod
    def _renew(hostname: str) -> None:
        _apart(lambda: heartbeats.note(f"worker {hostname}", now=clock.database_now()))


class Lookout(bootsteps.StartStopStep):
    """Tells operators when beat or the ticker has gone, whoever of the workers is left."""

    requires = ("celery.worker.components:Timer",)
    _stuck_looks = 0

    def start(self, worker: Any) -> None:
        self._timer = worker.timer.call_repeatedly(EVERY_SECONDS, _apart, args=(self._look,))

    def stop(self, worker: Any) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = clock.database_now()
        stuck = pulse.stuck(now)
        self._stuck_looks = self._stuck_looks + 1 if stuck else 0
        if not stuck:
            outages.follow("", now=now)
        # A broker that does not answer would hold up the worker, and take no hint anyway.
        elif self._stuck_looks >= LOOKS and queues.reachable():
            outages.follow(stuck, now=now)
            # No tick hands out what waits.
            deliveries.rescue(now)


def _apart(do: Callable[[], None]) -> None:
    """Do it with a connection of its own: the pool forks from this process, none must go along."""
    try:
        do()
    except DatabaseError as error:
        logger.warning("not done by the worker's timer", error=str(error).strip())
    finally:
        connection.close()

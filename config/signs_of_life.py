"""A worker's sign of life: a row that its main process renews, busy or idle."""

from typing import Any

import structlog
from celery import bootsteps
from django.db import DatabaseError, connection

from access import clock, heartbeats

logger = structlog.get_logger(__name__)
EVERY_SECONDS = 15


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
        try:
            heartbeats.note(f"worker {hostname}", now=clock.database_now())
        except DatabaseError as error:
            logger.warning("sign of life not written", error=str(error).strip())
        finally:
            # The pool forks from this process, and a connection must not go along.
            connection.close()

"""Wake a worker for a row. The row is the work; the message may be lost, late or doubled.

The one module below the tasks that knows Celery.
"""

import uuid

import structlog
from celery import current_app
from django.db import transaction

logger = structlog.get_logger(__name__)

# A hint that nobody took within a minute is stale: the tick has repeated it by then.
EXPIRES_SECONDS = 60


def hint(task: str, key: uuid.UUID | int | str | None = None, *, times: int = 1) -> None:
    """Send the task named `task` with a row's key, once the transaction has committed.

    `times` wakes several workers; a broker that is away is asked once only.

    A broker that is away is logged and swallowed: the next tick finds the row and hints again.
    """
    arguments = [] if key is None else [str(key)]
    transaction.on_commit(lambda: _send(task, arguments, times), robust=True)


def _send(task: str, arguments: list[str], times: int) -> None:
    try:
        for _ in range(times):
            current_app.send_task(task, args=arguments, expires=EXPIRES_SECONDS, retry=False)
    except Exception as error:  # noqa: BLE001  whatever the transport raises, the row is safe
        logger.warning("hint lost", task=task, key=arguments, error=repr(error))

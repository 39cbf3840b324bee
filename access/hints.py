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


def hint(task: str, key: uuid.UUID | int | str | None = None) -> None:
    """Send the task named `task` with a row's key, once the transaction has committed.

    A broker that is away is logged and swallowed: the next tick finds the row and hints again.
    """
    arguments = [] if key is None else [str(key)]
    transaction.on_commit(lambda: _send(task, arguments), robust=True)


def _send(task: str, arguments: list[str]) -> None:
    try:
        current_app.send_task(task, args=arguments, expires=EXPIRES_SECONDS, retry=False)
    except Exception as error:  # noqa: BLE001  whatever the transport raises, the row is safe
        logger.warning("hint lost", task=task, key=arguments, error=repr(error))

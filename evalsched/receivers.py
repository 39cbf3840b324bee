"""What evalsched does when a batch tells that it has ended."""

import uuid
from typing import Any

from django.dispatch import receiver

from access import clock
from batches.signals import batch_finished
from evalsched import runs


@receiver(batch_finished)
def settle_run(batch_id: uuid.UUID, **_: Any) -> None:
    runs.settle(batch_id, now=clock.database_now())

"""The Celery application of a worker that dies whenever it scores the answer named POISON."""

import os
import signal
from typing import Any

from celery.signals import worker_process_init

from config.celery import app

__all__ = ["app"]


@worker_process_init.connect
def poison(**_: object) -> None:
    """Stand before the scoring, in each child."""
    # The settings are ready by now; when this module is imported they are not.
    from batches import scoring

    score = scoring.score

    def deadly(assertions: Any, answer: scoring.Answer, **given: Any) -> Any:
        if answer.output == os.environ["POISON"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return score(assertions, answer, **given)

    scoring.score = deadly

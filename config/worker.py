"""Celery's worker, which tells the pool that it goes down before it waits for the pool."""

from celery.apps import worker

from access import shutdown


class Worker(worker.Worker):
    """Celery sends `worker_shutting_down` only when the time of a soft shutdown is over."""

    def wait_for_soft_shutdown(self) -> bool:
        shutdown.stopping.set()
        return super().wait_for_soft_shutdown()

"""The service's Celery application, for a worker that looks around every half second."""

import django

from config.celery import app

django.setup()

from config import signs_of_life  # noqa: E402

signs_of_life.EVERY_SECONDS = 0.5

__all__ = ["app"]

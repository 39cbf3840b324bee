"""Celery: hints for rows that need work. Each setting with its reason."""

import gc
import os
import warnings
from functools import cached_property
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
# Celery would load every page to check it at each start, which takes longer than all the rest, and
# look at no finding. What matters is asked below.
os.environ["CELERY_SKIP_CHECKS"] = "1"

from celery import Celery, signals
from django.conf import settings
from django_structlog.celery.steps import DjangoStructLogInitStep

from access import shutdown

LONGEST_JOB_SECONDS = 600


class Application(Celery):
    @cached_property
    def Worker(self) -> type:  # noqa: N802  Celery's name
        from config.worker import Worker

        worker: type = self.subclass_with_self(Worker)
        return worker


app = Application("evalsched")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_transport_options={
        # A stalled Redis hangs a default publish for over 60 s; with these 2 s.
        "socket_timeout": 2 if settings.EVALSCHED_PROCESS == "web" else 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # Otherwise whoever sends a hint sleeps for 6 s between attempts to connect.
        "max_retries": 0,
        "global_keyprefix": "es:",
    },
    # The default gives up at 100.
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    # A lost hint is repeated by the tick; a request must not wait for the broker.
    task_publish_retry=False,
    # Redelivery is the database's job: late acks on Redis lost 11 of 6,000 tasks over 40 kills.
    task_acks_late=False,
    # Nothing may live only in Redis.
    task_ignore_result=True,
    result_backend=None,
    accept_content=["json"],
    task_serializer="json",
    # A long batch must not sit on waiting hints.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # The engine has its own deadline; this is for what hangs in spite of it. A soft limit would
    # raise in the middle of asyncio.run and tear it down.
    task_time_limit=settings.EVALSCHED_SLICE_SECONDS + LONGEST_JOB_SECONDS + 30,
    worker_max_tasks_per_child=1000,
    worker_max_memory_per_child=400_000,
    worker_soft_shutdown_timeout=settings.EVALSCHED_SOFT_SHUTDOWN_SECONDS,
    worker_enable_soft_shutdown_on_idle=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
    # The queue only, by the kind of waiting behind it.
    task_routes={
        "evalsched.*": {"queue": "ticks"},
        "batches.*": {"queue": "batches"},
        "alerts.*": {"queue": "deliveries"},
    },
    task_default_queue="ticks",
    beat_scheduler="config.beat:Scheduler",
    # Beat flushes `last_run_at` every 3 minutes otherwise, and fires again when restarted.
    beat_sync_every=1,
    timezone="UTC",
    enable_utc=True,
)
app.steps["worker"].add(DjangoStructLogInitStep)
app.steps["worker"].add("config.signs_of_life:SignOfLife")
app.steps["worker"].add("config.signs_of_life:Lookout")
app.autodiscover_tasks(["evalsched", "batches", "alerts"])


# Under `up` as root, in a container or a trial, it would be the first thing a newcomer reads.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")


@signals.setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Django has set the logs up; without a receiver Celery would replace the handlers."""


@signals.worker_shutting_down.connect
def _tell_the_pool(**_: Any) -> None:
    """Say it at a warm shutdown; for a soft one `config.worker` does, as this would be too late."""
    shutdown.stopping.set()


@signals.worker_init.connect
@signals.beat_init.connect
def _print_configuration(**_: Any) -> None:
    from config.checks import print_configuration, refuse_unsafe_start

    refuse_unsafe_start()
    print_configuration()


@signals.worker_ready.connect
@signals.worker_process_init.connect
def _leave_what_is_loaded_to_itself(**_: Any) -> None:
    """Let the garbage collector look at new objects only: it halves the time of 10,000 rules."""
    gc.freeze()

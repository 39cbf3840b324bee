"""Due schedules becoming runs, beside the plain writing of as many rows."""

import gc
import os
import time
from collections.abc import Callable
from datetime import timedelta

import psutil  # type: ignore[import-untyped]
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from access import clock
from access.ids import uuid7
from benchmarks.figures import Figure
from evalsched import snapshots, ticks
from evalsched.dispatch import dispatch_due
from evalsched.models import Run, Schedule, ScheduleType
from tests.factories import make_actor, make_endpoint, make_suite

SIZES = (1_000, 10_000)
HOUR = timedelta(hours=1)
IDLE_TICKS = 20
# A day has 8,640 of them.
SOAK_TICKS = 10_000 if os.environ.get("EVALSCHED_SOAK") else 1_000
_COLUMNS = (
    *("id", "project_id", "user_id", "created_at", "updated_at", "schedule_id", "status"),
    *("trigger", "scheduled_for", "triggered_at", "error_message", "error_details", "snapshot"),
)


def measure() -> list[Figure]:
    figures: list[Figure] = []
    for size in SIZES:
        figures += due(make_schedules(size), size)
    for size in SIZES:
        figures += boundary(size)
    return [*figures, *idle(SIZES[-1])]


def make_schedules(size: int) -> list[Schedule]:
    """Make hourly schedules that are due now, of one project."""
    empty()
    actor = make_actor()
    suite, endpoint = make_suite(actor), make_endpoint(actor)
    now = clock.database_now()
    return Schedule.objects.bulk_create(
        [
            Schedule(
                project=actor.project,
                user=actor.user,
                name=f"Schedule {number}",
                schedule_type=ScheduleType.HOURLY,
                suite=suite,
                endpoint=endpoint,
                next_run_at=now,
            )
            for number in range(size)
        ],
        batch_size=1_000,
    )


def due(schedules: list[Schedule], size: int) -> list[Figure]:
    """Measure the floor first: the same rows, written from memory in one transaction."""
    floor = seconds_of(lambda: copy_runs(schedules))
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE evalsched_run")
    now = clock.database_now()
    ours = seconds_of(lambda: dispatch_due(now))
    assert Run.objects.count() == size
    assert not Schedule.objects.filter(next_run_at__lte=now).exists()
    return [
        Figure(f"COPY of {size:,} run rows", size / floor, "rows/s"),
        Figure(f"dispatch of {size:,} due schedules", size / ours, "schedules/s"),
        Figure("... time as a multiple of the COPY", ours / floor, "x"),
    ]


def idle(size: int) -> list[Figure]:
    """Measure ticks that find nothing to do among so many schedules, and many of them on end."""
    make_schedules(size)
    now = clock.database_now()
    Schedule.objects.update(next_run_at=now + HOUR)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    ticks.tick(now)
    spent = sorted(seconds_of(lambda: ticks.tick(now)) for _ in range(IDLE_TICKS))
    statements = sorted(statement_seconds(lambda: ticks.tick(now)) for _ in range(IDLE_TICKS))
    before = resident_mib()
    for _ in range(SOAK_TICKS):
        ticks.tick(now)
    grown = resident_mib() - before
    assert not Run.objects.exists()
    about = f"idle tick over {size:,} schedules that are not due"
    return [
        Figure(about, spent[len(spent) // 2] * 1000, "ms"),
        Figure("... of which in statements", statements[len(statements) // 2] * 1000, "ms"),
        Figure(f"memory gained over {SOAK_TICKS:,} such ticks", grown, "MiB"),
    ]


def boundary(size: int) -> list[Figure]:
    """Measure from one moment at which so many come due to all their runs waiting, and one tick."""
    empty()
    # A ticker has its connections and its code long before anything is due.
    ticks.tick(clock.database_now())
    make_schedules(size)
    now = clock.database_now()
    took = seconds_of(lambda: ticks.tick(now))
    assert Run.objects.count() == size
    return [Figure(f"tick with {size:,} due at one moment, first runs started", took, "s")]


def statement_seconds(task: Callable[[], object]) -> float:
    """Return how long the statements of `task` took, with their way to the server and back."""
    spent = 0.0

    def timed(execute: Callable[..., object], *arguments: object) -> object:
        nonlocal spent
        started = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            spent += time.perf_counter() - started

    with connection.execute_wrapper(timed):
        task()
    return spent


def resident_mib() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


def copy_runs(schedules: list[Schedule]) -> None:
    now = clock.database_now()
    with transaction.atomic(), connection.cursor() as cursor:
        statement = f"COPY evalsched_run ({', '.join(_COLUMNS)}) FROM STDIN"
        with cursor.copy(statement) as copy:
            for one in schedules:
                copy.write_row(
                    (
                        *(uuid7(), one.project_id, one.user_id, now, now, one.pk, "triggered"),
                        *("schedule", one.next_run_at, now, "", Jsonb({})),
                        Jsonb(snapshots.of(one)),
                    )
                )


def empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE evalsched_run, evalsched_schedule, batches_batch, batches_job")


def seconds_of(task: Callable[[], object]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started

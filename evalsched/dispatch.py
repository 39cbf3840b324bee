"""What is due: every occurrence becomes exactly one run, whatever ticks do at once.

Set-based in chunks, one transaction each. The unique key on (schedule, scheduled_for) is what
gives "once"; the lock and the moved `next_run_at` only save work.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from access.errors import Refusal
from evalsched import occurrences, runs, schedules
from evalsched.models import (
    CatchupPolicy,
    OverlapPolicy,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
)

logger = structlog.get_logger(__name__)

CHUNK = 500
# After an outage of a minutely schedule a tick looks at so many occurrences and leaves the rest
# to the next one.
MOST_OCCURRENCES = 1_000
OUTAGE = "Nobody ran schedules at its time; the catch-up policy is '{policy}'."
TOO_OLD = (
    "Nobody ran schedules at its time, and it is older than the catch-up window of {minutes} min."
)


@dataclass(frozen=True)
class Due:
    """The occurrences of one schedule that have come, oldest first, and when it is due next."""

    schedule: Schedule
    occurrences: list[datetime]
    next_run_at: datetime | None


def dispatch_due(now: datetime) -> int:
    """Make the runs of every due schedule, oldest first, and move `next_run_at` on.

    A schedule whose timing can no longer be computed is set aside with the reason; it never
    stops the others. Return how many schedules were due.
    """
    found = 0
    while chunk := _dispatch_chunk(now):
        found += chunk
        if chunk < CHUNK:
            break
    if found:
        logger.info("due schedules dispatched", found=found)
    return found


def _dispatch_chunk(now: datetime) -> int:
    due = Schedule.objects.filter(is_active=True, next_run_at__lte=now).order_by("next_run_at")
    try:
        with transaction.atomic():
            return _dispatch(due, now, CHUNK)
    except DatabaseError as error:
        logger.warning("chunk of schedules not dispatched", error=repr(error))
    return sum(_dispatch_alone(pk, now) for pk in due.values_list("pk", flat=True)[:CHUNK])


def _dispatch_alone(schedule_id: uuid.UUID, now: datetime) -> int:
    """Dispatch one schedule of a chunk that failed as a whole; the bad one is set aside."""
    one = Schedule.objects.filter(pk=schedule_id, is_active=True, next_run_at__lte=now)
    try:
        with transaction.atomic():
            return _dispatch(one, now, 1)
    except DatabaseError as error:
        logger.exception("schedule set aside", schedule=str(schedule_id))
        with transaction.atomic():
            for schedule in one.select_for_update(skip_locked=True):
                reason = f"It could not be dispatched: {error}. Correct it and enable it again."
                schedules.disable(schedule, reason, now=now)
    return 1


def _dispatch(rows: QuerySet[Schedule], now: datetime, most: int) -> int:
    # NO KEY: a lock that lets rows be inserted which refer to the schedule.
    locked = list(
        rows.select_for_update(skip_locked=True, no_key=True, of=("self",)).select_related(
            "suite", "endpoint"
        )[:most]
    )
    due = [found for schedule in locked if (found := _due(schedule, now))]
    open_runs = _open_runs(due)
    fresh = [run for item in due for run in _runs_of(item, open_runs.get(item.schedule.pk), now)]
    Run.objects.bulk_create(fresh, ignore_conflicts=True)
    _move_on(due)
    for item in due:
        logger.debug(
            "schedule dispatched", schedule=str(item.schedule.pk), next_run_at=item.next_run_at
        )
    return len(locked)


def _due(schedule: Schedule, now: datetime) -> Due | None:
    """Enumerate what has come; None where that cannot be said, and the schedule is set aside."""
    first = schedule.next_run_at
    assert first is not None
    timing = schedules.timing(schedule)
    try:
        # What `next_run_at` says is itself an occurrence, whoever wrote it.
        later = occurrences.between(timing, first, now, limit=MOST_OCCURRENCES)
        coming = occurrences.next_after(timing, later[-1] if later else max(first, now))
    except Refusal as refusal:
        reason = f"{refusal.message} Correct it and enable the schedule again."
        schedules.disable(schedule, reason, now=now)
        return None
    return Due(schedule, [first, *later], coming)


def _open_runs(due: list[Due]) -> dict[object, Run]:
    """Return the newest run under way of each schedule."""
    found = Run.objects.open().filter(schedule__in=[item.schedule.pk for item in due])
    return {run.schedule_id: run for run in found.order_by("scheduled_for")}


def _runs_of(due: Due, in_the_way: Run | None, now: datetime) -> Iterable[Run]:
    """Return the runs to insert: those that run, and a row for each that does not, with why."""
    schedule = due.schedule
    chosen = _chosen(due, now)
    for instant in due.occurrences:
        run = _run(schedule, instant, now)
        if instant not in chosen:
            yield _missed(run, schedule, now)
        elif in_the_way is None or schedule.overlap_policy == OverlapPolicy.ALLOW:
            yield run
        elif schedule.overlap_policy == OverlapPolicy.SKIP:
            yield _ended(
                run, RunStatus.SKIPPED, f"Run {in_the_way.pk} ({in_the_way}) was in its way.", now
            )
        else:
            for other in schedule.runs.filter(status__in=["triggered", "running"]):
                runs.cancel(other, now=now, reason="The next occurrence took its place.")
            yield run


def _chosen(due: Due, now: datetime) -> set[datetime]:
    """Return the occurrences that run; on time there is one, after an outage the policy decides."""
    instants = due.occurrences
    window = due.schedule.catchup_window_minutes
    if window is not None:
        instants = [at for at in instants if now - at <= timedelta(minutes=window)]
    # More are still to come than one tick looks at: the newest is not among these.
    all_seen = due.next_run_at is None or due.next_run_at > now
    match CatchupPolicy(due.schedule.catchup_policy):
        case CatchupPolicy.LATEST:
            return set(instants[-1:]) if all_seen else set()
        case CatchupPolicy.EARLIEST:
            return set(instants[:1])
        case CatchupPolicy.ALL:
            return set(instants)
        case CatchupPolicy.NONE:
            return set(instants[-1:]) if all_seen and now - instants[-1] <= _ON_TIME else set()


# With the policy `none` an occurrence still runs when a tick finds it so soon after its time.
_ON_TIME = timedelta(minutes=1)


def _run(schedule: Schedule, instant: datetime, now: datetime) -> Run:
    return Run(
        project_id=schedule.project_id,
        user_id=schedule.user_id,
        schedule=schedule,
        trigger=RunTrigger.SCHEDULE,
        scheduled_for=instant,
        triggered_at=now,
        snapshot=runs.snapshot(schedule),
    )


def _missed(run: Run, schedule: Schedule, now: datetime) -> Run:
    minutes = schedule.catchup_window_minutes
    too_old = minutes is not None and now - run.scheduled_for > timedelta(minutes=minutes)
    why = (
        TOO_OLD.format(minutes=minutes)
        if too_old
        else OUTAGE.format(policy=schedule.catchup_policy)
    )
    return _ended(run, RunStatus.MISSED, why, now)


def _ended(run: Run, status: RunStatus, why: str, now: datetime) -> Run:
    run.status, run.error_message, run.completed_at = status, why, now
    return run


def _move_on(due: list[Due]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE evalsched_schedule s SET next_run_at = d.next_run_at
            FROM unnest(%s::uuid[], %s::timestamptz[]) AS d(id, next_run_at) WHERE s.id = d.id
            """,
            [[item.schedule.pk for item in due], [item.next_run_at for item in due]],
        )

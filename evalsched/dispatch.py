"""What is due: every occurrence becomes exactly one run, whatever ticks do at once.

Set-based in chunks, one transaction each. The unique key on (schedule, scheduled_for) is what
gives "once"; the lock and the moved `next_run_at` only save work.
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from access.errors import Refusal
from batches.models import Agent, ModelEndpoint, TestSuite
from evalsched import agenda, run_rows, runs, schedules
from evalsched.agenda import Due
from evalsched.models import (
    CatchupPolicy,
    OverlapPolicy,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
)
from evalsched.run_rows import Draft

logger = structlog.get_logger(__name__)

CHUNK = 500
# After an outage of a minutely schedule a tick looks at so many occurrences: where all are run it
# leaves the rest to the next one, otherwise the older ones get no rows.
MOST_OCCURRENCES = 1_000
# Found so soon after its time, an occurrence is on time: ticks are not continuous.
_ON_TIME = timedelta(minutes=1)
OUTAGE = "Nobody ran schedules at its time; the catch-up policy is '{policy}'."
TOO_OLD = (
    "Nobody ran schedules at its time, and it is older than the catch-up window of {minutes} min."
)
LEFT_OUT = " {count:,} others that nobody ran get no row of their own."


def dispatch_due(now: datetime) -> int:
    """Make the runs of every due schedule, oldest first, and move `next_run_at` on.

    A schedule whose timing can no longer be computed is set aside with the reason; it never
    stops the others. Return how many schedules were due.
    """
    _end_pauses(now)
    found = 0
    while schedules.due(now).exists():
        chunk = _dispatch_chunk(now)
        found += chunk
        if chunk < CHUNK:
            break
    if found:
        logger.info("due schedules dispatched", found=found)
    return found


def _end_pauses(now: datetime) -> None:
    """End the pauses that are over; what lay in them does not count, what came after does."""
    over = Schedule.objects.filter(paused_until__lte=now)
    if not over.exists():
        return
    with transaction.atomic():
        for schedule in over.select_for_update(skip_locked=True, no_key=True)[:CHUNK]:
            try:
                schedules.end_pause(schedule, now=now)
            except Refusal as refusal:
                _set_aside(schedule, refusal.message, now)


def _dispatch_chunk(now: datetime) -> int:
    due = schedules.due(now).order_by("next_run_at")
    try:
        with transaction.atomic():
            return _dispatch(due, now, CHUNK)
    except DatabaseError as error:
        logger.warning("chunk of schedules not dispatched", error=repr(error))
    return sum(_dispatch_alone(pk, now) for pk in due.values_list("pk", flat=True)[:CHUNK])


def _dispatch_alone(schedule_id: uuid.UUID, now: datetime) -> int:
    """Dispatch one schedule of a chunk that failed as a whole; the bad one is set aside."""
    one = schedules.due(now).filter(pk=schedule_id)
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
    locked = list(rows.select_for_update(skip_locked=True, no_key=True)[:most])
    _name_parts(locked)
    due = [found for schedule in locked if (found := _due(schedule, now))]
    open_runs = _open_runs(due)
    drafts = [
        draft for item in due for draft in _drafts_of(item, open_runs.get(item.schedule.pk), now)
    ]
    made = Counter(run_rows.insert(drafts, trigger=RunTrigger.SCHEDULE, now=now))
    _make_way(due, open_runs, made, now)
    _move_on(due, made, now)
    return len(locked)


def _name_parts(found: list[Schedule]) -> None:
    """Give the schedules their suites, endpoints and agents, of which only the names are read."""
    wanted = {one.suite_id for one in found if one.suite_id is not None}
    suites = TestSuite.objects.only("name").in_bulk(wanted)
    endpoints = ModelEndpoint.objects.only("name").in_bulk(
        {one.endpoint_id for one in found if one.endpoint_id is not None}
    )
    named = Agent.objects.select_related("endpoint").only("name", "endpoint__name")
    agents = named.in_bulk({one.agent_id for one in found if one.agent_id is not None})
    for one in found:
        if one.endpoint_id is not None:
            one.endpoint = endpoints[one.endpoint_id]
        if one.agent_id is not None:
            one.agent = agents[one.agent_id]
        if one.suite_id is not None:
            one.suite = suites[one.suite_id]


def _due(schedule: Schedule, now: datetime) -> Due | None:
    """Enumerate what has come; None where that cannot be said, and the schedule is set aside."""
    try:
        due = agenda.due(schedule, now, most=MOST_OCCURRENCES)
    except Refusal as refusal:
        _set_aside(schedule, refusal.message, now)
        return None
    except Exception as error:  # zone data that breaks, say: the others go on
        logger.exception("times not computed", schedule=str(schedule.pk))
        _set_aside(schedule, f"Its times cannot be computed: {error!r}.", now)
        return None
    if due.by_hand and _exists(schedule, due.occurrences[:1]):
        # The occurrence has its run, so whoever wrote the time wants another one, at that time.
        assert schedule.next_run_at is not None
        due.occurrences[0] = schedule.next_run_at
    return due


def _exists(schedule: Schedule, instants: list[datetime]) -> bool:
    made = Run.objects.filter(schedule=schedule, trigger=RunTrigger.SCHEDULE)
    return made.filter(scheduled_for__in=instants).exists()


def _set_aside(schedule: Schedule, why: str, now: datetime) -> None:
    reason = f"{why} Correct it and enable the schedule again."
    schedules.disable(schedule, reason, now=now)


def _open_runs(due: list[Due]) -> dict[uuid.UUID, list[Run]]:
    """Return the runs under way of each schedule, newest last, those of backfills aside."""
    found = Run.objects.open().filter(schedule__in=[item.schedule.pk for item in due])
    found = found.exclude(trigger=RunTrigger.BACKFILL).order_by("scheduled_for")
    of_schedules: dict[uuid.UUID, list[Run]] = {}
    for run in found.only("schedule", "trigger", "scheduled_for"):
        of_schedules.setdefault(run.schedule_id, []).append(run)
    return of_schedules


def _drafts_of(due: Due, open_runs: list[Run] | None, now: datetime) -> Iterator[Draft]:
    """Yield the runs to insert: those that run, and one for each that does not, with why."""
    chosen = _chosen(due, now)
    skips = due.schedule.overlap_policy == OverlapPolicy.SKIP and not _queues(due, chosen, now)
    if chosen and open_runs and skips:
        why = f"Run {open_runs[-1].pk} ({open_runs[-1]}) was in its way."
        yield from _with_others(due, chosen, RunStatus.SKIPPED, why, now)
    else:
        yield from _with_others(due, chosen, RunStatus.TRIGGERED, "", now)


def _make_way(
    due: list[Due],
    open_runs: dict[uuid.UUID, list[Run]],
    made: Counter[uuid.UUID],
    now: datetime,
) -> None:
    """Cancel the earlier runs of those that got a new one, where the overlap policy says so."""
    for item in due:
        schedule = item.schedule
        if (
            schedule.overlap_policy == OverlapPolicy.CANCEL_PREVIOUS
            and made[schedule.pk]
            and not _queues(item, _chosen(item, now), now)
        ):
            for other in open_runs.get(schedule.pk, ()):
                runs.cancel(other, now=now, reason="The next occurrence took its place.")


def _queues(due: Due, chosen: set[datetime], now: datetime) -> bool:
    """Whether none is in another's way: catching up on all, admission runs them one by one."""
    jitter = agenda.jitter(due.schedule)
    late = any(now - instant - jitter > _ON_TIME for instant in chosen)
    return late and due.schedule.catchup_policy == CatchupPolicy.ALL


def _with_others(
    due: Due, chosen: set[datetime], status: RunStatus, why: str, now: datetime
) -> Iterator[Draft]:
    """Yield a run for each occurrence: the chosen ones as `status`, the others as missed.

    Where `max_runs` is reached it ends. The first that is missed tells of those left out.
    """
    schedule = due.schedule
    left = None if schedule.max_runs is None else schedule.max_runs - schedule.runs_made
    others = LEFT_OUT.format(count=due.left_out) if due.left_out else ""
    for instant in due.occurrences:
        if instant not in chosen:
            missed = _missed(schedule, instant, now) + others
            yield Draft(schedule, instant, RunStatus.MISSED, missed, now)
            # Once is enough.
            others = ""
        elif status == RunStatus.TRIGGERED and left is not None and left <= 0:
            return
        else:
            yield Draft(
                schedule, instant, status, why, None if status == RunStatus.TRIGGERED else now
            )
            left = None if left is None else left - 1


def _chosen(due: Due, now: datetime) -> set[datetime]:
    """Return the occurrences that run; on time there is one, after an outage the policy decides."""
    instants = due.occurrences
    window = due.schedule.catchup_window_minutes
    late = agenda.jitter(due.schedule)
    if window is not None:
        instants = [at for at in instants if now - at - late <= timedelta(minutes=window)]
    match CatchupPolicy(due.schedule.catchup_policy):
        case CatchupPolicy.LATEST:
            return set(instants[-1:])
        case CatchupPolicy.EARLIEST:
            return set(instants[:1])
        case CatchupPolicy.ALL:
            return set(instants)
        case CatchupPolicy.NONE:
            on_time = bool(instants) and now - instants[-1] - late <= _ON_TIME
            return set(instants[-1:]) if on_time else set()


def _missed(schedule: Schedule, instant: datetime, now: datetime) -> str:
    minutes = schedule.catchup_window_minutes
    late = agenda.jitter(schedule)
    if minutes is not None and now - instant - late > timedelta(minutes=minutes):
        return TOO_OLD.format(minutes=minutes)
    return OUTAGE.format(policy=schedule.catchup_policy)


def _move_on(due: list[Due], made: Counter[uuid.UUID], now: datetime) -> None:
    """Move the schedules on by their runs that were really made, and end those that are done."""
    keys = [item.schedule.pk for item in due]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE evalsched_schedule s
            SET next_run_at = d.next_run_at, runs_made = s.runs_made + d.made
            FROM unnest(%s::uuid[], %s::timestamptz[], %s::int[]) AS d(id, next_run_at, made)
            WHERE s.id = d.id
            """,
            [keys, [item.next_run_at for item in due], [made[key] for key in keys]],
        )
    for item in due:
        schedule = item.schedule
        schedule.runs_made += made[schedule.pk]
        schedule.next_run_at = item.next_run_at
        schedules.end_if_over(schedule, now=now)
        if item.left_out:
            logger.warning("occurrences left out", schedule=str(schedule.pk), count=item.left_out)
        logger.debug("schedule dispatched", schedule=str(schedule.pk), next_run_at=item.next_run_at)

"""The past made up for: the occurrences of a range become runs, at once and once."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from access import audit
from access.actors import Actor
from access.errors import Invalid
from access.hints import hint
from access.ids import uuid7
from evalsched import agenda, cron, occurrences, run_rows
from evalsched.models import RunTrigger, Schedule
from evalsched.occurrences import Occurrence
from evalsched.run_rows import Draft
from evalsched.runs import TICK

MOST_RUNS = 1_000
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Backfill:
    """What was made, or with `dry_run` would be; `id` is None then."""

    id: uuid.UUID | None
    dry_run: bool
    start: datetime
    end: datetime
    count: int
    occurrences: list[Occurrence]


def plan(schedule: Schedule, start: datetime, end: datetime, *, now: datetime) -> Backfill:
    """Return what a backfill of [start, end] would make, whether or not it has run before.

    The schedule's own limits and jitter play no part in it.

    Raises:
        Invalid: the range is no range of the past, holds nothing, or too much.
    """
    if end < start:
        raise Invalid.field("end", "It has to lie at or after start.")
    if end > now:
        raise Invalid.field(
            "end", "It lies in the future, which the schedule itself will come to. Name the past."
        )
    if start.year < cron.FIRST_YEAR:
        raise Invalid.field("start", f"Nothing is scheduled before {cron.FIRST_YEAR}.")
    times, after = agenda.timing(schedule), start - _INSTANT
    # Counted before they are enumerated.
    count = occurrences.count(times, after, end)
    if count > MOST_RUNS:
        raise Invalid.field(
            "end",
            f"There are {count:,} occurrences in this range; one backfill makes at most "
            f"{MOST_RUNS:,} runs. Take a shorter range.",
        )
    if count == 0:
        raise Invalid.field("end", "There is no occurrence in this range. Take a longer one.")
    found = occurrences.preview(times, after, end, count)
    return Backfill(None, True, start, end, count, found)


def start(
    actor: Actor, schedule: Schedule, first: datetime, last: datetime, *, now: datetime
) -> Backfill:
    """Queue a run for each occurrence in [first, last]; works when the schedule is not active.

    They run one after the other, oldest first, when nothing else waits for a place.

    Raises:
        Invalid: as `plan`.
    """
    planned = plan(schedule, first, last, now=now)
    backfill_id = uuid7()
    run_rows.insert(
        [Draft(schedule, found.scheduled_for) for found in planned.occurrences],
        trigger=RunTrigger.BACKFILL,
        now=now,
        user_id=actor.user.pk,
        backfill_id=backfill_id,
    )
    audit.record(
        actor,
        "schedule.backfilled",
        schedule,
        {
            "backfill_id": str(backfill_id),
            "start": first.isoformat(),
            "end": last.isoformat(),
            "runs": planned.count,
        },
    )
    hint(TICK)
    return Backfill(backfill_id, False, first, last, planned.count, planned.occurrences)

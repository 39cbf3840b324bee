"""When one schedule is due: its occurrences between its limits, and the jitter that is added.

An occurrence is nominal; it is due its jitter later. Pure, like `occurrences`: reads the
schedule's row, and knows neither the database nor the clock.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from access.errors import Invalid
from evalsched import occurrences
from evalsched.models import CatchupPolicy, Schedule
from evalsched.occurrences import Occurrence, Timing

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Due:
    """The occurrences of a schedule that have come, oldest first, and the nominal next one.

    `by_hand`: the first is what somebody wrote into `next_run_at`, not what the timing says.
    `left_out`: how many more have come that are not among them and never will be.
    """

    schedule: Schedule
    occurrences: list[datetime]
    coming: datetime | None
    by_hand: bool = False
    left_out: int = 0

    @property
    def next_run_at(self) -> datetime | None:
        return None if self.coming is None else self.coming + jitter(self.schedule)


def timing(schedule: Schedule) -> Timing:
    return Timing(
        schedule_type=schedule.schedule_type,
        cron_expression=schedule.cron_expression,
        timezone=schedule.timezone,
        dst_gap=schedule.dst_gap or None,
        dst_overlap=schedule.dst_overlap or None,
    )


def jitter(schedule: Schedule) -> timedelta:
    """Return by how much the schedule is late: 0 to `jitter_seconds`, by its id and for good."""
    if not schedule.jitter_seconds:
        return timedelta(0)
    digest = hashlib.blake2b(schedule.pk.bytes, digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest) % (schedule.jitter_seconds + 1))


def nominal(schedule: Schedule, written: datetime) -> tuple[datetime, bool]:
    """Return the occurrence that a `next_run_at` stands for, and whether that is a guess."""
    if not schedule.jitter_seconds:
        return written, False
    times = timing(schedule)
    exact = written - jitter(schedule)
    if occurrences.next_after(times, exact - _INSTANT) == exact:
        return exact, False
    widest = timedelta(seconds=schedule.jitter_seconds)
    found = occurrences.latest(times, written - widest - _INSTANT, written)
    return found or written, True


def begins_at(schedule: Schedule) -> datetime | None:
    """Return the instant before which nothing counts: the start, or the end of a pause."""
    return max(filter(None, (schedule.starts_at, schedule.paused_until)), default=None)


def within_limits(schedule: Schedule, instant: datetime) -> bool:
    """Whether an occurrence lies between the schedule's start, or its pause's end, and its end."""
    begins, ends = begins_at(schedule), schedule.ends_at
    return (begins is None or instant >= begins) and (ends is None or instant <= ends)


def next_run_at(schedule: Schedule, now: datetime) -> datetime | None:
    """Return when a schedule that is made or changed now is due: never for the past.

    None where no occurrence is left: `refuse_if_ended` says why.
    """
    coming = _coming(schedule, now)
    return None if coming is None else coming + jitter(schedule)


def refuse_if_ended(schedule: Schedule) -> None:
    """Refuse a schedule that is to be active, but of which no occurrence is left.

    Raises: Invalid, naming max_runs or ends_at.
    """
    made, ends_at = schedule.runs_made, schedule.ends_at
    if schedule.max_runs is not None and made >= schedule.max_runs:
        raise Invalid.field(
            "max_runs", f"It has made {made} scheduled runs; raise max_runs, or set it to null."
        )
    if schedule.next_run_at is None and ends_at is not None:
        raise Invalid.field(
            "ends_at",
            f"No occurrence is left until ends_at ({ends_at:%Y-%m-%d %H:%M} UTC); "
            "move it, set it to null, or switch the schedule off.",
        )


def due(schedule: Schedule, now: datetime, *, most: int) -> Due:
    """Return what has come by `now`, about `most` occurrences of the timing.

    Where all are run these are the oldest, and the others follow with the next call; otherwise the
    newest, with the one that the catch-up policy `earliest` runs, and the others are left out.

    A `next_run_at` in the past is itself an occurrence, whoever wrote it: the one whose jitter it
    has in, else the last one that it may belong to, else a time of its own. Of the timing's others
    only those count since the schedule was made.

    Raises: Invalid, for a timing that means nothing.
    """
    assert schedule.next_run_at is not None
    times, late = timing(schedule), jitter(schedule)
    first, by_hand = nominal(schedule, schedule.next_run_at)
    begins = begins_at(schedule)
    if begins is not None and first < begins:
        # Written past the start or the pause: what lies before them does not count.
        found, after = [], begins - _INSTANT
    else:
        found, after = [first], first
    # Later than now is a clock that was set back, which says nothing.
    if schedule.created_at <= now:
        after = max(after, schedule.created_at)
    coming = occurrences.next_after(times, after)
    until = now - late if schedule.ends_at is None else min(now - late, schedule.ends_at)
    left_out = 0
    if coming is not None and coming <= until:
        come = _come(schedule, after, until, now - late, most)
        left_out = occurrences.count(times, after, come[-1]) - len(come)
        found += come
        coming = occurrences.next_after(times, found[-1])
    if schedule.ends_at is not None:
        found = [instant for instant in found if instant <= schedule.ends_at]
        coming = coming if coming is not None and coming <= schedule.ends_at else None
    return Due(schedule, found, coming, by_hand, left_out)


def _come(
    schedule: Schedule, after: datetime, until: datetime, late_from: datetime, most: int
) -> list[datetime]:
    """Return those of (after, until] that are looked at now: one at least, when there is one.

    `late_from` is the instant from which the catch-up window reaches back.
    """
    times, window = timing(schedule), schedule.catchup_window_minutes
    counts_after = after
    if window is not None:
        counts_after = max(after, late_from - timedelta(minutes=window) - _INSTANT)
    if schedule.catchup_policy == CatchupPolicy.ALL:
        too_old = occurrences.newest(times, after, min(counts_after, until), limit=most)
        return too_old + occurrences.between(times, counts_after, until, limit=most)
    found = occurrences.newest(times, after, until, limit=most)
    earliest = occurrences.next_after(times, counts_after)
    if schedule.catchup_policy == CatchupPolicy.EARLIEST and earliest and earliest < found[0]:
        return [earliest, *found]
    return found


def upcoming(schedule: Schedule, now: datetime, count: int) -> list[Occurrence]:
    """Return the next `count` occurrences as people read them; none while it is not active."""
    if schedule.next_run_at is None:
        return []
    left = count
    if schedule.max_runs is not None:
        left = min(count, max(schedule.max_runs - schedule.runs_made, 0))
    first, _ = nominal(schedule, schedule.next_run_at)
    times, begins = timing(schedule), begins_at(schedule)
    start = first if begins is None else max(first, begins)
    found = occurrences.preview(times, start - _INSTANT, schedule.ends_at, left)
    if start == first and (not found or found[0].scheduled_for != first):
        # Somebody wrote this one by hand.
        found = [occurrences.shown(times, first), *found]
    return found[:left]


def _coming(schedule: Schedule, after: datetime) -> datetime | None:
    begins = begins_at(schedule)
    if begins is not None:
        after = max(after, begins - _INSTANT)
    coming = occurrences.next_after(timing(schedule), after)
    if coming is not None and schedule.ends_at is not None and coming > schedule.ends_at:
        return None
    return coming

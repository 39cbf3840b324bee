"""Cron's own main loop, minute by minute, and a reader of expressions: the oracle of the tests.

Written from the behaviour of Debian's cron, without the product's parser or its search. Slow and
plain on purpose: it looks at every minute.
"""

import calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@dataclass(frozen=True)
class ClockChange:
    """From `at` on the offset is `after`."""

    at: datetime
    before: timedelta
    after: timedelta


class Job:
    """One line of a crontab."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        minute, hour, self._dom, month, self._dow = expression.split()
        self.wildcard = minute[0] == "*" or hour[0] == "*"
        self._minutes = numbers(minute, 0, 59)
        self._hours = numbers(hour, 0, 23)
        self._months = numbers(month, 1, 12, MONTHS, 1)
        self._known_dates: dict[int, bool] = {}

    def due(self, civil: int) -> bool:
        """Whether the job matches a wall-clock minute, counted from 1970-01-01 00:00."""
        if civil % 60 not in self._minutes or civil // 60 % 24 not in self._hours:
            return False
        day = civil // 1440
        if day not in self._known_dates:
            self._known_dates[day] = self.on(date(1970, 1, 1) + timedelta(days=day))
        return self._known_dates[day]

    def on(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        by_month = any(falls_on(term, day) for term in self._dom.split(","))
        by_week = any(is_weekday(term, day) for term in self._dow.split(","))
        if self._dom[0] == "*" or self._dow[0] == "*":
            return by_month and by_week
        return by_month or by_week


def numbers(
    text: str, low: int, high: int, names: Iterable[str] = (), first: int = 0
) -> frozenset[int]:
    for number, name in enumerate(names, first):
        text = text.replace(name, str(number))
    found: set[int] = set()
    for term in text.split(","):
        match = re.fullmatch(r"(\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", term)
        assert match is not None, term
        start = low if match[2] is None else int(match[2])
        end = int(match[3]) if match[3] else high if match[2] is None or match[4] else start
        found.update(range(start, end + 1, int(match[4] or 1)))
    return frozenset(found)


def falls_on(term: str, day: date) -> bool:
    month = [day.replace(day=n + 1) for n in range(calendar.monthrange(day.year, day.month)[1])]
    if term == "L":
        return day == month[-1]
    if term == "LW":
        return day == [other for other in month if other.isoweekday() < 6][-1]
    return day.day in numbers(term, 1, 31)


def is_weekday(term: str, day: date) -> bool:
    """Whether `day` is one of the weekdays of `term`, where Sunday is 0 and 7."""
    head, _, nth = term.partition("#")
    if nth:
        return is_weekday(head, day) and len(range(day.day, 0, -7)) == int(nth)
    if head.endswith("L"):
        return is_weekday(head[:-1], day) and (day + timedelta(days=7)).month != day.month
    return not numbers(head, 0, 7, WEEKDAYS).isdisjoint({day.isoweekday(), day.isoweekday() % 7})


def civil_minute(instant: datetime, zone: ZoneInfo) -> int:
    local = instant.astimezone(zone)
    return (local.replace(tzinfo=UTC) - EPOCH) // MINUTE


def run_cron(
    jobs: list[Job], zone: ZoneInfo, after: datetime, until: datetime
) -> dict[str, list[datetime]]:
    """Let cron run in (after, until] and return when each job started, by expression.

    cron compares the wall clock with the last minute it has dealt with. One minute on: business as
    usual. Up to three hours on: the clock jumped, wildcard jobs run now and fixed ones for every
    minute missed. Up to three hours back: wildcard jobs only, until the clock has caught up. More
    than that: somebody set the clock, start afresh.
    """
    started: dict[str, list[datetime]] = {job.expression: [] for job in jobs}
    done = civil_minute(after, zone)
    instant = after + MINUTE
    while instant <= until:
        clock = civil_minute(instant, zone)
        jump = clock - done
        if jump == 1 or abs(jump) > 180:
            wildcard, fixed, done = [clock], [clock], clock
        elif jump > 0:
            missed = list(range(done + 1, clock + 1))
            wildcard, fixed, done = [clock] if jump > 5 else missed, missed, clock
        else:
            wildcard, fixed = [clock], []
        for job in jobs:
            if any(job.due(civil) for civil in (wildcard if job.wildcard else fixed)):
                started[job.expression].append(instant)
        instant += MINUTE
    return started


def by_definition(
    job: Job, zone: ZoneInfo, after: datetime, until: datetime, *, gap: str, overlap: str
) -> list[datetime]:
    """Return when `job` fires in (after, until] under an override, minute of the wall by minute."""
    margin = timedelta(days=1)
    instants: dict[int, list[datetime]] = {}
    instant = after - margin
    while instant <= until + margin:
        instants.setdefault(civil_minute(instant, zone), []).append(instant)
        instant += MINUTE
    found: set[datetime] = set()
    for civil in range(min(instants), max(instants) + 1):
        if not job.due(civil):
            continue
        if civil in instants:
            passes = instants[civil]
            found.update({"first": passes[:1], "second": passes[-1:], "both": passes}[overlap])
        elif gap == "shift":
            found.add(
                instants[next(c for c in range(civil, max(instants) + 1) if c in instants)][0]
            )
    return sorted(instant for instant in found if after < instant <= until)


def clock_changes(zone: ZoneInfo, start: datetime, end: datetime) -> list[ClockChange]:
    """Return the changes of offset in (start, end], by looking at each day and then each minute."""
    changes = []
    day, before = start, start.astimezone(zone).utcoffset()
    while day < end:
        day += timedelta(days=1)
        after = day.astimezone(zone).utcoffset()
        if after != before:
            at = day - timedelta(days=1)
            while at.astimezone(zone).utcoffset() == before:
                at += MINUTE
            assert before is not None
            assert after is not None
            changes.append(ClockChange(at, before, after))
        before = after
    return changes

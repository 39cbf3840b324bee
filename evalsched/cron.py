"""Cron's dialect: which wall-clock minutes an expression means.

Knows the calendar, but neither time zones nor clock changes (see zones.py, occurrences.py). A civil
minute is the number of minutes from 1970-01-01 00:00 on a wall clock that never changes.
"""

import calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache

from cronsim import CronSim, CronSimError

from access.errors import Invalid

# From 1973 on every zone's offset is a whole number of minutes; Monrovia's was the last odd one.
FIRST_YEAR = 1973
LAST_YEAR = 2199
MINUTES_A_DAY = 24 * 60

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MAX_LENGTH = 255
# Not from `calendar`, whose names follow the locale. Indexed by number: 1 is January, 0 is Sunday.
MONTHS = (
    *("", "January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

_FIRST_CIVIL_DAY = date(1970, 1, 1).toordinal()
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)

# A number, or for a day of the week also (day, nth of the month or CronSim.LAST).
Day = int | tuple[int, int]


@dataclass(frozen=True)
class Field:
    """One of the five fields: its name and the numbers and names it takes."""

    name: str
    low: int
    high: int
    size: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        """Return the value that `text` names. Raises: Invalid."""
        if text in self.names:
            return self.names.index(text) + self.low
        if not text.isdigit():
            raise _refusal(f"{self.name}: `{text}` is not a value; {self._choice}.")
        value = int(text)
        if not self.low <= value <= self.high:
            raise _refusal(f"{self.name}: {value} is out of range; {self._choice}.")
        return value

    @property
    def _choice(self) -> str:
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"use {self.low} to {self.high}{names}"


MINUTE = Field("minute", 0, 59, 60)
HOUR = Field("hour", 0, 23, 24)
MONTHDAY = Field("day of month", 1, 31, 31)
MONTH = Field("month", 1, 12, 12, tuple(name[:3].upper() for name in MONTHS[1:]))
WEEKDAY = Field("day of week", 0, 7, 7, tuple(name[:3].upper() for name in WEEKDAYS))
FIELDS = (MINUTE, HOUR, MONTHDAY, MONTH, WEEKDAY)

_FOREIGN = (
    (re.compile(r"\?"), "`?` belongs to another dialect; write `*`"),
    (
        re.compile(r"H(\(.*\))?"),
        "`H` is Jenkins' hash; name a value and set jitter_seconds instead",
    ),
    (
        re.compile(r"R(\(.*\))?|.*~.*"),
        "random values would differ at every look; use jitter_seconds",
    ),
    (re.compile(r"\d+W|W"), "of the `W` forms only `LW`, the month's last weekday, is understood"),
)


def _refusal(complaint: str) -> Invalid:
    return Invalid.field("cron_expression", complaint[0].upper() + complaint[1:])


@dataclass(frozen=True)
class Plan:
    """The wall-clock minutes of one expression. Bit n of a mask stands for the value n."""

    minutes: int
    hours: int
    months: int
    days: frozenset[Day]
    weekdays: frozenset[Day]
    both_days: bool  # day of month AND day of week, because one of them starts with `*`
    wall_clock: bool  # minute or hour starts with `*`: Debian cron's "wildcard job"

    def first_from(self, civil: int) -> int | None:
        """Return the first matching civil minute at or after `civil`, None after LAST_YEAR."""
        today, minute = divmod(civil, MINUTES_A_DAY)
        day = self._day_from(today)
        if day == today:
            rest = self._time_from(minute)
            if rest is not None:
                return day * MINUTES_A_DAY + rest
            day = self._day_from(today + 1)
        if day is None:
            return None
        return day * MINUTES_A_DAY + _lowest(self.hours) * 60 + _lowest(self.minutes)

    def last_until(self, civil: int) -> int | None:
        """Return the last matching civil minute at or before `civil`, None before FIRST_YEAR."""
        today, minute = divmod(civil, MINUTES_A_DAY)
        day = self._day_until(today)
        if day == today:
            rest = self._time_until(minute)
            if rest is not None:
                return day * MINUTES_A_DAY + rest
            day = self._day_until(today - 1)
        if day is None:
            return None
        return day * MINUTES_A_DAY + _highest(self.hours) * 60 + _highest(self.minutes)

    def count(self, start: int, end: int) -> int:
        """Return how many matching civil minutes lie in [start, end), month by month."""
        (first, early), (last, late) = divmod(start, MINUTES_A_DAY), divmod(end, MINUTES_A_DAY)
        whole = self._count_days(first, last) * self._count_times(MINUTES_A_DAY)
        before = self._count_days(first, first + 1) * self._count_times(early)
        return whole - before + self._count_days(last, last + 1) * self._count_times(late)

    def _count_days(self, start: int, end: int) -> int:
        found = 0
        day = start
        while day < end:
            here = date.fromordinal(day + _FIRST_CIVIL_DAY)
            length = calendar.monthrange(here.year, here.month)[1]
            stop = min(here.day + end - day, length + 1)
            if self.months >> here.month & 1:
                mask = self._days_of(here.year, here.month) & ((1 << stop) - 1)
                found += (mask >> here.day).bit_count()
            day += stop - here.day
        return found

    def _count_times(self, end: int) -> int:
        """Count the matching minutes of a matching day before its minute `end`."""
        hour, minute = divmod(end, 60)
        found = (self.hours & ((1 << hour) - 1)).bit_count() * self.minutes.bit_count()
        if self.hours >> hour & 1:
            found += (self.minutes & ((1 << minute) - 1)).bit_count()
        return found

    def _time_from(self, time: int) -> int | None:
        hour, minute = divmod(time, 60)
        later = self.minutes >> minute << minute
        if self.hours >> hour & 1 and later:
            return hour * 60 + _lowest(later)
        hours = self.hours >> (hour + 1) << (hour + 1)
        return _lowest(hours) * 60 + _lowest(self.minutes) if hours else None

    def _time_until(self, time: int) -> int | None:
        hour, minute = divmod(time, 60)
        earlier = self.minutes & ((2 << minute) - 1)
        if self.hours >> hour & 1 and earlier:
            return hour * 60 + _highest(earlier)
        hours = self.hours & ((1 << hour) - 1)
        return _highest(hours) * 60 + _highest(self.minutes) if hours else None

    def _day_from(self, day: int) -> int | None:
        start = date.fromordinal(day + _FIRST_CIVIL_DAY)
        year, month, first = start.year, start.month, start.day
        while year <= LAST_YEAR:
            if self.months >> month & 1:
                found = self._days_of(year, month) >> first << first
                if found:
                    return _civil_day(year, month, _lowest(found))
            year, month, first = year + month // 12, month % 12 + 1, 1
        return None

    def _day_until(self, day: int) -> int | None:
        end = date.fromordinal(day + _FIRST_CIVIL_DAY)
        year, month, last = end.year, end.month, end.day
        while year >= FIRST_YEAR:
            if self.months >> month & 1:
                found = self._days_of(year, month) & ((2 << last) - 1)
                if found:
                    return _civil_day(year, month, _highest(found))
            year, month, last = year - (month == 1), (month - 2) % 12 + 1, 31
        return None

    def _days_of(self, year: int, month: int) -> int:
        return _day_mask(
            self.days, self.weekdays, self.both_days, *calendar.monthrange(year, month)
        )

    @property
    def every_hour(self) -> bool:
        return self.hours == (1 << HOUR.size) - 1

    def comes(self) -> bool:
        """Whether any date matches. All lengths and first weekdays of a month come in 400 years."""
        lengths = {
            length
            for month in range(1, 13)
            if self.months >> month & 1
            for length in {calendar.monthrange(year, month)[1] for year in (2027, 2028)}
        }
        return any(
            _day_mask(self.days, self.weekdays, self.both_days, first, length)
            for length in lengths
            for first in range(7)
        )


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _highest(mask: int) -> int:
    return mask.bit_length() - 1


def _civil_day(year: int, month: int, day: int) -> int:
    return date(year, month, day).toordinal() - _FIRST_CIVIL_DAY


@lru_cache(maxsize=16_384)
def _day_mask(
    days: frozenset[Day],
    weekdays: frozenset[Day],
    both: bool,
    first: int,
    length: int,
) -> int:
    """Return the matching days of a month of `length` days whose 1st is weekday `first` (Mon = 0).

    Cached by the month's shape, of which there are 28, so a plan costs the same in any year.
    """
    last_working_day = length - max((first + length - 1) % 7 - 4, 0)
    mask = 0
    for day in range(1, length + 1):
        weekday = (first + day) % 7
        in_month = (
            day in days
            or (day == length and CronSim.LAST in days)
            or (day == last_working_day and CronSim.LAST_WEEKDAY in days)
        )
        in_week = (
            weekday in weekdays
            or (weekday, (day + 6) // 7) in weekdays
            or (day + 7 > length and (weekday, CronSim.LAST) in weekdays)
        )
        if (in_month and in_week) if both else (in_month or in_week):
            mask |= 1 << day
    return mask


@lru_cache(maxsize=16_384)
def parse(expression: str) -> Plan:
    """Return what a five-field expression or an `@` name means.

    Raises: Invalid, field `cron_expression`, with the reason.
    """
    texts = _fields(expression)
    for field, text in zip(FIELDS, texts, strict=True):
        for term in text.split(","):
            _check(field, term)
    try:
        sets = CronSim(" ".join(texts), _ANY_TIME)
    except CronSimError as error:
        # Every term is sound by now, so what is left is a day that no named month has.
        raise _never(expression) from error
    plan = Plan(
        minutes=_mask(sets.minutes),
        hours=_mask(sets.hours),
        months=_mask(sets.months),
        days=frozenset(sets.days),
        weekdays=frozenset(_sunday_is_zero(day) for day in sets.weekdays),
        both_days=sets.day_and,
        wall_clock=texts[0].startswith("*") or texts[1].startswith("*"),
    )
    if not plan.comes():
        raise _never(expression)
    return plan


def _never(expression: str) -> Invalid:
    return _refusal(f"`{expression.strip()}` never comes: no month it names has such a day.")


def _mask(values: Iterable[int]) -> int:
    return sum(1 << value for value in values)


def _sunday_is_zero(day: Day) -> Day:
    return day % 7 if isinstance(day, int) else (day[0] % 7, day[1])


def _fields(expression: str) -> list[str]:
    if len(expression) > MAX_LENGTH:
        raise _refusal(f"An expression has at most {MAX_LENGTH} characters.")
    text = expression.strip().replace("\t", " ")
    if not text:
        raise _refusal("A custom schedule needs a cron expression, such as `0 2 * * MON`.")
    if not (text.isascii() and text.isprintable()):
        raise _refusal("An expression is one line of plain letters, digits and `* , - / # @`.")
    if text.startswith("@"):
        text = _nickname(text)
    fields = text.upper().split()
    if len(fields) > len(FIELDS):
        raise _refusal(
            f"An expression has five fields (minute, hour, day of month, month, day of week), "
            f"not {len(fields)}; seconds and years are not understood."
        )
    if len(fields) < len(FIELDS):
        raise _refusal(
            "An expression has five fields: minute, hour, day of month, month, day of week; "
            f"there are {len(fields)}."
        )
    return fields


def _nickname(text: str) -> str:
    name = text.split(maxsplit=1)[0].lower()
    if name == "@reboot":
        raise _refusal("`@reboot` names no time: a schedule outlives any one machine's start.")
    if name == "@every":
        raise _refusal("`@every` counts from no fixed time; write a step, such as `*/15 * * * *`.")
    if text.lower() not in NICKNAMES:
        raise _refusal(f"`{text}` is not known; the names are {', '.join(NICKNAMES)}.")
    return NICKNAMES[name]


def _check(field: Field, term: str) -> None:
    """Refuse a term that cron would not take, or that would not mean what it seems to."""
    head, slash, step = term.partition("/")
    for pattern, reason in _FOREIGN:
        if pattern.fullmatch(head):
            raise _refusal(f"{field.name}: {reason}.")
    if _special(field, head):
        if slash:
            raise _refusal(f"{field.name}: `{head}` is one day and takes no step.")
        return
    if slash:
        _check_step(field, step)
    if head == "*":
        return
    first, dash, last = head.partition("-")
    start = field.number(first)
    if dash and field.number(last) < start:
        raise _refusal(f"{field.name}: `{head}` runs backwards; write it as a list or two ranges.")


def _check_step(field: Field, step: str) -> None:
    if not step.isdigit() or int(step) == 0:
        raise _refusal(f"{field.name}: a step is a number from 1, not `{step}`.")
    if int(step) > field.size:
        raise _refusal(
            f"{field.name}: a step of {step} is larger than the field of {field.size} values."
        )


def _special(field: Field, head: str) -> bool:
    """Whether `head` is one of the forms that depend on the month: L, LW, 5L, MON#1."""
    if field is MONTHDAY:
        return head in {"L", "LW"}
    if field is not WEEKDAY:
        return False
    if "#" in head:
        name, _, nth = head.partition("#")
        field.number(name)
        if nth not in {"1", "2", "3", "4", "5"}:
            raise _refusal(
                f"{field.name}: a month has a 1st to a 5th {name} at most, not `#{nth}`."
            )
        return True
    if re.fullmatch(r"\d+L", head):
        field.number(head[:-1])
        return True
    return False

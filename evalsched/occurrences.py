"""When a schedule fires: from what its row holds about time to instants, and back to words.

Pure: knows neither the database nor the clock. `now`, `after` and `until` are aware datetimes;
instants returned are aware UTC datetimes on whole minutes. Inside, an instant is the number of
minutes from 1970-01-01T00:00Z, and a civil minute the same count on a zone's wall clock.

Clock changes follow Debian cron. A job whose minute or hour starts with `*` runs by the wall clock:
never at a time that does not exist, twice at one that comes twice. Any other job means fixed times:
those that a change skips run at its end, those that it repeats run the first time. `dst_gap` and
`dst_overlap` override either. Before 1973 and after 2199 nothing fires.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice

from access.errors import Invalid
from evalsched import cron, cron_words
from evalsched.zones import (
    LONGEST_ZONE_NAME,
    MARGIN,
    MINUTE,
    Change,
    Piece,
    changes,
    instant_of,
    minute_of,
    pieces_of,
    tzdata_version,
    year_start,
    zone,
)

__all__ = [
    "LONGEST_ZONE_NAME",
    "Occurrence",
    "Timing",
    "between",
    "count",
    "describe",
    "latest",
    "newest",
    "next_after",
    "preview",
    "tzdata_version",
    "validate",
    "warnings",
    "zone",
]

TYPES = {"hourly": "0 * * * *", "daily": "0 2 * * *", "weekly": "0 2 * * MON"}
CUSTOM = "custom"
GAPS = ("shift", "skip")
OVERLAPS = ("first", "second", "both")

# Debian cron catches up after a jump of up to three hours; more is a clock that somebody set.
LARGEST_CHANGE = 3 * 60
FAR_AWAY = timedelta(days=366)


@dataclass(frozen=True)
class Timing:
    """What a schedule's row holds about time.

    `cron_expression` is empty unless `schedule_type` is custom. `dst_gap` and `dst_overlap` are
    None for Debian cron's rule.
    """

    schedule_type: str
    cron_expression: str
    timezone: str
    dst_gap: str | None = None
    dst_overlap: str | None = None


@dataclass(frozen=True)
class Occurrence:
    """One instant: in UTC, as ISO local time with offset, and what a clock change did to it."""

    scheduled_for: datetime
    local: str
    note: str | None


@dataclass(frozen=True)
class Rule:
    """A timing made ready: its wall-clock minutes, its zone and what clock changes do to it."""

    plan: cron.Plan
    zone: str
    dst_gap: str | None
    dst_overlap: str | None

    def gap(self, change: Change) -> str:
        if self.dst_gap is not None:
            return self.dst_gap
        # The minute after the gap counts too: cron compares this minute with the last it ran.
        return "skip" if self.plan.wall_clock or change.gap + 1 > LARGEST_CHANGE else "shift"

    def overlap(self, change: Change) -> str:
        if self.dst_overlap is not None:
            return self.dst_overlap
        return "both" if self.plan.wall_clock or change.gap + 1 < -LARGEST_CHANGE else "first"

    def catches_up(self, piece: Piece) -> bool:
        """Whether something runs at the start of `piece` because the change before skipped it."""
        change = piece.opening
        if change is None or change.gap <= 0 or change.at != piece.start:
            return False
        return self.gap(change) == "shift" and next(self.touched(change), None) is not None

    def touched(self, change: Change) -> Iterator[int]:
        """Yield the planned civil minutes that `change` skips or repeats."""
        end = change.at + max(change.before, change.after)
        civil = self.plan.first_from(change.at + min(change.before, change.after))
        while civil is not None and civil < end:
            yield civil
            civil = self.plan.first_from(civil + 1)

    def flows_past(self, change: Change) -> bool:
        """Whether `change` leaves the real time between occurrences as it is."""
        by_the_clock = (
            self.gap(change) == "skip" if change.gap > 0 else self.overlap(change) == "both"
        )
        return by_the_clock and self.plan.every_hour and change.gap % 60 == 0

    def span(self, piece: Piece) -> tuple[int, int]:
        """Return the part [low, high) of `piece` where planned minutes fire."""
        low, high = piece.start, piece.end
        opening, closing = piece.opening, piece.closing
        if opening and opening.gap < 0 and self.overlap(opening) == "first":
            low = max(low, opening.at - opening.gap)
        if closing and closing.gap < 0 and self.overlap(closing) == "second":
            high = min(high, closing.at + closing.gap)
        return low, high


def validate(timing: Timing) -> None:
    """Refuse a timing that means nothing, with every complaint at once.

    Raises: Invalid, whose details name schedule_type, timezone, cron_expression, dst_gap or
    dst_overlap.
    """
    details: dict[str, list[str]] = {}
    for check in (_check_choices, _check_zone, _check_expression):
        try:
            check(timing)
        except Invalid as refusal:
            details |= refusal.details
    if details:
        raise Invalid(" ".join(text for texts in details.values() for text in texts), details)


def _check_choices(timing: Timing) -> None:
    choices: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
        ("schedule_type", timing.schedule_type, (*TYPES, CUSTOM)),
        ("dst_gap", timing.dst_gap or None, GAPS),
        ("dst_overlap", timing.dst_overlap or None, OVERLAPS),
    )
    details = {
        field: [f"{field} is one of {', '.join(allowed)}."]
        for field, value, allowed in choices
        if value not in allowed and (value is not None or field == "schedule_type")
    }
    if details:
        raise Invalid("", details)


def _check_zone(timing: Timing) -> None:
    zone(timing.timezone)


def _check_expression(timing: Timing) -> None:
    if timing.schedule_type == CUSTOM:
        cron.parse(timing.cron_expression)
    elif timing.cron_expression and timing.schedule_type in TYPES:
        raise Invalid.field(
            "cron_expression", "It counts only for custom schedules: set schedule_type to custom."
        )


@lru_cache(maxsize=16_384)
def _rule(timing: Timing) -> Rule:
    """Raises: Invalid, for a row that was written past `validate`."""
    validate(timing)
    expression = TYPES.get(timing.schedule_type, timing.cron_expression)
    return Rule(
        plan=cron.parse(expression),
        zone=timing.timezone,
        dst_gap=timing.dst_gap or None,
        dst_overlap=timing.dst_overlap or None,
    )


_FIRST = minute_of(datetime(cron.FIRST_YEAR, 1, 1, tzinfo=UTC)) + MARGIN
_LAST = minute_of(datetime(cron.LAST_YEAR + 1, 1, 1, tzinfo=UTC)) - MARGIN


def _piece(rule: Rule, minute: int) -> Piece:
    pieces = pieces_of(rule.zone, instant_of(minute).year)
    return next(piece for piece in pieces if minute < piece.end)


def _next(rule: Rule, minute: int) -> int | None:
    """Return the first occurrence at or after `minute`."""
    minute = max(minute, _FIRST)
    while minute < _LAST:
        year = instant_of(minute).year
        for piece in pieces_of(rule.zone, year):
            if piece.end <= minute:
                continue
            low, high = rule.span(piece)
            civil = rule.plan.first_from(max(minute, low) + piece.offset)
            if piece.start >= minute and rule.catches_up(piece):
                found = piece.start
            elif civil is None:
                return None
            else:
                found = civil - piece.offset
            if found < high:
                return found if found < _LAST else None
        # Nothing this year: go where the plan has its next date, or to just before it, because the
        # zone may have changed by then.
        minute = max(year_start(year + 1), found - MARGIN)
    return None


def _previous(rule: Rule, minute: int, floor: int) -> int | None:
    """Return the last occurrence at or before `minute` and not before `floor`."""
    minute, floor = min(minute, _LAST - 1), max(floor, _FIRST)
    while minute >= floor:
        year = instant_of(minute).year
        for piece in reversed(pieces_of(rule.zone, year)):
            if piece.start > minute:
                continue
            low, high = rule.span(piece)
            civil = rule.plan.last_until(min(minute, high - 1) + piece.offset)
            if civil is None:
                return None
            found = civil - piece.offset
            if found < low and rule.catches_up(piece):
                found = low = piece.start
            if found >= low:
                return found if found >= floor else None
        minute = min(year_start(year) - 1, found + MARGIN)
    return None


def _every(rule: Rule, after: datetime, until: datetime | None) -> Iterator[int]:
    last = _LAST if until is None else minute_of(until)
    minute = _next(rule, minute_of(after) + 1)
    while minute is not None and minute <= last:
        yield minute
        minute = _next(rule, minute + 1)


def next_after(timing: Timing, after: datetime) -> datetime | None:
    """Return the first occurrence later than `after`, None when there is none before 2200.

    Raises: Invalid, as all below, where `validate` would.
    """
    return _next_instant(timing, minute_of(after) + 1)


# Thousands of schedules are due at the same moment with a handful of timings.
@lru_cache(maxsize=16_384)
def _next_instant(timing: Timing, minute: int) -> datetime | None:
    found = _next(_rule(timing), minute)
    return None if found is None else instant_of(found)


def between(timing: Timing, after: datetime, until: datetime, *, limit: int) -> list[datetime]:
    """Return the occurrences in (after, until], oldest first, the oldest `limit` of them."""
    found = islice(_every(_rule(timing), after, until), limit)
    return [instant_of(minute) for minute in found]


def count(timing: Timing, after: datetime, until: datetime) -> int:
    """Return how many occurrences lie in (after, until], without going through them."""
    rule = _rule(timing)
    first, last = max(minute_of(after) + 1, _FIRST), min(minute_of(until), _LAST - 1)
    found = 0
    for year in range(instant_of(first).year, instant_of(max(first, last)).year + 1):
        for piece in pieces_of(rule.zone, year):
            low, high = rule.span(piece)
            low, high = max(low, first), min(high, last + 1)
            if low < high:
                found += rule.plan.count(low + piece.offset, high + piece.offset)
            if first <= piece.start <= last and rule.catches_up(piece):
                # Where the plan has that minute anyway it is one occurrence, not two.
                found += rule.plan.first_from(piece.start + piece.offset) != (
                    piece.start + piece.offset
                )
    return found


def latest(timing: Timing, after: datetime, until: datetime) -> datetime | None:
    """Return the newest occurrence in (after, until], whose cost does not grow with the window."""
    minute = _previous(_rule(timing), minute_of(until), minute_of(after) + 1)
    return None if minute is None else instant_of(minute)


def newest(timing: Timing, after: datetime, until: datetime, *, limit: int) -> list[datetime]:
    """Return the occurrences in (after, until], oldest first, the newest `limit` of them."""
    rule, floor = _rule(timing), minute_of(after) + 1
    found: list[datetime] = []
    minute = _previous(rule, minute_of(until), floor)
    while minute is not None and len(found) < limit:
        found.append(instant_of(minute))
        minute = _previous(rule, minute - 1, floor)
    return found[::-1]


def describe(timing: Timing) -> str:
    """Say when the schedule fires: "At 02:00 every Monday (Europe/Berlin)"."""
    return f"{cron_words.sentence(_rule(timing).plan)} ({timing.timezone})"


def preview(
    timing: Timing, after: datetime, until: datetime | None, count: int
) -> list[Occurrence]:
    """Return the first `count` occurrences in (after, until] as people read them.

    `until` None: without end.
    """
    rule = _rule(timing)
    found = islice(_every(rule, after, until), count)
    return [_occurrence(rule, instant_of(minute)) for minute in found]


def shown(timing: Timing, instant: datetime) -> Occurrence:
    """Return an instant, an occurrence or not, as people read it."""
    return _occurrence(_rule(timing), instant)


def _occurrence(rule: Rule, instant: datetime) -> Occurrence:
    return Occurrence(
        scheduled_for=instant,
        local=instant.astimezone(zone(rule.zone)).isoformat(),
        note=_note(rule, minute_of(instant)),
    )


def _note(rule: Rule, minute: int) -> str | None:
    """Say what a clock change has to do with this occurrence, if anything."""
    piece = _piece(rule, minute)
    opening, closing = piece.opening, piece.closing
    if minute == piece.start and opening and rule.catches_up(piece):
        skipped = list(rule.touched(opening))
        verb = "does" if len(skipped) == 1 else "do"
        return (
            f"moved to the end of the clock change: {_times(skipped)} {verb} not exist on this day"
        )
    if opening and minute < opening.at - opening.gap:
        return "this local time comes twice: this is the second"
    if closing and minute >= closing.at + closing.gap:
        return "this local time comes twice: this is the first"
    return None


def warnings(timing: Timing, now: datetime) -> list[str]:
    """Return what the author of a schedule should know before it is saved, as sentences.

    A next occurrence over a year away, or none; and each clock change within a year that moves,
    drops, repeats or merges occurrences. A job of every hour in a zone that changes by whole hours
    does not notice one, so nothing is said.
    """
    rule = _rule(timing)
    following = next_after(timing, now)
    if following is None:
        return ["This schedule has no occurrence before the year 2200."]
    found = []
    if following > now + FAR_AWAY:
        local = following.astimezone(zone(timing.timezone))
        found.append(f"The next occurrence is {local:%Y-%m-%d at %H:%M}, over a year away.")
    start = max(minute_of(now), _FIRST)
    for change in changes(rule.zone, start, start + FAR_AWAY // MINUTE):
        sentence = _effect(rule, change)
        if sentence:
            found.append(sentence)
    return found


def _effect(rule: Rule, change: Change) -> str | None:
    touched = list(rule.touched(change))
    if not touched or rule.flows_past(change):
        return None
    old, new = change.at + change.before, change.at + change.after
    day = f"{instant_of(min(old, new)):%Y-%m-%d}"
    one = len(touched) == 1
    if change.gap > 0:
        fate = f"run{'s' * one} at {_time(new)}"
        if rule.gap(change) == "skip":
            fate = f"{'is' if one else 'are'} left out"
        effect = f"do{'es' * one} not exist and {fate}"
    else:
        passes = {"first": "the first time only", "second": "the second time only"}
        effect = (
            f"come{'s' * one} twice and run{'s' * one} "
            f"{passes.get(rule.overlap(change), 'both times')}"
        )
    return (
        f"On {day} the clock in {rule.zone} goes from {_time(old)} to {_time(new)}: "
        f"{_times(touched)} {effect}."
    )


def _times(civil: list[int]) -> str:
    shown = [_time(minute) for minute in civil[:3]]
    if len(civil) > len(shown):
        return f"{', '.join(shown)} and {len(civil) - len(shown)} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _time(civil: int) -> str:
    return f"{civil // 60 % 24:02d}:{civil % 60:02d}"

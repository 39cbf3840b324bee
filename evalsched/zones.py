"""Time zones: their names, and the stretches of equal offset between their clock changes.

Pure, and read from the pinned tzdata package. Inside, an instant is the number of minutes from
1970-01-01T00:00Z.
"""

import importlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from access.errors import Invalid

LONGEST_ZONE_NAME = 64
DAY = 24 * 60
# No offset or clock change is longer than this, so what happens further away has no influence.
MARGIN = 2 * DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Change:
    """A clock change at the instant `at`; offsets from UTC in minutes."""

    at: int
    before: int
    after: int

    @property
    def gap(self) -> int:
        """Minutes of wall clock that are skipped; negative: that are repeated."""
        return self.after - self.before


@dataclass(frozen=True)
class Piece:
    """A stretch [start, end) of a year in which the offset stays, and the changes around it.

    The changes may lie a little outside the year, so `opening.at` can be before `start`.
    """

    start: int
    end: int
    offset: int
    opening: Change | None
    closing: Change | None


def tzdata_version() -> str:
    """Return the version of the zone data in use, as IANA writes it: "2026a"."""
    return str(importlib.import_module("tzdata").IANA_VERSION)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())


def zone(name: str) -> ZoneInfo:
    """Return the zone of that IANA name, exactly as the tzdata package spells it.

    The data is the package's, too, as the settings empty the search path (`PYTHONTZPATH`).
    Raises: Invalid, field `timezone`, with names that are close.
    """
    if name in _zone_names():
        return ZoneInfo(name)
    if not name or len(name) > LONGEST_ZONE_NAME or not name.isprintable():
        raise Invalid.field("timezone", "Name an IANA time zone, such as Europe/Berlin or UTC.")
    close = _close_names(name)
    hint = f"did you mean {' or '.join(close)}?" if close else "write it like Europe/Berlin or UTC."
    raise Invalid.field("timezone", f"There is no time zone `{name}`; {hint}")


def _close_names(name: str) -> list[str]:
    """Return up to three zones whose name, or whose city, looks like `name`."""
    wanted = name.strip().lower().replace(" ", "_")
    spelled: dict[str, str] = {}
    for known in sorted(_zone_names(), key=lambda known: (known.count("/"), known)):
        spelled.setdefault(known.lower(), known)
        spelled.setdefault(known.rpartition("/")[2].lower(), known)
    found = [spelled[match] for match in get_close_matches(wanted, spelled, n=6, cutoff=0.7)]
    return list(dict.fromkeys(found))[:3]


def minute_of(instant: datetime) -> int:
    return (instant - _EPOCH) // MINUTE


def instant_of(minute: int) -> datetime:
    return _EPOCH + timedelta(minutes=minute)


def year_start(year: int) -> int:
    return minute_of(datetime(year, 1, 1, tzinfo=UTC))


def _offset(tz: ZoneInfo, minute: int) -> int:
    offset = instant_of(minute).astimezone(tz).utcoffset()
    assert offset is not None
    return offset // MINUTE


def changes(name: str, start: int, end: int) -> list[Change]:
    """Return the clock changes of a zone in (start, end], oldest first."""
    years = range(instant_of(start).year, instant_of(end).year + 1)
    pieces = [piece for year in years for piece in pieces_of(name, year)]
    around = {change for piece in pieces for change in (piece.opening, piece.closing) if change}
    within = [change for change in around if start < change.at <= end]
    return sorted(within, key=lambda change: change.at)


def _looked_for(name: str, start: int, end: int) -> Iterator[Change]:
    """Yield the clock changes of a zone in (start, end], found by looking once a day."""
    tz = zone(name)
    before = _offset(tz, start)
    for day_end in range(start + DAY, end + DAY, DAY):
        after = _offset(tz, day_end)
        if after != before:
            minutes = range(day_end - DAY, day_end + 1)
            # False before True: the first minute whose offset is no longer the old one.
            at = minutes[bisect_right(minutes, False, key=lambda m: _offset(tz, m) != before)]
            yield Change(at, before, after)
        before = after


@lru_cache(maxsize=4_096)
def pieces_of(name: str, year: int) -> tuple[Piece, ...]:
    """Return the stretches of equal offset that make up a UTC year in a zone, oldest first."""
    first, end = year_start(year), year_start(year + 1)
    found = list(_looked_for(name, first - MARGIN, end + MARGIN))
    offset = found[0].before if found else _offset(zone(name), first)
    pieces = []
    openings, closings = [None, *found], [*found, None]
    for opening, closing in zip(openings, closings, strict=True):
        offset = opening.after if opening else offset
        start = max(opening.at, first) if opening else first
        stop = min(closing.at, end) if closing else end
        if start < stop:
            pieces.append(Piece(start, stop, offset, opening, closing))
    return tuple(pieces)

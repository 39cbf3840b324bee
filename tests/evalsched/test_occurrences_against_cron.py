"""Every zone's clock changes of 2026 and 2027 against cron's own loop (cron_simulation.py)."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from evalsched.occurrences import Timing, between, latest, next_after, zone
from tests.evalsched.cron_simulation import (
    ClockChange,
    Job,
    by_definition,
    clock_changes,
    run_cron,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2028, 1, 1, tzinfo=UTC)
AROUND = timedelta(hours=15)  # far enough for the dates on both sides of any change

EXPRESSIONS = [
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "59 * * * *",
    "30 */2 * * *",
    "* 2 * * *",
    "*/15 1-3 * * *",
    "*/20 0 * * *",
    "0 0 * * *",
    "0 2 * * *",
    "30 1 * * *",
    "15 2 * * *",
    "30 2 * * *",
    "45 3 * * *",
    "59 23 * * *",
    "0,30 1,2,3 * * *",
    "10-50/20 0-4 * * *",
    "5 0-23 * * *",
    "5 0-23/3 * * *",
    "30 0 * * SUN",
    "30 2 * * 0,6",
    "15 1 1-7 * SAT",
    "45 1 * * SUN#1",
    "20 2 * * 7L",
    "0 3 L,LW * *",
]
OVERRIDES = [
    ("skip", "first"),
    ("skip", "second"),
    ("skip", "both"),
    ("shift", "first"),
    ("shift", "second"),
    ("shift", "both"),
]


def custom(
    expression: str, timezone: str, gap: str | None = None, overlap: str | None = None
) -> Timing:
    return Timing("custom", expression, timezone, gap, overlap)


@lru_cache(maxsize=1)
def zones_by_changes() -> dict[str, list[ClockChange]]:
    """One zone for each distinct course of clock changes in the two years."""
    names = (files("tzdata") / "zones").read_text(encoding="utf-8").split()
    found: dict[tuple[ClockChange, ...], str] = {}
    for name in names:
        found.setdefault(tuple(clock_changes(ZoneInfo(name), START, END)), name)
    return {name: list(changes) for changes, name in found.items() if changes}


def test_the_zones_that_change_are_found_at_all() -> None:
    zones = zones_by_changes()

    assert len(zones) >= 25
    gaps = {(change.after - change.before) for changes in zones.values() for change in changes}
    assert {timedelta(minutes=30), timedelta(hours=1), timedelta(hours=2)} <= gaps


def sample(instants: list[datetime]) -> list[datetime]:
    """A handful of the instants, dense jobs being the same everywhere."""
    return instants[:: max(1, len(instants) // 8)]


@pytest.mark.parametrize("part", range(8))
def test_all_zones_fire_as_cron_would(part: int) -> None:
    jobs = [Job(expression) for expression in EXPRESSIONS]
    for name, changes in list(zones_by_changes().items())[part::8]:
        for change in changes:
            after, until = change.at - AROUND, change.at + AROUND
            expected = run_cron(jobs, ZoneInfo(name), after, until)
            for expression, instants in expected.items():
                timing = custom(expression, name)
                found = between(timing, after, until, limit=10_000)
                assert found == instants, (name, change, expression)
                assert all(a < b for a, b in pairwise(found))


@pytest.mark.parametrize("part", range(8))
def test_any_cut_of_a_window_loses_and_doubles_nothing(part: int) -> None:
    for name, changes in list(zones_by_changes().items())[part::8]:
        for change in changes:
            after, until = change.at - AROUND / 4, change.at + AROUND / 4
            for expression in EXPRESSIONS:
                timing = custom(expression, name)
                whole = between(timing, after, until, limit=10_000)
                cuts = [change.at + timedelta(minutes=m) for m in (-61, -30, -1, 0, 1, 29, 60, 90)]
                for cut in cuts:
                    left = between(timing, after, cut, limit=10_000)
                    assert left + between(timing, cut, until, limit=10_000) == whole
                    assert latest(timing, after, cut) == (left[-1] if left else None)
                for instant in sample(whole):
                    assert next_after(timing, instant - timedelta(seconds=1)) == instant
                    assert latest(timing, after, instant + timedelta(seconds=59)) == instant


@pytest.mark.parametrize(
    "name",
    ["America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Cairo", "Asia/Beirut"],
)
@pytest.mark.parametrize(("gap", "overlap"), OVERRIDES)
def test_overrides_do_what_they_say(name: str, gap: str, overlap: str) -> None:
    for change in zones_by_changes().get(name) or clock_changes(ZoneInfo(name), START, END):
        after, until = change.at - AROUND / 2, change.at + AROUND / 2
        for expression in ("*/10 * * * *", "30 */2 * * *", "0,15 0,2 * * *", "15,30 1,2,23 * * *"):
            expected = by_definition(
                Job(expression), ZoneInfo(name), after, until, gap=gap, overlap=overlap
            )
            timing = custom(expression, name, gap, overlap)
            assert between(timing, after, until, limit=10_000) == expected, (change, expression)
            for instant in sample(expected):
                assert latest(timing, after, instant) == instant


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("Pacific/Apia", "2011-12-30T10:00"),  # a whole day that was not
        ("Pacific/Kwajalein", "1993-08-21T12:00"),
        ("Antarctica/Casey", "2018-03-10T17:00"),  # three hours back: caught up with
        ("Antarctica/Casey", "2018-10-06T20:00"),  # three hours on: too far for cron
        ("America/Caracas", "2007-12-09T07:00"),
        ("Asia/Pyongyang", "2018-05-04T15:00"),
        ("Asia/Kathmandu", "1985-12-31T18:30"),  # a change at the turn of the year
        ("Pacific/Enderbury", "1994-12-31T11:00"),
    ],
)
def test_odd_changes_of_the_past_fire_as_cron_would(name: str, day: str) -> None:
    jobs = [Job(expression) for expression in EXPRESSIONS]
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    after, until = at - timedelta(hours=50), at + timedelta(hours=50)
    assert clock_changes(ZoneInfo(name), after, until)

    for expression, expected in run_cron(jobs, ZoneInfo(name), after, until).items():
        timing = custom(expression, name)
        assert between(timing, after, until, limit=10_000) == expected, expression
        for instant in sample(expected):
            assert latest(timing, after, instant) == instant


@pytest.mark.parametrize("name", ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Marquesas"])
def test_zones_without_changes_fire_as_cron_would(name: str) -> None:
    jobs = [Job(expression) for expression in EXPRESSIONS]
    after, until = datetime(2026, 12, 30, tzinfo=UTC), datetime(2027, 1, 4, 7, 30, tzinfo=UTC)

    for expression, expected in run_cron(jobs, zone(name), after, until).items():
        assert between(custom(expression, name), after, until, limit=10_000) == expected

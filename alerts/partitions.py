"""Tables partitioned by day: days are made ahead and dropped when their time is over."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import structlog
from django.db import OperationalError, connection, transaction

from access import isolation

logger = structlog.get_logger(__name__)
# Days that are there before anybody needs them: a sweep may be missed.
AHEAD = 2


def keep(table: str, *, days: int, now: datetime) -> None:
    """Make the days from `days` ago to the day after tomorrow, and drop the older ones.

    A day that somebody is reading for long is dropped next time.
    """
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=days)
    there = days_of(table)
    wanted = {first + timedelta(days=n) for n in range(days + AHEAD + 1)}
    make(table, sorted(wanted - there))
    for day in sorted(day for day in there if day < first):
        try:
            _run(f'DROP TABLE "{_name(table, day)}"')
        except OperationalError as error:
            logger.warning("day not dropped", table=table, day=day.isoformat(), why=str(error))


def make(table: str, days: Iterable[date]) -> None:
    """Make the days that are not there yet. Safe to do twice, at once too."""
    for day in days:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"days of {table}"])
            if day in days_of(table):
                continue
            name = _name(table, day)
            # Attached rather than made as a partition: that would shut out everybody meanwhile.
            cursor.execute(
                f'CREATE TABLE "{name}" (LIKE "{table}" INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
                " INCLUDING STORAGE)"
            )
            cursor.execute(
                f'ALTER TABLE "{table}" ATTACH PARTITION "{name}"'
                f" FOR VALUES FROM ('{day}T00:00Z') TO ('{day + timedelta(days=1)}T00:00Z')"
            )


def make_missing(table: str, days: set[date]) -> None:
    """Make those days that no sweep has made: since the retention was raised, or as sweeps failed.

    The API's role may call it too.
    """
    missing = days - days_of(table) if days else days
    if missing:
        with isolation.as_owner():
            make(table, sorted(missing))


def days_of(table: str) -> set[date]:
    """Return the days that the table has a partition for."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(relname, 8) FROM pg_inherits JOIN pg_class ON oid = inhrelid"
            " WHERE inhparent = %s::regclass",
            [f'"{table}"'],
        )
        return {date.fromisoformat(row[0]) for row in cursor.fetchall()}


def _name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


def _run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

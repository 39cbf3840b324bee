"""The database's clock: what is due is decided by one clock, not by each machine's own."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """Return the current time by PostgreSQL's clock, in UTC.

    Entry points (views, tasks, commands) call it once and pass it on. Unlike SQL's `now()` it
    moves within a transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now

"""What rules found, minute by minute: stored in stretches that are alike, answered in minutes."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from alerts import binary, partitions
from alerts.episodes import Turn
from alerts.rule_models import AlertRule, EvaluationPass, RuleEvaluation, SourceFilter
from alerts.trace_models import LateArrival

TABLE = RuleEvaluation._meta.db_table
MINUTE = timedelta(minutes=1)
_FOUND = (
    *("metric_value", "threshold_value", "window_minutes", "sample_count", "triggered", "state"),
    *("health", "error_message"),
)
_HEAD = ("project_id", "user_id", "rule_id", '"group"', "first_minute", "last_minute")
# How many days are looked through, one after the other, until a page is full; then all.
_DAYS_AT_ONCE = (1, 4, 16)
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_COPY = f"COPY {TABLE} ({', '.join((*_HEAD, *_FOUND, 'evaluated_at'))}) FROM STDIN"

# `enough` is a minute from which on there are as many rows as wanted: older stretches need not be
# expanded, and of no stretch more than its newest minutes.
_SQL_BETWEEN = f"""
    WITH stretches AS (
        SELECT *, least(last_minute,
            date_trunc('minute', %(until)s - interval '1 microsecond')) AS newest
        FROM {TABLE}
        WHERE rule_id = %(rule)s AND project_id = %(project)s
            AND first_minute >= %(since)s AND first_minute < %(until)s
    ), enough AS (
        SELECT coalesce(max(first_minute), '-infinity') AS minute FROM (
            SELECT first_minute, sum(extract(epoch FROM newest - first_minute) / 60 + 1)
                OVER (ORDER BY first_minute DESC) AS rows
            FROM stretches) summed
        WHERE rows >= %(limit)s
    ), found AS (
        SELECT every.minute, "group", 'evaluated' AS status, s.evaluated_at,
            {", ".join(_FOUND)}
        FROM enough, stretches s
        CROSS JOIN LATERAL generate_series(
            greatest(first_minute, newest - (%(limit)s - 1) * interval '1 minute'),
            newest, interval '1 minute') AS every(minute)
        WHERE newest >= enough.minute
        UNION ALL
        SELECT minute, '', 'skipped', evaluated_at,
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, ''
        FROM alerts_evaluationpass
        WHERE project_id = %(project)s AND status = 'skipped' AND minute > %(watched)s
            AND minute >= %(since)s AND minute < %(until)s
        ORDER BY 1 DESC, 2 LIMIT %(limit)s
    )
    SELECT found.minute, "group", found.status,
        coalesce(p.evaluated_at, found.evaluated_at), {", ".join(_FOUND)}
    FROM found LEFT JOIN alerts_evaluationpass p
        ON p.project_id = %(project)s AND p.minute = found.minute
    ORDER BY 1 DESC, 2
"""  # noqa: S608  the names above, no data


class Evaluated(NamedTuple):
    """One minute of a rule, or of one of its groups. `status` skipped: nobody was there to look."""

    minute: datetime
    group: str
    status: str
    evaluated_at: datetime
    metric_value: float | None = None
    threshold_value: float | None = None
    window_minutes: int | None = None
    sample_count: int | None = None
    triggered: bool | None = None
    state: str | None = None
    health: str | None = None
    error_message: str = ""


def write(project_id: uuid.UUID, turns: Sequence[Turn], *, at: datetime, now: datetime) -> None:
    """Write a row for each turn, or lengthen the one of the minute before where nothing changed.

    A stretch ends with its day, as days are dropped as a whole.
    """
    partitions.make_missing(TABLE, {at.astimezone(UTC).date()})
    before = _last(project_id, at - MINUTE)
    longer: list[tuple[int, datetime]] = []
    with connection.cursor() as cursor:
        with cursor.copy(_COPY) as copy:
            for turn in turns:
                found = _found(turn)
                earlier = before.get(turn.key)
                if earlier and earlier[2] == found and earlier[1].date() == at.date():
                    longer.append(earlier[:2])
                    continue
                watch, group = turn.result.watch, turn.result.group
                head = (project_id, watch.user_id, watch.id, group, at, at)
                copy.write_row((*head, *found, now))
        if longer:
            cursor.execute(
                f"UPDATE {TABLE} e SET last_minute = %s, evaluated_at = %s"  # noqa: S608  the table
                " FROM unnest(%s::bigint[], %s::timestamptz[]) AS mine(id, first_minute)"
                " WHERE e.id = mine.id AND e.first_minute = mine.first_minute",
                [at, now, [row[0] for row in longer], [row[1] for row in longer]],
            )


def of_rule(
    rule: AlertRule, *, before: datetime | None, limit: int, offset: int = 0
) -> list[Evaluated]:
    """Return the minutes of a rule, the newest first, those that were left out among them."""
    wanted, found = offset + limit, list[tuple[Any, ...]]()
    for since, until in _spans(rule, before):
        found += _between(rule, since, until, wanted - len(found))
        if len(found) >= wanted:
            break
    return [Evaluated(*row) for row in found[offset:]]


def extremes(rule: AlertRule, *, minutes: int, least: bool) -> list[tuple[datetime, float | None]]:
    """Return the greatest value of the rule's groups, or the least, in each of its last minutes.

    The oldest first; None where there was none, or where nobody looked.
    """
    newest = of_rule(rule, before=None, limit=1)
    if not newest:
        return []
    since = newest[0].minute - (minutes - 1) * MINUTE
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT minute, {"min" if least else "max"}(metric_value) FROM (
                SELECT every.minute, metric_value FROM {TABLE}
                CROSS JOIN LATERAL generate_series(
                    greatest(first_minute, %(since)s), last_minute, interval '1 minute'
                ) AS every(minute)
                WHERE rule_id = %(rule)s AND project_id = %(project)s
                    AND first_minute >= %(day)s AND last_minute >= %(since)s
                UNION ALL
                SELECT minute, NULL FROM alerts_evaluationpass
                WHERE project_id = %(project)s AND status = 'skipped' AND minute > %(watched)s
                    AND minute >= %(since)s
            ) found GROUP BY 1 ORDER BY 1
            """,  # noqa: S608  the table and the function, no data
            {
                "rule": rule.pk,
                "project": rule.project_id,
                "since": since,
                "day": _day(since),
                "watched": rule.watched_from,
            },
        )
        return list(cursor.fetchall())


def count(rule: AlertRule, *, most: int) -> int:
    """Return how many rows `of_rule` has in all, or `most` where there are more."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT (SELECT coalesce(sum(extract(epoch FROM last_minute - first_minute) / 60 + 1), 0)
                    FROM (SELECT first_minute, last_minute FROM {TABLE}
                        WHERE rule_id = %(rule)s AND project_id = %(project)s
                        LIMIT %(most)s) part)
                + (SELECT count(*) FROM (SELECT FROM alerts_evaluationpass
                    WHERE project_id = %(project)s AND status = 'skipped' AND minute > %(watched)s
                    LIMIT %(most)s) part)
            """,  # noqa: S608  the table
            {
                "rule": rule.pk,
                "project": rule.project_id,
                "watched": rule.watched_from,
                "most": most,
            },
        )
        return min(int(cursor.fetchone()[0]), most)


def late(rule: AlertRule, evaluated: Sequence[Evaluated]) -> list[int]:
    """Return for each minute how many of its window's spans came after it was judged."""
    judged = [one for one in evaluated if one.window_minutes]
    if not judged:
        return [0] * len(evaluated)
    first = min(one.minute - (one.window_minutes or 0) * MINUTE for one in judged)
    arrivals = LateArrival.objects.filter(
        project_id=rule.project_id,
        minute__gte=first,
        minute__lt=max(one.minute for one in judged),
        **filters(rule),
    ).values_list("minute", "packed_at", "count", "model", "operation")
    came = list(arrivals)
    return [
        sum(
            count
            for minute, packed_at, count, model, operation in came
            if one.minute - (one.window_minutes or 0) * MINUTE <= minute < one.minute
            and packed_at > one.evaluated_at
            and one.group in {"", {"model": model, "operation": operation}.get(rule.group_by)}
        )
        for one in evaluated
    ]


def filters(rule: AlertRule) -> dict[str, str]:
    """Return what the rule wants of its spans, by column; what it leaves open is left out."""
    given = {
        "source": "" if rule.source_filter == SourceFilter.ANY else rule.source_filter,
        "model": rule.model_filter,
        "operation": rule.operation_filter,
        "status": rule.status_filter,
    }
    return {name: value for name, value in given.items() if value}


def keep_days(now: datetime) -> None:
    """Make the days to come, and forget what is older than the retention."""
    days = settings.EVALSCHED_EVALUATION_RETENTION_DAYS
    partitions.keep(TABLE, days=days, now=now)
    EvaluationPass.objects.filter(minute__lt=now - timedelta(days=days))._raw_delete("default")


def forget(rule: AlertRule) -> None:
    RuleEvaluation.objects.filter(rule_id=rule.pk)._raw_delete("default")


def _day(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _spans(
    rule: AlertRule, before: datetime | None
) -> Iterator[tuple[datetime | None, datetime | None]]:
    """Yield where to look for a rule's minutes: the newest day first, then ever more days at once.

    No stretch reaches over midnight, so each of them lies within one span.
    """
    passes = EvaluationPass.objects.filter(project_id=rule.project_id)
    if before is not None:
        passes = passes.filter(minute__lt=before)
    newest = passes.order_by("-minute").values_list("minute", flat=True).first()
    until = before
    if newest is not None:
        for days in _DAYS_AT_ONCE:
            since = _day(newest) - timedelta(days=days - 1)
            yield since, until
            until = since
    yield None, until


def _between(
    rule: AlertRule, since: datetime | None, until: datetime | None, limit: int
) -> list[tuple[Any, ...]]:
    """Return the newest rows of [since, until), at most `limit`; None does not bound."""
    with connection.cursor() as cursor:
        cursor.execute(
            _SQL_BETWEEN,
            {
                "rule": rule.pk,
                "project": rule.project_id,
                "since": since or _FIRST,
                "until": until or _LAST,
                "watched": rule.watched_from,
                "limit": limit,
            },
        )
        return list(cursor.fetchall())


def _found(turn: Turn) -> tuple[Any, ...]:
    watch, judged, step = turn.result.watch, turn.result.judged, turn.step
    value = judged.value
    return (
        None if value is None else float(value),
        float(watch.threshold_value),
        watch.time_window_minutes,
        turn.result.samples,
        judged.finding == "breach",
        str(step.memory.state),
        str(judged.health),
        turn.result.error[:300],
    )


def _last(
    project_id: uuid.UUID, minute: datetime
) -> dict[tuple[uuid.UUID, str], tuple[int, datetime, tuple[Any, ...]]]:
    """Return what the project's rules found in that minute: id, first minute, and the finding."""
    found = binary.rows(
        f'SELECT rule_id, "group", id, first_minute, {", ".join(_FOUND)}'  # noqa: S608  names
        f" FROM {TABLE} WHERE project_id = %s AND last_minute = %s AND first_minute >= %s",
        # Whatever reaches that minute began on its day.
        [project_id, minute, minute.replace(hour=0, minute=0)],
    )
    return {(row[0], row[1]): (row[2], row[3], row[4:]) for row in found}

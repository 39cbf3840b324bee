"""What rules found, minute by minute: stored in stretches that are alike, answered in minutes."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
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
_COPY = f"COPY {TABLE} ({', '.join((*_HEAD, *_FOUND, 'evaluated_at'))}) FROM STDIN"


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
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT every.minute, "group", 'evaluated', coalesce(p.evaluated_at, e.evaluated_at),
                {", ".join(_FOUND)}
            FROM {TABLE} e
            CROSS JOIN LATERAL generate_series(
                e.first_minute, e.last_minute, interval '1 minute') AS every(minute)
            LEFT JOIN alerts_evaluationpass p
                ON p.project_id = e.project_id AND p.minute = every.minute
            WHERE rule_id = %(rule)s AND e.project_id = %(project)s
                AND (%(before)s::timestamptz IS NULL OR (every.minute < %(before)s
                    AND e.first_minute < %(before)s))
            UNION ALL
            SELECT minute, '', 'skipped', evaluated_at,
                NULL, NULL, NULL, NULL, NULL, NULL, NULL, ''
            FROM alerts_evaluationpass
            WHERE project_id = %(project)s AND status = 'skipped' AND minute > %(since)s
                AND (%(before)s::timestamptz IS NULL OR minute < %(before)s)
            ORDER BY 1 DESC, 2 LIMIT %(limit)s OFFSET %(offset)s
            """,  # noqa: S608  the names above, no data
            {
                "rule": rule.pk,
                "project": rule.project_id,
                "before": before,
                "since": rule.watched_from,
                "limit": limit,
                "offset": offset,
            },
        )
        return [Evaluated(*row) for row in cursor.fetchall()]


def count(rule: AlertRule) -> int:
    """Return how many rows `of_rule` has in all."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT (SELECT coalesce(sum(extract(epoch FROM last_minute - first_minute) / 60 + 1), 0)
                    FROM {TABLE} WHERE rule_id = %s AND project_id = %s)
                + (SELECT count(*) FROM alerts_evaluationpass
                    WHERE project_id = %s AND status = 'skipped' AND minute > %s)
            """,  # noqa: S608  the table
            [rule.pk, rule.project_id, rule.project_id, rule.watched_from],
        )
        return int(cursor.fetchone()[0])


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

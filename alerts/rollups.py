"""Minutes of spans, packed: rebuilt whenever spans came into them, and read for windows."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import TruncDate

from alerts import binary, traces
from alerts.trace_models import Anomaly, DirtyMinute, LateArrival, Rollup, TraceSource
from alerts.windows import COST_PART, KINDS, OTHER, Anomalous, Array, Group, Minute, Quantity

MINUTE = timedelta(minutes=1)
# Pairs of model and operation that are kept apart in one minute of a project.
MOST_PAIRS = 500
# Of one project in one go; the newest first, as the older ones are not waited for.
_MOST_MINUTES = 240
_AT_ONCE = 30
_MOST_MARKS = 50_000
# Spans that come later than this into a minute are no longer counted as late.
_LATE_FOR = timedelta(minutes=15)
_COLUMNS = [name + part for name in KINDS for part in ("_counts", "_stats", "")]
_SENT = {
    "latency": "float8send(latency_ms)",
    "ttft": "float8send(ttft_ms)",
    "tokens": "int8send(total_tokens)",
    "cost": "int8send((cost * 1000000000000)::int8)",
}
_SQL_GROUPS = f"""
    SELECT m.minute, source, model, operation, status,
        {", ".join(f"coalesce(string_agg({sent}, ''), '')" for sent in _SENT.values())}
    FROM unnest(%s::timestamptz[]) AS m(minute)
    JOIN alerts_trace ON project_id = %s
        AND ended_at >= m.minute AND ended_at < m.minute + interval '1 minute'
    GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608  the expressions above, no data
_SQL_UPSERT = f"""
    INSERT INTO alerts_rollup
        (project_id, minute, packed_at, groups, crowded, {", ".join(_COLUMNS)}, reported_cost)
    VALUES (%s, %s, %s, %s, %s, {", ".join(["%s"] * len(_COLUMNS))}, %s)
    ON CONFLICT (project_id, minute) DO UPDATE SET packed_at = excluded.packed_at,
        groups = excluded.groups, crowded = excluded.crowded,
        reported_cost = excluded.reported_cost,
        {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}
"""  # noqa: S608  the names above, no data

Packed = dict[Group, list[bytes]]


def dirty_projects(before: datetime) -> list[uuid.UUID]:
    """Return the projects that have closed minutes to rebuild."""
    marks = DirtyMinute.objects.filter(minute__lt=before).order_by("project_id")
    return list(marks.values_list("project_id", flat=True).distinct())


def pack(
    project_id: uuid.UUID, *, before: datetime, judged: datetime | None, now: datetime
) -> int | None:
    """Rebuild the project's marked minutes that begin before `before`; return how many.

    `judged` is the end of the last window that was evaluated: what came into minutes before it is
    noted as late. One at a time for each project; a second one returns None at once.
    """
    with transaction.atomic():
        if not _alone(project_id):
            return None
        minutes = _take_marks(project_id, before)
        for start in range(0, len(minutes), _AT_ONCE):
            _rebuild(project_id, minutes[start : start + _AT_ONCE], judged, now)
        return len(minutes)


def read(
    project_id: uuid.UUID, *, end: datetime, window: int, with_values: Mapping[str, int]
) -> list[Minute]:
    """Return the minutes of [end - window, end).

    `with_values` names the quantities whose single values are needed, and for how many minutes.
    """
    columns = ", ".join(
        f"{name}_counts, {name}_stats, CASE WHEN minute >= %s THEN {name} END" for name in KINDS
    )
    since = [end - with_values.get(name, 0) * MINUTE for name in KINDS]
    rows = binary.rows(
        f"SELECT minute, groups, crowded, {columns} FROM alerts_rollup"  # noqa: S608  names
        " WHERE project_id = %s AND minute >= %s AND minute < %s",
        [*since, project_id, end - window * MINUTE, end],
    )
    return [_minute(row, end) for row in rows]


def anomalies(project_id: uuid.UUID, *, end: datetime, window: int) -> list[Anomalous]:
    """Return what was unusual in the minutes of [end - window, end)."""
    rows = Anomaly.objects.filter(
        project_id=project_id, minute__gte=end - window * MINUTE, minute__lt=end
    )
    return [
        Anomalous(round((end - minute) / MINUTE), model, severity)
        for minute, model, severity in rows.values_list("minute", "model", "severity")
    ]


def heard_of(project_id: uuid.UUID, *, since: datetime) -> set[Group]:
    """Return what the project's spans were of in the minutes from `since` on."""
    recent = Rollup.objects.filter(project_id=project_id, minute__gte=since).order_by()
    listed = recent.values_list("groups", flat=True).distinct()
    return {Group(*names) for groups in listed for names in json.loads(groups)}


def reported_cost(first: datetime) -> dict[date, Decimal]:
    """Return what the spans that programs reported cost, in USD, by UTC day from `first` on."""
    days = TruncDate("minute", tzinfo=UTC)
    rows = Rollup.objects.filter(minute__gte=first).annotate(day=days).values("day").order_by("day")
    return dict(rows.annotate(cost=Sum("reported_cost")).values_list("day", "cost"))


def forget_old(now: datetime) -> None:
    """Forget the minutes whose spans are forgotten."""
    before, _ = traces.span_of_days(now)
    Rollup.objects.filter(minute__lt=before)._raw_delete("default")
    LateArrival.objects.filter(minute__lt=before)._raw_delete("default")
    Anomaly.objects.filter(minute__lt=before)._raw_delete("default")


def _minute(row: Sequence[Any], end: datetime) -> Minute:
    minute, groups, crowded, *arrays = row
    quantities = {}
    for index, (name, kind) in enumerate(KINDS.items()):
        counts, stats, values = arrays[3 * index : 3 * index + 3]
        quantities[name] = Quantity(
            counts=np.frombuffer(counts, "<i4"),
            stats=np.frombuffer(stats, kind).reshape(-1, 4 if name == "cost" else 3),
            values=None if values is None else np.frombuffer(values, kind),
        )
    return Minute(round((end - minute) / MINUTE), groups, crowded, quantities)


def _alone(project_id: uuid.UUID) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s::text, 1))", [project_id]
        )
        return bool(cursor.fetchone()[0])


def _take_marks(project_id: uuid.UUID, before: datetime) -> list[datetime]:
    """Take the marks of the newest minutes away, and return those minutes.

    A mark that is seen was committed with its spans, which are then seen by what follows.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH newest AS (
                SELECT DISTINCT minute FROM (
                    SELECT minute FROM alerts_dirtyminute
                    WHERE project_id = %s AND minute < %s ORDER BY id DESC LIMIT %s) marks
                ORDER BY minute DESC LIMIT %s)
            DELETE FROM alerts_dirtyminute d USING newest
            WHERE d.project_id = %s AND d.minute = newest.minute RETURNING d.minute
            """,
            [project_id, before, _MOST_MARKS, _MOST_MINUTES, project_id],
        )
        return sorted({row[0] for row in cursor.fetchall()}, reverse=True)


def _rebuild(
    project_id: uuid.UUID, minutes: list[datetime], judged: datetime | None, now: datetime
) -> None:
    late_from = now - _LATE_FOR - MINUTE
    late = {
        minute
        for minute in minutes
        if judged is not None and minute + MINUTE <= judged and minute >= late_from
    }
    before = _counts(project_id, sorted(late))
    found = _spans(project_id, minutes)
    rows = []
    for minute in minutes:
        groups, crowded = _bounded(found.get(minute, {}))
        rows.append([project_id, minute, now, *_packed(groups, crowded)])
        if minute in late:
            _note_late(project_id, minute, before.get(minute, {}), groups, now)
    with connection.cursor() as cursor:
        cursor.executemany(_SQL_UPSERT, rows)


def _spans(project_id: uuid.UUID, minutes: list[datetime]) -> dict[datetime, Packed]:
    found: dict[datetime, Packed] = {}
    rows = binary.rows(_SQL_GROUPS, [minutes, project_id])
    for minute, source, model, operation, status, *values in rows:
        found.setdefault(minute, {})[Group(source, model, operation, status)] = values
    return found


def _bounded(groups: Packed) -> tuple[Packed, bool]:
    """Return the groups with at most MOST_PAIRS pairs, the smallest put together as `_other`."""
    sizes: dict[tuple[str, str], int] = {}
    for group, values in groups.items():
        pair = group.model, group.operation
        sizes[pair] = sizes.get(pair, 0) + len(values[0])
    if len(sizes) <= MOST_PAIRS:
        return groups, False
    kept = set(sorted(sizes, key=lambda pair: (-sizes[pair], pair))[:MOST_PAIRS])
    bounded: Packed = {}
    for group, values in groups.items():
        if (group.model, group.operation) not in kept:
            group = group._replace(model=OTHER, operation=OTHER)  # noqa: PLW2901
        there = bounded.get(group)
        bounded[group] = (
            [a + b for a, b in zip(there, values, strict=True)] if there else list(values)
        )
    return bounded, True


def _packed(groups: Packed, crowded: bool) -> list[Any]:
    """Return the columns from `groups` on."""
    row: list[Any] = [json.dumps([list(group) for group in groups]), crowded]
    for index, (name, kind) in enumerate(KINDS.items()):
        # What PostgreSQL sends is big-endian.
        parts = [np.frombuffer(values[index], ">" + kind[1:]) for values in groups.values()]
        counts = np.array([len(part) for part in parts], "<i4")
        values: Array = (np.concatenate(parts) if parts else np.empty(0)).astype(kind)
        stats = _stats(name, kind, values, counts)
        row += [counts.tobytes(), stats.tobytes(), values.tobytes()]
        if name == "cost":
            reported = [group.source == TraceSource.INGEST for group in groups]
            cost = _amount(stats[reported])
    return [*row, cost]


def _amount(stats: Array) -> Decimal:
    """Return the costs of some groups together, in USD."""
    high, low = (sum(part) for part in (stats[:, 0].tolist(), stats[:, 1].tolist()))
    return Decimal(high * COST_PART + low).scaleb(-12)


def _stats(name: str, kind: str, values: Array, counts: Array) -> Array:
    """Return for each group its sum, least and greatest; zeros where it has no values."""
    stats: Array = np.zeros((len(counts), 4 if name == "cost" else 3), kind)
    there = np.flatnonzero(counts)
    if not len(there):
        return stats
    starts = (np.cumsum(counts) - counts)[there]
    if name == "cost":
        stats[there, 0] = np.add.reduceat(values // COST_PART, starts)
        stats[there, 1] = np.add.reduceat(values % COST_PART, starts)
    else:
        stats[there, 0] = np.add.reduceat(values, starts)
    stats[there, -2] = np.minimum.reduceat(values, starts)
    stats[there, -1] = np.maximum.reduceat(values, starts)
    return stats


def _counts(project_id: uuid.UUID, minutes: list[datetime]) -> dict[datetime, dict[Group, int]]:
    rows = Rollup.objects.filter(project_id=project_id, minute__in=minutes)
    return {
        minute: dict(
            zip(
                (Group(*names) for names in json.loads(groups)),
                np.frombuffer(counts, "<i4").tolist(),
                strict=True,
            )
        )
        for minute, groups, counts in rows.values_list("minute", "groups", "latency_counts")
    }


def _note_late(
    project_id: uuid.UUID,
    minute: datetime,
    before: Mapping[Group, int],
    groups: Packed,
    now: datetime,
) -> None:
    LateArrival.objects.bulk_create(
        LateArrival(
            project_id=project_id, minute=minute, packed_at=now, count=count, **group._asdict()
        )
        for group, values in groups.items()
        if (count := len(values[0]) // 8 - before.get(group, 0)) > 0
    )

"""Spans as they are kept: fit for the database, once each, and marked for the rollups."""

import json
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from access.errors import TooLarge
from alerts import conventions, partitions
from alerts.trace_models import Trace, TraceSource, TraceStatus

TABLE = Trace._meta.db_table
# Beyond this many a COPY into a temporary table costs less than arrays.
_FEW = 500
# One statement for more of them would take long, and hold them all in memory once more.
_CHUNK = 5_000
# Of one request: they take a few seconds, where the web's requests have ten.
MOST_SPANS = 25_000
# Of an attribute that is kept `truncated`.
_KEPT_CHARACTERS = 4096
# Of a span and of the time to its first token, in milliseconds: eleven days.
LONGEST_MS = 1e9
# What numeric(18, 12) holds.
_MOST_COST = Decimal(1_000_000)
# A million calls of it still add up within 64 bits.
_MOST_TOKENS = 10**12
_COST_PLACES = Decimal("1e-12")


class Span(NamedTuple):
    """A span, in the order of the columns. Texts are cut to their columns by `store`.

    `latency_ms` and `ttft_ms` are milliseconds, `cost` USD; None is unknown, an empty text as well.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    span_name: str
    operation: str
    model: str
    model_requested: str
    provider: str
    status: TraceStatus
    error_type: str
    latency_ms: float
    ttft_ms: float | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cost: Decimal | None
    cost_source: str
    started_at: datetime
    ended_at: datetime
    attributes: Mapping[str, Any]


_TYPES = {
    "latency_ms": "float8",
    "ttft_ms": "float8",
    "input_tokens": "int8",
    "cached_tokens": "int8",
    "output_tokens": "int8",
    "total_tokens": "int8",
    "cost": "numeric",
    "started_at": "timestamptz",
    "ended_at": "timestamptz",
    "attributes": "jsonb",
}
_COLUMNS = ", ".join(Span._fields)
# In both, names and types of the table above and no data. The minutes are marked in the same
# transaction, so that whoever takes a mark can see its spans.
_INSERT = f"""
    WITH new AS (
        INSERT INTO {TABLE} (project_id, user_id, created_at, source, {_COLUMNS})
        SELECT %s, %s, %s, %s, {_COLUMNS} FROM {{source}} ON CONFLICT DO NOTHING
        RETURNING project_id, ended_at),
    marked AS (
        INSERT INTO alerts_dirtyminute (project_id, minute)
        SELECT DISTINCT project_id, date_trunc('minute', ended_at, 'UTC') FROM new)
    SELECT count(*) FROM new
"""  # noqa: S608
_ARRAYS = ", ".join(f"%s::{_TYPES.get(name, 'text')}[]" for name in Span._fields)
_UNNEST = _INSERT.format(source=f"unnest({_ARRAYS}) AS given({_COLUMNS})")
_FROM_COPY = _INSERT.format(source="new_spans")
_NEW_SPANS = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in Span._fields)


def store(
    project_id: uuid.UUID,
    user_id: uuid.UUID,
    spans: Sequence[Span],
    *,
    now: datetime,
    source: TraceSource = TraceSource.INGEST,
) -> int:
    """Store the spans that are not there yet and return how many those were.

    Call it in a transaction; the spans' ends must lie within `span_of_days`. The API's role may not
    COPY under row-level security, so many spans go through a temporary table.
    """
    partitions.make_missing(TABLE, {span.ended_at.astimezone(UTC).date() for span in spans})
    head: list[Any] = [project_id, user_id, now, source]
    stored = 0
    with connection.cursor() as cursor:
        for start in range(0, len(spans), _CHUNK):
            rows = [fit(span) for span in spans[start : start + _CHUNK]]
            if len(rows) <= _FEW:
                cursor.execute(_UNNEST, [*head, *map(list, zip(*rows, strict=True))])
            else:
                _copy(cursor, rows)
                cursor.execute(_FROM_COPY, head)
            stored += cursor.fetchone()[0]
            if len(rows) > _FEW:
                cursor.execute("DROP TABLE new_spans")
    return stored


def _copy(cursor: Any, rows: Iterable[tuple[Any, ...]]) -> None:
    cursor.execute(f"CREATE TEMP TABLE new_spans ({_NEW_SPANS}) ON COMMIT DROP")
    with cursor.copy("COPY new_spans FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def refuse_many(count: int) -> None:
    """Refuse more spans than a request may bring.

    Raises:
        TooLarge: naming how many those are.
    """
    if count > MOST_SPANS:
        raise TooLarge(
            f"These are {count:,} spans; a request takes {MOST_SPANS:,}. Send fewer at a time."
        )


def span_of_days(now: datetime) -> tuple[datetime, datetime]:
    """Return the first instant at which a span may have ended, and the one that is too late."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - timedelta(days=settings.EVALSCHED_TRACE_RETENTION_DAYS)
    return first, today + timedelta(days=partitions.AHEAD + 1)


def keep_days(now: datetime) -> None:
    """Make the days to come and drop those whose time is over."""
    partitions.keep(TABLE, days=settings.EVALSCHED_TRACE_RETENTION_DAYS, now=now)


def usable_cost(cost: Decimal) -> bool:
    """Whether the cost can be kept. What is just below the most would be rounded up to it."""
    if not cost.is_finite() or not 0 <= cost < _MOST_COST:
        return False
    return cost.quantize(_COST_PLACES) < _MOST_COST


def usable_tokens(tokens: int) -> bool:
    return 0 <= tokens < _MOST_TOKENS


def fit(span: Span) -> tuple[Any, ...]:
    """Return the span's row: texts without NUL and no longer than their columns."""
    row: list[Any] = list(span)
    for index, longest in _LONGEST:
        text = row[index]
        if text:
            row[index] = (text.replace("\0", "") if "\0" in text else text)[:longest]
    cost = row[_COST]
    if cost is not None:
        row[_COST] = cost.quantize(_COST_PLACES)
    row[-1] = json.dumps(_kept(span.attributes, settings.EVALSCHED_TRACE_CONTENT))
    return tuple(row)


_COST = Span._fields.index("cost")
_LONGEST = [
    (index, longest)
    for index, name in enumerate(Span._fields)
    if (longest := getattr(Trace._meta.get_field(name), "max_length", None))
]


def _kept(attributes: Mapping[str, Any], content: str) -> dict[str, Any]:
    """Return of the attributes what may be kept of what people and models have said.

    With `off` only numbers, and texts that the conventions know to be names.
    """
    if content == "full":
        return {_clean(name): _storable(value, None) for name, value in attributes.items()}
    if content == "truncated":
        return {
            _clean(name)[:_KEPT_CHARACTERS]: _storable(value, _KEPT_CHARACTERS)
            for name, value in attributes.items()
        }
    return {
        _clean(name): _storable(value, 200)
        for name, value in attributes.items()
        if isinstance(value, bool | int | float) or name in conventions.NAMES
    }


def _storable(value: Any, longest: int | None) -> Any:
    """Return a value that jsonb takes. What is longer than `longest` becomes its beginning."""
    if isinstance(value, str):
        return _clean(value)[:longest]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping | list | tuple):
        text = json.dumps(value, default=str)
        if longest is not None and len(text) > longest:
            return _clean(text)[:longest]
        return _deeply(value)
    return value


def _deeply(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_clean(str(name)): _deeply(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_deeply(inner) for inner in value]
    return _storable(value, None)


def _clean(text: str) -> str:
    return text.replace("\0", "") if "\0" in text else text

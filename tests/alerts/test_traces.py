"""Spans in the database: once each, by day, and no more of people's words than was allowed."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from access.actors import Actor
from access.isolation import acting_in
from alerts import partitions, traces
from alerts.models import DirtyMinute, Trace
from tests.factories import NOW, make_span, store_spans

pytestmark = pytest.mark.django_db
MANY = traces._FEW + 1


@pytest.mark.parametrize(
    "count", [3, MANY, traces._CHUNK + 3], ids=["by arrays", "by copy", "by both in turn"]
)
def test_spans_are_stored_once(count: int, actor: Actor) -> None:
    spans = [make_span(number) for number in range(count)]

    first = store_spans(actor, spans)
    again = store_spans(actor, [*spans, make_span(count)])

    assert (first, again) == (count, 1)
    assert Trace.objects.filter(project=actor.project).count() == count + 1


@pytest.mark.parametrize("count", [1, MANY], ids=["by arrays", "by copy"])
def test_every_field_comes_back_as_it_was(count: int, actor: Actor) -> None:
    span = make_span(
        parent_span_id="p",
        model_requested="demo-latest",
        error_type="Timeout",
        ttft_ms=12.5,
        input_tokens=10,
        cached_tokens=4,
        output_tokens=5,
        total_tokens=15,
        cost=Decimal("0.000000000001"),
        cost_source="reported",
        attributes={"a": 1, "b": {"c": [True, None, "x"]}},
    )

    store_spans(actor, [span, *(make_span(n) for n in range(2, count + 1))])

    row = Trace.objects.get(project=actor.project, span_id=span.span_id)
    assert {name: getattr(row, name) for name in span._fields} == span._asdict()
    assert row.created_at == NOW
    assert row.source == "ingest"


@pytest.mark.parametrize("count", [2, MANY], ids=["by arrays", "by copy"])
def test_they_are_stored_under_the_apis_role(count: int, actor: Actor) -> None:
    partitions.make(traces.TABLE, {NOW.date()})

    with acting_in(actor.project.pk, actor.user.pk):
        spans = [make_span(number) for number in range(count)]
        stored = traces.store(actor.project.pk, actor.user.pk, spans, now=NOW)

    assert stored == count


def test_the_apis_role_stores_nothing_for_somebody_else(actor: Actor) -> None:
    partitions.make(traces.TABLE, {NOW.date()})
    elsewhere = acting_in(actor.user.pk, actor.user.pk)

    with pytest.raises(DatabaseError, match="row-level security"), elsewhere:
        traces.store(actor.project.pk, actor.user.pk, [make_span()], now=NOW)


def test_each_minute_that_spans_came_into_is_marked(actor: Actor) -> None:
    minute = timedelta(minutes=1)
    spans = [make_span(n, ended_at=NOW + n * minute / 2) for n in range(4)]

    store_spans(actor, spans)
    store_spans(actor, spans)

    marked = DirtyMinute.objects.filter(project=actor.project).values_list("minute", flat=True)
    assert sorted(marked) == [NOW, NOW + minute]


def test_what_the_database_cannot_keep_is_made_fit(actor: Actor) -> None:
    span = make_span(
        span_name="a\0b" + "x" * 1000,
        model="m" * 1000,
        attributes={"nul": "a\0b", "nan": float("nan"), "in": [{"k\0": "\0"}], "tuple": (1, "\0")},
    )

    store_spans(actor, [span])

    row = Trace.objects.get(project=actor.project)
    assert row.span_name == "ab" + "x" * 254
    assert row.model == "m" * 200
    assert row.attributes == {"nul": "ab", "nan": "nan", "in": [{"k": ""}], "tuple": [1, ""]}


_SAID = {
    "gen_ai.operation.name": "chat",
    "gen_ai.input.messages": "secret " * 1000,
    "prompt": "secret",
    "gen_ai.usage.input_tokens": 12,
    "nested": {"text": "secret"},
}


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("off", {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 12}),
        ("truncated", _SAID | {"gen_ai.input.messages": ("secret " * 1000)[:4096]}),
        ("full", _SAID),
    ],
)
def test_content_is_kept_as_the_setting_says(
    content: str, kept: object, actor: Actor, settings: Settings
) -> None:
    settings.EVALSCHED_TRACE_CONTENT = content

    store_spans(actor, [make_span(attributes=_SAID)])

    assert Trace.objects.get(project=actor.project).attributes == kept


# --- Days ------------------------------------------------------------------------------------


def test_days_are_made_ahead_and_dropped_behind(actor: Actor, settings: Settings) -> None:
    settings.EVALSCHED_TRACE_RETENTION_DAYS = 3
    traces.keep_days(NOW)
    store_spans(actor, [make_span(ended_at=NOW - timedelta(days=3))])
    before = _near(NOW)

    traces.keep_days(NOW + timedelta(days=1))

    assert before == {date(2025, 1, day) for day in range(12, 18)}
    assert _near(NOW) == {date(2025, 1, day) for day in range(13, 19)}
    assert not Trace.objects.filter(project=actor.project).exists()


def test_what_spans_may_be_stored_is_what_there_are_days_for(settings: Settings) -> None:
    settings.EVALSCHED_TRACE_RETENTION_DAYS = 3
    traces.keep_days(NOW)

    first, beyond = traces.span_of_days(NOW)

    days = partitions.days_of(traces.TABLE)
    assert first.date() in days
    assert (first - timedelta(microseconds=1)).date() not in days
    assert (beyond - timedelta(microseconds=1)).date() in days
    assert beyond.date() not in days


@pytest.mark.parametrize("count", [1, MANY], ids=["by arrays", "by copy"])
def test_a_day_that_no_sweep_has_made_is_made_when_spans_come(count: int, actor: Actor) -> None:
    """Under the API's role, which may make no tables. So it is after the retention was raised."""
    old = NOW - timedelta(days=1)
    spans = [make_span(number, ended_at=old) for number in range(count)]

    with acting_in(actor.project.pk, actor.user.pk):
        stored = traces.store(actor.project.pk, actor.user.pk, [make_span(count), *spans], now=NOW)
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            partitions.make(traces.TABLE, {NOW.date() - timedelta(days=2)})

    assert stored == count + 1
    assert {old.date(), NOW.date()} <= partitions.days_of(traces.TABLE)


def test_the_migration_has_made_the_days_around_today() -> None:
    today = datetime.now(UTC).date()

    there = partitions.days_of(traces.TABLE)

    assert {today + timedelta(days=n) for n in range(-1, 2)} <= there


def test_a_day_carries_the_indexes_and_checks_of_the_table(actor: Actor) -> None:
    partitions.make(traces.TABLE, {NOW.date()})

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_index WHERE indrelid = 'alerts_trace_20250115'::regclass"
        )
        indexes = cursor.fetchone()[0]
    bad = make_span()._replace(latency_ms=-1.0)
    with pytest.raises(DatabaseError, match="trace_latency"), transaction.atomic():
        traces.store(actor.project.pk, actor.user.pk, [bad], now=NOW)

    assert indexes == 7


def _near(now: datetime) -> set[date]:
    """The days within two weeks of `now`: others are those of the real today."""
    return {d for d in partitions.days_of(traces.TABLE) if abs(d - now.date()).days < 14}

"""Metrics of windows: the same as PostgreSQL finds in the spans themselves."""

import os
import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from access.actors import Actor
from alerts import rollups, windows
from alerts.models import DirtyMinute, LateArrival, Rollup
from alerts.rule_models import Aggregation, Metric
from alerts.windows import Anomalous, Measured, Series, Shape
from tests.factories import NOW, make_actor, make_span, store_spans

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
ALL = dict.fromkeys(windows.KINDS, 60)
VALUED = {
    Metric.LATENCY: "latency_ms",
    Metric.TTFT: "ttft_ms",
    Metric.TOKEN_USAGE: "total_tokens",
    Metric.COST: "cost",
}


def series(actor: Actor, *, end: datetime, window: int = 60) -> Series:
    """Pack what is there and read it, as an evaluation does."""
    rollups.pack(actor.project.pk, before=end, judged=None, now=end)
    return Series(rollups.read(actor.project.pk, end=end, window=window, with_values=ALL))


def measure(actor: Actor, shape: Shape, *, end: datetime) -> Measured:
    return series(actor, end=end, window=shape.window_minutes).measure(shape)[""]


def _spans(chance: random.Random, count: int, minutes: int) -> list[Any]:
    """Make spans of all kinds in the minutes before NOW, some exactly on their edges."""
    found = []
    for number in range(count):
        offset = chance.choice([chance.uniform(0, minutes * 60), 60 * chance.randrange(minutes)])
        found.append(
            make_span(
                number + 1,
                ended_at=NOW - timedelta(seconds=offset),
                model=chance.choice(["a", "b", ""]),
                operation=chance.choice(["chat", "embeddings"]),
                status=chance.choice(["success", "success", "error"]),
                latency_ms=chance.choice([chance.expovariate(0.01), 100.0, 0.1]),
                ttft_ms=chance.choice([None, chance.uniform(0, 50)]),
                total_tokens=chance.choice([None, chance.randrange(5000)]),
                cost=chance.choice([None, Decimal(chance.randrange(10**9)).scaleb(-12)]),
            )
        )
    return found


def _by_sql(actor: Actor, shape: Shape) -> Measured:
    """Ask PostgreSQL, over the spans."""
    where = ["project_id = %s", "ended_at >= %s", "ended_at < %s"]
    values: list[Any] = [actor.project.pk, NOW - shape.window_minutes * MINUTE, NOW]
    for name in ("source", "model", "operation", "status"):
        if wanted := getattr(shape, name):
            where.append(f"{name} = %s")
            values.append(wanted)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_expression(shape)}, {_samples(shape)} FROM alerts_trace"
            f" WHERE {' AND '.join(where)}",
            values,
        )
        value, samples = cursor.fetchone()
    return Measured(value, samples)


def _samples(shape: Shape) -> str:
    column = VALUED.get(Metric(shape.metric))
    return f"count({column})" if column else "count(*)"


def _expression(shape: Shape) -> str:
    if shape.metric == Metric.THROUGHPUT:
        per = f" / {shape.window_minutes}::float8" if shape.aggregation == "avg" else "::float8"
        return f"count(*){per}"
    if shape.metric == Metric.ERROR_RATE:
        failed = "(count(*) FILTER (WHERE status = 'error'))::float8"
        return f"100 * {failed} / nullif(count(*), 0)" if shape.aggregation == "avg" else failed
    column = VALUED[Metric(shape.metric)]
    if shape.aggregation in windows.PERCENTILES:
        share = windows.PERCENTILES[shape.aggregation]
        return f"percentile_cont({share}) WITHIN GROUP (ORDER BY {column}::float8)"
    if shape.aggregation == "sum":
        return f"coalesce(sum({column}), 0)"
    return f"{shape.aggregation}({column})"


COMBINATIONS = [
    *((metric, aggregation) for metric in VALUED for aggregation in Aggregation),
    *((Metric.ERROR_RATE, each) for each in ("avg", "count", "sum")),
    *((Metric.THROUGHPUT, each) for each in ("avg", "count", "sum")),
]


# Of percentiles; all of them with EVALSCHED_SOAK=1.
RANDOM_WINDOWS = 10_000 if os.environ.get("EVALSCHED_SOAK") else 300
_OF_ONE_PROJECT = 100


@pytest.mark.parametrize("seed", range(RANDOM_WINDOWS // _OF_ONE_PROJECT))
def test_percentiles_of_random_windows_are_percentile_cont_to_the_last_bit(
    seed: int, actor: Actor
) -> None:
    chance = random.Random(f"percentiles {seed}")
    store_spans(actor, _spans(chance, chance.choice([3, 50, 700, 3000]), 120), now=NOW)
    rollups.pack(actor.project.pk, before=NOW, judged=None, now=NOW)
    shares = list(windows.PERCENTILES.values())
    columns = ", ".join(
        f"percentile_cont(%(shares)s) WITHIN GROUP (ORDER BY {column}::float8)"
        for column in VALUED.values()
    )
    for _ in range(_OF_ONE_PROJECT):
        end, length = NOW - chance.randrange(60) * MINUTE, chance.randint(1, 60)
        model = chance.choice(["", "a", "b"])
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {columns} FROM alerts_trace WHERE project_id = %(project)s"
                " AND ended_at >= %(start)s AND ended_at < %(end)s"
                " AND %(model)s IN ('', model)",
                {
                    "shares": shares,
                    "project": actor.project.pk,
                    "start": end - length * MINUTE,
                    "end": end,
                    "model": model,
                },
            )
            theirs = [found or [None] * len(shares) for found in cursor.fetchone()]

        read = rollups.read(actor.project.pk, end=end, window=length, with_values=ALL)
        found = Series(read)
        ours = [
            [
                found.measure(Shape(metric, name, length, model=model))[""].value
                for name in windows.PERCENTILES
            ]
            for metric in VALUED
        ]

        assert ours == theirs, (seed, end, length, model)


@pytest.mark.parametrize("seed", range(6))
def test_every_metric_of_random_windows_is_what_postgresql_finds(seed: int, actor: Actor) -> None:
    chance = random.Random(seed)
    store_spans(actor, _spans(chance, chance.choice([1, 7, 400]), 45), now=NOW)
    found = series(actor, end=NOW)

    for metric, aggregation in COMBINATIONS:
        for _ in range(4):
            shape = Shape(
                metric,
                aggregation,
                chance.choice([1, 2, 5, 17, 45, 60]),
                model=chance.choice(["", "a", "b", "nobody"]),
                operation=chance.choice(["", "chat"]),
                status=chance.choice(["", "success"]),
            )
            ours, theirs = found.measure(shape)[""], _by_sql(actor, shape)
            assert ours.samples == theirs.samples, shape
            if aggregation in windows.PERCENTILES or aggregation in ("min", "max", "count"):
                # To the last bit.
                same = ours.value == theirs.value
            elif isinstance(ours.value, Decimal) and isinstance(theirs.value, Decimal):
                # A mean has as many places as PostgreSQL gives it.
                same = abs(ours.value - theirs.value) < Decimal("1e-19")
            else:
                # Means of whole numbers are numeric there.
                other = None if theirs.value is None else float(theirs.value)
                same = ours.value == pytest.approx(other)
            assert same, (shape, ours, theirs)


@pytest.mark.parametrize(("aggregation", "value"), [("p50", 300), ("p95", 480), ("p99", 496)])
def test_percentiles_are_interpolated(aggregation: str, value: float, actor: Actor) -> None:
    latencies = [100, 200, 300, 400, 500]
    spans = [
        make_span(n, latency_ms=float(ms), ended_at=NOW - MINUTE) for n, ms in enumerate(latencies)
    ]
    store_spans(actor, spans)

    assert measure(actor, Shape("latency", aggregation, 5), end=NOW) == (value, 5)


def test_a_window_holds_its_beginning_and_not_its_end(actor: Actor) -> None:
    edges = [NOW - 5 * MINUTE, NOW - timedelta(microseconds=1), NOW]
    outside = NOW - 5 * MINUTE - timedelta(microseconds=1)
    spans = [make_span(n, ended_at=at) for n, at in enumerate([*edges, outside])]
    store_spans(actor, spans)

    assert measure(actor, Shape("throughput", "count", 5), end=NOW).samples == 2


def test_a_call_that_started_long_before_counts_where_it_ended(actor: Actor) -> None:
    store_spans(actor, [make_span(latency_ms=3_600_000.0, ended_at=NOW - MINUTE)])

    assert measure(actor, Shape("latency", "max", 1), end=NOW) == (3_600_000, 1)


def test_sums_of_cost_are_exact(actor: Actor) -> None:
    costs = [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]
    spans = [make_span(n, cost=cost, ended_at=NOW - MINUTE) for n, cost in enumerate(costs)]
    store_spans(actor, spans)

    value, samples = measure(actor, Shape("cost", "sum", 5), end=NOW)

    assert isinstance(value, Decimal)
    assert (value, samples) == (Decimal("0.6"), 3)


def test_costs_beyond_sixty_four_bits_add_up(actor: Actor) -> None:
    most = Decimal("999999.999999999999")
    spans = [make_span(n, cost=most, ended_at=NOW - MINUTE) for n in range(20)]
    store_spans(actor, spans)

    assert measure(actor, Shape("cost", "sum", 5), end=NOW).value == 20 * most


@pytest.mark.parametrize(
    ("metric", "aggregation", "value"),
    [
        ("latency", "avg", None),
        ("latency", "p95", None),
        ("latency", "max", None),
        ("error_rate", "avg", None),
        ("error_rate", "count", 0),
        ("throughput", "avg", 0),
        ("throughput", "count", 0),
        ("cost", "sum", 0),
        ("token_usage", "count", 0),
    ],
)
def test_an_empty_window_has_counts_and_sums_only(
    metric: str, aggregation: str, value: float | None, actor: Actor
) -> None:
    assert measure(actor, Shape(metric, aggregation, 5), end=NOW) == (value, 0)


def test_sources_are_told_apart(actor: Actor) -> None:
    store_spans(actor, [make_span(1, ended_at=NOW - MINUTE)])
    store_spans(actor, [make_span(2, ended_at=NOW - MINUTE)], source="evaluation")  # type: ignore[arg-type]
    found = series(actor, end=NOW)

    counts = {
        source: found.measure(Shape("throughput", "count", 5, source=source))[""].samples
        for source in ("ingest", "evaluation", "")
    }

    assert counts == {"ingest": 1, "evaluation": 1, "": 2}


def test_groups_are_those_seen_in_the_window(actor: Actor) -> None:
    spans = [
        make_span(1, model="a", ended_at=NOW - MINUTE),
        make_span(2, model="b", ended_at=NOW - MINUTE, latency_ms=300.0),
        make_span(3, model="b", operation="embeddings", ended_at=NOW - MINUTE, latency_ms=500.0),
        make_span(4, model="old", ended_at=NOW - 30 * MINUTE),
        make_span(5, model="", ended_at=NOW - MINUTE),
    ]
    store_spans(actor, spans)
    found = series(actor, end=NOW)

    assert found.measure(Shape("latency", "avg", 5, group_by="model")) == {
        "a": (100, 1),
        "b": (400, 2),
    }
    assert set(found.measure(Shape("latency", "avg", 60, group_by="operation"))) == {
        "chat",
        "embeddings",
    }


# --- Rebuilding ------------------------------------------------------------------------------


def _count(actor: Actor) -> int:
    return measure(actor, Shape("throughput", "count", 60), end=NOW).samples


def test_what_comes_later_into_a_minute_is_in_it(actor: Actor) -> None:
    store_spans(actor, [make_span(1, ended_at=NOW - MINUTE)])
    first = _count(actor)
    store_spans(actor, [make_span(2, ended_at=NOW - MINUTE)])

    assert (first, _count(actor)) == (1, 2)
    assert not DirtyMinute.objects.filter(project=actor.project).exists()
    assert Rollup.objects.filter(project=actor.project).count() == 1


def test_the_minute_that_is_not_over_waits(actor: Actor) -> None:
    store_spans(actor, [make_span(1, ended_at=NOW)])

    assert _count(actor) == 0
    assert DirtyMinute.objects.filter(project=actor.project).count() == 1


def test_each_project_has_its_own(actor: Actor) -> None:
    other = make_actor()
    store_spans(other, [make_span(1, ended_at=NOW - MINUTE)])

    assert (_count(actor), _count(other)) == (0, 1)


def test_what_came_after_its_minute_was_judged_is_noted(actor: Actor) -> None:
    def come(number: int, minutes: int, model: str) -> None:
        store_spans(actor, [make_span(number, model=model, ended_at=NOW - minutes * MINUTE)])
        rollups.pack(actor.project.pk, before=NOW, judged=NOW - 2 * MINUTE, now=NOW)

    come(1, 1, "in time")
    come(2, 5, "late")
    come(3, 5, "late")
    come(4, 40, "too old to count")

    noted = LateArrival.objects.filter(project=actor.project)
    assert sorted(noted.values_list("minute", "model", "count")) == [
        (NOW - 5 * MINUTE, "late", 1),
        (NOW - 5 * MINUTE, "late", 1),
    ]


def test_a_crowd_of_groups_is_kept_together(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "MOST_PAIRS", 2)
    spans = [
        make_span(n, model=f"m{n // 2}" if n < 6 else f"x{n}", ended_at=NOW - MINUTE)
        for n in range(10)
    ]
    store_spans(actor, spans)
    found = series(actor, end=NOW)

    assert found.crowded(5)
    assert not found.crowded(0)
    assert found.measure(Shape("throughput", "count", 5, group_by="model")) == {
        "_other": (6, 6),
        "m0": (2, 2),
        "m1": (2, 2),
    }
    assert found.measure(Shape("latency", "p95", 5))[""].samples == 10


def test_long_windows_need_no_single_values(actor: Actor) -> None:
    """Values are read for the last minutes only; sums and extremes come from all of them."""
    spans = [make_span(n, ended_at=NOW - (n * 10 + 1) * MINUTE) for n in range(10)]
    store_spans(actor, spans)
    rollups.pack(actor.project.pk, before=NOW, judged=None, now=NOW)
    minutes = rollups.read(actor.project.pk, end=NOW, window=1440, with_values={"latency": 15})
    found = Series(minutes)

    assert found.measure(Shape("latency", "avg", 1440))[""] == (100, 10)
    assert found.measure(Shape("latency", "p50", 15))[""] == (100, 2)
    assert sum(minute.quantities["latency"].values is not None for minute in minutes) == 2


# --- Anomalies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [
        *(("max", 4.0), ("min", 0.0), ("avg", 1.4), ("sum", 7.0), ("count", 2.0)),
        *(("p50", 0.0), ("p95", 3.8), ("p99", 3.96)),
    ],
)
def test_anomalies_are_measured_by_the_worst_of_each_minute(aggregation: str, value: float) -> None:
    """Of five minutes two were unusual, one of them for two models."""
    found = [(5, "a", 4), (2, "a", 1), (2, "b", 3), (6, "a", 4), (0, "a", 4)]
    series = Series((), [Anomalous(*one) for one in found])

    measured = series.measure(Shape("anomaly_severity", aggregation, 5))[""]

    assert measured.samples == 5
    assert measured.value == pytest.approx(value)


def test_anomalies_are_told_apart_by_model() -> None:
    series = Series((), [Anomalous(5, "a", 4), Anomalous(2, "b", 3), Anomalous(1, "a", 2)])
    shape = Shape("anomaly_severity", "max", 5)

    assert series.measure(shape._replace(model="b"))[""] == Measured(3.0, 5)
    assert series.measure(shape._replace(model="c"))[""] == Measured(0.0, 5)
    assert series.measure(shape._replace(group_by="model")) == {
        "a": Measured(4.0, 5),
        "b": Measured(3.0, 5),
    }
    assert series.measure(shape._replace(ago=1, group_by="model"))["a"] == Measured(4.0, 5)
    assert series.nothing(shape._replace(group_by="model")) == Measured(0.0, 5)

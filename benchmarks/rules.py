"""One tick of alert rules over a million spans, and what ten times as many rules add."""

import gc
import itertools
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import psutil  # type: ignore[import-untyped]
from django.db import connection

from access import clock
from access.actors import Actor
from alerts import evaluations, rollups
from alerts.models import Alert, AlertRule, EvaluationPass, RuleEvaluation, RuleState
from alerts.rule_models import Aggregation, Metric
from benchmarks.figures import Figure
from tests.factories import make_actor

SPANS_A_MINUTE = 16_667
WINDOW_MINUTES = 60
TICKS = 6
MINUTES = WINDOW_MINUTES + TICKS
# How many rules, and the most CPU seconds a tick of them may take.
SIZES = {1_000: 0.5, 10_000: 1.0}
MINUTE = timedelta(minutes=1)
MODELS = [f"model-{n}" for n in range(20)]
OPERATIONS = ["chat", "embeddings", "generate_content"]
_VALUED = (Metric.LATENCY, Metric.TTFT, Metric.COST, Metric.TOKEN_USAGE)


def measure() -> list[Figure]:
    actor = make_actor()
    end = clock.database_now().replace(second=0, microsecond=0)
    make_spans(actor, end)
    # As the worker does.
    gc.freeze()
    packing = cpu_of(lambda: pack(actor, end))
    packed = MINUTES * SPANS_A_MINUTE
    floor = cpu_of(lambda: percentile_by_sql(actor, end))
    return [
        Figure("packing spans into minutes", packing / packed * 1e6, "us CPU/span"),
        Figure("the floor: one percentile_cont over a million spans", floor, "s CPU"),
        *(tick_of(actor, size, end, most) for size, most in SIZES.items()),
    ]


def make_spans(actor: Actor, end: datetime) -> None:
    """Write the spans of the last minutes, and mark those."""
    statement = f"""
        INSERT INTO alerts_trace (project_id, user_id, created_at, source, trace_id, span_id,
            parent_span_id, span_name, operation, model, model_requested, provider, status,
            error_type, latency_ms, ttft_ms, total_tokens, cost, cost_source, started_at,
            ended_at, attributes)
        SELECT %s, %s, %s, 'ingest', md5(n::text), to_hex(n), '', 'chat',
            (%s::text[])[1 + n %% {len(OPERATIONS)}], (%s::text[])[1 + (n / 7) %% {len(MODELS)}],
            '', 'openai', CASE WHEN n %% 50 = 0 THEN 'error' ELSE 'success' END, '',
            100 + 900 * random(), 50 * random(), (1000 * random())::int,
            (random() / 1000)::numeric(18, 12), 'reported',
            %s, %s::timestamptz - n * interval '{60 / SPANS_A_MINUTE} s', '{{}}'
        FROM generate_series(1, {MINUTES * SPANS_A_MINUTE}) AS n
    """
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(
            statement, [actor.project.pk, actor.user.pk, end, OPERATIONS, MODELS, end, end]
        )
        mark(actor, *(end - (n + 1) * MINUTE for n in range(MINUTES)))
        cursor.execute("ANALYZE alerts_trace, alerts_dirtyminute")


def mark(actor: Actor, *minutes: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alerts_dirtyminute (project_id, minute) SELECT %s, unnest(%s)",
            [actor.project.pk, list(minutes)],
        )


def pack(actor: Actor, end: datetime) -> None:
    done = rollups.pack(actor.project.pk, before=end, judged=None, now=end)
    assert done == MINUTES, done


def percentile_by_sql(actor: Actor, end: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) FROM alerts_trace"
            " WHERE project_id = %s AND ended_at >= %s AND ended_at < %s",
            [actor.project.pk, end - WINDOW_MINUTES * MINUTE, end],
        )
        assert cursor.fetchone()[0] > 0


def tick_of(actor: Actor, size: int, end: datetime, most: float) -> Figure:
    """Measure one tick, all in: the newest minute packed, every rule judged, all rows written."""
    for model in (RuleEvaluation, EvaluationPass, Alert, RuleState, AlertRule):
        model._default_manager.all()._raw_delete("default")
    make_rules(actor, size)
    spent = []
    for number in reversed(range(TICKS)):
        at = end - number * MINUTE
        mark(actor, at - MINUTE)
        spent.append(cpu_of(lambda at=at: evaluate(actor, at)))  # type: ignore[misc]
    assert EvaluationPass.objects.filter(project=actor.project).count() == TICKS
    assert RuleEvaluation.objects.filter(project=actor.project).count() >= size
    # The first one meets rules that never stood anywhere.
    warm = sorted(spent[1:])[(TICKS - 1) // 2]
    return Figure(f"one tick of {size:,} rules over a million spans", warm, "s CPU", most)


def evaluate(actor: Actor, at: datetime) -> None:
    assert evaluations.evaluate_project(actor.project.pk, at=at, now=at)


def make_rules(actor: Actor, size: int) -> None:
    """Make rules of all kinds: metrics, aggregations, windows and filters."""
    chance = random.Random(size)
    shapes = [
        *itertools.product(_VALUED, Aggregation),
        *itertools.product((Metric.ERROR_RATE, Metric.THROUGHPUT), ("avg", "count")),
    ]
    AlertRule.objects.bulk_create(
        (
            AlertRule(
                project=actor.project,
                user=actor.user,
                rule_name=f"Rule {number}",
                metric_type=metric,
                aggregation_method=aggregation,
                comparison_operator=">",
                # Most rules are quiet most of the time.
                threshold_value=Decimal(10**12),
                time_window_minutes=chance.choice([5, 15, 60]),
                model_filter=chance.choice(["", *MODELS]),
                operation_filter=chance.choice(["", *OPERATIONS]),
                watched_from=clock.database_now(),
            )
            for number, (metric, aggregation) in zip(
                range(size), itertools.cycle(shapes), strict=False
            )
        ),
        batch_size=1_000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE alerts_alertrule")


def cpu_of(task: Callable[[], object]) -> float:
    """Return the CPU seconds that this process and its server process spend on `task`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        server = psutil.Process(cursor.fetchone()[0])
    before, here = server.cpu_times(), time.process_time()
    task()
    after = server.cpu_times()
    there = float(after.user + after.system - before.user - before.system)
    return time.process_time() - here + there

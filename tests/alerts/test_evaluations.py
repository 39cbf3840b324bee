"""Rules over spans, minute by minute: states, episodes, what is told, and when it is looked."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from access import heartbeats
from access.actors import Actor
from alerts import episodes, evaluations, history, partitions, rollups
from alerts.models import Alert, Anomaly, Event, Notification, RuleEvaluation
from tests.alerts.minutes import at, come, look, numbers, rows_of, state_of, told
from tests.factories import NOW, make_actor, make_rule, make_span, store_spans
from tests.processes_at_work import at_once, beside

pytestmark = pytest.mark.django_db


def test_an_episode_from_beginning_to_end(actor: Actor) -> None:
    rule = make_rule(actor, time_window_minutes=1)
    come(actor, 0.5, 100)
    come(actor, 1.5, 700)
    come(actor, 2.5, 900)
    come(actor, 3.5, 200)

    for minute in range(1, 5):
        look(actor, minute)

    assert rows_of(rule) == [
        (100, "inactive", "ok", 1),
        (700, "firing", "ok", 1),
        (900, "firing", "ok", 1),
        (200, "inactive", "ok", 1),
    ]
    alert = Alert.objects.get(rule=rule)
    assert (alert.status, alert.resolution) == ("resolved", "recovered")
    assert (alert.started_at, alert.resolved_at) == (at(2), at(4))
    assert (alert.first_value, alert.last_value, alert.peak_value) == (700, 900, 900)
    assert (alert.samples, alert.notices) == (2, 1)
    assert told(actor) == ["Firing", "Resolved"]
    rule.refresh_from_db()
    assert (rule.trigger_count, rule.last_triggered_at) == (1, at(2))


def find_anomaly(actor: Actor, minute: int, severity: int, model: str = "gpt") -> None:
    row = Anomaly(
        project=actor.project,
        minute=at(minute),
        metric_type="latency",
        model=model,
        severity=severity,
    )
    row.save(force_insert=True)


def test_a_rule_watches_how_unusual_its_minutes_are(actor: Actor) -> None:
    rule = make_rule(
        actor, metric_type="anomaly_severity", threshold_value=3, comparison_operator=">="
    )
    find_anomaly(actor, 1, 3)
    find_anomaly(actor, 7, 4)

    for minute in (1, 2, 7, 8):
        look(actor, minute)

    assert [row for row in rows_of(rule) if row[0] is not None] == [
        (0, "inactive", "ok", 5),
        (3, "firing", "ok", 5),
        (0, "inactive", "ok", 5),
        (4, "firing", "ok", 5),
    ]
    events = Event.objects.filter(project=actor.project).order_by("occurred_at", "id")
    # The second episode is within the cooldown of the first.
    assert [event.alert_type for event in events] == ["anomaly_high", "anomaly_high"]


def test_a_critical_anomaly_is_told_as_such(actor: Actor) -> None:
    make_rule(actor, metric_type="anomaly_severity", threshold_value=0, group_by="model")
    find_anomaly(actor, 1, 4, "gpt")
    find_anomaly(actor, 1, 2, "claude")

    for minute in (2, 7):
        look(actor, minute)

    events = Event.objects.filter(project=actor.project)
    assert sorted((event.alert_type, event.subject.partition(":")[0]) for event in events) == [
        ("anomaly_critical", "Firing"),
        ("anomaly_critical", "Resolved"),
        ("anomaly_high", "Firing"),
        ("anomaly_high", "Resolved"),
    ]


def test_what_fires_says_what_and_why(actor: Actor) -> None:
    make_rule(
        actor,
        rule_name="Slow chats",
        model_filter="demo",
        aggregation_method="p95",
        severity="critical",
    )
    come(actor, 0.5, 700)
    come(actor, 0.6, 900)

    look(actor, 1)

    event = Event.objects.get(project=actor.project)
    assert event.alert_type == "trace_latency_high"
    assert event.subject == "Firing: Slow chats: 890 ms (threshold > 500 ms)"
    assert event.facts == [
        ["Metric", "Latency"],
        ["Current value", "890 ms"],
        ["Threshold", "> 500 ms"],
        ["Aggregation", "p95"],
        ["Time window", "5 min until 2025-01-15 10:01 UTC"],
        ["Sample count", "2"],
        ["Model", "demo"],
    ]
    assert event.summary.startswith(
        "p95 latency 890 ms > 500 ms over 5 minutes, 2 samples. Look at the calls of that time."
    )
    alert = Alert.objects.get(project=actor.project)
    assert event.path == f"/admin/alerts/alert/{alert.pk}/change/"
    assert event.links == [
        ["Acknowledge", f"/alerts/{alert.pk}/acknowledge?project={actor.project.pk}"]
    ]
    assert event.notice == "firing"
    assert alert.severity == "critical"
    notification = Notification.objects.get(event=event)
    assert notification.address == actor.user.email


@pytest.mark.parametrize(
    ("comparison", "latency_ms", "said"),
    [
        (">", 500.004, "max latency just over 500 ms > 500 ms over 5 minutes, 1 sample."),
        ("<", 499.996, "max latency just under 500 ms < 500 ms over 5 minutes, 1 sample."),
        (">=", 500.0, "max latency 500 ms >= 500 ms over 5 minutes, 1 sample."),
        ("<", 0.0004, "max latency 0.0004 ms < 500 ms over 5 minutes, 1 sample."),
    ],
)
def test_a_value_that_is_rounded_is_not_told_as_something_else(
    comparison: str, latency_ms: float, said: str, actor: Actor
) -> None:
    make_rule(actor, comparison_operator=comparison)
    come(actor, 0.5, latency_ms)

    look(actor, 1)

    assert Event.objects.get(project=actor.project).summary.startswith(said)


def test_what_fires_on_between_its_thresholds_does_not_claim_a_breach(actor: Actor) -> None:
    make_rule(actor, recovery_threshold=Decimal(400), cooldown_minutes=1, time_window_minutes=1)
    come(actor, 0.5, 700)
    come(actor, 1.5, 450)

    look(actor, 1)
    look(actor, 2)

    again = Event.objects.get(project=actor.project, notice="again")
    assert again.summary.startswith("max latency 450 ms over 1 minute, 1 sample. It has fired for")


def test_each_end_is_told_as_what_it_was(actor: Actor) -> None:
    rule = make_rule(actor, time_window_minutes=1, cooldown_minutes=0)
    come(actor, 0.5, 700)
    come(actor, 1.5, 100)
    come(actor, 2.5, 800)
    for minute in (1, 2, 3):
        look(actor, minute)

    episodes.resolve(actor, Alert.objects.get(rule=rule, status="firing"), now=at(7))

    over, by_hand = Event.objects.filter(notice="resolved").order_by("occurred_at")
    assert over.summary == "It is over, after 1 min: max latency 100 ms over 1 minute, 1 sample."
    assert by_hand.summary == (
        "Somebody ended it after 4 min. What still holds begins another one."
    )
    assert by_hand.links == over.links == []
    assert "Sample count" in dict(over.facts)
    assert "Sample count" not in dict(by_hand.facts)


def test_the_state_moves_and_counts_with_nobody_to_tell(actor: Actor) -> None:
    rule = make_rule(actor, notify_email=False)
    come(actor, 0.5, 700)

    look(actor, 1)

    rule.refresh_from_db()
    assert (state_of(rule), rule.trigger_count) == ("firing", 1)
    assert told(actor) == []


def test_a_day_that_no_sweep_has_made_is_made_when_rules_are_evaluated(actor: Actor) -> None:
    rule = make_rule(actor)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {history.TABLE}_{NOW:%Y%m%d}")
    come(actor, 0.5, 700)

    look(actor, 1)

    assert NOW.date() in partitions.days_of(history.TABLE)
    assert [row[1] for row in rows_of(rule)] == ["firing"]


def test_a_minute_is_evaluated_once(actor: Actor) -> None:
    rule = make_rule(actor)
    come(actor, 0.5, 700)

    done = [look(actor, 1) for _ in range(3)]

    assert done == [True, False, False]
    assert len(rows_of(rule)) == 1
    assert told(actor) == ["Firing"]


def test_a_clock_that_went_back_evaluates_nothing(actor: Actor) -> None:
    rule = make_rule(actor)
    look(actor, 5)

    assert not look(actor, 3)
    assert len(rows_of(rule)) == 1


def test_silence_keeps_the_state_and_leaves_a_row_without_a_value(actor: Actor) -> None:
    rule = make_rule(actor, time_window_minutes=1)
    come(actor, 0.5, 700)

    for minute in (1, 2, 3):
        look(actor, minute)

    assert rows_of(rule) == [
        (700, "firing", "ok", 1),
        (None, "firing", "no_data", 0),
        (None, "firing", "no_data", 0),
    ]
    assert told(actor) == ["Firing"]


@pytest.mark.parametrize(
    ("fields", "subject", "said"),
    [
        ({}, "no data for 5 minutes", "No calls for 5 minutes."),
        (
            {"model_filter": "gpt", "time_window_minutes": 1},
            "no data for 1 minute",
            "No calls of gpt for 1 minute.",
        ),
        (
            {
                "metric_type": "ttft",
                "model_filter": "gpt",
                "operation_filter": "chat",
                "status_filter": "success",
            },
            "no data for 5 minutes",
            "No calls of gpt (chat) with status success with a time to first token for 5 minutes.",
        ),
    ],
)
def test_silence_is_an_alert_where_the_rule_says_so(
    fields: dict[str, Any], subject: str, said: str, actor: Actor
) -> None:
    rule = make_rule(actor, rule_name="Quiet", no_data_mode="alert", cooldown_minutes=1, **fields)

    look(actor, 1)
    look(actor, 2)

    assert rows_of(rule) == [(None, "firing", "no_data", 0)] * 2
    first, again = Event.objects.filter(project=actor.project).order_by("occurred_at")
    assert first.subject == f"Firing: Quiet: {subject}"
    assert first.summary.startswith(
        f"{said} Check whether the program still runs and reports. Who looks after it"
    )
    assert again.summary.startswith(f"{said} It has fired for 1 min.")


def test_a_group_that_fell_silent_is_named(actor: Actor) -> None:
    make_rule(actor, no_data_mode="alert", group_by="model", time_window_minutes=1)
    come(actor, 0.5, model="gpt")

    look(actor, 1)
    look(actor, 2)

    summary = Event.objects.get(project=actor.project).summary
    assert summary.startswith("No calls of gpt for 1 minute. Check whether")


def test_throughput_of_nothing_is_zero(actor: Actor) -> None:
    rule = make_rule(
        actor,
        metric_type="throughput",
        aggregation_method="avg",
        comparison_operator="<",
        threshold_value=Decimal(1),
    )

    look(actor, 1)

    assert rows_of(rule) == [(0, "firing", "ok", 0)]
    event = Event.objects.get(project=actor.project)
    assert event.subject.endswith(": 0 a minute (threshold < 1 a minute)")
    assert "0 samples. Check whether the program still runs and reports." in event.summary


def test_too_few_samples_keep_the_state_and_leave_a_row(actor: Actor) -> None:
    rule = make_rule(actor, min_samples=2)
    come(actor, 0.5, 700)

    look(actor, 1)

    assert rows_of(rule) == [(700, "inactive", "insufficient", 1)]
    assert not RuleEvaluation.objects.get(rule_id=rule.pk).triggered


def test_too_few_samples_are_neither_the_last_value_nor_the_peak(actor: Actor) -> None:
    rule = make_rule(actor, min_samples=2, time_window_minutes=1)
    for minute, latencies in enumerate([(700, 800), (9_000,), (600, 750)]):
        for latency in latencies:
            come(actor, minute + 0.5, latency)
        look(actor, minute + 1)
        alert = Alert.objects.get(rule=rule)
        assert (alert.last_value, alert.peak_value) == ((750, 800) if minute == 2 else (800, 800))

    assert alert.samples == 5


def test_costs_are_compared_as_decimals(actor: Actor) -> None:
    fields: dict[str, Any] = {"metric_type": "cost", "aggregation_method": "sum"}
    exactly = make_rule(actor, comparison_operator="==", threshold_value=Decimal("0.6"), **fields)
    for cost in ("0.1", "0.2", "0.3"):
        come(actor, 0.5, cost=Decimal(cost))

    look(actor, 1)

    assert state_of(exactly) == "firing"
    assert "$0.6 (threshold == $0.6)" in Event.objects.get(project=actor.project).subject


def test_sources_are_watched_apart(actor: Actor) -> None:
    rules = {
        source: make_rule(actor, source_filter=source) for source in ("ingest", "evaluation", "any")
    }
    span = make_span(next(numbers), ended_at=at(0.5), latency_ms=700.0)
    store_spans(actor, [span], source="evaluation")  # type: ignore[arg-type]

    look(actor, 1)

    assert {source: state_of(rule) for source, rule in rules.items()} == {
        "ingest": "inactive",
        "evaluation": "firing",
        "any": "firing",
    }


@pytest.mark.parametrize(
    ("second", "minute"), [(0, 59), (7.9, 59), (8, 60), (59, 60), (67.9, 60), (68, 61)]
)
def test_a_minute_is_taken_up_eight_seconds_after_its_end(second: float, minute: int) -> None:
    now = at(60) + timedelta(seconds=second)

    assert evaluations.closed_minute(now) == at(minute)


def test_between_two_minutes_there_is_nothing_to_do(
    actor: Actor, django_assert_num_queries: Any
) -> None:
    make_rule(actor)
    evaluations.evaluate(at(1) + timedelta(seconds=9))

    with django_assert_num_queries(1):
        evaluations.evaluate(at(1) + timedelta(seconds=30))

    assert heartbeats.last(evaluations.EVALUATION) is not None


def test_spans_of_projects_without_rules_are_packed_as_well(actor: Actor) -> None:
    come(actor, 0.5)

    evaluations.evaluate(at(1) + timedelta(seconds=9))

    assert rollups.dirty_projects(at(60)) == []


def test_a_project_that_is_not_evaluated_is_found(actor: Actor) -> None:
    make_rule(actor)
    look(actor, 1)

    assert evaluations.overdue(at(3)) == 0
    assert evaluations.overdue(at(6)) == 1


@pytest.mark.django_db(transaction=True)
def test_two_evaluators_make_one_row_one_transition_and_one_notification() -> None:
    actor = make_actor()
    rule = make_rule(actor)
    for minute in range(1, 6):
        come(actor, minute - 0.5, 700 if minute % 2 else 100)
        now = at(minute) + timedelta(seconds=9)

        at_once(*[lambda now=now: evaluations.evaluate(now)] * 4)

        assert len(rows_of(rule)) == minute
    assert Event.objects.filter(project=actor.project).count() == 1
    assert Alert.objects.filter(rule=rule).count() == 1
    assert connection.in_atomic_block is False


@contextmanager
def held(project_id: uuid.UUID, number: int) -> Iterator[None]:
    """Hold one of the project's locks from another connection: 1 to pack, 2 to evaluate."""
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s::text, %s))", [project_id, number]
            )
            taken.set()
            over.wait(30)

    with beside(hold) as answer:
        taken.wait(30)
        try:
            yield
        finally:
            over.set()
        answer()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [1, 2], ids=["packs", "evaluates"])
def test_while_another_one_is_at_it_nothing_is_judged_and_should_it_die_it_is_done(
    number: int,
) -> None:
    """Judged without what is being packed, the minute would be empty; noted, it would be lost."""
    actor = make_actor()
    rule = make_rule(actor)
    come(actor, 0.5, 700)
    now = at(1) + timedelta(seconds=9)

    with held(actor.project.pk, number):
        evaluations.evaluate(now)
        meanwhile = len(rows_of(rule))
    evaluations.evaluate(now + timedelta(seconds=1))

    assert meanwhile == 0
    assert rows_of(rule) == [(700, "firing", "ok", 1)]
    assert told(actor) == ["Firing"]

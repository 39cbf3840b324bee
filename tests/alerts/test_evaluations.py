"""Rules over spans, minute by minute: rows, states, episodes, and what is told."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from access import heartbeats
from access.actors import Actor
from alerts import episodes, evaluations, history, partitions, rollups, rulebook, watches
from alerts.models import (
    Alert,
    AlertRule,
    Anomaly,
    EvaluationPass,
    Event,
    Notification,
    Rollup,
    RuleEvaluation,
)
from alerts.rule_models import RuleState
from tests.factories import (
    NOW,
    make_actor,
    make_evaluation,
    make_rule,
    make_span,
    store_spans,
)
from tests.processes_at_work import at_once, beside

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
_numbers = iter(range(1, 10**6))


def at(minute: float) -> datetime:
    return NOW + minute * MINUTE


def come(actor: Actor, minute: float, latency_ms: float = 100.0, **fields: Any) -> None:
    """Store a span that ended so many minutes after NOW."""
    span = make_span(next(_numbers), ended_at=at(minute), latency_ms=latency_ms, **fields)
    store_spans(actor, [span])


def look(actor: Actor, minute: int) -> bool:
    """Evaluate the windows that end at that minute, as a tick some seconds later does."""
    now = at(minute) + timedelta(seconds=9)
    return evaluations.evaluate_project(actor.project.pk, at=at(minute), now=now)


def rows_of(rule: AlertRule) -> list[tuple[float | None, str, str, int]]:
    found = history.of_rule(rule, before=None, limit=100)
    return [
        (one.metric_value, str(one.state), str(one.health), one.sample_count or 0)
        for one in reversed(found)
    ]


def state_of(rule: AlertRule, group: str = "") -> str:
    state = RuleState.objects.filter(rule=rule, group=group).first()
    return state.state if state else "inactive"


def told(actor: Actor) -> list[str]:
    """Return the first words of what was announced, in order."""
    events = Event.objects.filter(project=actor.project).order_by("occurred_at", "id")
    return [event.subject.partition(":")[0] for event in events]


# --- One rule --------------------------------------------------------------------------------


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
    span = make_span(next(_numbers), ended_at=at(0.5), latency_ms=700.0)
    store_spans(actor, [span], source="evaluation")  # type: ignore[arg-type]

    look(actor, 1)

    assert {source: state_of(rule) for source, rule in rules.items()} == {
        "ingest": "inactive",
        "evaluation": "firing",
        "any": "firing",
    }


# --- History ---------------------------------------------------------------------------------


def test_minutes_that_are_alike_are_one_row_and_shown_one_by_one(actor: Actor) -> None:
    rule = make_rule(actor)

    for minute in range(1, 6):
        look(actor, minute)

    assert RuleEvaluation.objects.filter(rule_id=rule.pk).count() == 1
    found = history.of_rule(rule, before=None, limit=100)
    assert [one.minute for one in found] == [at(minute) for minute in (5, 4, 3, 2, 1)]
    assert [one.evaluated_at for one in found] == [
        at(minute) + timedelta(seconds=9) for minute in (5, 4, 3, 2, 1)
    ]
    assert history.count(rule, most=100) == 5


def test_a_stretch_ends_with_its_day(actor: Actor) -> None:
    rule = make_rule(actor)
    midnight = 14 * 60

    for minute in range(midnight - 2, midnight + 2):
        look(actor, minute)

    stretches = RuleEvaluation.objects.filter(rule_id=rule.pk).order_by("first_minute")
    assert list(stretches.values_list("first_minute", "last_minute")) == [
        (at(midnight - 2), at(midnight - 1)),
        (at(midnight), at(midnight + 1)),
    ]


def test_a_changed_threshold_is_a_row_of_its_own(actor: Actor) -> None:
    rule = make_rule(actor)
    look(actor, 1)
    rulebook.change(actor, rule, now=at(1), threshold_value=Decimal(600))

    look(actor, 2)

    rows = RuleEvaluation.objects.filter(rule_id=rule.pk).order_by("first_minute")
    assert list(rows.values_list("threshold_value", flat=True)) == [500, 600]


def test_of_an_outage_the_newest_minute_is_evaluated_and_the_others_are_noted(
    actor: Actor,
) -> None:
    rule = make_rule(actor)
    look(actor, 1)

    look(actor, 5)

    found = history.of_rule(rule, before=None, limit=100)
    assert [(one.minute, one.status) for one in found] == [
        (at(5), "evaluated"),
        (at(4), "skipped"),
        (at(3), "skipped"),
        (at(2), "skipped"),
        (at(1), "evaluated"),
    ]
    assert history.count(rule, most=100) == 5


def test_minutes_before_anybody_watched_are_not_noted(actor: Actor) -> None:
    rule = make_rule(actor)
    look(actor, 1)
    rulebook.change(actor, rule, now=at(1), enabled=False)
    rule = rulebook.change(actor, rule, now=at(8.5), enabled=True)

    look(actor, 11)

    found = history.of_rule(rule, before=None, limit=100)
    assert [(one.minute, one.status) for one in found if one.minute > at(1)] == [
        (at(11), "evaluated"),
        (at(10), "skipped"),
        (at(9), "skipped"),
    ]


def test_spans_that_come_late_change_no_row_and_are_counted(actor: Actor) -> None:
    rule = make_rule(actor, model_filter="demo")
    come(actor, 0.5, 100)
    look(actor, 1)
    come(actor, 0.6, 900)
    come(actor, 0.7, 900, model="another")

    look(actor, 2)

    found = history.of_rule(rule, before=None, limit=100)
    assert [one.metric_value for one in found] == [900, 100]
    assert history.late(rule, found) == [0, 1]


def make_history(actor: Actor) -> tuple[AlertRule, list[tuple[datetime, str]]]:
    """Make stretches of three groups over 40 days, with a gap; return what they hold, newest first.

    A day has one stretch of a group, another has one of each minute; two minutes were left out.
    """
    rule = make_rule(actor, group_by="model")
    first = NOW.replace(hour=0) - timedelta(days=39)
    partitions.make(history.TABLE, {(first + timedelta(days=day)).date() for day in range(40)})
    held = []
    for day in (0, 1, 20, 38, 39):
        for number, group in enumerate("abc"):
            begin = first + timedelta(days=day, minutes=number * 5)
            length = 1 if day == 39 else 30
            for start in range(0, 30, length):
                minute = begin + start * MINUTE
                last = minute + (length - 1) * MINUTE
                make_evaluation(rule, group=group, first_minute=minute, last_minute=last)
            held += [(begin + minute * MINUTE, group) for minute in range(30)]
    minutes = {minute for minute, _ in held}
    left_out = [first + timedelta(days=day, minutes=50) for day in (20, 39)]
    AlertRule.objects.filter(pk=rule.pk).update(watched_from=first)
    rule.refresh_from_db()
    EvaluationPass.objects.bulk_create(
        EvaluationPass(project=actor.project, minute=minute, status=status, evaluated_at=minute)
        for status, of in (("evaluated", minutes), ("skipped", left_out))
        for minute in of
    )
    held += [(minute, "") for minute in left_out]
    return rule, sorted(held, key=lambda one: (-one[0].timestamp(), one[1]))


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_history_is_read_in_pages_across_days_and_gaps(size: int, actor: Actor) -> None:
    rule, held = make_history(actor)
    middle = held[200][0]

    pages = [
        (one.minute, one.group)
        for start in range(0, len(held) + size, size)
        for one in history.of_rule(rule, before=None, limit=size, offset=start)
        if size > 1 or start % 50 == 0
    ]
    older = history.of_rule(rule, before=middle - MINUTE / 2, limit=size)

    assert pages == [one for n, one in enumerate(held) if size > 1 or n % 50 == 0]
    expected = [one for one in held if one[0] < middle][:size]
    assert [(one.minute, one.group) for one in older] == expected
    assert history.count(rule, most=10_000) == len(held)
    assert history.count(rule, most=17) == 17


def test_the_newest_page_does_not_look_at_the_days_before(
    actor: Actor, django_assert_num_queries: Any
) -> None:
    rule, _ = make_history(actor)

    # The newest minute, and what its day holds.
    with django_assert_num_queries(2):
        page = history.of_rule(rule, before=None, limit=90)

    assert len(page) == 90


@pytest.mark.parametrize("least", [False, True])
def test_a_chart_reaches_back_by_minutes_however_many_groups_there_are(
    least: bool, actor: Actor
) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    for minute in range(4):
        for number in range(3):
            come(actor, minute + 0.5, 100 * minute + number, model=f"m{number}")
        if minute != 2:
            look(actor, minute + 1)

    found = history.extremes(rule, minutes=3, least=least)

    worst = 0 if least else 2
    assert found == [(at(2), 100 + worst), (at(3), None), (at(4), 300 + worst)]


def test_history_is_forgotten_by_days(actor: Actor) -> None:
    rule = make_rule(actor)
    look(actor, 1)

    history.keep_days(NOW + timedelta(days=3))

    assert not RuleEvaluation.objects.filter(rule_id=rule.pk).exists()
    assert not EvaluationPass.objects.filter(project=actor.project).exists()


# --- Groups ----------------------------------------------------------------------------------


def test_each_group_has_a_state_of_its_own(actor: Actor) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    come(actor, 0.5, 700, model="slow")
    come(actor, 0.5, 100, model="fast")
    come(actor, 1.5, 100, model="slow")

    look(actor, 1)
    look(actor, 2)

    found = history.of_rule(rule, before=None, limit=100)
    assert [(one.minute, one.group, one.state, one.health) for one in found] == [
        (at(2), "fast", "inactive", "no_data"),
        (at(2), "slow", "inactive", "ok"),
        (at(1), "fast", "inactive", "ok"),
        (at(1), "slow", "firing", "ok"),
    ]
    assert Alert.objects.get(rule=rule).group == "slow"
    assert "(slow)" in Event.objects.filter(project=actor.project).earliest("id").subject


def test_a_group_that_falls_silent_is_still_watched(actor: Actor) -> None:
    rule = make_rule(
        actor,
        group_by="model",
        time_window_minutes=1,
        metric_type="throughput",
        aggregation_method="count",
        comparison_operator="<",
        threshold_value=Decimal(1),
    )
    come(actor, 0.5, model="a")
    come(actor, 1.5, model="b")

    look(actor, 1)
    look(actor, 2)

    assert (state_of(rule, "a"), state_of(rule, "b")) == ("firing", "inactive")


def test_too_many_groups_are_an_error_that_keeps_the_states(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "MOST_GROUPS", 2)
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    come(actor, 0.5, 700, model="a")
    look(actor, 1)
    for number in range(3):
        come(actor, 1.5, 100, model=f"m{number}")

    look(actor, 2)

    found = history.of_rule(rule, before=at(2.5), limit=1)
    assert (found[0].health, found[0].group) == ("error", "")
    assert "More than 2 groups" in found[0].error_message
    assert state_of(rule, "a") == "firing"


def test_a_rule_as_a_whole_recovers_from_its_errors(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    for number in range(3):
        come(actor, 0.5, 100, model=f"m{number}")
    monkeypatch.setattr(watches, "MOST_GROUPS", 2)
    look(actor, 1)
    monkeypatch.undo()

    look(actor, 2)
    come(actor, 2.5, 100, model="m0")
    look(actor, 3)

    assert rulebook.standing(list(rule.states.filter(group="")))[1] == "ok"


def test_groups_of_which_nothing_is_heard_are_forgotten(actor: Actor) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    come(actor, 0.5, 100, model="gone")
    come(actor, 0.5, 700, model="firing")
    look(actor, 1)
    come(actor, 1449, 100, model="here")
    look(actor, 1450)

    rulebook.forget_groups(at(1452))

    assert groups_of(rule) == {"here"}
    alert = Alert.objects.get(rule=rule)
    assert (alert.status, alert.resolution, alert.group) == ("resolved", "group_silent", "firing")
    assert alert.resolved_at == at(1452)
    assert told(actor) == ["Firing", "Resolved"]
    event = Event.objects.get(project=actor.project, notice="resolved")
    assert event.summary == (
        "It is over, after 24 h 11 min: nothing was heard of firing for a day. "
        "It is watched again from its next call on."
    )
    assert "Sample count" not in dict(event.facts)


def groups_of(rule: AlertRule) -> set[str]:
    return set(RuleState.objects.filter(rule=rule).values_list("group", flat=True))


def test_a_group_whose_silence_fires_does_not_fire_for_ever(actor: Actor) -> None:
    rule = make_rule(
        actor,
        group_by="model",
        metric_type="throughput",
        comparison_operator="<",
        threshold_value=Decimal(1),
        aggregation_method="avg",
    )
    come(actor, 0.5, model="once")
    look(actor, 1)
    look(actor, 10)

    rulebook.forget_groups(at(1450))
    look(actor, 1451)

    assert (groups_of(rule), told(actor)) == (set(), ["Firing", "Resolved"])


@pytest.mark.parametrize(
    ("field", "value", "other"),
    [
        ("model_filter", "gpt", {"model": "another"}),
        ("status_filter", "error", {"status": "success"}),
        ("source_filter", "evaluation", {}),
    ],
)
def test_a_group_is_heard_of_only_by_what_its_rule_looks_at(
    field: str, value: str, other: dict[str, Any], actor: Actor
) -> None:
    narrowed: dict[str, Any] = {field: value}
    rule = make_rule(actor, group_by="operation", **narrowed)
    mine = make_span(next(_numbers), ended_at=at(0.5), model="gpt", status="error")
    store_spans(actor, [mine], source="evaluation" if field == "source_filter" else "ingest")  # type: ignore[arg-type]
    look(actor, 1)
    before = groups_of(rule)
    come(actor, 1449, **{"model": "gpt", "status": "error"} | other)
    look(actor, 1450)

    rulebook.forget_groups(at(1452))

    assert (len(before), groups_of(rule)) == (1, set())


def test_a_group_that_may_be_among_the_others_of_a_crowded_minute_is_kept(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(actor, group_by="model")
    come(actor, 0.5, model="a")
    look(actor, 1)
    monkeypatch.setattr(rollups, "MOST_PAIRS", 1)
    come(actor, 1449, model="b")
    come(actor, 1449, model="c")
    look(actor, 1450)

    rulebook.forget_groups(at(1452))

    assert "a" in groups_of(rule)


# --- Errors ----------------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Measuring fails until the returned function is called."""
    monkeypatch.setattr("alerts.windows.Series.measure", lambda *_: 1 / 0)
    return monkeypatch.undo


def test_the_third_error_in_a_row_is_told_once(actor: Actor, broken: Callable[[], None]) -> None:
    rule = make_rule(actor)

    for minute in range(1, 6):
        look(actor, minute)

    (event,) = Event.objects.filter(project=actor.project)
    assert event.alert_type == "rule_error"
    assert event.occurred_at == at(3) + timedelta(seconds=9)
    assert rows_of(rule)[-1] == (None, "inactive", "error", 0)


def test_an_error_freezes_the_state(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = make_rule(actor, time_window_minutes=1)
    come(actor, 0.5, 700)
    come(actor, 2.5, 100)
    look(actor, 1)
    with monkeypatch.context() as patched:
        patched.setattr("alerts.windows.Series.measure", lambda *_: 1 / 0)
        look(actor, 2)
    frozen = state_of(rule)

    look(actor, 3)

    assert (frozen, state_of(rule)) == ("firing", "inactive")
    assert told(actor) == ["Firing", "Resolved"]


def test_an_error_that_passes_is_not_counted_on(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rule(actor)
    for minute in (1, 2, 4, 5):
        with monkeypatch.context() as patched:
            patched.setattr("alerts.windows.Series.measure", lambda *_: 1 / 0)
            look(actor, minute)
        if minute == 2:
            look(actor, 3)

    assert told(actor) == []


def test_a_project_whose_minutes_cannot_be_read_has_its_rules_in_error(actor: Actor) -> None:
    rules = [make_rule(actor, time_window_minutes=5), make_rule(actor, group_by="model")]
    come(actor, 0.5, 700)
    look(actor, 1)
    intact = Rollup.objects.filter(project=actor.project)
    kept = intact.get().latency_counts
    intact.update(latency_counts=b"damaged")

    done = [look(actor, minute) for minute in (2, 3, 3, 4, 5)]
    intact.update(latency_counts=kept)
    look(actor, 6)

    assert done == [True, True, False, True, True]
    assert [row[1:3] for row in rows_of(rules[0])] == [
        ("firing", "ok"),
        *[("firing", "error")] * 4,
        ("firing", "no_data"),
    ]
    events = Event.objects.filter(project=actor.project, alert_type="rule_error")
    assert {event.occurred_at for event in events} == {at(4) + timedelta(seconds=9)}
    assert events.count() == 2
    assert "could not be read" in events[0].summary
    assert {rulebook.standing(list(rule.states.all()))[1] for rule in rules} == {"no_data"}


@pytest.mark.parametrize("spans", [0, 1], ids=["read", "packed"])
def test_a_statement_that_fails_takes_nothing_else_with_it(spans: int, actor: Actor) -> None:
    rule = make_rule(actor)
    for _ in range(spans):
        come(actor, 0.5, 700)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE alerts_rollup RENAME crowded TO something_else")

    assert look(actor, 1)

    assert rows_of(rule) == [(None, "inactive", "error", 0)]


def test_groups_that_cannot_be_told_apart_are_an_error_for_who_needs_them(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "MOST_PAIRS", 1)
    apart = make_rule(actor, model_filter="a")
    together = make_rule(actor)
    come(actor, 0.5, 700, model="a")
    come(actor, 0.5, 700, model="b")

    look(actor, 1)

    assert rows_of(apart) == [(None, "inactive", "error", 0)]
    assert rows_of(together) == [(700, "firing", "ok", 2)]


def test_one_broken_project_does_not_hold_up_the_others(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_actor()
    rules = [make_rule(actor), make_rule(other)]
    write = history.write

    def fail_for_one(project_id: Any, *args: Any, **kwargs: Any) -> None:
        if project_id == actor.project.pk:
            raise ZeroDivisionError
        write(project_id, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(history, "write", fail_for_one)
        evaluations.evaluate(at(1) + timedelta(seconds=9))
    first = [len(rows_of(rule)) for rule in rules]
    # And it is tried again, as nothing of it was written.
    evaluations.evaluate(at(1) + timedelta(seconds=10))

    assert first == [0, 1]
    assert [len(rows_of(rule)) for rule in rules] == [1, 1]


# --- What people do meanwhile ----------------------------------------------------------------


def test_a_disabled_rule_ends_its_episode_without_a_word(actor: Actor) -> None:
    rule = make_rule(actor)
    come(actor, 0.5, 700)
    look(actor, 1)

    rulebook.change(actor, rule, now=at(1.5), enabled=False)
    look(actor, 2)

    alert = Alert.objects.get(rule=rule)
    assert (alert.status, alert.resolution) == ("resolved", "rule_disabled")
    assert told(actor) == ["Firing"]
    assert len(rows_of(rule)) == 1


def test_a_rule_disabled_while_it_is_evaluated_sends_nothing(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(actor)
    come(actor, 0.5, 700)
    apply = episodes.apply

    def disable_first(*args: Any, **kwargs: Any) -> None:
        AlertRule.objects.filter(pk=rule.pk).update(enabled=False)
        apply(*args, **kwargs)

    monkeypatch.setattr(episodes, "apply", disable_first)

    look(actor, 1)

    assert told(actor) == []
    assert not Alert.objects.filter(rule=rule).exists()
    # The row belongs to what was read at the start.
    assert rows_of(rule) == [(700, "firing", "ok", 1)]


def test_a_rule_deleted_while_it_is_evaluated_holds_nobody_up(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, other = make_rule(actor), make_rule(actor)
    come(actor, 0.5, 700)
    apply = episodes.apply

    def delete_first(*args: Any, **kwargs: Any) -> None:
        rulebook.delete(actor, rule)
        apply(*args, **kwargs)

    monkeypatch.setattr(episodes, "apply", delete_first)

    look(actor, 1)

    assert state_of(other) == "firing"


def test_what_somebody_else_has_changed_meanwhile_is_left_alone(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(actor, time_window_minutes=1, cooldown_minutes=0)
    come(actor, 0.5, 700)
    look(actor, 1)
    come(actor, 1.5, 100)
    alert = Alert.objects.get(rule=rule)
    apply = episodes.apply

    def resolve_first(*args: Any, **kwargs: Any) -> None:
        episodes.resolve(actor, alert, now=at(2))
        apply(*args, **kwargs)

    monkeypatch.setattr(episodes, "apply", resolve_first)

    look(actor, 2)

    assert told(actor) == ["Firing", "Resolved"]
    alert.refresh_from_db()
    assert alert.resolution == "by_hand"


@pytest.mark.parametrize("field", [{"model_filter": "x"}, {"group_by": "model"}], ids=str)
def test_a_rule_that_watches_something_else_starts_anew(
    field: dict[str, Any], actor: Actor
) -> None:
    rule = make_rule(actor)
    come(actor, 0.5, 700)
    look(actor, 1)

    rulebook.change(actor, rule, now=at(1.5), **field)

    assert state_of(rule) == "inactive"
    assert Alert.objects.get(rule=rule).resolution == "rule_changed"


def test_an_alert_that_is_acknowledged_is_not_told_of_again(actor: Actor) -> None:
    rule = make_rule(actor, cooldown_minutes=1)
    for minute in range(4):
        come(actor, minute + 0.5, 700)
    look(actor, 1)
    look(actor, 2)
    alert = episodes.acknowledge(actor, Alert.objects.get(rule=rule), now=at(2.5))

    look(actor, 3)

    assert alert.acknowledged_by == actor.user
    assert told(actor) == ["Firing", "Still firing"]


def test_what_was_ended_by_hand_and_still_holds_begins_anew(actor: Actor) -> None:
    rule = make_rule(actor, cooldown_minutes=0)
    come(actor, 0.5, 700)
    look(actor, 1)
    episodes.resolve(actor, Alert.objects.get(rule=rule), now=at(1.5))

    look(actor, 2)

    assert told(actor) == ["Firing", "Resolved", "Firing"]
    assert Alert.objects.filter(rule=rule, status="firing").count() == 1


def test_a_deferred_notice_comes_once_the_cooldown_is_over(actor: Actor) -> None:
    rule = make_rule(actor, time_window_minutes=1, cooldown_minutes=4)
    for minute, latency in enumerate([700, 100, 700, 700, 700, 700, 100]):
        come(actor, minute + 0.5, float(latency))

    for minute in range(1, 8):
        look(actor, minute)

    events = Event.objects.filter(project=actor.project).order_by("id")
    assert [(event.subject.partition(":")[0], event.occurred_at) for event in events] == [
        (word, at(minute) + timedelta(seconds=9))
        for word, minute in (("Firing", 1), ("Resolved", 2), ("Firing", 5), ("Resolved", 7))
    ]
    rule.refresh_from_db()
    assert rule.trigger_count == 2
    assert Alert.objects.filter(rule=rule).count() == 2


# --- When ------------------------------------------------------------------------------------


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

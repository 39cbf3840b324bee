"""What Prometheus is told: each figure from rows that were put there for it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from access import clock, heartbeats
from access.actors import Actor
from alerts import evaluations, history
from alerts.models import RuleEvaluation
from batches.models import Batch
from evalsched import pulse
from tests.factories import (
    make_actor,
    make_alert,
    make_attempt,
    make_event,
    make_experiment,
    make_notification,
    make_rule,
    make_span,
    store_spans,
)

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
HEALTH = "/api/cron/scheduled-evaluations/health"


@pytest.fixture(autouse=True)
def _token(settings: Settings) -> None:
    settings.EVALSCHED_METRICS_TOKEN = "for-the-tests"


def read() -> dict[str, float]:
    """Return the samples by name and the values of their labels."""
    answer = Client().get("/metrics", headers={"Authorization": "Bearer for-the-tests"})
    assert answer.status_code == 200
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_nothing_is_told_without_the_token() -> None:
    assert Client().get("/metrics").status_code == 404


def test_deliveries_are_told_by_outcome_and_as_a_share() -> None:
    now = clock.database_now()
    event = make_event()
    ends = [{"status": "sent", "sent_at": now}] * 3 + [{"status": "failed"}]
    made = [make_notification(event, target=str(number), **end) for number, end in enumerate(ends)]
    for notification in made:
        outcome = "timeout" if notification.status == "failed" else "sent"
        make_attempt(notification, outcome=outcome, started_at=now)

    told = read()

    assert told["evalsched_delivery_attempts_24h email sent"] == 3
    assert told["evalsched_delivery_attempts_24h email timeout"] == 1
    assert told["evalsched_delivery_success_ratio"] == 0.75


def test_what_was_not_delivered_has_no_share() -> None:
    make_notification()

    assert "evalsched_delivery_success_ratio" not in read()


def test_evaluations_tell_how_long_they_took_and_how_far_behind_they_are(actor: Actor) -> None:
    now = clock.database_now()
    make_rule(actor, now=now - MINUTE)
    store_spans(actor, [make_span(ended_at=now - 2 * MINUTE)])
    before = read()

    evaluations.evaluate(now)

    told = read()
    assert "evalsched_rule_evaluation_seconds" not in before
    assert "evalsched_rule_evaluation_lag_seconds" not in before
    assert told["evalsched_rule_evaluation_seconds"] > 0
    lag = now - evaluations.closed_minute(now)
    assert told["evalsched_rule_evaluation_lag_seconds"] >= lag.total_seconds()
    assert RuleEvaluation.objects.exists()


def test_a_minute_that_failed_leaves_the_evaluation_behind(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.database_now()
    make_rule(actor, now=now - 10 * MINUTE)
    evaluations.evaluate(now - 5 * MINUTE)
    monkeypatch.setattr(history, "write", lambda *_, **__: 1 / 0)

    evaluations.evaluate(now)

    assert read()["evalsched_rule_evaluation_lag_seconds"] > 300


def test_tables_tell_their_size() -> None:
    assert read()["evalsched_table_bytes alerts_trace"] > 0


def test_expired_experiments_are_told_until_they_are_cleaned_up() -> None:
    now = clock.database_now()
    experiment = Batch.objects.filter(pk=make_experiment(make_actor()).pk)
    told = []

    for expires_at in (now + 10 * MINUTE, now - MINUTE):
        experiment.update(expires_at=expires_at)
        told.append(read()["evalsched_experiments_expired"])

    assert told == [0, 1]


def test_open_alerts_are_told() -> None:
    make_alert(make_rule(threshold_value=Decimal(1)))

    assert read()["evalsched_alerts_firing"] == 1


def test_rules_that_are_not_evaluated_make_the_scheduler_unhealthy(actor: Actor) -> None:
    now = clock.database_now()
    heartbeats.note(pulse.TICK, now=now)
    healthy = Client().get(HEALTH)
    make_rule(actor, now=now - 10 * MINUTE)

    stuck = Client().get(HEALTH)

    evaluations.evaluate(now)
    again = Client().get(HEALTH)
    assert (healthy.status_code, stuck.status_code, again.status_code) == (200, 503, 200)
    assert stuck.json()["status"].startswith("The alert rules of 1 project have not been")
    assert again.json()["rule_evaluation_lag_seconds"] > 0

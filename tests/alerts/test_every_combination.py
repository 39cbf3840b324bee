"""From the API in to the mail and the webhook: every metric, aggregation and operator.

What is expected is worked out by hand from the five calls below.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings
from standardwebhooks import Webhook

from access import clock
from access.actors import Actor
from alerts import deliveries, evaluations, history, partitions
from alerts.models import Alert, Notification
from alerts.trace_models import TraceSource
from tests.alerts.mail_server import MailServer
from tests.alerts.receiver import Receiver
from tests.alerts.test_notifications import body
from tests.clients import Api
from tests.factories import make_span, store_spans

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
RULES = "analytics/alert-rules"

CALLS = [
    {"latency_ms": 100, "ttft_ms": 10, "total_tokens": 1000, "cost": "0.1"},
    {"latency_ms": 200, "ttft_ms": 20, "total_tokens": 2000, "cost": "0.2"},
    {"latency_ms": 300, "ttft_ms": 30, "total_tokens": 3000, "cost": "0.3", "status": "error"},
    {"latency_ms": 400, "total_tokens": 4000, "model": "b"},
    {"latency_ms": 500, "model": "b", "status": "error"},
]
OPERATIONS = ["chat", "chat", "embeddings", "chat", "chat"]
# How many of the calls have a value of it, and what each aggregation of them is.
EXPECTED = {
    "latency": (5, "p50 300, p95 480, p99 496, avg 300, max 500, min 100, count 5, sum 1500"),
    "ttft": (3, "p50 20, p95 29, p99 29.8, avg 20, max 30, min 10, count 3, sum 60"),
    "token_usage": (
        4,
        "p50 2500, p95 3850, p99 3970, avg 2500, max 4000, min 1000, count 4, sum 10000",
    ),
    "cost": (3, "p50 0.2, p95 0.29, p99 0.298, avg 0.2, max 0.3, min 0.1, count 3, sum 0.6"),
    "error_rate": (5, "avg 40, count 2, sum 2"),
    "throughput": (5, "avg 1, count 5, sum 5"),
}
UNITS = {
    "latency": "{} ms",
    "ttft": "{} ms",
    "token_usage": "{} tokens",
    "cost": "${}",
    "error_rate": "{} %",
    "throughput": "{} a minute",
}
# How far a threshold lies from the value, and what holds of the value then.
NEAR = {"cost": Decimal("0.01")}
BELOW, AT, ABOVE = -1, 0, 1
HOLDS = [(">", BELOW), (">=", BELOW), ("<", ABOVE), ("<=", ABOVE), ("!=", ABOVE), ("==", AT)]
DOES_NOT = [(">", ABOVE), (">=", ABOVE), ("<", BELOW), ("<=", BELOW), ("!=", AT), ("==", BELOW)]


@dataclass(frozen=True)
class Way:
    """From the API to the two receivers. `minute` is the end of the window with the calls."""

    api: Api
    minute: datetime
    mailbox: MailServer
    receiver: Receiver
    secret: str

    def hooks(self) -> list[Any]:
        """Return what the webhook's receiver could verify, each message once."""
        requests = self.receiver.requests
        assert len({each.headers["webhook-id"] for each in requests}) == len(requests)
        return [Webhook(self.secret).verify(each.body, each.headers) for each in requests]


@pytest.fixture
def way(settings: Settings, api: Api, mailbox: MailServer, receiver: Receiver) -> Way:
    """Report the calls and others outside of the window, and make a webhook, over the API."""
    settings.EVALSCHED_RATE_LIMIT_WRITES = 10_000
    now = clock.database_now()
    partitions.make(history.TABLE, {now.date() - timedelta(days=1), now.date()})
    end = now.replace(second=0, microsecond=0)
    common = {"span_name": "call", "model": "a", "status": "success"}
    reported = [
        common | call | {"operation": operation, "ended_at": (end - MINUTE * number).isoformat()}
        for number, (call, operation) in enumerate(zip(CALLS, OPERATIONS, strict=True), 1)
    ]
    outside = [end, end - 5 * MINUTE - timedelta(microseconds=1)]
    reported += [common | CALLS[0] | {"ended_at": instant.isoformat()} for instant in outside]
    answer = api.create("analytics/traces", reported)
    assert answer.json() == {"accepted": 7, "rejected": 0, "errors": []}
    hook = {"name": "Ops", "kind": "webhook", "configuration": {"url": receiver.url}}
    channel = api.create("notification-channels", hook)
    assert channel.status_code == 201, channel.content
    return Way(api, end, mailbox, receiver, channel.json()["secret"])


def make_rule(api: Api, name: str, metric: str, aggregation: str, **fields: Any) -> str:
    least = {
        "rule_name": name,
        "metric_type": metric,
        "aggregation_method": aggregation,
        "time_window_minutes": 5,
        "notify_webhooks": True,
    }
    answer = api.create(RULES, least | fields)
    assert answer.status_code == 201, answer.content
    return str(answer.json()["id"])


def evaluate_and_deliver(end: datetime) -> None:
    """Do all of it more than once, as two ticks do."""
    now = end + timedelta(seconds=9)
    for _ in range(2):
        evaluations.evaluate(now)
        deliveries.rescue(now)
        for pk in Notification.objects.order_by("pk").values_list("pk", flat=True):
            deliveries.deliver(pk, now=now)
    assert not Notification.objects.exclude(status="sent").exists()


def rule_of(subject: str) -> str:
    found = re.match(r"Firing: (Rule [^:(]+?)(?: \(.+\))?: ", subject)
    assert found is not None, subject
    return found[1]


def by_rule(said: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return what was said of each rule; fail where one was told of twice."""
    found = [(rule_of(subject), what) for subject, what in said]
    assert [name for name, times in Counter(name for name, _ in found).items() if times > 1] == []
    return dict(found)


def shown(metric: str, aggregation: str, value: Decimal) -> str:
    text = f"{value.normalize():,f}"
    plain = aggregation == "count" or (
        aggregation == "sum" and metric in {"error_rate", "throughput"}
    )
    return text if plain else UNITS[metric].format(text)


@pytest.mark.parametrize(
    ("metric", "aggregation", "text"),
    [
        (metric, *pair.split())
        for metric, (_, listed) in EXPECTED.items()
        for pair in listed.split(", ")
    ],
)
def test_every_rule_that_holds_is_told_of_once_by_mail_and_webhook(
    metric: str, aggregation: str, text: str, way: Way
) -> None:
    samples, near = EXPECTED[metric][0], NEAR.get(metric, Decimal(1))
    wanted: dict[str, tuple[str, str, str]] = {}
    for operator, side in HOLDS + DOES_NOT:
        name = f"Rule {operator} {side}"
        threshold = Decimal(text) + side * near
        fields = {
            "comparison_operator": operator,
            "threshold_value": str(threshold),
            "tolerance": "0.0001",
        }
        rule_id = make_rule(way.api, name, metric, aggregation, **fields)
        if (operator, side) in HOLDS:
            value = shown(metric, aggregation, Decimal(text))
            limit = f"{operator} {shown(metric, aggregation, threshold)}"
            wanted[name] = rule_id, value, limit

    evaluate_and_deliver(way.minute)

    mails = by_rule((mail["Subject"], mail) for mail in way.mailbox.mails)
    hooks = by_rule((event["data"]["subject"], event["data"]) for event in way.hooks())
    assert set(mails) == set(hooks) == set(wanted)
    alerts = {str(alert.rule_id): alert for alert in Alert.objects.all()}
    assert len(alerts) == len(wanted)
    for name, (rule_id, value, limit) in wanted.items():
        subject = f"Firing: {name}: {value} (threshold {limit})"
        facts = {
            "Current value": value,
            "Threshold": limit,
            "Aggregation": aggregation,
            "Time window": f"5 min until {way.minute:%Y-%m-%d %H:%M} UTC",
            "Sample count": str(samples),
        }
        alert = alerts[rule_id].pk
        link = f"https://evals.example/admin/alerts/alert/{alert}/change/"
        acknowledge = f"https://evals.example/alerts/{alert}/acknowledge?project="
        plain = body(mails[name], "plain")
        assert mails[name]["Subject"] == hooks[name]["subject"] == subject
        assert facts.items() <= dict(_rows(plain)).items()
        assert f"{value} {limit} over 5 minutes, {samples} samples." in plain
        assert link in plain
        assert acknowledge in plain
        assert facts.items() <= facts_of(hooks[name]).items()
        assert (hooks[name]["url"], hooks[name]["episode"]) == (link, str(alert))
        assert hooks[name]["notice"] == "firing"
        assert hooks[name]["links"][0]["url"].startswith(acknowledge)


def facts_of(data: Any) -> dict[str, str]:
    return {row["label"]: row["value"] for row in data["facts"]}


def _rows(plain: str) -> Iterator[tuple[str, str]]:
    for line in plain.splitlines():
        label, colon, value = line.partition(": ")
        if colon:
            yield label, value


FILTERS: list[tuple[dict[str, Any], list[tuple[str, int, dict[str, str]]]]] = [
    ({}, [("300 ms", 5, {})]),
    ({"model_filter": "a"}, [("200 ms", 3, {"Model": "a"})]),
    ({"operation_filter": "chat"}, [("300 ms", 4, {"Operation": "chat"})]),
    ({"status_filter": "error"}, [("400 ms", 2, {"Status": "error"})]),
    (
        {"model_filter": "a", "operation_filter": "chat", "status_filter": "success"},
        [("150 ms", 2, {"Model": "a", "Operation": "chat", "Status": "success"})],
    ),
    ({"source_filter": "evaluation"}, [("900 ms", 1, {"Source": "evaluation"})]),
    ({"source_filter": "any"}, [("400 ms", 6, {"Source": "any"})]),
    ({"group_by": "model"}, [("200 ms", 3, {"Model": "a"}), ("450 ms", 2, {"Model": "b"})]),
    (
        {"group_by": "operation", "status_filter": "success"},
        [("233.33 ms", 3, {"Operation": "chat", "Status": "success"})],
    ),
    (
        {"group_by": "model", "operation_filter": "chat"},
        [
            ("150 ms", 2, {"Model": "a", "Operation": "chat"}),
            ("450 ms", 2, {"Model": "b", "Operation": "chat"}),
        ],
    ),
]


BASICS = {"Metric", "Current value", "Threshold", "Aggregation", "Time window", "Sample count"}


@pytest.mark.parametrize(("fields", "told"), FILTERS, ids=str)
def test_filters_and_groups_choose_the_calls_and_are_told(
    fields: dict[str, Any], told: list[Any], way: Way, actor: Actor
) -> None:
    judged = make_span(9, ended_at=way.minute - MINUTE, latency_ms=900.0, model="c")
    store_spans(actor, [judged], source=TraceSource.EVALUATION)
    above = {"comparison_operator": ">", "threshold_value": 1}
    make_rule(way.api, "Rule", "latency", "avg", **above, **fields)
    make_rule(way.api, "None", "latency", "avg", **above, **fields | {"model_filter": "nobody"})

    evaluate_and_deliver(way.minute)

    found = [facts_of(event["data"]) for event in way.hooks()]
    assert [
        (
            facts["Current value"],
            int(facts["Sample count"]),
            {label: value for label, value in facts.items() if label not in BASICS},
        )
        for facts in sorted(found, key=lambda facts: facts["Current value"])
    ] == told
    assert len(way.mailbox.mails) == len(told)

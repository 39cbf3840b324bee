"""Real processes that evaluate alert rules, twice at once or killed: told once, under one id."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection
from redis import Redis
from standardwebhooks import Webhook

from access import clock, heartbeats
from access.actors import Actor
from alerts import evaluations, history, partitions
from alerts.models import (
    Alert,
    AlertRule,
    EvaluationPass,
    Event,
    Notification,
    RuleEvaluation,
)
from alerts.rule_models import RuleState
from tests.alerts.mail_server import MailServer
from tests.alerts.receiver import Receiver
from tests.alerts.test_notifications import body
from tests.factories import make_actor, make_key, make_rule, make_span, store_spans
from tests.faults.sites import Client
from tests.faults.sizes import SIZES
from tests.faults.test_deliveries_at_work import all_sent, make_hook, receiver
from tests.processes_at_work import ROOT, beat, make_beats_entries, until, web, worker
from tests.servers import child_environment

__all__ = ["receiver"]

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]
MINUTE = timedelta(minutes=1)
DELAY = timedelta(seconds=9)

# Evaluates minute after minute, each until it is judged, as one second after the other does. Of
# each place that it is given a child of it dies there first: at the end of what is named.
EVALUATES = """
import os, signal, sys, time
from datetime import datetime
from importlib import import_module
import django
django.setup()
from django.db import connection
from alerts import evaluations
from alerts.models import EvaluationPass

def evaluate(now):
    judged = EvaluationPass.objects.filter(minute=evaluations.closed_minute(now))
    while not judged.exists():
        evaluations.evaluate(now)

def die_at(place):
    module, _, name = place.rpartition(".")
    module = import_module(module)
    whole = getattr(module, name)
    def half(*args, **kwargs):
        if name != "_send":
            whole(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(module, name, half)

places, start, *minutes = sys.argv[1:]
minutes = [datetime.fromisoformat(minute) for minute in minutes]
for place in places.split():
    child = os.fork()
    if not child:
        die_at(place)
        evaluate(minutes[0])
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit(f"nothing came to {place}")
if not places:
    connection.ensure_connection()
    # Processes that are to do it at once start at the same moment.
    time.sleep(max(float(start) - time.time(), 0))
    for minute in minutes:
        evaluate(minute)
"""
# In the order of an evaluation.
UNCOMMITTED = [
    "alerts.rollups._take_marks",
    "alerts.rollups.pack",
    "alerts.evaluations._claim",
    "alerts.announcements.of_episode",
    "alerts.episodes.apply",
    "alerts.history.write",
]
# Between the commit and the send.
COMMITTED = ["access.hints._send"]

RULE = {
    "rule_name": "Slow chats",
    "metric_type": "latency",
    "aggregation_method": "p95",
    "comparison_operator": ">",
    "threshold_value": 1000,
    "time_window_minutes": 5,
    "notify_webhooks": True,
}
CALL = {"span_name": "chat", "model": "demo", "status": "success"}
LATENCIES = [*[400] * 390, *[2300] * 30]
SUBJECT = "Firing: Slow chats: 2,300 ms (threshold > 1,000 ms)"
SENTENCE = "p95 latency 2,300 ms > 1,000 ms over 5 minutes, 420 samples."


def evaluator(
    *minutes: datetime, dies_at: Sequence[str] = (), start: float = 0
) -> "subprocess.Popen[bytes]":
    arguments = [" ".join(dies_at), str(start), *(minute.isoformat() for minute in minutes)]
    return subprocess.Popen(
        [sys.executable, "-c", EVALUATES, *arguments],
        cwd=ROOT,
        env=child_environment(str(connection.settings_dict["NAME"]))
        | {"DJANGO_SETTINGS_MODULE": "config.settings"},
    )


def closed_minute() -> datetime:
    """Return the end of the newest minute whose spans can all be there."""
    now = clock.database_now()
    partitions.make(history.TABLE, {(now - MINUTE).date(), (now + MINUTE).date()})
    return now.replace(second=0, microsecond=0)


def make_breached(actor: Actor, minute: datetime, *, latency_ms: float = 700.0) -> AlertRule:
    span = make_span(ended_at=minute - MINUTE / 2, latency_ms=latency_ms)
    store_spans(actor, [span], now=minute)
    return make_rule(actor, now=minute, time_window_minutes=60, notify_webhooks=True)


def wipe_redis() -> None:
    """Take everything from Redis that this installation has in it."""
    broker = django_settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://")
    for url in (broker.replace("virtual_host=", "db="), django_settings.REDIS_URL):
        with Redis.from_url(url) as redis:
            redis.flushdb()


def written() -> list[int]:
    """Return how many rows there are of what an evaluation writes."""
    return [
        model.objects.count()
        for model in (EvaluationPass, RuleEvaluation, RuleState, Alert, Event, Notification)
    ]


def test_two_processes_at_once_make_one_row_one_transition_and_one_notice_for_each_channel(
    receiver: Receiver,
) -> None:
    actor = make_actor()
    make_hook(receiver, actor)
    first = closed_minute() - 5 * MINUTE
    minutes = [first + number * MINUTE for number in range(6)]
    rule = make_rule(actor, now=first, time_window_minutes=1, notify_webhooks=True)
    spans = [
        # It fires, ends, and fires again within its cooldown.
        make_span(number, ended_at=minute - MINUTE / 2, latency_ms=latency)
        for number, (minute, latency) in enumerate(
            zip(minutes, [700.0, 700.0, 100.0, 100.0, 700.0, 700.0], strict=True)
        )
    ]
    store_spans(actor, spans, now=minutes[-1])
    start = clock.database_now().timestamp() + 8

    both = [evaluator(*(at + DELAY for at in minutes), start=start) for _ in range(2)]

    assert [each.wait(120) for each in both] == [0, 0]
    found = history.of_rule(rule, before=None, limit=100)
    assert [(one.minute, one.metric_value, one.state) for one in reversed(found)] == [
        (minute, 700 if state == "firing" else 100, state)
        for minute, state in zip(
            minutes, [*["firing"] * 2, *["inactive"] * 2, *["firing"] * 2], strict=True
        )
    ]
    assert [alert.status for alert in Alert.objects.order_by("started_at")] == [
        "resolved",
        "firing",
    ]
    notices = Event.objects.order_by("occurred_at").values_list("notice", flat=True)
    assert list(notices) == ["firing", "resolved"]
    kinds = Notification.objects.order_by("kind").values_list("kind", flat=True)
    assert list(kinds) == ["email", "email", "webhook", "webhook"]
    rule.refresh_from_db()
    assert rule.trigger_count == 1


def test_whoever_dies_while_it_evaluates_leaves_nothing_and_the_next_one_does_it_once(
    receiver: Receiver,
) -> None:
    actor = make_actor()
    make_hook(receiver, actor)
    minute = closed_minute()
    rule = make_breached(actor, minute)

    assert evaluator(minute + DELAY, dies_at=UNCOMMITTED).wait(120) == 0
    assert written() == [0] * 6
    wipe_redis()
    assert evaluator(minute + DELAY, minute + DELAY).wait(120) == 0

    # A pass, a row of history, a state, an episode, an event, and a mail and a webhook.
    assert written() == [1, 1, 1, 1, 1, 2]
    (row,) = history.of_rule(rule, before=None, limit=10)
    assert (row.minute, row.metric_value, row.sample_count) == (minute, 700, 1)


def test_what_was_committed_before_a_kill_is_delivered_by_the_next_worker_with_its_id(
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    actor = make_actor()
    _, secret = make_hook(receiver, actor)
    minute = closed_minute()
    rule = make_breached(actor, minute)
    make_beats_entries()

    assert evaluator(minute + DELAY, dies_at=COMMITTED).wait(120) == 0
    before = dict(Notification.objects.values_list("kind", "pk"))
    assert set(before) == {"email", "webhook"}
    wipe_redis()
    with (
        MailServer() as mailbox,
        worker(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{mailbox.port}") as running,
        beat(tmp_path),
    ):
        until(all_sent, seconds=60, what=running.said)
        wipe_redis()
        # Who evaluates now has been through all projects, and found this one done.
        until(lambda: heartbeats.last(evaluations.EVALUATION), seconds=60, what=running.said)

    (request,) = receiver.requests
    event = Webhook(secret).verify(request.body, request.headers)
    assert request.headers["webhook-id"] == str(before["webhook"])
    assert event["data"]["notice"] == "firing"
    (mail,) = mailbox.mails
    assert mail["Message-ID"].startswith(f"<{before['email']}@")
    assert mail["Subject"].startswith(f"Firing: {rule.rule_name}: 700 ms (threshold > 500 ms)")
    assert Event.objects.count() == Alert.objects.count() == 1
    minutes = [one.minute for one in history.of_rule(rule, before=None, limit=100)]
    assert len(minutes) == len(set(minutes))


def test_of_two_evaluators_one_is_killed_and_the_other_misses_no_minute(
    receiver: Receiver,
) -> None:
    actor = make_actor()
    make_hook(receiver, actor)
    last = closed_minute()
    minutes = [last - number * MINUTE for number in reversed(range(40))]
    latencies = [700.0 if number % 2 else 100.0 for number in range(40)]
    rule = make_rule(actor, now=minutes[0], time_window_minutes=1, cooldown_minutes=0)
    spans = [
        make_span(number, ended_at=minute - MINUTE / 2, latency_ms=latency)
        for number, (minute, latency) in enumerate(zip(minutes, latencies, strict=True))
    ]
    store_spans(actor, spans, now=last)
    start = clock.database_now().timestamp() + 8

    dying, other = (evaluator(*(at + DELAY for at in minutes), start=start) for _ in range(2))
    judged = EvaluationPass.objects.filter(minute=minutes[5])
    until(judged.exists, seconds=120)
    dying.kill()
    dying.wait()
    assert other.wait(120) == 0

    found = list(reversed(history.of_rule(rule, before=None, limit=100)))
    assert [(one.minute, one.metric_value) for one in found] == list(
        zip(minutes, latencies, strict=True)
    )
    assert Alert.objects.count() == 20
    notices = list(Event.objects.order_by("occurred_at", "id").values_list("notice", flat=True))
    assert notices == ["firing", "resolved"] * 19 + ["firing"]


def seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.1f} s"


def test_from_the_api_to_the_mail_through_every_process(
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    """Prints how long it took. With EVALSCHED_SOAK the calls end now and are waited for."""
    actor = make_actor()
    _, key = make_key(actor)
    make_beats_entries()
    with (
        MailServer() as mailbox,
        web(tmp_path, ALLOWED_HOSTS="127.0.0.1") as (port, _),
        worker(
            tmp_path, settings=SIZES.environment, EMAIL_URL=f"smtp://127.0.0.1:{mailbox.port}"
        ) as running,
    ):
        client = Client(port, key)
        hook = {"name": "Ops", "kind": "webhook", "configuration": {"url": receiver.url}}
        status, channel = client.send("POST", "/api/notification-channels", hook)
        assert status == HTTPStatus.CREATED, channel
        status, rule = client.send("POST", "/api/analytics/alert-rules", RULE)
        assert status == HTTPStatus.CREATED, rule
        # The minute that has just closed, whether or not it is taken up already; or this one.
        ended = clock.database_now() - (timedelta(0) if SIZES.soak else MINUTE + DELAY)
        calls = [
            CALL | {"latency_ms": latency, "ended_at": ended.isoformat()} for latency in LATENCIES
        ]
        status, taken = client.send("POST", "/api/analytics/traces", calls)
        assert (status, taken["accepted"]) == (HTTPStatus.CREATED, len(calls))

        with beat(tmp_path, **SIZES.environment):
            until(lambda: mailbox.mails and receiver.requests, seconds=100, what=running.said)
            arrived = clock.database_now()
            until(all_sent, what=running.said)

    rows = history.of_rule(AlertRule.objects.get(), before=None, limit=10)
    judged = next(row for row in reversed(rows) if row.state == "firing")
    # What ended at the beginning of a minute waits for all of it.
    longest = MINUTE + (judged.evaluated_at - judged.minute)
    sys.stderr.write(
        f"\nfrom a call's end to its evaluation {seconds(judged.evaluated_at - ended)}, "
        f"to the mail and the webhook {seconds(arrived - ended)}; "
        f"to the evaluation at most {seconds(longest)}\n"
    )
    (mail,) = mailbox.mails
    (request,) = receiver.requests
    event = Webhook(str(channel["secret"])).verify(request.body, request.headers)
    text = body(mail, "plain")
    assert mail["Subject"] == event["data"]["subject"] == SUBJECT
    assert SENTENCE in text
    assert SENTENCE in event["data"]["summary"]
    assert str(event["data"]["url"]) in text

"""Slack: messages within its limits, text that cannot become markup, one message a second."""

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from access import clock
from access.actors import Actor
from alerts import tasks
from alerts.channels import slack
from alerts.deliveries import Next, deliver
from alerts.models import Attempt, Channel, Event, Notification
from tests.alerts.receiver import Answer, Receiver
from tests.factories import NOW, make_actor, make_channel, make_event, make_notification
from tests.processes_at_work import at_once

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


def make_slack(receiver: Receiver, actor: Actor | None = None) -> Channel:
    channel = make_channel(actor, kind="slack", url=f"{receiver.url}/T0/B0/the-credential")
    channel.refresh_from_db()
    return channel


def make_waiting(channel: Channel, **event: Any) -> Notification:
    actor = make_actor(channel.user, project=channel.project)
    return make_notification(make_event(actor, **event), channel=channel)


def texts(message: Any) -> Iterator[str]:
    """Yield every text of a message, wherever it stands."""
    if isinstance(message, dict):
        for name, value in message.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from texts(value)
    elif isinstance(message, list):
        for inner in message:
            yield from texts(inner)


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_a_message_arrives(receiver: Receiver) -> None:
    channel = make_slack(receiver)
    facts = [["Metric", "latency"], ["Current value", "912 ms"], ["Threshold", "> 500 ms"]]
    notification = make_waiting(
        channel, facts=facts, path="/admin/x", links=[["Acknowledge", "/ack/1"]]
    )

    deliver(notification.pk, now=NOW)

    (request,) = receiver.requests
    assert request.path == "/hook/T0/B0/the-credential"
    header, summary, fields, links = request.json()["blocks"]
    assert header["text"]["text"] == request.json()["text"] == "Evaluation failed"
    assert summary["text"]["text"] == "Something went wrong."
    assert [field["text"] for field in fields["fields"]] == [
        "Metric\nlatency",
        "Current value\n912 ms",
        "Threshold\n&gt; 500 ms",
    ]
    assert links["text"]["text"] == (
        "<https://evals.example/admin/x|Look at it>   <https://evals.example/ack/1|Acknowledge>"
    )
    assert request.json()["unfurl_links"] is False
    notification.refresh_from_db()
    assert notification.status == "sent"


def test_text_from_models_is_shown_and_not_obeyed() -> None:
    nasty = "<!channel> <https://evil.example|click> *bold* `code` & <@U123>"
    event = make_event(subject=nasty, summary=nasty, facts=[[nasty, nasty]], path="/x")

    message = slack.message(event)

    *untrusted, links = message["blocks"]
    kinds = {block["text"]["type"] for block in untrusted if "text" in block}
    kinds |= {field["type"] for block in untrusted for field in block.get("fields", [])}
    assert kinds == {"plain_text"}
    for text in texts([message["text"], untrusted]):
        assert "<" not in text
        assert ">" not in text
    assert unescaped(untrusted[0]["text"]["text"]) == nasty
    assert "evil" not in links["text"]["text"]


@pytest.mark.parametrize("piece", ["a", "<", "&", "\N{PILE OF POO}", "\n"])
@pytest.mark.parametrize("count", [1, 12, 500])
def test_a_message_stays_within_the_limits(piece: str, count: int) -> None:
    event = make_event(
        subject="s" + (piece * 299)[:299],
        summary=piece * 20_000,
        facts=[["label " + piece * 500, piece * 5_000]] * count,
        links=[["Do", "/" + "x" * 299]] * 20,
    )

    message = slack.message(event)

    blocks = message["blocks"]
    assert len(blocks) <= 50
    assert 1 <= len(blocks[0]["text"]["text"]) <= 150
    for block in blocks:
        if "fields" in block:
            assert 1 <= len(block["fields"]) <= 10
            assert all(1 <= len(field["text"]) <= 2000 for field in block["fields"])
        else:
            assert 1 <= len(block["text"]["text"]) <= 3000
    assert sum(len(text) for text in texts(message)) <= 13_000
    assert not any(text.endswith(("&", "&l", "&lt", "&a", "&am")) for text in texts(message))


def test_an_event_of_few_words_is_a_message() -> None:
    message = slack.message(make_event(subject=" ", summary="", facts=[]))

    assert [block["type"] for block in message["blocks"]] == ["header"]
    assert message["text"] == "evalsched"


def test_the_address_is_a_secret(receiver: Receiver) -> None:
    channel = make_slack(receiver)
    receiver.answer = Answer(500)
    notification = make_waiting(channel)

    deliver(notification.pk, now=NOW)

    notification.refresh_from_db()
    attempt = Attempt.objects.get()
    shown = [notification.address, notification.error_message, attempt.error_message]
    shown += [json.dumps(channel.configuration), repr(channel.secret)]
    assert "the-credential" not in " ".join(shown)
    assert f"127.0.0.1:{receiver.port}" in notification.address


@pytest.mark.parametrize("status", [404, 410])
def test_a_webhook_that_was_removed_switches_the_channel_off(
    status: int, receiver: Receiver
) -> None:
    channel = make_slack(receiver)
    receiver.answer = Answer(status)

    deliver(make_waiting(channel).pk, now=NOW)

    channel.refresh_from_db()
    assert not channel.enabled
    assert Attempt.objects.get().outcome == "gone"
    assert Event.objects.filter(alert_type="channel_disabled").count() == 1


@pytest.mark.parametrize("status", [400, 403, 302])
def test_a_message_that_is_refused_is_not_tried_again(status: int, receiver: Receiver) -> None:
    channel = make_slack(receiver)
    notification = make_waiting(channel)
    receiver.answer = Answer(status)

    deliver(notification.pk, now=NOW)

    notification.refresh_from_db()
    assert (notification.status, Attempt.objects.get().outcome) == ("failed", "rejected")
    channel.refresh_from_db()
    assert channel.enabled


def test_a_second_message_waits_for_its_second(receiver: Receiver) -> None:
    channel = make_slack(receiver)
    first, second = make_waiting(channel), make_waiting(channel)
    other = make_waiting(make_slack(receiver))

    after_first = deliver(first.pk, now=NOW)
    after_second = deliver(second.pk, now=NOW)
    deliver(other.pk, now=NOW)

    assert after_first == Next(second.pk, SECOND)
    assert after_second is None
    second.refresh_from_db()
    assert (second.status, second.attempts, second.claim_no) == ("pending", 0, 0)
    other.refresh_from_db()
    assert other.status == "sent", "each channel has a pace of its own"
    deliver(second.pk, now=NOW + 5 * SECOND)
    second.refresh_from_db()
    assert second.status == "sent"


def test_a_pause_that_slack_asks_for_is_the_channels(receiver: Receiver) -> None:
    channel = make_slack(receiver)
    first, second = make_waiting(channel), make_waiting(channel)
    receiver.answer = Answer(429, {"Retry-After": "30"})
    deliver(first.pk, now=NOW)
    receiver.answer = Answer(200)

    deliver(second.pk, now=NOW + 29 * SECOND)
    assert len(receiver.requests) == 1
    deliver(second.pk, now=NOW + 40 * SECOND)

    second.refresh_from_db()
    assert second.status == "sent"


@pytest.mark.django_db(transaction=True)
def test_a_worker_sends_what_waits_a_message_a_second(receiver: Receiver) -> None:
    channel = make_slack(receiver)
    waiting = [make_waiting(channel, subject=f"Message {number}") for number in range(3)]

    tasks.deliver(str(waiting[0].pk))

    assert [request.json()["text"] for request in receiver.requests] == [
        "Message 0",
        "Message 1",
        "Message 2",
    ]
    times = [request.at for request in receiver.requests]
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))
    assert not Notification.objects.exclude(status="sent").exists()


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_is_sent_and_the_others_wait(receiver: Receiver) -> None:
    channel = make_slack(receiver)
    waiting = [make_waiting(channel) for _ in range(4)]

    at_once(*[partial(deliver, notification.pk, now=NOW) for notification in waiting])

    assert len(receiver.requests) == 1
    assert Notification.objects.filter(status="pending", attempts=0).count() == 3


def test_a_worker_that_dies_blocks_the_channel_for_a_minute_at_most(receiver: Receiver) -> None:
    now = clock.database_now()
    channel = make_slack(receiver)
    waiting = make_waiting(channel)
    # As a worker leaves it that was killed while it sent.
    Channel.objects.update(busy_until=now + timedelta(minutes=1))

    deliver(waiting.pk, now=now + timedelta(seconds=59))
    assert receiver.requests == []
    deliver(waiting.pk, now=now + timedelta(seconds=61))

    assert len(receiver.requests) == 1

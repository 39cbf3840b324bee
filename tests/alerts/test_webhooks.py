"""Webhooks by the letter of Standard Webhooks, judged by its own library as the receiver."""

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from access import clock
from access.actors import Actor
from access.secrets import Secret
from alerts import deliveries, directory, tasks
from alerts.channels import http, webhook
from alerts.deliveries import RETRY_AFTER, deliver
from alerts.models import Attempt, Channel, Event, Notification, NotificationStatus
from tests.alerts.mail_server import MailServer
from tests.alerts.receiver import Answer, Received, Receiver
from tests.factories import NOW, make_actor, make_channel, make_event, make_notification
from tests.processes_at_work import at_once

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def make_hook(receiver: Receiver, actor: Actor | None = None) -> tuple[Channel, str]:
    """Make a webhook channel to the receiver; return it with its secret."""
    return directory.create(
        actor or make_actor(),
        kind="webhook",
        name="Ops",
        configuration={"url": receiver.url},
    )


def make_waiting(channel: Channel, **event: Any) -> Notification:
    actor = make_actor(channel.user, project=channel.project)
    return make_notification(make_event(actor, **event), channel=channel)


def verified(secret: str, request: Received) -> Any:
    """Return the body as a receiver takes it, or raise as it would."""
    return Webhook(secret).verify(request.body, request.headers)


def test_the_published_signature_comes_out() -> None:
    signature = webhook.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_of_the_length_that_is_asked_for() -> None:
    secrets = {webhook.new_secret() for _ in range(20)}

    assert len(secrets) == 20
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64


def test_a_receiver_can_verify_what_arrives(receiver: Receiver) -> None:
    channel, secret = make_hook(receiver)
    facts = [["Model", "gpt"], ["Score", 0.5]]
    notification = make_waiting(channel, facts=facts, path="/admin/x", episode="e1")

    deliver(notification.pk, now=clock.database_now())

    (request,) = receiver.requests
    body = verified(secret, request)
    assert set(body) == {"type", "timestamp", "data"}
    assert (body["type"], body["timestamp"]) == ("evaluation_failed", "2025-01-15T10:00:00Z")
    data = body["data"]
    assert data["subject"] == "Evaluation failed"
    assert data["facts"] == [
        {"label": "Model", "value": "gpt"},
        {"label": "Score", "value": "0.5"},
    ]
    assert data["url"] == "https://evals.example/admin/x"
    assert (data["episode"], data["truncated"]) == ("e1", False)
    assert data["project_id"] == str(channel.project_id)
    assert request.headers["webhook-id"] == data["notification_id"] == str(notification.pk)
    assert request.headers["content-type"] == "application/json"
    notification.refresh_from_db()
    assert notification.status == NotificationStatus.SENT


@pytest.mark.parametrize("broken", ["body", "id", "secret", "time"])
def test_a_receiver_refuses_what_was_tampered_with(broken: str, receiver: Receiver) -> None:
    channel, secret = make_hook(receiver)
    deliver(make_waiting(channel).pk, now=clock.database_now())
    (request,) = receiver.requests
    headers, body = dict(request.headers), request.body
    match broken:
        case "body":
            body = body.replace(b"evaluation_failed", b"evaluation_passed")
        case "id":
            headers["webhook-id"] = "another"
        case "secret":
            secret = webhook.new_secret()
        case "time":
            headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_during_a_rotation_both_secrets_verify_and_afterwards_the_new_one(
    receiver: Receiver,
) -> None:
    actor, now = make_actor(), clock.database_now()
    channel, old = make_hook(receiver, actor)
    channel, new = directory.rotate(actor, channel, now=now)
    deliver(make_waiting(channel).pk, now=now)

    Channel.objects.update(previous_secret_expires_at=now)
    deliver(make_waiting(channel).pk, now=now)

    during, after = receiver.requests
    for secret in (old, new):
        assert verified(secret, during)["type"] == "evaluation_failed"
    assert len(during.headers["webhook-signature"].split(" ")) == 2
    assert verified(new, after)
    with pytest.raises(WebhookVerificationError):
        verified(old, after)


def test_secrets_lie_encrypted(receiver: Receiver) -> None:
    channel, secret = make_hook(receiver)

    channel.refresh_from_db()

    assert isinstance(channel.secret, Secret)
    assert secret not in f"{channel.secret!r} {channel.secret.token} {channel.configuration}"
    assert channel.secret.reveal() == secret


def test_an_attempt_has_the_same_id_and_a_time_of_its_own(receiver: Receiver) -> None:
    channel, secret = make_hook(receiver)
    notification = make_waiting(channel)
    receiver.answer = Answer(500)
    now = clock.database_now()
    deliver(notification.pk, now=now - timedelta(minutes=1))
    receiver.answer = Answer(200)

    deliver(notification.pk, now=now)

    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    times = [int(request.headers["webhook-timestamp"]) for request in receiver.requests]
    assert times[1] - times[0] == 60
    for request in receiver.requests:
        assert verified(secret, request)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "sent"),
        (204, "sent"),
        (299, "sent"),
        (301, "rejected"),
        (302, "rejected"),
        (307, "rejected"),
        (400, "rejected"),
        (404, "rejected"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_only_2xx_is_success(status: int, outcome: str, receiver: Receiver) -> None:
    channel, _ = make_hook(receiver)
    notification = make_waiting(channel)
    elsewhere = {"Location": receiver.url} if status // 100 == 3 else {}
    receiver.answer = Answer(status, elsewhere)

    deliver(notification.pk, now=NOW)

    notification.refresh_from_db()
    assert notification.status == ("sent" if outcome == "sent" else "pending")
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.status_code, attempt.number) == (outcome, status, 1)
    assert (attempt.started_at, attempt.notification_id) == (NOW, notification.pk)
    assert attempt.duration_ms is not None
    assert (outcome == "sent") == (attempt.error_message == "")
    assert len(receiver.requests) == 1, "a redirect was followed"


def test_it_is_tried_on_the_schedule_and_then_given_up(receiver: Receiver) -> None:
    channel, _ = make_hook(receiver)
    notification = make_waiting(channel)
    receiver.answer = Answer(500)
    now = NOW
    for attempt in range(1, len(RETRY_AFTER)):
        deliver(notification.pk, now=now)
        notification.refresh_from_db()
        wait = notification.not_before - now
        assert RETRY_AFTER[attempt] <= wait <= RETRY_AFTER[attempt] * 1.1
        now = notification.not_before
    deliver(notification.pk, now=now)

    notification.refresh_from_db()
    assert notification.status == NotificationStatus.FAILED
    assert "500 from 127.0.0.1" in notification.error_message
    outcomes = Attempt.objects.values_list("number", "outcome")
    assert list(outcomes) == [(number, "server_error") for number in range(1, 11)]


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_a_pause_that_the_receiver_asks_for_is_kept(kind: str, receiver: Receiver) -> None:
    channel, _ = make_hook(receiver)
    notification = make_waiting(channel)
    asked = "3600" if kind == "seconds" else format_datetime(NOW + timedelta(hours=1), usegmt=True)
    receiver.answer = Answer(429, {"Retry-After": asked})

    deliver(notification.pk, now=NOW)

    notification.refresh_from_db()
    assert notification.not_before == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("asked", "wait"), [("0", 0), ("-5", 0), ("soon", 0), ("nan", 0), ("1e12", 24 * 3600)]
)
def test_a_pause_is_neither_shorter_than_ours_nor_endless(
    asked: str, wait: int, receiver: Receiver
) -> None:
    channel, _ = make_hook(receiver)
    notification = make_waiting(channel)
    receiver.answer = Answer(503, {"Retry-After": asked})

    deliver(notification.pk, now=NOW)

    notification.refresh_from_db()
    least = max(timedelta(seconds=wait), RETRY_AFTER[1])
    assert least <= notification.not_before - NOW <= least * 1.1


def test_a_receiver_that_wants_no_more_is_switched_off_and_its_owner_told_otherwise(
    receiver: Receiver, mailbox: MailServer
) -> None:
    actor = make_actor()
    channel, _ = make_hook(receiver, actor)
    first, second = make_waiting(channel), make_waiting(channel)
    receiver.answer = Answer(410)

    deliver(first.pk, now=NOW)
    deliver(second.pk, now=NOW)

    assert len(receiver.requests) == 1
    channel.refresh_from_db()
    assert not channel.enabled
    assert "410 from 127.0.0.1" in channel.disabled_reason
    for notification in (first, second):
        notification.refresh_from_db()
        assert notification.status == NotificationStatus.FAILED
    assert "is disabled" in second.error_message
    assert list(Attempt.objects.values_list("outcome", flat=True)) == ["gone"]
    told = Event.objects.get(alert_type="channel_disabled")
    mail = told.notifications.get()
    assert (mail.kind, mail.address) == ("email", actor.user.email)
    deliver(mail.pk, now=NOW)
    assert mailbox.mails[0]["Subject"] == "Channel disabled: Ops"


def test_a_receiver_that_answers_nothing_is_left(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TIMEOUT_S", 0.3)
    channel, _ = make_hook(receiver)
    notification = make_waiting(channel)
    receiver.answer = Answer(hangs=True)

    deliver(notification.pk, now=NOW)

    notification.refresh_from_db()
    assert notification.status == NotificationStatus.PENDING
    assert Attempt.objects.get().outcome == "timeout"


def test_what_waits_for_a_receiver_that_answers_nothing_does_not_wait_in_a_worker(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TIMEOUT_S", 0.3)
    channel, _ = make_hook(receiver)
    first, second = make_waiting(channel), make_waiting(channel)
    receiver.answer = Answer(hangs=True)

    after = deliver(first.pk, now=NOW)
    deliver(second.pk, now=NOW + timedelta(seconds=59))

    assert after is None
    assert len(receiver.requests) == 1
    deliver(second.pk, now=NOW + timedelta(seconds=62))
    assert len(receiver.requests) == 2


@pytest.mark.django_db(transaction=True)
def test_a_receiver_is_sent_one_message_at_a_time_by_one_worker(receiver: Receiver) -> None:
    channel, _ = make_hook(receiver)
    waiting = [make_waiting(channel) for _ in range(6)]
    receiver.answer = Answer(delay_s=0.2)

    at_once(*[partial(tasks.deliver, str(notification.pk)) for notification in waiting[:4]])

    assert not Notification.objects.exclude(status="sent").exists()
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert sorted(ids) == sorted(str(notification.pk) for notification in waiting)
    times = [request.at for request in receiver.requests]
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(times))


def make_episode(channel: Channel, *notices: str) -> list[Notification]:
    """Make what waits of an episode, a notice a minute."""
    return [
        make_waiting(
            channel,
            alert_type="trace_latency_high",
            episode="an alert",
            notice=notice,
            occurred_at=NOW + minute * timedelta(minutes=1),
        )
        for minute, notice in enumerate(notices)
    ]


@pytest.mark.parametrize("later", ["again", "resolved"])
def test_what_a_later_notice_has_overtaken_is_not_sent_any_more(
    later: str, receiver: Receiver
) -> None:
    channel, secret = make_hook(receiver)
    firing, news = make_episode(channel, "firing", later)
    receiver.answer = Answer(500)
    deliver(firing.pk, now=NOW)
    deliver(firing.pk, now=NOW + timedelta(seconds=6))
    receiver.answer = Answer(200)
    now = clock.database_now()
    deliver(news.pk, now=now)

    deliver(firing.pk, now=now + timedelta(minutes=6))

    assert len(receiver.requests) == 3
    assert verified(secret, receiver.requests[-1])["data"]["notice"] == later
    firing.refresh_from_db()
    assert (firing.status, firing.lease_expires_at) == ("failed", None)
    assert firing.error_message == "A later notice of the same alert has arrived already."


def test_what_was_overtaken_is_sent_to_who_asks_for_it(receiver: Receiver) -> None:
    actor = make_actor()
    channel, _ = make_hook(receiver, actor)
    firing, resolved = make_episode(channel, "firing", "resolved")
    for notification in (resolved, firing):
        deliver(notification.pk, now=NOW)

    deliveries.replay(actor, firing, now=NOW)
    receiver.answer = Answer(500)
    deliver(firing.pk, now=NOW)
    receiver.answer = Answer(200)
    deliver(firing.pk, now=NOW + timedelta(seconds=6))

    firing.refresh_from_db()
    assert (firing.status, len(receiver.requests)) == ("sent", 3)


def test_what_another_way_has_brought_does_not_overtake(receiver: Receiver) -> None:
    actor = make_actor()
    channel, _ = make_hook(receiver, actor)
    firing, resolved = make_episode(channel, "firing", "resolved")
    (other,) = make_episode(make_channel(actor, url=receiver.url), "firing")
    Notification.objects.filter(pk=resolved.pk).update(target=other.target)
    deliver(resolved.pk, now=NOW)

    deliver(firing.pk, now=NOW)

    firing.refresh_from_db()
    assert firing.status == "sent"


def test_behind_what_was_overtaken_the_next_one_is_not_left_waiting(receiver: Receiver) -> None:
    channel, _ = make_hook(receiver)
    firing, resolved = make_episode(channel, "firing", "resolved")
    waiting = make_waiting(channel)
    Notification.objects.filter(pk=waiting.pk).update(not_before=NOW + timedelta(minutes=1))
    deliver(resolved.pk, now=NOW)

    after = deliver(firing.pk, now=NOW + timedelta(minutes=2))

    assert after is not None
    assert after.notification_id == waiting.pk


def test_nobody_listening_is_a_failure_of_the_network(settings: Settings) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.1"]
    with Receiver() as gone:
        channel, _ = make_hook(gone)
    notification = make_waiting(channel)

    deliver(notification.pk, now=NOW)

    assert Attempt.objects.get().outcome == "network"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_private_address_is_refused_when_it_is_sent(
    host: str, receiver: Receiver, settings: Settings
) -> None:
    """It was allowed when it was saved, or its name meant another address then."""
    channel = make_channel(url=receiver.url.replace("127.0.0.1", host))
    notification = make_waiting(channel)
    settings.EVALSCHED_PRIVATE_HOSTS = []

    deliver(notification.pk, now=NOW)

    attempt = Attempt.objects.get()
    assert attempt.outcome == "blocked"
    assert receiver.requests == []
    notification.refresh_from_db()
    assert notification.status == NotificationStatus.PENDING


def test_a_secret_that_cannot_be_read_is_an_attempt_that_says_so(
    receiver: Receiver, settings: Settings
) -> None:
    channel, _ = make_hook(receiver)
    notification = make_waiting(channel)
    settings.FIELD_ENCRYPTION_KEYS = ["another key, of 32 characters and more"]

    deliver(notification.pk, now=NOW)

    attempt = Attempt.objects.get()
    assert attempt.outcome == "error"
    assert "FIELD_ENCRYPTION_KEYS" in attempt.error_message
    assert receiver.requests == []


@pytest.mark.parametrize("piece", ["a", "\N{PILE OF POO}", "\x01", '"\\', "<"])
@pytest.mark.parametrize("facts", [0, 3, 400])
def test_a_body_is_never_too_large(piece: str, facts: int) -> None:
    texts = [[piece * 100, piece * 5_000] for _ in range(facts)]
    links = [["Acknowledge", "/" + "x" * 299] for _ in range(20)]
    event = make_event(
        summary=piece * 50_000, facts=texts, links=links, subject=(piece * 300)[:300]
    )

    body = webhook.payload(Notification(event=event), event)

    assert len(body) <= 20_000
    data = json.loads(body)["data"]
    assert data["truncated"] is True
    assert data["summary"].startswith(piece)
    assert data["summary"].endswith("…")


def test_what_fits_is_sent_whole_whatever_it_holds(receiver: Receiver) -> None:
    channel, secret = make_hook(receiver)
    nasty = '"},{"type":"forged"}\r\n\u2028</script>\N{PILE OF POO}' + "x" * 10_000

    deliver(make_waiting(channel, summary=nasty).pk, now=clock.database_now())

    body = verified(secret, receiver.requests[0])
    assert body["data"]["summary"] == nasty
    assert body["data"]["truncated"] is False


def test_a_deleted_channel_gets_nothing_and_stays_on_record(receiver: Receiver) -> None:
    actor = make_actor()
    channel, _ = make_hook(receiver, actor)
    waiting = make_waiting(channel)

    directory.delete(actor, channel)
    deliver(waiting.pk, now=NOW)

    waiting.refresh_from_db()
    assert (waiting.status, waiting.channel) == ("failed", None)
    assert waiting.error_message == "The channel was deleted."
    assert receiver.requests == []


def test_a_channel_that_was_deleted_at_the_last_moment_gets_nothing(receiver: Receiver) -> None:
    channel, _ = make_hook(receiver)
    waiting = make_waiting(channel)
    channel.delete()

    deliver(waiting.pk, now=NOW)

    waiting.refresh_from_db()
    assert (waiting.status, waiting.error_message) == ("failed", "Its channel was deleted.")
    assert receiver.requests == []


def test_what_failed_is_sent_again_under_the_same_id(receiver: Receiver) -> None:
    actor = make_actor()
    channel, secret = make_hook(receiver, actor)
    notification = make_waiting(channel)
    receiver.answer = Answer(500)
    now = clock.database_now()
    Notification.objects.update(attempts=len(RETRY_AFTER) - 1)
    deliver(notification.pk, now=now)
    receiver.answer = Answer(200)

    deliveries.replay(actor, Notification.objects.get(), now=now)
    deliver(notification.pk, now=now)

    ids = {request.headers["webhook-id"] for request in receiver.requests}
    assert ids == {str(notification.pk)}
    assert verified(secret, receiver.requests[1])
    assert list(Attempt.objects.values_list("number", "outcome")) == [
        (1, "server_error"),
        (2, "sent"),
    ]
    assert datetime.now(UTC) - now < DAY

"""Channels, preferences and notifications over the API."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings
from standardwebhooks import Webhook

from access.actors import Actor
from access.models import AuditEvent
from alerts import deliveries, trials
from alerts.models import Attempt, Channel, Event, Notification, Preference
from tests.alerts.receiver import Answer, Receiver
from tests.clients import Api, with_key
from tests.factories import (
    NOW,
    make_actor,
    make_attempt,
    make_channel,
    make_event,
    make_member,
    make_notification,
)

HOOK = {
    "name": "Ops",
    "kind": "webhook",
    "configuration": {"url": "https://hooks.example.org/in"},
}
MAIL = {"name": "Mail", "kind": "email", "configuration": {"address": "ops@example.org"}}
SLACK_URL = "https://hooks.slack.com/services/T0/B0/the-credential"
SLACK = {"name": "Chat", "kind": "slack", "configuration": {"url": SLACK_URL}}


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.1"]
    with Receiver() as server:
        yield server


# --- Channels --------------------------------------------------------------------------------


def test_a_webhooks_secret_is_shown_once(api: Api, actor: Actor) -> None:
    made = api.create("notification-channels", HOOK)

    assert made.status_code == 201, made.content
    shown = made.json()
    assert set(shown) == {
        *("id", "project_id", "user_id", "created_at", "updated_at", "kind", "name"),
        *("configuration", "enabled", "disabled_reason", "previous_secret_expires_at", "secret"),
    }
    assert shown["secret"].startswith("whsec_")
    assert (shown["enabled"], shown["disabled_reason"]) == (True, "")
    path = f"notification-channels/{shown['id']}"
    for answer in (
        api.read(path),
        api.read("notification-channels"),
        api.change(path, {"name": "New"}),
        api.read("audit"),
    ):
        assert answer.status_code == 200
        assert shown["secret"] not in answer.content.decode()
        assert '"secret"' not in answer.content.decode()


def test_a_rotated_secret_is_shown_once_and_the_old_one_has_an_end(api: Api) -> None:
    made = api.create("notification-channels", HOOK).json()

    answer = api.create(f"notification-channels/{made['id']}/rotate-secret")

    assert answer.status_code == 200
    rotated = answer.json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_expires_at"] > made["created_at"]


@pytest.mark.parametrize("body", [MAIL, SLACK])
def test_what_is_not_signed_has_no_secret_to_rotate(body: dict[str, Any], api: Api) -> None:
    made = api.create("notification-channels", body)

    answer = api.create(f"notification-channels/{made.json()['id']}/rotate-secret")

    assert made.json()["secret"] == ""
    assert answer.status_code == 409


def test_slacks_address_is_never_shown_and_what_is_shown_keeps_it(api: Api) -> None:
    made = api.create("notification-channels", SLACK)
    shown = made.json()
    path = f"notification-channels/{shown['id']}"

    changed = api.change(path, {"configuration": shown["configuration"], "name": "Other"})

    assert shown["configuration"] == {"url": "https://hooks.slack.com/…"}
    assert changed.status_code == 200, changed.content
    channel = Channel.objects.get()
    assert channel.secret.reveal() == SLACK_URL
    for answer in (made, changed, api.read(path), api.read("audit")):
        assert "the-credential" not in answer.content.decode()
    api.change(path, {"configuration": {"url": SLACK_URL + "-new"}})
    assert Channel.objects.get().secret.reveal() == SLACK_URL + "-new"


@pytest.mark.parametrize(
    ("body", "change", "field"),
    [
        (HOOK, {"kind": "pigeon"}, "kind"),
        (HOOK, {"name": ""}, "name"),
        (HOOK, {"configuration": {}}, "configuration"),
        (HOOK, {"configuration": {"address": "ops@example.org"}}, "configuration"),
        (HOOK, {"configuration": {"url": "https://a.example/", "x": "y"}}, "configuration"),
        (HOOK, {"configuration": {"url": 7}}, "configuration.url"),
        (HOOK, {"configuration": {"url": "http://a.example/"}}, "configuration.url"),
        (HOOK, {"configuration": {"url": "https://127.0.0.1/"}}, "configuration.url"),
        (HOOK, {"configuration": {"url": "https://169.254.169.254/"}}, "configuration.url"),
        (HOOK, {"configuration": {"url": "https://u:p@a.example/"}}, "configuration.url"),
        (HOOK, {"configuration": {"url": "https://a.example:22/"}}, "configuration.url"),
        (HOOK, {"configuration": {"url": "nonsense"}}, "configuration.url"),
        (SLACK, {"configuration": {"url": "https://hooks.slack.com/…"}}, "configuration.url"),
        (MAIL, {"configuration": {"address": "nobody"}}, "configuration.address"),
        (MAIL, {"configuration": {"address": "a@b.example\nBcc: c@d.example"}}, "configuration"),
        (MAIL, {"configuration": {"url": "https://a.example/"}}, "configuration"),
        (MAIL, {"enabled": "perhaps"}, "enabled"),
        (MAIL, {"secret_x": "y"}, "secret_x"),
    ],
    ids=str,
)
def test_a_bad_channel_is_refused_by_its_field(
    body: dict[str, Any], change: dict[str, Any], field: str, api: Api
) -> None:
    made = api.create("notification-channels", body | change)

    assert made.status_code == 400, made.content
    (blamed,) = made.json()["details"]
    assert blamed.startswith(field)
    assert not Channel.objects.exists()


def test_a_name_is_taken_once_in_a_project(api: Api, actor: Actor) -> None:
    make_channel(make_actor(), name="Ops")
    other = make_channel(actor, name="Other")

    first, second = (api.create("notification-channels", HOOK) for _ in range(2))
    renamed = api.change(f"notification-channels/{other.pk}", {"name": "Ops"})

    assert first.status_code == 201
    for refused in (second, renamed):
        assert refused.status_code == 400
        assert list(refused.json()["details"]) == ["name"]


def test_a_channel_keeps_its_kind(api: Api, actor: Actor) -> None:
    channel = make_channel(actor)
    path = f"notification-channels/{channel.pk}"

    assert api.change(path, {"kind": "email"}).status_code == 200
    assert list(api.change(path, {"kind": "slack"}).json()["details"]) == ["kind"]


def test_switching_a_channel_on_forgets_why_it_was_off(api: Api, actor: Actor) -> None:
    channel = make_channel(actor)
    Channel.objects.update(enabled=False, disabled_reason="410 from there.")
    path = f"notification-channels/{channel.pk}"
    assert api.read(path).json()["disabled_reason"] == "410 from there."

    shown = api.change(path, {"enabled": True}).json()

    assert (shown["enabled"], shown["disabled_reason"]) == (True, "")


def test_channels_are_filtered_and_deleted(api: Api, actor: Actor) -> None:
    mail, hook = make_channel(actor), make_channel(actor, url="https://hooks.example.org/")

    for query, expected in [("kind=webhook", [hook]), ("enabled=true&ordering=name", [mail, hook])]:
        listed = api.read(f"notification-channels?{query}").json()["results"]
        assert [row["id"] for row in listed] == [str(row.pk) for row in expected]
    assert api.remove(f"notification-channels/{mail.pk}").status_code == 204
    assert api.read("notification-channels").json()["count"] == 1
    assert list(AuditEvent.objects.values_list("action", flat=True))[:1] == ["channel.deleted"]


def test_a_project_has_only_so_many_channels(
    api: Api, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerts.directory.MOST_CHANNELS", 1)
    make_channel(actor)

    assert "at most 1 channels" in api.create("notification-channels", HOOK).json()["message"]


# --- Testing one -------------------------------------------------------------------------------


def test_a_test_arrives_at_once_and_can_be_verified(api: Api, receiver: Receiver) -> None:
    hook = HOOK | {"configuration": {"url": receiver.url}, "enabled": False}
    made = api.create("notification-channels", hook).json()

    answer = api.create(f"notification-channels/{made['id']}/test")

    assert answer.status_code == 200, answer.content
    assert (answer.json()["ok"], answer.json()["outcome"]) == (True, "sent")
    (request,) = receiver.requests
    body = Webhook(made["secret"]).verify(request.body, request.headers)
    assert body["type"] == "channel_test"
    assert "This is a test" in body["data"]["summary"]
    shown = api.read(f"notifications/{answer.json()['notification_id']}").json()
    assert (shown["status"], shown["attempts"][0]["outcome"]) == ("sent", "sent")


def test_a_test_that_fails_says_why_and_is_not_tried_again(api: Api, receiver: Receiver) -> None:
    receiver.answer = Answer(500)
    hook = HOOK | {"configuration": {"url": receiver.url}}
    made = api.create("notification-channels", hook).json()

    answer = api.create(f"notification-channels/{made['id']}/test").json()

    assert (answer["ok"], answer["outcome"]) == (False, "server_error")
    assert answer["sentence"].startswith("500 from 127.0.0.1")
    assert Notification.objects.get().status == "failed"


def test_a_test_of_a_busy_channel_says_so(api: Api, actor: Actor, receiver: Receiver) -> None:
    channel = make_channel(actor, kind="slack", url=receiver.url)
    Channel.objects.update(busy_until="2999-01-01T00:00:00Z")

    answer = api.create(f"notification-channels/{channel.pk}/test")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert Notification.objects.get().status == "failed"
    assert receiver.requests == []


def test_no_tick_takes_a_test_from_whoever_waits_for_it(actor: Actor) -> None:
    trials.make(actor, make_channel(actor), now=NOW)

    assert deliveries.rescue(NOW) == 0


def test_only_so_many_are_tested_at_once(
    api: Api, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = make_channel(actor)
    for _ in range(trials.MOST_TRIALS):
        trials._trials.acquire()
    try:
        answer = api.create(f"notification-channels/{channel.pk}/test")
    finally:
        trials._trials.release(trials.MOST_TRIALS)

    assert answer.status_code == 429
    assert Notification.objects.get().status == "failed"


def test_no_credential_is_in_the_logs(
    api: Api, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answer = Answer(500)
    slack = SLACK | {"configuration": {"url": f"{receiver.url}/the-credential"}}
    hook = HOOK | {"configuration": {"url": receiver.url}}
    shown = ""
    for body in (slack, hook):
        made = api.create("notification-channels", body).json()
        shown += made["secret"]
        shown_after = api.create(f"notification-channels/{made['id']}/test").content.decode()
        assert "the-credential" not in shown_after

    assert len(receiver.requests) == 2
    assert "notification failed" in caplog.text
    assert "the-credential" not in caplog.text
    assert shown not in caplog.text


# --- What was sent -------------------------------------------------------------------------------


def test_a_notification_is_shown_with_its_attempts(api: Api, actor: Actor) -> None:
    channel = make_channel(actor, url="https://hooks.example.org/a-path", name="Ops")
    event = make_event(actor, subject="Evaluation failed: Nightly")
    notification = make_notification(event, channel=channel)
    make_attempt(notification, outcome="timeout", error_message="late", duration_ms=20_000.0)
    make_attempt(notification, number=2, status_code=200)

    shown = api.read(f"notifications/{notification.pk}").json()

    assert shown["alert_type"] == "evaluation_failed"
    assert shown["subject"] == "Evaluation failed: Nightly"
    assert (shown["channel_id"], shown["channel_name"]) == (str(channel.pk), "Ops")
    assert (shown["kind"], shown["address"]) == ("webhook", "hooks.example.org")
    assert shown["next_attempt_at"] == "2025-01-15T10:00:00Z"
    assert shown["attempts"] == [
        {
            "number": 1,
            "outcome": "timeout",
            "status_code": None,
            "error_message": "late",
            "started_at": "2025-01-15T10:00:00Z",
            "duration_ms": 20_000.0,
        },
        {
            "number": 2,
            "outcome": "sent",
            "status_code": 200,
            "error_message": "",
            "started_at": "2025-01-15T10:00:00Z",
            "duration_ms": None,
        },
    ]


def test_notifications_are_filtered(api: Api, actor: Actor) -> None:
    channel = make_channel(actor, url="https://hooks.example.org/")
    sent = make_notification(
        make_event(actor, alert_type="batch_failed"),
        channel=channel,
        status="sent",
        sent_at=NOW,
    )
    failed = make_notification(make_event(actor), status="failed")
    for number in (1, 2):
        make_attempt(failed, number=number, outcome="timeout")
    make_attempt(sent)

    for query, expected in [
        ("status=sent", [sent]),
        ("status=failed", [failed]),
        ("kind=webhook", [sent]),
        (f"channel_id={channel.pk}", [sent]),
        (f"event_id={failed.event_id}", [failed]),
        ("alert_type=batch_failed", [sent]),
        ("outcome=timeout", [failed]),
        ("ordering=created_at", [sent, failed]),
        ("", [failed, sent]),
    ]:
        answer = api.read(f"notifications?{query}").json()
        assert [row["id"] for row in answer["results"]] == [str(row.pk) for row in expected], query
        assert answer["count"] == len(expected)
    wrong = ("status=unheard", "outcome=x", "kind=x", "alert_type=daily_summary", "statuss=sent")
    for query in (*wrong, "alert_type=x"):
        assert api.read(f"notifications?{query}").status_code == 400, query


def test_a_list_asks_the_database_the_same_whatever_its_length(
    api: Api, actor: Actor, django_assert_max_num_queries: Any
) -> None:
    for _ in range(20):
        make_attempt(make_notification(make_event(actor)))

    with django_assert_max_num_queries(20):
        assert len(api.read("notifications").json()["results"]) == 20


def test_a_notification_is_sent_again(api: Api, actor: Actor) -> None:
    notification = make_notification(make_event(actor), status="failed")
    path = f"notifications/{notification.pk}/replay"

    first, second = api.create(path, **{"Idempotency-Key": "k"}), api.create(path)
    again = api.create(path, **{"Idempotency-Key": "k"})

    assert (first.status_code, first.json()["status"]) == (202, "pending")
    assert (again.status_code, again.json()) == (202, first.json())
    assert first.json()["id"] == str(notification.pk)
    assert second.status_code == 409
    assert Event.objects.count() == 1
    assert not Attempt.objects.exists()


# --- Preferences -----------------------------------------------------------------------------


def test_preferences_are_shown_whole_and_changed_one_by_one(api: Api, actor: Actor) -> None:
    before = api.read("notification-preferences?limit=500").json()
    body = {"alert_type": "evaluation_failed", "channel": "webhook", "enabled": False}

    put = api.send("PUT", "notification-preferences", body)

    assert put.status_code == 200, put.content
    assert put.json() == body | {"chosen": True}
    after = api.read("notification-preferences?limit=500").json()
    assert before["count"] == after["count"] == len(after["results"])
    assert [row for row in after["results"] if row not in before["results"]] == [put.json()]
    preference = Preference.objects.get()
    assert (preference.user, preference.project) == (actor.user, actor.project)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"alert_type": "rumour"}, "alert_type"),
        ({"alert_type": "channel_test"}, "alert_type"),
        ({"alert_type": "weekly_digest"}, "alert_type"),
        ({"channel": "pigeon"}, "channel"),
        ({"enabled": None}, "enabled"),
        ({"extra": 1}, "extra"),
    ],
    ids=str,
)
def test_a_bad_preference_is_refused(change: dict[str, Any], field: str, api: Api) -> None:
    body = {"alert_type": "job_failed", "channel": "email", "enabled": False}

    answer = api.send("PUT", "notification-preferences", body | change)

    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [field]


def test_a_misspelt_parameter_is_refused(api: Api) -> None:
    assert api.read("notification-preferences?limt=1").status_code == 400


def test_preferences_are_a_persons_own(api: Api, actor: Actor) -> None:
    body = {"alert_type": "job_failed", "channel": "email", "enabled": False}
    api.send("PUT", "notification-preferences", body)

    colleague = make_actor(make_member(actor.project).user, project=actor.project)

    for other in (make_actor(), colleague):
        theirs = with_key(other).read("notification-preferences?limit=500").json()
        assert not any(row["chosen"] for row in theirs["results"])

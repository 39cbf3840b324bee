"""Channels, preferences and the log of notifications in the admin."""

import pytest
from django.test import Client
from pytest_django import Settings

from access.actors import Actor
from alerts.models import Channel, Notification, Preference
from tests.admin.pages import errors, list_of, press, send, told, url_of
from tests.alerts.receiver import Receiver
from tests.factories import (
    make_actor,
    make_attempt,
    make_channel,
    make_event,
    make_notification,
    make_preference,
)

HOOK = {"name": "Ops", "kind": "webhook", "place": "https://hooks.example.org/in"}


def test_a_new_webhooks_secret_is_shown_once(browser: Client, own: Actor) -> None:
    response = send(browser, list_of(Channel, "add"), "channel_form", **HOOK)
    channel = Channel.objects.get()
    secret = channel.secret.reveal()

    first = browser.get(response.headers["Location"]).content.decode()
    second = browser.get(response.headers["Location"]).content.decode()

    assert (channel.name, channel.project) == ("Ops", own.project)
    assert secret in first
    assert secret not in second
    assert secret not in browser.get(url_of(channel)).content.decode()


@pytest.mark.parametrize(
    ("kind", "place"),
    [("webhook", "https://127.0.0.1/x"), ("email", "nobody"), ("slack", "nonsense")],
)
def test_a_bad_address_is_blamed_at_its_input(
    kind: str, place: str, browser: Client, own: Actor
) -> None:
    wanted = HOOK | {"kind": kind, "place": place}

    response = send(browser, list_of(Channel, "add"), "channel_form", **wanted)

    assert list(errors(response)) == ["place"]
    assert not Channel.objects.exists()


def test_slacks_address_is_kept_and_not_shown(browser: Client) -> None:
    address = "https://hooks.slack.com/services/T/B/the-credential"
    channel = make_channel(kind="slack", url=address)

    page = browser.get(url_of(channel)).content.decode()
    send(browser, url_of(channel), "channel_form", name="Renamed")

    assert "the-credential" not in page
    channel.refresh_from_db()
    assert (channel.name, channel.secret.reveal()) == ("Renamed", address)


def test_the_test_button_says_what_came_of_it(browser: Client, settings: Settings) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.1"]
    with Receiver() as receiver:
        channel = make_channel(url=receiver.url, name="Ops")
        good = told(press(browser, channel, "try_now"))
    bad = told(press(browser, channel, "try_now"))

    assert f"Ops: A test was sent to 127.0.0.1:{receiver.port}." in good
    assert len(receiver.requests) == 1
    assert "connection refused" in bad


def test_a_channel_is_switched_off_and_on(browser: Client) -> None:
    channel = make_channel(name="Ops")

    off = press(browser, channel, "disable")
    between = Channel.objects.get().enabled
    on = press(browser, channel, "enable")

    assert (between, Channel.objects.get().enabled) == (False, True)
    assert "disabled" in told(off)
    assert "enabled" in told(on)


def test_a_new_secret_is_shown_once(browser: Client) -> None:
    channel = make_channel(url="https://hooks.example.org/")

    page = press(browser, channel, "rotate")

    channel.refresh_from_db()
    assert channel.secret.reveal() in page.content.decode()
    assert channel.secret.reveal() not in browser.get(url_of(channel)).content.decode()


def test_why_the_service_switched_a_channel_off_is_on_its_page(browser: Client) -> None:
    channel = make_channel()
    Channel.objects.update(enabled=False, disabled_reason="410 from hooks.example.org.")

    assert "410 from hooks.example.org." in browser.get(url_of(channel)).content.decode()


def test_a_channel_is_deleted_and_its_log_stays(browser: Client) -> None:
    actor = make_actor()
    channel = make_channel(actor)
    make_notification(make_event(actor), channel=channel)

    browser.post(url_of(channel, "delete"), {"post": "yes"})

    assert not Channel.objects.exists()
    assert Notification.objects.get().status == "failed"


def test_a_notification_shows_its_attempts_and_is_sent_again(browser: Client) -> None:
    notification = make_notification(status="failed")
    make_attempt(notification, outcome="timeout", error_message="no whole answer in time")

    page = browser.get(url_of(notification)).content.decode()
    sent = press(browser, notification, "replay")

    assert "no whole answer in time" in page
    assert "is sent again to" in told(sent)
    notification.refresh_from_db()
    assert notification.status == "pending"
    assert "Send again" not in browser.get(list_of(Notification)).content.decode()


def test_a_preference_is_made_changed_and_forgotten(browser: Client, own: Actor) -> None:
    send(
        browser,
        list_of(Preference, "add"),
        "preference_form",
        alert_type="batch_completed",
        channel="email",
        enabled="on",
    )
    preference = Preference.objects.get()
    assert (preference.user, preference.enabled) == (own.user, True)

    send(browser, url_of(preference), "preference_form", enabled=None)
    preference.refresh_from_db()
    assert not preference.enabled

    browser.post(url_of(preference, "delete"), {"post": "yes"})
    assert not Preference.objects.exists()


def test_somebody_elses_preference_stays_theirs(browser: Client) -> None:
    preference = make_preference(make_actor())

    send(browser, url_of(preference), "preference_form", enabled="on")

    changed = Preference.objects.get()
    assert (changed.pk, changed.user, changed.enabled) == (preference.pk, preference.user, True)

"""Preferences mute a person's own events by kind of channel; some types wait to be asked for."""

import pytest

from access.models import AuditEvent
from alerts import preferences
from alerts.models import NOT_RAISED, AlertType, ChannelKind, Notification, Preference
from alerts.notifications import Happening, announce
from tests.factories import (
    NOW,
    make_actor,
    make_channel,
    make_member,
    make_preference,
    make_project,
)

pytestmark = pytest.mark.django_db
QUIET = {"job_started", "job_completed", "batch_completed"}


def told(alert_type: str, **preference: object) -> set[str]:
    """Return the kinds of channels by which an event of that type goes out."""
    actor = make_actor()
    make_channel(actor, url="https://hooks.example.org/")
    make_channel(actor, kind="slack", url="https://hooks.slack.com/services/T/B/x")
    if preference:
        make_preference(actor, alert_type=alert_type, **preference)
    what = Happening(AlertType(alert_type), "once", "Subject", "Summary")
    announce(actor.project.pk, actor.user, what, now=NOW)
    return set(Notification.objects.values_list("kind", flat=True))


@pytest.mark.parametrize("alert_type", AlertType.values)
def test_what_goes_well_is_off_by_default_and_the_rest_on(alert_type: str) -> None:
    expected = set() if alert_type in QUIET else {"email", "webhook", "slack"}

    assert told(alert_type) == expected


@pytest.mark.parametrize("channel", ChannelKind.values)
def test_a_preference_mutes_one_kind_of_channel(channel: str) -> None:
    kinds = told("evaluation_failed", channel=channel, enabled=False)

    assert kinds == {"email", "webhook", "slack"} - {channel}


def test_who_asks_for_good_news_gets_it() -> None:
    assert told("batch_completed", channel="email", enabled=True) == {"email"}


def test_a_preference_is_the_persons_in_that_project_alone() -> None:
    project = make_project()
    author, other = (make_actor(make_member(project).user, project=project) for _ in range(2))
    make_preference(other)
    make_preference(make_actor(author.user))
    what = Happening(AlertType.EVALUATION_FAILED, "once", "Subject", "Summary")

    announce(project.pk, author.user, what, now=NOW)

    assert Notification.objects.get().address == author.user.email


def test_a_preference_does_not_open_what_a_happening_may_not_use() -> None:
    actor = make_actor()
    make_channel(actor, url="https://hooks.example.org/")
    make_preference(actor, channel="webhook", enabled=True)
    only_mail = frozenset({ChannelKind.EMAIL})
    what = Happening(AlertType.EVALUATION_FAILED, "once", "S", "S", through=only_mail)

    announce(actor.project.pk, actor.user, what, now=NOW)

    assert Notification.objects.get().kind == "email"


def test_saying_it_twice_is_one_preference_and_forgetting_it_is_the_default() -> None:
    actor = make_actor()
    make_preference(actor)
    preference = make_preference(actor, enabled=True)
    assert Preference.objects.get().enabled

    preferences.forget(actor, preference)

    rows = preferences.choices(actor.user.pk, actor.project.pk)
    assert not any(row.chosen for row in rows)
    assert AuditEvent.objects.filter(action__startswith="preference.").count() == 3


def test_every_type_that_is_raised_can_be_chosen_but_a_test() -> None:
    actor = make_actor()

    rows = preferences.choices(actor.user.pk, actor.project.pk)

    shown = {(row.alert_type, row.channel): row.enabled for row in rows}
    types = set(AlertType.values) - {*NOT_RAISED, "channel_test"}
    assert set(shown) == {(kind, way) for kind in types for way in ChannelKind.values}
    assert {kind for (kind, _), on in shown.items() if not on} == QUIET

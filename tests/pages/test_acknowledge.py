"""The page behind a notice's link: looked at by mail programs, used by people on a phone."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from access.actors import Actor
from access.models import Role
from alerts import episodes
from alerts.models import Alert, Event
from tests.alerts.minutes import come, look
from tests.factories import NOW, make_actor, make_alert, make_member, make_rule

pytestmark = pytest.mark.django_db


def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address(alert: Alert) -> str:
    return f"/alerts/{alert.pk}/acknowledge?project={alert.project_id}"


def test_the_link_of_a_notice_leads_there_and_one_press_acknowledges(actor: Actor) -> None:
    make_rule(actor, rule_name="Slow chats")
    come(actor, 0.5, 700)
    look(actor, 1)
    ((label, path),) = Event.objects.get(project=actor.project).links
    client = browser(actor.user)

    before = client.get(path).content.decode()
    unchanged = Alert.objects.get(project=actor.project).acknowledged_at
    after = client.post(path, follow=True).content.decode()

    assert (label, unchanged) == ("Acknowledge", None)
    assert "Slow chats" in before
    assert "max of latency &gt; 500 ms over 5 min. The last value was 700 ms" in before
    assert f"{actor.user.username} acknowledged it" in after
    assert '<button type="submit" class="main">' in before
    assert '<button type="submit" class="main">' not in after
    assert Alert.objects.get(project=actor.project).acknowledged_by == actor.user


def test_nobody_is_sent_to_the_login_and_comes_back(actor: Actor) -> None:
    alert = make_alert(make_rule(actor))

    answer = Client().get(address(alert))

    assert answer.status_code == 302
    assert answer["Location"].startswith(f"/login?next=/alerts/{alert.pk}/acknowledge")


def test_a_member_of_another_project_finds_nothing(actor: Actor) -> None:
    alert = make_alert(make_rule(actor, rule_name="Antarctica"))
    client = browser(make_actor().user)

    answers = [
        send(path)
        for send in (client.get, client.post)
        for path in (address(alert), address(alert).partition("?")[0])
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert all("Antarctica" not in answer.content.decode() for answer in answers)
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def test_a_viewer_looks_and_does_not_change(actor: Actor) -> None:
    alert = make_alert(make_rule(actor))
    viewer = browser(make_member(actor.project, role=Role.VIEWER).user)

    page, refused = viewer.get(address(alert)), viewer.post(address(alert))

    assert "Ask an editor" in page.content.decode()
    assert refused.status_code == 403
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def test_what_is_over_cannot_be_acknowledged(actor: Actor) -> None:
    alert = make_alert(make_rule(actor))
    client = browser(actor.user)
    episodes.resolve(actor, alert, now=NOW + timedelta(minutes=5))

    page, pressed = client.get(address(alert)), client.post(address(alert), follow=True)

    assert "There is nothing to acknowledge" in page.content.decode()
    assert "This alert is over already." in pressed.content.decode()


def test_who_was_first_looks_after_it(actor: Actor) -> None:
    alert = make_alert(make_rule(actor))
    other = make_member(actor.project, role=Role.EDITOR).user
    episodes.acknowledge(actor, alert, now=NOW)

    page = browser(other).post(address(alert), follow=True)

    assert f"{actor.user.username} acknowledged it at 2025-01-15 10:00" in page.content.decode()

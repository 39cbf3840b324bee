"""A scheduler that stands still: told to operators once, and once that it is at work again."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from access import clock, heartbeats
from access.models import User
from alerts import evaluations
from alerts.channels import wording
from alerts.models import Event, Notification
from config.signs_of_life import LOOKS, Lookout
from evalsched import outages, pulse
from tests.alerts.mail_server import MailServer
from tests.factories import (
    NOW,
    make_actor,
    make_event,
    make_notification,
    make_rule,
    make_user,
)
from tests.processes_at_work import at_once, until, worker

MINUTE = timedelta(minutes=1)
STUCK = "The last tick was 90 s ago."


def subjects() -> list[str]:
    return list(Event.objects.order_by("id").values_list("subject", flat=True))


@pytest.fixture
def operator(db: None) -> User:
    return make_user(superuser=True)


@pytest.mark.django_db
def test_one_outage_is_told_once_and_so_is_its_end(operator: User) -> None:
    for minute in range(3):
        outages.follow(STUCK, now=NOW + minute * MINUTE)
    for minute in range(3, 6):
        outages.follow("", now=NOW + minute * MINUTE)

    assert subjects() == ["The scheduler stands still", "Resolved: the scheduler is at work again"]
    began, ended = Event.objects.order_by("id")
    assert began.summary.startswith(STUCK)
    assert dict(ended.facts)["Lasted about"] == "3 min"
    assert began.episode == ended.episode
    assert [wording.is_good_news(event) for event in (began, ended)] == [False, True]
    assert set(Notification.objects.values_list("address", flat=True)) == {operator.email}


@pytest.mark.django_db
def test_the_next_outage_is_told_again(operator: User) -> None:
    for minute, stuck in enumerate((STUCK, "", STUCK)):
        outages.follow(stuck, now=NOW + minute * MINUTE)

    assert len(subjects()) == 3


@pytest.mark.django_db
def test_every_operator_hears_of_it_and_nobody_else(operator: User) -> None:
    other = make_user(superuser=True)
    make_actor()
    make_user(superuser=True, is_active=False)

    outages.follow(STUCK, now=NOW)

    told = set(Notification.objects.values_list("address", flat=True))
    assert told == {operator.email, other.email}


@pytest.mark.django_db(transaction=True)
def test_workers_that_notice_at_once_tell_once() -> None:
    make_user(superuser=True)

    at_once(*[lambda: outages.follow(STUCK, now=NOW)] * 4)

    assert len(subjects()) == 1


@pytest.mark.django_db
def test_a_late_start_is_no_outage(operator: User) -> None:
    """All begins at once: the worker looks before beat has sent its first tick."""
    lookout = Lookout(None)
    for _ in range(LOOKS - 1):
        lookout._look()
    assert subjects() == []

    heartbeats.note(pulse.TICK, now=clock.database_now())
    lookout._look()
    heartbeats.note(pulse.TICK, now=NOW)
    for _ in range(LOOKS - 1):
        lookout._look()
    before = subjects()
    lookout._look()

    assert (before, len(subjects())) == ([], 1)


@pytest.mark.django_db
def test_while_nothing_ticks_what_waits_is_handed_out_all_the_same(operator: User) -> None:
    waiting = make_notification(make_event())
    heartbeats.note(pulse.TICK, now=NOW)
    lookout = Lookout(None)

    for _ in range(LOOKS):
        lookout._look()

    waiting.refresh_from_db()
    assert waiting.hinted_at is not None


@pytest.mark.django_db
def test_rules_that_nobody_evaluates_are_an_outage() -> None:
    now = clock.database_now()
    heartbeats.note(pulse.TICK, now=now)
    before = pulse.stuck(now)
    rule = make_rule(now=now - 10 * MINUTE)
    stuck = pulse.stuck(now)

    evaluations.evaluate_project(rule.project_id, at=now - MINUTE, now=now)

    assert before == pulse.stuck(now) == ""
    assert stuck.startswith("The alert rules of 1 project have not been evaluated")


@pytest.fixture
def mailbox() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.mark.processes
@pytest.mark.xdist_group("processes")
@pytest.mark.django_db(transaction=True)
def test_without_beat_and_ticker_the_courier_writes_to_operators(
    mailbox: MailServer, tmp_path: Path
) -> None:
    operator = make_user(superuser=True)
    heartbeats.note(pulse.TICK, now=clock.database_now() - 10 * MINUTE)
    smtp = f"smtp://127.0.0.1:{mailbox.port}"
    app = "tests.evalsched.hasty_workers"

    with worker(tmp_path, queues="deliveries", pool="threads", app=app, EMAIL_URL=smtp) as courier:
        until(lambda: len(mailbox.mails) == 1, seconds=60, what=courier.said)
        heartbeats.note(pulse.TICK, now=clock.database_now())
        until(lambda: len(mailbox.mails) == 2, seconds=30, what=courier.said)

    began, ended = mailbox.mails
    assert began["To"] == ended["To"] == operator.email
    assert began["Subject"] == "The scheduler stands still"
    assert ended["Subject"].startswith("Resolved: ")

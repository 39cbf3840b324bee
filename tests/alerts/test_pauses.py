"""The big switch for alert rules: what it stops, what it takes back, and what it leaves behind."""

from datetime import datetime, timedelta

import pytest
from django.core.management import call_command

from access.actors import Actor
from access.models import AuditEvent
from alerts import evaluations, rulebook
from alerts.models import Alert, AlertRule, EvaluationPass, Event, RuleEvaluation
from evalsched import schedules
from evalsched.models import Schedule
from tests.factories import NOW, make_rule, make_schedule, make_span, store_spans

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def at(minute: int) -> datetime:
    return NOW + minute * MINUTE


def come(actor: Actor, minute: int, latency_ms: float = 900.0) -> None:
    """Store a span that ended in the minute before."""
    ended_at = at(minute) - MINUTE / 2
    store_spans(actor, [make_span(minute, ended_at=ended_at, latency_ms=latency_ms)])


def look(minute: int) -> None:
    evaluations.evaluate(at(minute) + timedelta(seconds=9))


def test_a_paused_rule_is_not_looked_at_and_its_minutes_are_not_missed(actor: Actor) -> None:
    make_rule(actor, time_window_minutes=1)
    look(1)

    rulebook.pause_all(now=at(1))
    for minute in range(2, 8):
        come(actor, minute)
        look(minute)
    late = evaluations.overdue(at(7))
    rulebook.resume_all(now=at(7))
    look(9)

    assert late == 0
    assert not Alert.objects.exists()
    assert not Event.objects.exists()
    assert list(RuleEvaluation.objects.values_list("last_minute", flat=True)) == [at(9), at(1)]
    skipped = EvaluationPass.objects.filter(status="skipped")
    assert list(skipped.values_list("minute", flat=True)) == [at(8)]


def test_what_was_pending_does_not_fire_for_the_time_of_the_pause(actor: Actor) -> None:
    make_rule(actor, time_window_minutes=1, for_minutes=3)
    come(actor, 1)
    look(1)

    rulebook.pause_all(now=at(1))
    rulebook.resume_all(now=at(9))
    for minute in (10, 11, 12):
        come(actor, minute)
        look(minute)
    before = Alert.objects.count()
    come(actor, 13)
    look(13)

    assert before == 0
    assert Alert.objects.get().started_at == at(13)


def test_an_open_episode_ends_without_a_word_and_begins_anew(actor: Actor) -> None:
    rule = make_rule(actor, time_window_minutes=1)
    come(actor, 1)
    look(1)

    rulebook.pause_all(now=at(2))
    rulebook.resume_all(now=at(3))
    come(actor, 4)
    look(4)

    first, second = Alert.objects.filter(rule=rule).order_by("started_at")
    assert (first.status, first.resolution, first.resolved_at) == (
        "resolved",
        "rule_disabled",
        at(2),
    )
    assert (second.status, second.started_at) == ("firing", at(4))
    assert {event.subject.partition(":")[0] for event in Event.objects.all()} == {"Firing"}


def test_what_somebody_switched_off_stays_off_and_each_rule_has_its_trail(actor: Actor) -> None:
    mine, off = make_rule(actor), make_rule(actor, enabled=False)

    assert rulebook.pause_all(now=NOW) == 1
    paused = AlertRule.objects.get(pk=mine.pk)
    assert rulebook.resume_all(now=at(5)) == 1

    mine.refresh_from_db()
    off.refresh_from_db()
    assert (paused.enabled, paused.pause_reason) == (False, rulebook.PAUSED_ALL)
    assert (mine.enabled, mine.pause_reason, mine.watched_from) == (True, "", at(5))
    assert not off.enabled
    trail = AuditEvent.objects.filter(object_id=str(mine.pk), via="service").order_by("id")
    assert [row.action for row in trail] == ["alert_rule.paused", "alert_rule.resumed"]


def test_one_that_is_enabled_by_hand_meanwhile_is_paused_no_more(actor: Actor) -> None:
    rule = make_rule(actor)
    rulebook.pause_all(now=NOW)
    rule.refresh_from_db()

    rulebook.change(actor, rule, now=at(1), enabled=True)

    assert AlertRule.objects.get().pause_reason == ""
    assert rulebook.resume_all(now=at(2)) == 0


@pytest.mark.parametrize(
    ("options", "schedules_on", "rules_on"),
    [
        ([], False, False),
        (["--rules"], True, False),
        (["--schedules"], False, True),
        (["--rules", "--schedules"], False, False),
    ],
)
def test_the_command_pauses_what_it_is_told_to_and_resuming_takes_all_back(
    options: list[str], schedules_on: bool, rules_on: bool, actor: Actor
) -> None:
    make_rule(actor)
    make_schedule(actor)

    call_command("pause_all", *options)
    paused = Schedule.objects.get().is_active, AlertRule.objects.get().enabled
    call_command("resume_all")

    assert paused == (schedules_on, rules_on)
    assert (Schedule.objects.get().is_active, AlertRule.objects.get().enabled) == (True, True)
    assert schedules.PAUSED_ALL == rulebook.PAUSED_ALL

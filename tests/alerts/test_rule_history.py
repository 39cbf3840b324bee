"""What rules found, minute by minute: stored in stretches, answered in pages."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from access.actors import Actor
from alerts import history, partitions, rulebook
from alerts.models import AlertRule, EvaluationPass, RuleEvaluation
from tests.alerts.minutes import MINUTE, at, come, look
from tests.factories import NOW, make_evaluation, make_rule

pytestmark = pytest.mark.django_db


def test_minutes_that_are_alike_are_one_row_and_shown_one_by_one(actor: Actor) -> None:
    rule = make_rule(actor)

    for minute in range(1, 6):
        look(actor, minute)

    assert RuleEvaluation.objects.filter(rule_id=rule.pk).count() == 1
    found = history.of_rule(rule, before=None, limit=100)
    assert [one.minute for one in found] == [at(minute) for minute in (5, 4, 3, 2, 1)]
    assert [one.evaluated_at for one in found] == [
        at(minute) + timedelta(seconds=9) for minute in (5, 4, 3, 2, 1)
    ]
    assert history.count(rule, most=100) == 5


def test_a_stretch_ends_with_its_day(actor: Actor) -> None:
    rule = make_rule(actor)
    midnight = 14 * 60

    for minute in range(midnight - 2, midnight + 2):
        look(actor, minute)

    stretches = RuleEvaluation.objects.filter(rule_id=rule.pk).order_by("first_minute")
    assert list(stretches.values_list("first_minute", "last_minute")) == [
        (at(midnight - 2), at(midnight - 1)),
        (at(midnight), at(midnight + 1)),
    ]


def test_a_changed_threshold_is_a_row_of_its_own(actor: Actor) -> None:
    rule = make_rule(actor)
    look(actor, 1)
    rulebook.change(actor, rule, now=at(1), threshold_value=Decimal(600))

    look(actor, 2)

    rows = RuleEvaluation.objects.filter(rule_id=rule.pk).order_by("first_minute")
    assert list(rows.values_list("threshold_value", flat=True)) == [500, 600]


def test_of_an_outage_the_newest_minute_is_evaluated_and_the_others_are_noted(
    actor: Actor,
) -> None:
    rule = make_rule(actor)
    look(actor, 1)

    look(actor, 5)

    found = history.of_rule(rule, before=None, limit=100)
    assert [(one.minute, one.status) for one in found] == [
        (at(5), "evaluated"),
        (at(4), "skipped"),
        (at(3), "skipped"),
        (at(2), "skipped"),
        (at(1), "evaluated"),
    ]
    assert history.count(rule, most=100) == 5


def test_minutes_before_anybody_watched_are_not_noted(actor: Actor) -> None:
    rule = make_rule(actor)
    look(actor, 1)
    rulebook.change(actor, rule, now=at(1), enabled=False)
    rule = rulebook.change(actor, rule, now=at(8.5), enabled=True)

    look(actor, 11)

    found = history.of_rule(rule, before=None, limit=100)
    assert [(one.minute, one.status) for one in found if one.minute > at(1)] == [
        (at(11), "evaluated"),
        (at(10), "skipped"),
        (at(9), "skipped"),
    ]


def test_spans_that_come_late_change_no_row_and_are_counted(actor: Actor) -> None:
    rule = make_rule(actor, model_filter="demo")
    come(actor, 0.5, 100)
    look(actor, 1)
    come(actor, 0.6, 900)
    come(actor, 0.7, 900, model="another")

    look(actor, 2)

    found = history.of_rule(rule, before=None, limit=100)
    assert [one.metric_value for one in found] == [900, 100]
    assert history.late(rule, found) == [0, 1]


def make_history(actor: Actor) -> tuple[AlertRule, list[tuple[datetime, str]]]:
    """Make stretches of three groups over 40 days, with a gap; return what they hold, newest first.

    A day has one stretch of a group, another has one of each minute; two minutes were left out.
    """
    rule = make_rule(actor, group_by="model")
    first = NOW.replace(hour=0) - timedelta(days=39)
    partitions.make(history.TABLE, {(first + timedelta(days=day)).date() for day in range(40)})
    held = []
    for day in (0, 1, 20, 38, 39):
        for number, group in enumerate("abc"):
            begin = first + timedelta(days=day, minutes=number * 5)
            length = 1 if day == 39 else 30
            for start in range(0, 30, length):
                minute = begin + start * MINUTE
                last = minute + (length - 1) * MINUTE
                make_evaluation(rule, group=group, first_minute=minute, last_minute=last)
            held += [(begin + minute * MINUTE, group) for minute in range(30)]
    minutes = {minute for minute, _ in held}
    left_out = [first + timedelta(days=day, minutes=50) for day in (20, 39)]
    AlertRule.objects.filter(pk=rule.pk).update(watched_from=first)
    rule.refresh_from_db()
    EvaluationPass.objects.bulk_create(
        EvaluationPass(project=actor.project, minute=minute, status=status, evaluated_at=minute)
        for status, of in (("evaluated", minutes), ("skipped", left_out))
        for minute in of
    )
    held += [(minute, "") for minute in left_out]
    return rule, sorted(held, key=lambda one: (-one[0].timestamp(), one[1]))


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_history_is_read_in_pages_across_days_and_gaps(size: int, actor: Actor) -> None:
    rule, held = make_history(actor)
    middle = held[200][0]

    pages = [
        (one.minute, one.group)
        for start in range(0, len(held) + size, size)
        for one in history.of_rule(rule, before=None, limit=size, offset=start)
        if size > 1 or start % 50 == 0
    ]
    older = history.of_rule(rule, before=middle - MINUTE / 2, limit=size)

    assert pages == [one for n, one in enumerate(held) if size > 1 or n % 50 == 0]
    expected = [one for one in held if one[0] < middle][:size]
    assert [(one.minute, one.group) for one in older] == expected
    assert history.count(rule, most=10_000) == len(held)
    assert history.count(rule, most=17) == 17


def test_the_newest_page_does_not_look_at_the_days_before(
    actor: Actor, django_assert_num_queries: Any
) -> None:
    rule, _ = make_history(actor)

    # The newest minute, and what its day holds.
    with django_assert_num_queries(2):
        page = history.of_rule(rule, before=None, limit=90)

    assert len(page) == 90


@pytest.mark.parametrize("least", [False, True])
def test_a_chart_reaches_back_by_minutes_however_many_groups_there_are(
    least: bool, actor: Actor
) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    for minute in range(4):
        for number in range(3):
            come(actor, minute + 0.5, 100 * minute + number, model=f"m{number}")
        if minute != 2:
            look(actor, minute + 1)

    found = history.extremes(rule, minutes=3, least=least)

    worst = 0 if least else 2
    assert found == [(at(2), 100 + worst), (at(3), None), (at(4), 300 + worst)]


def test_history_is_forgotten_by_days(actor: Actor) -> None:
    rule = make_rule(actor)
    look(actor, 1)

    history.keep_days(NOW + timedelta(days=3))

    assert not RuleEvaluation.objects.filter(rule_id=rule.pk).exists()
    assert not EvaluationPass.objects.filter(project=actor.project).exists()

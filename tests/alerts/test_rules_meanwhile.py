"""What people do to rules and alerts while they are watched."""

from datetime import timedelta
from typing import Any

import pytest

from access.actors import Actor
from alerts import episodes, rulebook
from alerts.models import Alert, AlertRule, Event
from tests.alerts.minutes import at, come, look, rows_of, state_of, told
from tests.factories import make_rule

pytestmark = pytest.mark.django_db


def test_a_disabled_rule_ends_its_episode_without_a_word(actor: Actor) -> None:
    rule = make_rule(actor)
    come(actor, 0.5, 700)
    look(actor, 1)

    rulebook.change(actor, rule, now=at(1.5), enabled=False)
    look(actor, 2)

    alert = Alert.objects.get(rule=rule)
    assert (alert.status, alert.resolution) == ("resolved", "rule_disabled")
    assert told(actor) == ["Firing"]
    assert len(rows_of(rule)) == 1


def test_a_rule_disabled_while_it_is_evaluated_sends_nothing(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(actor)
    come(actor, 0.5, 700)
    apply = episodes.apply

    def disable_first(*args: Any, **kwargs: Any) -> None:
        AlertRule.objects.filter(pk=rule.pk).update(enabled=False)
        apply(*args, **kwargs)

    monkeypatch.setattr(episodes, "apply", disable_first)

    look(actor, 1)

    assert told(actor) == []
    assert not Alert.objects.filter(rule=rule).exists()
    # The row belongs to what was read at the start.
    assert rows_of(rule) == [(700, "firing", "ok", 1)]


def test_a_rule_deleted_while_it_is_evaluated_holds_nobody_up(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, other = make_rule(actor), make_rule(actor)
    come(actor, 0.5, 700)
    apply = episodes.apply

    def delete_first(*args: Any, **kwargs: Any) -> None:
        rulebook.delete(actor, rule)
        apply(*args, **kwargs)

    monkeypatch.setattr(episodes, "apply", delete_first)

    look(actor, 1)

    assert state_of(other) == "firing"


def test_what_somebody_else_has_changed_meanwhile_is_left_alone(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(actor, time_window_minutes=1, cooldown_minutes=0)
    come(actor, 0.5, 700)
    look(actor, 1)
    come(actor, 1.5, 100)
    alert = Alert.objects.get(rule=rule)
    apply = episodes.apply

    def resolve_first(*args: Any, **kwargs: Any) -> None:
        episodes.resolve(actor, alert, now=at(2))
        apply(*args, **kwargs)

    monkeypatch.setattr(episodes, "apply", resolve_first)

    look(actor, 2)

    assert told(actor) == ["Firing", "Resolved"]
    alert.refresh_from_db()
    assert alert.resolution == "by_hand"


@pytest.mark.parametrize("field", [{"model_filter": "x"}, {"group_by": "model"}], ids=str)
def test_a_rule_that_watches_something_else_starts_anew(
    field: dict[str, Any], actor: Actor
) -> None:
    rule = make_rule(actor)
    come(actor, 0.5, 700)
    look(actor, 1)

    rulebook.change(actor, rule, now=at(1.5), **field)

    assert state_of(rule) == "inactive"
    assert Alert.objects.get(rule=rule).resolution == "rule_changed"


def test_an_alert_that_is_acknowledged_is_not_told_of_again(actor: Actor) -> None:
    rule = make_rule(actor, cooldown_minutes=1)
    for minute in range(4):
        come(actor, minute + 0.5, 700)
    look(actor, 1)
    look(actor, 2)
    alert = episodes.acknowledge(actor, Alert.objects.get(rule=rule), now=at(2.5))

    look(actor, 3)

    assert alert.acknowledged_by == actor.user
    assert told(actor) == ["Firing", "Still firing"]


def test_what_was_ended_by_hand_and_still_holds_begins_anew(actor: Actor) -> None:
    rule = make_rule(actor, cooldown_minutes=0)
    come(actor, 0.5, 700)
    look(actor, 1)
    episodes.resolve(actor, Alert.objects.get(rule=rule), now=at(1.5))

    look(actor, 2)

    assert told(actor) == ["Firing", "Resolved", "Firing"]
    assert Alert.objects.filter(rule=rule, status="firing").count() == 1


def test_a_deferred_notice_comes_once_the_cooldown_is_over(actor: Actor) -> None:
    rule = make_rule(actor, time_window_minutes=1, cooldown_minutes=4)
    for minute, latency in enumerate([700, 100, 700, 700, 700, 700, 100]):
        come(actor, minute + 0.5, float(latency))

    for minute in range(1, 8):
        look(actor, minute)

    events = Event.objects.filter(project=actor.project).order_by("id")
    assert [(event.subject.partition(":")[0], event.occurred_at) for event in events] == [
        (word, at(minute) + timedelta(seconds=9))
        for word, minute in (("Firing", 1), ("Resolved", 2), ("Firing", 5), ("Resolved", 7))
    ]
    rule.refresh_from_db()
    assert rule.trigger_count == 2
    assert Alert.objects.filter(rule=rule).count() == 2

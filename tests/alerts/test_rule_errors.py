"""What happens to rules that cannot be judged."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from access.actors import Actor
from alerts import evaluations, history, rollups, rulebook
from alerts.models import Event, Rollup
from tests.alerts.minutes import at, come, look, rows_of, state_of, told
from tests.factories import make_actor, make_rule

pytestmark = pytest.mark.django_db


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Measuring fails until the returned function is called."""
    monkeypatch.setattr("alerts.windows.Series.measure", lambda *_: 1 / 0)
    return monkeypatch.undo


def test_the_third_error_in_a_row_is_told_once(actor: Actor, broken: Callable[[], None]) -> None:
    rule = make_rule(actor)

    for minute in range(1, 6):
        look(actor, minute)

    (event,) = Event.objects.filter(project=actor.project)
    assert event.alert_type == "rule_error"
    assert event.occurred_at == at(3) + timedelta(seconds=9)
    assert rows_of(rule)[-1] == (None, "inactive", "error", 0)


def test_an_error_freezes_the_state(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = make_rule(actor, time_window_minutes=1)
    come(actor, 0.5, 700)
    come(actor, 2.5, 100)
    look(actor, 1)
    with monkeypatch.context() as patched:
        patched.setattr("alerts.windows.Series.measure", lambda *_: 1 / 0)
        look(actor, 2)
    frozen = state_of(rule)

    look(actor, 3)

    assert (frozen, state_of(rule)) == ("firing", "inactive")
    assert told(actor) == ["Firing", "Resolved"]


def test_an_error_that_passes_is_not_counted_on(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rule(actor)
    for minute in (1, 2, 4, 5):
        with monkeypatch.context() as patched:
            patched.setattr("alerts.windows.Series.measure", lambda *_: 1 / 0)
            look(actor, minute)
        if minute == 2:
            look(actor, 3)

    assert told(actor) == []


def test_a_project_whose_minutes_cannot_be_read_has_its_rules_in_error(actor: Actor) -> None:
    rules = [make_rule(actor, time_window_minutes=5), make_rule(actor, group_by="model")]
    come(actor, 0.5, 700)
    look(actor, 1)
    intact = Rollup.objects.filter(project=actor.project)
    kept = intact.get().latency_counts
    intact.update(latency_counts=b"damaged")

    done = [look(actor, minute) for minute in (2, 3, 3, 4, 5)]
    intact.update(latency_counts=kept)
    look(actor, 6)

    assert done == [True, True, False, True, True]
    assert [row[1:3] for row in rows_of(rules[0])] == [
        ("firing", "ok"),
        *[("firing", "error")] * 4,
        ("firing", "no_data"),
    ]
    events = Event.objects.filter(project=actor.project, alert_type="rule_error")
    assert {event.occurred_at for event in events} == {at(4) + timedelta(seconds=9)}
    assert events.count() == 2
    assert "could not be read" in events[0].summary
    assert {rulebook.standing(list(rule.states.all()))[1] for rule in rules} == {"no_data"}


@pytest.mark.parametrize("spans", [0, 1], ids=["read", "packed"])
def test_a_statement_that_fails_takes_nothing_else_with_it(spans: int, actor: Actor) -> None:
    rule = make_rule(actor)
    for _ in range(spans):
        come(actor, 0.5, 700)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE alerts_rollup RENAME crowded TO something_else")

    assert look(actor, 1)

    assert rows_of(rule) == [(None, "inactive", "error", 0)]


def test_groups_that_cannot_be_told_apart_are_an_error_for_who_needs_them(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "MOST_PAIRS", 1)
    apart = make_rule(actor, model_filter="a")
    together = make_rule(actor)
    come(actor, 0.5, 700, model="a")
    come(actor, 0.5, 700, model="b")

    look(actor, 1)

    assert rows_of(apart) == [(None, "inactive", "error", 0)]
    assert rows_of(together) == [(700, "firing", "ok", 2)]


def test_one_broken_project_does_not_hold_up_the_others(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_actor()
    rules = [make_rule(actor), make_rule(other)]
    write = history.write

    def fail_for_one(project_id: Any, *args: Any, **kwargs: Any) -> None:
        if project_id == actor.project.pk:
            raise ZeroDivisionError
        write(project_id, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(history, "write", fail_for_one)
        evaluations.evaluate(at(1) + timedelta(seconds=9))
    first = [len(rows_of(rule)) for rule in rules]
    # And it is tried again, as nothing of it was written.
    evaluations.evaluate(at(1) + timedelta(seconds=10))

    assert first == [0, 1]
    assert [len(rows_of(rule)) for rule in rules] == [1, 1]

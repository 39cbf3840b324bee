"""Rules that watch each model or operation by itself."""

from decimal import Decimal
from typing import Any

import pytest

from access.actors import Actor
from alerts import history, rollups, rulebook, watches
from alerts.models import Alert, AlertRule, Event
from alerts.rule_models import RuleState
from tests.alerts.minutes import at, come, look, numbers, state_of, told
from tests.factories import make_rule, make_span, store_spans

pytestmark = pytest.mark.django_db


def test_each_group_has_a_state_of_its_own(actor: Actor) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    come(actor, 0.5, 700, model="slow")
    come(actor, 0.5, 100, model="fast")
    come(actor, 1.5, 100, model="slow")

    look(actor, 1)
    look(actor, 2)

    found = history.of_rule(rule, before=None, limit=100)
    assert [(one.minute, one.group, one.state, one.health) for one in found] == [
        (at(2), "fast", "inactive", "no_data"),
        (at(2), "slow", "inactive", "ok"),
        (at(1), "fast", "inactive", "ok"),
        (at(1), "slow", "firing", "ok"),
    ]
    assert Alert.objects.get(rule=rule).group == "slow"
    assert "(slow)" in Event.objects.filter(project=actor.project).earliest("id").subject


def test_a_group_that_falls_silent_is_still_watched(actor: Actor) -> None:
    rule = make_rule(
        actor,
        group_by="model",
        time_window_minutes=1,
        metric_type="throughput",
        aggregation_method="count",
        comparison_operator="<",
        threshold_value=Decimal(1),
    )
    come(actor, 0.5, model="a")
    come(actor, 1.5, model="b")

    look(actor, 1)
    look(actor, 2)

    assert (state_of(rule, "a"), state_of(rule, "b")) == ("firing", "inactive")


def test_too_many_groups_are_an_error_that_keeps_the_states(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "MOST_GROUPS", 2)
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    come(actor, 0.5, 700, model="a")
    look(actor, 1)
    for number in range(3):
        come(actor, 1.5, 100, model=f"m{number}")

    look(actor, 2)

    found = history.of_rule(rule, before=at(2.5), limit=1)
    assert (found[0].health, found[0].group) == ("error", "")
    assert "More than 2 groups" in found[0].error_message
    assert state_of(rule, "a") == "firing"


def test_a_rule_as_a_whole_recovers_from_its_errors(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    for number in range(3):
        come(actor, 0.5, 100, model=f"m{number}")
    monkeypatch.setattr(watches, "MOST_GROUPS", 2)
    look(actor, 1)
    monkeypatch.undo()

    look(actor, 2)
    come(actor, 2.5, 100, model="m0")
    look(actor, 3)

    assert rulebook.standing(list(rule.states.filter(group="")))[1] == "ok"


def test_groups_of_which_nothing_is_heard_are_forgotten(actor: Actor) -> None:
    rule = make_rule(actor, group_by="model", time_window_minutes=1)
    come(actor, 0.5, 100, model="gone")
    come(actor, 0.5, 700, model="firing")
    look(actor, 1)
    come(actor, 1449, 100, model="here")
    look(actor, 1450)

    rulebook.forget_groups(at(1452))

    assert groups_of(rule) == {"here"}
    alert = Alert.objects.get(rule=rule)
    assert (alert.status, alert.resolution, alert.group) == ("resolved", "group_silent", "firing")
    assert alert.resolved_at == at(1452)
    assert told(actor) == ["Firing", "Resolved"]
    event = Event.objects.get(project=actor.project, notice="resolved")
    assert event.summary == (
        "It is over, after 24 h 11 min: nothing was heard of firing for a day. "
        "It is watched again from its next call on."
    )
    assert "Sample count" not in dict(event.facts)


def groups_of(rule: AlertRule) -> set[str]:
    return set(RuleState.objects.filter(rule=rule).values_list("group", flat=True))


def test_a_group_whose_silence_fires_does_not_fire_for_ever(actor: Actor) -> None:
    rule = make_rule(
        actor,
        group_by="model",
        metric_type="throughput",
        comparison_operator="<",
        threshold_value=Decimal(1),
        aggregation_method="avg",
    )
    come(actor, 0.5, model="once")
    look(actor, 1)
    look(actor, 10)

    rulebook.forget_groups(at(1450))
    look(actor, 1451)

    assert (groups_of(rule), told(actor)) == (set(), ["Firing", "Resolved"])


@pytest.mark.parametrize(
    ("field", "value", "other"),
    [
        ("model_filter", "gpt", {"model": "another"}),
        ("status_filter", "error", {"status": "success"}),
        ("source_filter", "evaluation", {}),
    ],
)
def test_a_group_is_heard_of_only_by_what_its_rule_looks_at(
    field: str, value: str, other: dict[str, Any], actor: Actor
) -> None:
    narrowed: dict[str, Any] = {field: value}
    rule = make_rule(actor, group_by="operation", **narrowed)
    mine = make_span(next(numbers), ended_at=at(0.5), model="gpt", status="error")
    store_spans(actor, [mine], source="evaluation" if field == "source_filter" else "ingest")  # type: ignore[arg-type]
    look(actor, 1)
    before = groups_of(rule)
    come(actor, 1449, **{"model": "gpt", "status": "error"} | other)
    look(actor, 1450)

    rulebook.forget_groups(at(1452))

    assert (len(before), groups_of(rule)) == (1, set())


def test_a_group_that_may_be_among_the_others_of_a_crowded_minute_is_kept(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(actor, group_by="model")
    come(actor, 0.5, model="a")
    look(actor, 1)
    monkeypatch.setattr(rollups, "MOST_PAIRS", 1)
    come(actor, 1449, model="b")
    come(actor, 1449, model="c")
    look(actor, 1450)

    rulebook.forget_groups(at(1452))

    assert "a" in groups_of(rule)

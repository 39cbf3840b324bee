"""Spans that come and minutes that are judged, for the tests of alert rules."""

from datetime import datetime, timedelta
from typing import Any

from access.actors import Actor
from alerts import evaluations, history
from alerts.models import AlertRule, Event
from alerts.rule_models import RuleState
from tests.factories import NOW, make_span, store_spans

MINUTE = timedelta(minutes=1)
numbers = iter(range(1, 10**6))


def at(minute: float) -> datetime:
    return NOW + minute * MINUTE


def come(actor: Actor, minute: float, latency_ms: float = 100.0, **fields: Any) -> None:
    """Store a span that ended so many minutes after NOW."""
    span = make_span(next(numbers), ended_at=at(minute), latency_ms=latency_ms, **fields)
    store_spans(actor, [span])


def look(actor: Actor, minute: int) -> bool:
    """Evaluate the windows that end at that minute, as a tick some seconds later does."""
    now = at(minute) + timedelta(seconds=9)
    return evaluations.evaluate_project(actor.project.pk, at=at(minute), now=now)


def rows_of(rule: AlertRule) -> list[tuple[float | None, str, str, int]]:
    found = history.of_rule(rule, before=None, limit=100)
    return [
        (one.metric_value, str(one.state), str(one.health), one.sample_count or 0)
        for one in reversed(found)
    ]


def state_of(rule: AlertRule, group: str = "") -> str:
    state = RuleState.objects.filter(rule=rule, group=group).first()
    return state.state if state else "inactive"


def told(actor: Actor) -> list[str]:
    """Return the first words of what was announced, in order."""
    events = Event.objects.filter(project=actor.project).order_by("occurred_at", "id")
    return [event.subject.partition(":")[0] for event in events]

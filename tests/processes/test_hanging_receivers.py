"""Receivers that take a message and never answer: they hold up neither ticks nor alert rules."""

from pathlib import Path

import pytest
from pytest_django import Settings

from access import clock, heartbeats
from alerts import directory, evaluations
from alerts.models import AlertType, Notification
from alerts.notifications import Happening, announce
from evalsched import pulse
from tests.alerts.receiver import Answer, Receiver
from tests.factories import make_actor, make_rule
from tests.processes_at_work import LOOPBACK, beat, make_beats_entries, until, worker

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]


def ticks_seen(times: int) -> bool:
    """Whether the tick was noted so many times more, one after the other."""
    for _ in range(times):
        last = heartbeats.last(pulse.TICK)
        since = last.seen_at if last else None
        until(lambda: (now := heartbeats.last(pulse.TICK)) and now.seen_at != since)  # noqa: B023
    return True


def test_two_hanging_receivers_hold_up_no_tick_and_no_rule(
    settings: Settings, tmp_path: Path
) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    make_beats_entries()
    actor = make_actor()
    rule = make_rule(actor, now=clock.database_now())
    with (
        Receiver() as first,
        Receiver() as second,
        worker(tmp_path, queues="ticks", pool="threads"),
        # As many threads as there are receivers that hang.
        worker(tmp_path, queues="deliveries", pool="threads", concurrency=2) as courier,
        beat(tmp_path),
    ):
        for number, receiver in enumerate((first, second)):
            receiver.answer = Answer(hangs=True)
            place = {"url": receiver.url}
            directory.create(actor, kind="webhook", name=f"{number}", configuration=place)
        ticks_seen(1)
        what = Happening(AlertType.EVALUATION_FAILED, "once", "Evaluation failed", "Why.")
        announce(actor.project.pk, actor.user, what, now=clock.database_now())
        hooks = Notification.objects.filter(kind="webhook")
        until(lambda: first.requests and second.requests, what=courier.said)

        ticks_seen(3)
        until(lambda: heartbeats.last(evaluations.EVALUATION), what=courier.said)

        assert set(hooks.values_list("status", flat=True)) == {"sending"}
    assert rule.enabled

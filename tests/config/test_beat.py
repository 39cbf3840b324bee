"""Beat's entries: made once, changed by operators, its interval from the environment."""

from datetime import timedelta

import pytest
from celery import current_app
from django_celery_beat.models import PeriodicTask, PeriodicTasks
from pytest_django import Settings

from config.beat import TICK, Scheduler, set_interval
from tests.processes_at_work import make_beats_entries

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _entries(db: None) -> None:
    make_beats_entries()


def start() -> Scheduler:
    return Scheduler(app=current_app, lazy=True)


def tick() -> PeriodicTask:
    return PeriodicTask.objects.get(name=TICK)


def test_the_entries_name_tasks_that_exist() -> None:
    current_app.loader.import_default_modules()
    names = set(PeriodicTask.objects.values_list("task", flat=True))

    assert {"evalsched.tick", "evalsched.sweep"} <= names
    assert names <= set(current_app.tasks)


def test_a_tick_expires_before_the_next_one() -> None:
    assert tick().interval.schedule.run_every == timedelta(seconds=1)
    assert tick().expire_seconds == 1


def test_the_environment_decides_where_it_says_something(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALSCHED_TICK_SECONDS", "7")
    settings.EVALSCHED_TICK_SECONDS = 7

    start()

    assert (tick().interval.every, tick().interval.period) == (7, "seconds")
    assert tick().expire_seconds == 7


@pytest.mark.parametrize("value", [None, ""])
def test_what_an_operator_changed_stays_where_the_environment_is_silent(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_interval(TICK, 30)
    if value is None:
        monkeypatch.delenv("EVALSCHED_TICK_SECONDS")
    else:
        monkeypatch.setenv("EVALSCHED_TICK_SECONDS", value)

    start()

    assert tick().interval.every == 30


def test_a_running_beat_notices_a_change_and_only_a_change() -> None:
    set_interval(TICK, 11)
    changed = PeriodicTasks.last_change()
    set_interval(TICK, 11)

    assert PeriodicTasks.last_change() == changed
    assert changed is not None


def test_an_operator_who_switched_an_entry_off_keeps_it_off() -> None:
    PeriodicTask.objects.filter(name="evalsched.sweep").update(enabled=False)

    make_beats_entries()
    start()

    assert not PeriodicTask.objects.get(name="evalsched.sweep").enabled

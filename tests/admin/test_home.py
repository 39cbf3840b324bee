"""The operator's home page, and how many queries pages may ask."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import PeriodicTask

from access.actors import Actor
from access.clock import database_now
from access.models import AuditEvent
from alerts.models import Event, Notification
from batches.models import Batch, Job, TestCase
from evalsched.models import Execution, ModelRun, Run, RunStatus, RunTrigger, Schedule
from tests.admin.pages import list_of, url_of
from tests.factories import (
    make_alert,
    make_batch,
    make_channel,
    make_endpoint,
    make_execution,
    make_experiment,
    make_key,
    make_member,
    make_model_run,
    make_notification,
    make_preference,
    make_rule,
    make_run,
    make_schedule,
    make_suite,
    make_trace,
)

HOME = "/admin/"
PAGE = 50
COUNTLESS = (AuditEvent, Event, Notification, Batch, Job, TestCase, Run, Execution)


def context_of(browser: Client) -> Any:
    return browser.get(HOME).context


def test_a_newcomer_is_told_what_to_do_first(browser: Client, own: Actor) -> None:
    make_endpoint(own)

    steps = context_of(browser)["steps"]

    assert [step["done"] for step in steps] == [True, False, False]


def test_what_is_due_next_comes_first(browser: Client, own: Actor) -> None:
    now = database_now()
    late = make_schedule(own, name="Late", now=now, schedule_type="weekly")
    make_schedule(own, name="Off", now=now, is_active=False)
    soon = make_schedule(own, name="Soon", now=now)

    assert [row.name for row in context_of(browser)["due"]] == [soon.name, late.name]


def test_failing_schedules_say_since_when_and_why(browser: Client, own: Actor) -> None:
    schedule = make_schedule(own)
    now = database_now()
    for hours, status in ((5, "failed"), (4, "completed"), (3, "failed"), (2, "failed")):
        at = now - timedelta(hours=hours)
        why = {"error_message": f"Broken {hours} hours ago."} if status == "failed" else {}
        make_run(
            schedule, scheduled_for=at, status=RunStatus(status), trigger=RunTrigger.SCHEDULE, **why
        )
    Schedule.objects.filter(pk=schedule.pk).update(consecutive_failures=2)

    (row,) = context_of(browser)["failing"]

    assert "3\u00a0hours ago" in row.since
    assert row.why == "Broken 2 hours ago."


def test_a_schedule_paused_by_hand_does_not_fail(browser: Client, own: Actor) -> None:
    make_schedule(own, is_active=False)

    assert context_of(browser)["failing"] == []


def test_what_runs_shows_its_progress(browser: Client, own: Actor) -> None:
    batch = make_batch(own)
    make_run(make_schedule(own), status=RunStatus.RUNNING, batch=batch)
    alone = make_batch(own, name="Alone")

    underway = context_of(browser)["underway"]

    assert "0 of 3" in underway[0].progress
    assert [row.name for row in underway[1:]] == [alone.name]


def test_spending_counts_known_prices_and_says_what_is_unknown(browser: Client, own: Actor) -> None:
    priced, unpriced = make_batch(own), make_batch(own)
    done = {"passed": 3, "done": 3}
    Batch.objects.filter(pk=priced.pk).update(total_cost=Decimal("1.25"), **done)
    Batch.objects.filter(pk=unpriced.pk).update(total_cost=None, **done)

    day, week = context_of(browser)["spending"]

    assert (day.cost, day.batches, day.calls, day.unpriced) == ("$1.25", 2, 6, 1)
    assert week.cost == "$1.25"


def test_a_scheduler_that_does_not_tick_is_noticed(browser: Client) -> None:
    tick = PeriodicTask.objects.filter(name="evalsched.tick")
    tick.update(last_run_at=database_now())
    at_work = context_of(browser)["silent_since"]

    tick.update(last_run_at=database_now() - timedelta(minutes=10))

    assert at_work == ""
    assert "10\u00a0minutes ago" in context_of(browser)["silent_since"]


def _fill(own: Actor, rows: int) -> None:
    """Make that many more rows of everything."""
    for _ in range(rows):
        endpoint, suite = make_endpoint(own), make_suite(own, cases=1)
        schedule = make_schedule(own, endpoint=endpoint, suite=suite)
        batch = make_batch(own, endpoint=endpoint, suite=suite)
        make_experiment(own, endpoint=endpoint, documents=1)
        make_run(schedule, status=RunStatus.RUNNING, batch=batch)
        make_run(schedule, status=RunStatus.FAILED, trigger=RunTrigger.SCHEDULE)
        make_execution(make_model_run(own, endpoint=endpoint))
        make_key(own)
        make_member()
        make_notification()
        make_channel()
        make_preference()
        make_trace(own)
        make_alert(make_rule(own))
        Schedule.objects.filter(pk=schedule.pk).update(consecutive_failures=1)


def _queries(browser: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert browser.get(url).status_code == 200
    return len(asked)


def _rows(browser: Client, url: str) -> int:
    return len(browser.get(url).context["cl"].result_list)


def test_no_page_asks_a_query_for_every_row(browser: Client, own: Actor) -> None:
    lists = [list_of(model) for model in admin.site._registry]
    urls = [HOME, *lists]
    _fill(own, 3)
    schedule = Schedule.objects.evaluations()[0]
    urls += [url_of(schedule), url_of(schedule.suite), url_of(ModelRun.objects.all()[0])]
    for url in urls:
        browser.get(url)
    few = {url: _queries(browser, url) for url in urls}
    rows = {url: _rows(browser, url) for url in lists}

    _fill(own, 27)

    many = {url: _queries(browser, url) for url in urls}
    assert {url: (few[url], many[url]) for url in urls if many[url] > few[url]} == {}
    assert max(many.values()) <= 16
    # Otherwise it would have been counted on an empty page. What beat sends is made once.
    grown = {url for url in lists if _rows(browser, url) >= min(rows[url] + 20, PAGE)}
    assert {url for url in lists if url not in grown and "_celery_beat" not in url} == set()


@pytest.mark.parametrize("model", COUNTLESS)
def test_long_lists_are_never_counted(browser: Client, own: Actor, model: type[Any]) -> None:
    _fill(own, 1)

    with CaptureQueriesContext(connection) as asked:
        browser.get(list_of(model), {"p": "2"})

    assert not [query["sql"] for query in asked if "COUNT(" in query["sql"].upper()]


def test_a_page_beyond_the_cap_is_refused_before_the_database_is_asked(
    browser: Client, own: Actor
) -> None:
    with CaptureQueriesContext(connection) as asked:
        response = browser.get(list_of(Job), {"p": "100000"})

    assert response.status_code == 302
    assert not [query for query in asked if "OFFSET" in query["sql"]]

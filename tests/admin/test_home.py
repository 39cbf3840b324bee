"""The operator's home page, and how many queries pages may ask."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import PeriodicTask

from access.actors import Actor
from access.clock import database_now
from access.models import AuditEvent
from alerts import rollups
from alerts.models import Event, Notification
from alerts.trace_models import TraceSource
from batches import experiments
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
    make_span,
    make_suite,
    make_trace,
    store_spans,
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


def test_what_fires_is_there_with_its_value_and_is_acknowledged_there(
    browser: Client, own: Actor
) -> None:
    started_at = database_now() - timedelta(minutes=20)
    alert = make_alert(make_rule(own, rule_name="Slow"), last_value=800, started_at=started_at)
    make_alert(make_rule(own), status="resolved", resolved_at=database_now())

    (row,) = context_of(browser)["firing"]
    page = browser.get(HOME).content.decode()
    back = browser.post(
        f"/admin/alerts/alert/{alert.pk}/do/acknowledge/",
        headers={"referer": "http://testserver/admin/"},
    )

    assert (row.name, row.value, row.url) == ("Slow", "800 ms", url_of(alert))
    assert "20\u00a0minutes ago" in row.since
    assert row.condition == "max of latency > 500 ms over 5 min"
    assert f"/admin/alerts/alert/{alert.pk}/do/acknowledge/" in page
    assert back["Location"].endswith(HOME)
    (row,) = context_of(browser)["firing"]
    assert "acknowledged" in row.status


def test_where_nothing_fires_it_says_what_to_do(browser: Client, own: Actor) -> None:
    without = browser.get(HOME).content.decode()
    make_rule(own)

    assert "Add an alert rule" in without
    assert "Nothing is firing." in browser.get(HOME).content.decode()


def test_what_pause_all_holds_back_is_said(browser: Client, own: Actor) -> None:
    make_schedule(own)
    for _ in range(2):
        make_rule(own)
    before = context_of(browser)["paused"]

    call_command("pause_all")

    paused = browser.get(HOME)
    call_command("resume_all")
    assert (before, context_of(browser)["paused"]) == ("", "")
    assert paused.context["paused"] == "1 schedule and 2 alert rules"
    assert "resume_all" in paused.content.decode()


def test_live_traces_cost_by_day_from_packed_minutes(browser: Client, own: Actor) -> None:
    now = database_now()
    for number, days in enumerate((0, 0, 2, 40)):
        ended_at = now - timedelta(days=days, seconds=number)
        span = make_span(number + 1, cost=Decimal("0.25"), ended_at=ended_at)
        store_spans(own, [span])
    called = make_span(9, cost=Decimal(7), ended_at=now - timedelta(minutes=1))
    store_spans(own, [called], source=TraceSource.EVALUATION)
    priced = make_batch(own, now=now)
    Batch.objects.filter(pk=priced.pk).update(total_cost=Decimal("1.25"), done=3, passed=3)
    rollups.pack(own.project.pk, before=now + timedelta(minutes=1), judged=None, now=now)

    with CaptureQueriesContext(connection) as asked:
        days_shown = context_of(browser)["days"]

    assert [day.traces for day in days_shown] == ["$0.5", "$0", "$0.25", "$0", "$0", "$0", "$0"]
    assert (days_shown[0].name, days_shown[0].batches) == ("Today", "$1.25")
    # A million of them must not make it slow.
    assert not [query for query in asked if '"alerts_trace"' in query["sql"]]


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
        gone = make_experiment(own, endpoint=endpoint)
        experiments.delete(own, gone.tracking_id, cancel=True, now=database_now())
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

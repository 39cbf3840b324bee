"""Verdicts and baselines in the admin."""

import pytest
from django.test import Client

from access.actors import Actor
from access.models import AuditEvent
from evalsched.models import Run, RunStatus, Schedule
from tests.admin.pages import errors, list_of, press, send, told, url_of
from tests.evalsched.compared_runs import make_completed
from tests.factories import make_run, make_schedule, make_suite


@pytest.fixture
def schedule(own: Actor) -> Schedule:
    return make_schedule(own, suite=make_suite(own, cases=40), name="Nightly")


def test_the_page_of_a_run_says_what_got_worse(browser: Client, schedule: Schedule) -> None:
    good = make_completed(schedule)
    bad = make_completed(schedule, hours=1, wrong=range(1, 16))

    page = browser.get(url_of(bad)).content.decode()

    assert "Regression. Pass rate got worse: 100.0 % to 62.5 %" in page
    assert "-37.5 points" in page
    named = [page.index(f">{name}") for name in ("Quality", "Pass rate", "Latency", "Cost")]
    assert named == sorted(named)
    assert url_of(good) in page
    assert "regression" in browser.get(list_of(Run)).content.decode()


def test_the_page_of_the_first_run_says_that_there_is_no_other(
    browser: Client, schedule: Schedule
) -> None:
    page = browser.get(url_of(make_completed(schedule))).content.decode()

    assert "There is no earlier good run to compare with" in page


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.SKIPPED, RunStatus.TRIGGERED])
def test_a_run_that_did_not_complete_has_a_page_too(
    status: RunStatus, browser: Client, schedule: Schedule
) -> None:
    page = browser.get(url_of(make_run(schedule, status=status)))

    assert page.status_code == 200
    assert "Use as baseline" not in page.content.decode()


def test_a_run_is_used_as_baseline_and_let_go(browser: Client, schedule: Schedule) -> None:
    run = make_completed(schedule)

    said = told(press(browser, run, "use_as_baseline"))
    schedule.refresh_from_db()
    chosen = schedule.baseline_id
    page = browser.get(url_of(schedule)).content.decode()
    press(browser, schedule, "compare_with_last")

    schedule.refresh_from_db()
    assert (chosen, schedule.baseline_id) == (run.pk, None)
    assert "Nightly are compared with this one" in said
    assert url_of(run) in page
    trail = AuditEvent.objects.filter(action="schedule.baseline_changed")
    assert {event.via for event in trail} == {"admin"}
    assert trail.count() == 2


def test_the_rules_are_set_by_the_form(browser: Client, schedule: Schedule) -> None:
    send(
        browser,
        url_of(schedule),
        "schedule_form",
        gated_metrics=["latency", "quality"],
        regression_threshold_percent="5",
        regression_method="statistical",
        alert_on_regression=None,
    )

    schedule.refresh_from_db()
    assert set(schedule.gated_metrics) == {"latency", "quality"}
    assert (schedule.regression_threshold_percent, schedule.regression_method) == (5, "statistical")
    assert not schedule.alert_on_regression


def test_a_form_without_any_metric_says_so(browser: Client, schedule: Schedule) -> None:
    answer = send(browser, url_of(schedule), "schedule_form", gated_metrics=None)

    assert list(errors(answer)) == ["gated_metrics"]


def test_the_page_of_a_schedule_says_what_it_detects(browser: Client, schedule: Schedule) -> None:
    page = browser.get(url_of(schedule)).content.decode()

    assert "This suite of 40 cases detects a drop of 25 points or more" in page
    assert "the last good run" in page

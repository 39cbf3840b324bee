"""Schedules in the admin: what is saved, what is refused, and what the buttons do."""

import re
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client

from access.actors import Actor
from access.clock import database_now
from access.models import AuditEvent
from batches.models import Batch
from evalsched import schedules
from evalsched.admin.schedules import ScheduleAdmin
from evalsched.models import Run, RunStatus, RunTrigger, Schedule
from tests.admin.pages import errors, list_of, press, send, told, url_of
from tests.factories import (
    NOW,
    make_actor,
    make_agent,
    make_batch,
    make_endpoint,
    make_run,
    make_schedule,
    make_suite,
)

FORM = "schedule_form"
ADD = "/admin/evalsched/schedule/add/"


@pytest.fixture
def schedule(own: Actor) -> Schedule:
    return make_schedule(own, now=database_now(), name="Nightly")


def test_an_agent_is_chosen_in_place_of_a_model(browser: Client, own: Actor) -> None:
    agent, suite = make_agent(own, name="Helper"), make_suite(own)
    wanted = {"name": "Nightly", "suite": suite.pk, "agent": agent.pk}

    both = send(browser, ADD, FORM, **wanted, endpoint=agent.endpoint_id)
    assert errors(both) == {"agent": ["Choose a model or an agent, not both."]}
    send(browser, ADD, FORM, **wanted)

    made = Schedule.objects.get()
    assert (made.agent, made.endpoint) == (agent, None)
    assert f"Helper ({agent.endpoint.name})" in browser.get(list_of(Schedule)).content.decode()


def test_a_schedule_is_made_with_its_configuration(browser: Client, own: Actor) -> None:
    suite, endpoint = make_suite(own), make_endpoint(own)

    send(
        browser,
        ADD,
        FORM,
        name="Nightly",
        suite=suite.pk,
        endpoint=endpoint.pk,
        timeout_s="2.5",
        concurrency="4",
        repeats="3",
        schedule_type="custom",
        cron_expression="30 6 * * MON-FRI",
        timezone="Europe/Berlin",
    )

    made = Schedule.objects.get()
    assert made.project == own.project
    assert made.cron_expression == "30 6 * * MON-FRI"
    assert made.batch_test_config == {"concurrency": 4, "repeats": 3, "timeout_ms": 2500}
    assert made.next_run_at is not None
    assert AuditEvent.objects.get(action="schedule.created").via == "admin"


def test_a_bad_cron_expression_is_refused_at_its_field(browser: Client, own: Actor) -> None:
    response = send(
        browser,
        ADD,
        FORM,
        name="Nightly",
        suite=make_suite(own).pk,
        endpoint=make_endpoint(own).pk,
        schedule_type="custom",
        cron_expression="99 * * * *",
    )

    assert list(errors(response)) == ["cron_expression"]
    assert not Schedule.objects.exists()


def test_a_name_that_is_taken_is_refused_at_its_field(
    browser: Client, own: Actor, schedule: Schedule
) -> None:
    other = make_schedule(own)

    response = send(browser, url_of(other), FORM, name=schedule.name)

    assert list(errors(response)) == ["name"]


def test_a_suite_of_another_project_is_refused(browser: Client, own: Actor) -> None:
    foreign = make_suite(make_actor())

    response = send(
        browser, ADD, FORM, name="Nightly", suite=foreign.pk, endpoint=make_endpoint(own).pk
    )

    assert "another project" in str(errors(response)["suite"])


def test_a_saved_schedule_offers_the_parts_of_its_own_project(
    browser: Client, schedule: Schedule
) -> None:
    make_suite(make_actor(), name="Foreign suite")

    assert "Foreign suite" not in browser.get(url_of(schedule)).content.decode()


def test_changing_the_name_leaves_the_next_run_where_it_is(
    browser: Client, schedule: Schedule
) -> None:
    due = database_now() - timedelta(minutes=5)
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=due)

    send(browser, url_of(schedule), FORM, name="Renamed")

    schedule.refresh_from_db()
    assert (schedule.name, schedule.next_run_at) == ("Renamed", due)


def test_a_form_that_was_open_for_long_undoes_nothing(browser: Client, schedule: Schedule) -> None:
    from tests.admin.pages import inputs

    sent = inputs(browser, url_of(schedule), FORM)
    moved = schedule.next_run_at + timedelta(hours=5)  # type: ignore[operator]
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=moved)

    browser.post(url_of(schedule), sent | {"name": ["Renamed"]})

    schedule.refresh_from_db()
    assert (schedule.name, schedule.next_run_at) == ("Renamed", moved)


def test_the_next_run_can_be_set_by_hand(browser: Client, schedule: Schedule) -> None:
    send(browser, url_of(schedule), FORM, next_run_at_0="2030-01-02", next_run_at_1="03:04:00")

    schedule.refresh_from_db()
    assert f"{schedule.next_run_at:%Y-%m-%d %H:%M}" == "2030-01-02 03:04"


def test_what_the_form_does_not_show_of_the_configuration_is_kept(
    browser: Client, schedule: Schedule
) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(
        batch_test_config={"tags": ["nightly"], "timeout_ms": 1500}
    )

    send(browser, url_of(schedule), FORM, concurrency="7")

    schedule.refresh_from_db()
    assert schedule.batch_test_config == {
        "tags": ["nightly"],
        "timeout_ms": 1500,
        "concurrency": 7,
        "repeats": 1,
    }


def test_run_now_queues_a_run(browser: Client, schedule: Schedule) -> None:
    page = press(browser, schedule, "run_now")

    run = Run.objects.get()
    assert (run.trigger, run.schedule) == (RunTrigger.MANUAL, schedule)
    assert f"/admin/evalsched/run/{run.pk}/" in told(page)


def test_disable_and_enable_switch_it_off_and_on(browser: Client, schedule: Schedule) -> None:
    press(browser, schedule, "disable")
    schedule.refresh_from_db()
    off = schedule.is_active

    press(browser, schedule, "enable")
    schedule.refresh_from_db()

    assert not off
    assert schedule.is_active
    assert schedule.next_run_at is not None


def test_several_are_disabled_at_once(browser: Client, own: Actor) -> None:
    chosen = [make_schedule(own) for _ in range(3)]

    browser.post(
        list_of(Schedule),
        {"action": "disable_selected", "_selected_action": [row.pk for row in chosen[:2]]},
    )

    assert Schedule.objects.filter(is_active=True).get() == chosen[2]


def test_limits_are_set_in_the_form(browser: Client, schedule: Schedule) -> None:
    send(
        browser,
        url_of(schedule),
        FORM,
        jitter_seconds="120",
        starts_at_0="2040-01-01",
        starts_at_1="00:00:00",
        ends_at_0="2041-01-01",
        ends_at_1="12:30:00",
        max_runs="5",
    )

    schedule.refresh_from_db()
    assert (schedule.jitter_seconds, schedule.max_runs) == (120, 5)
    assert f"{schedule.starts_at:%Y-%m-%d} {schedule.ends_at:%Y-%m-%d %H:%M}" == (
        "2040-01-01 2041-01-01 12:30"
    )
    assert schedule.next_run_at is not None
    assert schedule.next_run_at.year == 2040


def test_an_end_before_the_start_is_refused_at_its_field(
    browser: Client, schedule: Schedule
) -> None:
    response = send(
        browser,
        url_of(schedule),
        FORM,
        starts_at_0="2041-01-01",
        starts_at_1="00:00:00",
        ends_at_0="2040-01-01",
        ends_at_1="00:00:00",
    )

    assert list(errors(response)) == ["ends_at"]


def test_a_schedule_is_paused_for_a_time_with_a_reason(browser: Client, schedule: Schedule) -> None:
    send(
        browser,
        url_of(schedule),
        FORM,
        paused_until_0="2040-01-01",
        paused_until_1="00:00:00",
        pause_reason="Moving the servers.",
    )

    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.pause_reason) == (True, "Moving the servers.")
    page = browser.get(url_of(schedule)).content.decode()
    assert "Until 2040-01-01 00:00 UTC. Moving the servers." in page
    shown = browser.get(list_of(Schedule), {"status": "paused"}).context["cl"].result_list
    assert list(shown) == [schedule]
    assert not browser.get(list_of(Schedule), {"status": "active"}).context["cl"].result_list


def test_what_a_person_paused_with_a_reason_counts_as_paused(browser: Client, own: Actor) -> None:
    paused = make_schedule(own)
    schedules.change(own, paused, now=database_now(), is_active=False, pause_reason="Not needed.")
    ended = make_schedule(own)
    Schedule.objects.filter(pk=ended.pk).update(
        is_active=False, next_run_at=None, pause_reason=f"{schedules.ENDED}it has made its run."
    )

    shown = {
        status: [
            row.pk
            for row in browser.get(list_of(Schedule), {"status": status}).context["cl"].result_list
        ]
        for status in ("paused", "ended", "disabled")
    }

    assert shown == {"paused": [paused.pk], "ended": [ended.pk], "disabled": []}


@pytest.mark.parametrize("column", ["name", "next_run_at", "last_run_at"])
def test_the_list_is_sorted(column: str, browser: Client, own: Actor) -> None:
    for number in (2, 0, 1):
        made = make_schedule(own, name=f"Schedule {number}")
        at = database_now() + timedelta(days=number)
        Schedule.objects.filter(pk=made.pk).update(next_run_at=at, last_run_at=at)
    columns = ScheduleAdmin.list_display
    shown = {"next_run_at": "next_run", "last_run_at": "last_run"}.get(column, column)

    page = browser.get(list_of(Schedule), {"o": str(-columns.index(shown) - 1)})

    names = [schedule.name for schedule in page.context["cl"].result_list]
    assert names == ["Schedule 2", "Schedule 1", "Schedule 0"]


def test_the_history_is_drawn_and_can_be_read_aloud(browser: Client, schedule: Schedule) -> None:
    for number, latency in enumerate((100.0, None, 300.0)):
        batch = make_batch(make_actor(schedule.user), suite=schedule.suite)
        Batch.objects.filter(pk=batch.pk).update(done=3, passed=number + 1, failed=2 - number)
        make_run(
            schedule,
            scheduled_for=NOW + timedelta(hours=number),
            status=RunStatus.COMPLETED,
            batch=batch,
            avg_latency_ms=latency,
        )

    page = browser.get(url_of(schedule)).content.decode()

    drawn = [
        ElementTree.fromstring(svg) for svg in re.findall(r"<svg class=.es-chart.*?</svg>", page)
    ]
    rates, times = (svg.get("aria-label") for svg in drawn)
    assert rates == (
        "Cases passed, 3 runs from 01-15 10:00 to 01-15 12:00: between 33 and 100 %, 100 % last."
    )
    assert times == (
        "Mean latency, 2 runs from 01-15 10:00 to 01-15 12:00: between 100 and 300 ms, 300 ms last."
    )
    assert [len(svg.findall("circle")) for svg in drawn] == [3, 2]
    assert all(svg.get("role") == "img" for svg in drawn)


def test_the_history_can_be_taken_along_as_csv(browser: Client, schedule: Schedule) -> None:
    make_run(schedule, status=RunStatus.FAILED, error_message="=1+1")
    make_run(make_schedule())

    url = re.findall(r'href="([^"]+runs.csv)"', browser.get(url_of(schedule)).content.decode())[0]
    answer: Any = browser.get(url)

    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert len(lines) == 2
    assert "'=1+1" in lines[1]
    assert Client().get(url).status_code == 302


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("active", {"on", "bad"}), ("failing", {"bad"}), ("paused", {"off"}), ("disabled", {"gone"})],
)
def test_the_list_is_filtered_by_status(
    browser: Client, own: Actor, chosen: str, expected: set[str]
) -> None:
    for name in ("on", "bad", "off", "gone"):
        make_schedule(own, name=name, is_active=name in {"on", "bad"})
    Schedule.objects.filter(name="bad").update(consecutive_failures=1)
    Schedule.objects.filter(name="gone").update(pause_reason="3 runs failed.")

    shown = browser.get(list_of(Schedule), {"status": chosen}).context["cl"].result_list

    assert {schedule.name for schedule in shown} == expected


def test_deleting_takes_the_runs_along(browser: Client, schedule: Schedule) -> None:
    make_run(schedule)
    question = browser.get(url_of(schedule, "delete")).content.decode()

    browser.post(url_of(schedule, "delete"), {"post": "yes"})

    assert "All of its runs" in question
    assert not Run.objects.exists()
    assert AuditEvent.objects.filter(action="schedule.deleted").exists()


def test_the_page_shows_why_it_was_disabled(browser: Client, schedule: Schedule) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(
        is_active=False, next_run_at=None, pause_reason="3 runs <b>failed</b> in a row."
    )

    page = browser.get(url_of(schedule)).content.decode()

    assert "3 runs &lt;b&gt;failed&lt;/b&gt; in a row." in page


def test_a_run_is_cancelled_from_its_page(browser: Client, schedule: Schedule) -> None:
    run = make_run(schedule)

    press(browser, run, "cancel")

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert AuditEvent.objects.filter(action="run.cancelled").exists()


def test_an_ended_run_cannot_be_cancelled_and_the_page_says_so(
    browser: Client, schedule: Schedule
) -> None:
    run = make_run(schedule, status=RunStatus.COMPLETED)

    assert "ended already" in told(press(browser, run, "cancel"))


class TestPreview:
    URL = "/admin/evalsched/schedule/preview/"

    def test_it_says_the_sentence_and_the_next_five_times(self, browser: Client) -> None:
        sent = {"schedule_type": "custom", "cron_expression": "0 2 * * MON", "timezone": "UTC"}

        answer = browser.get(self.URL, sent).json()

        assert "Monday" in answer["description"]
        assert len(answer["occurrences"]) == 5
        assert all(time["utc"].endswith("02:00 UTC") for time in answer["occurrences"])

    def test_it_says_in_words_what_is_wrong(self, browser: Client) -> None:
        sent = {"schedule_type": "custom", "cron_expression": "nonsense", "timezone": "Nowhere"}

        answer = browser.get(self.URL, sent).json()

        assert len(answer["errors"]) == 2

    def test_it_warns_of_what_a_clock_change_moves(self, browser: Client) -> None:
        sent = {
            "schedule_type": "custom",
            "cron_expression": "30 2 * * *",
            "timezone": "Europe/Berlin",
        }

        assert browser.get(self.URL, sent).json()["warnings"]

    def test_it_warns_of_a_run_that_takes_too_long(self, browser: Client, own: Actor) -> None:
        suite, endpoint = make_suite(own, cases=3), make_endpoint(own)
        batch = make_batch(own, suite=suite, endpoint=endpoint)
        Batch.objects.filter(pk=batch.pk).update(latency_sum_ms=60_000, latency_count=2)
        sent = {
            "schedule_type": "daily",
            "timezone": "UTC",
            "suite": str(suite.pk),
            "endpoint": str(endpoint.pk),
            "concurrency": "1",
        }

        slow = browser.get(self.URL, sent | {"repeats": "10"}).json()["warnings"]
        quick = browser.get(self.URL, sent | {"repeats": "6"}).json()["warnings"]

        assert slow == [
            "30 calls of 30,000 ms, 1 at once, take about 15 min, and a run may take 10 min. "
            "Raise the concurrency to 2 or more, or shorten the suite."
        ]
        assert quick == []

    def test_strangers_get_no_preview(self, db: None) -> None:
        assert Client().get(self.URL).status_code == 302

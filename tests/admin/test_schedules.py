"""Schedules in the admin: what is saved, what is refused, and what the buttons do."""

from datetime import timedelta

import pytest
from django.test import Client

from access.actors import Actor
from access.clock import database_now
from access.models import AuditEvent
from evalsched.models import Run, RunStatus, RunTrigger, Schedule
from tests.admin.pages import errors, list_of, press, send, told, url_of
from tests.factories import make_actor, make_endpoint, make_run, make_schedule, make_suite

FORM = "schedule_form"
ADD = "/admin/evalsched/schedule/add/"


@pytest.fixture
def schedule(own: Actor) -> Schedule:
    return make_schedule(own, now=database_now(), name="Nightly")


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

    def test_strangers_get_no_preview(self, db: None) -> None:
        assert Client().get(self.URL).status_code == 302

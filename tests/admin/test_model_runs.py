"""Scheduled model runs in the admin: the form, its secrets, and the answers so far."""

import json
from typing import Any

import pytest
from django.test import Client

from access.actors import Actor
from access.clock import database_now
from batches.models import Job, JobOutcome, JobStatus
from evalsched import admission
from evalsched.models import Execution, ModelRun, Run, RunStatus, Schedule
from tests.admin.pages import errors, inputs, list_of, press, send, told, url_of
from tests.factories import (
    NOW,
    make_endpoint,
    make_execution,
    make_model_run,
    make_run,
    make_schedule,
)

FORM = "modelrun_form"
ADD = "/admin/evalsched/modelrun/add/"
SECRET = "sk-very-secret"


@pytest.fixture
def row(own: Actor) -> ModelRun:
    parameters = {"prompt": "Say <hello>.", "temperature": 0.5, "api_key": SECRET}
    return make_model_run(own, now=database_now(), parameters=parameters)


def plain_of(row: ModelRun) -> dict[str, Any]:
    row.refresh_from_db()
    plain: dict[str, Any] = json.loads(row.parameters.reveal())["parameters"]
    return plain


def test_one_is_made_of_inputs(browser: Client, own: Actor) -> None:
    send(
        browser,
        ADD,
        FORM,
        endpoint=make_endpoint(own).pk,
        cron_expression="30 6 * * MON-FRI",
        timezone="Europe/Berlin",
        messages="--- system\nBe brief.\n--- user\nHello.",
        options='temperature: 0\nstop: ["a", "b"]\nuser: "7"\ntenant: north',
        sensitive="tenant, region",
    )

    made = ModelRun.objects.get()
    assert (made.cron_expression, made.timezone) == ("30 6 * * MON-FRI", "Europe/Berlin")
    assert made.next_run_at is not None
    assert plain_of(made) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello."},
        ],
        "temperature": 0,
        "stop": ["a", "b"],
        "user": "7",
        "tenant": "north",
        "sensitive": ["tenant", "region"],
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cron_expression": "99 * * * *"}, "cron_expression"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"prompt": ""}, "prompt"),
        ({"messages": "--- robot\nHello."}, "prompt"),
        ({"prompt": "", "messages": "--- robot\nHello."}, "messages"),
        ({"options": "temperature"}, "options"),
        ({"options": "token: ********00000000"}, "options"),
    ],
    ids=str,
)
def test_what_is_refused_is_said_at_its_input(
    changes: dict[str, str], field: str, browser: Client, row: ModelRun
) -> None:
    before = plain_of(row)

    response = send(browser, url_of(row), FORM, **changes)

    assert list(errors(response)) == [field]
    assert SECRET not in response.content.decode()
    assert plain_of(row) == before


def test_the_form_shows_masks_and_saving_them_keeps_the_values(
    browser: Client, row: ModelRun
) -> None:
    shown = inputs(browser, url_of(row), FORM)
    send(browser, url_of(row), FORM, prompt="Say goodbye.")

    assert "api_key: ********" in shown["options"][0]
    assert plain_of(row) == {"prompt": "Say goodbye.", "temperature": 0.5, "api_key": SECRET}


def test_saving_it_unchanged_changes_nothing(browser: Client, row: ModelRun) -> None:
    before = ModelRun.objects.values("parameters", "next_run_at", "name").get()

    response = send(browser, url_of(row), FORM)

    assert response.status_code == 302
    assert ModelRun.objects.values("parameters", "next_run_at", "name").get() == before


def test_a_model_of_another_project_is_refused(browser: Client, row: ModelRun) -> None:
    response = send(browser, url_of(row), FORM, endpoint=make_endpoint().pk)

    assert list(errors(response)) == ["endpoint"]


def test_its_buttons_run_it_and_switch_it(browser: Client, row: ModelRun) -> None:
    press(browser, row, "disable")
    assert not ModelRun.objects.get().is_active

    assert "started by hand" in told(press(browser, row, "run_now"))
    press(browser, row, "enable")

    assert ModelRun.objects.get().is_active
    assert Execution.objects.get().status == RunStatus.TRIGGERED


def test_its_page_and_its_executions_show_the_answers(browser: Client, row: ModelRun) -> None:
    execution = make_execution(row)
    admission.start_queued(NOW)
    Job.objects.update(
        status=JobStatus.DONE,
        outcome=JobOutcome.UNSCORED,
        finished_at=NOW,
        output="<b>Hello</b>",
        latency_ms=12,
    )
    Run.objects.filter(pk=execution.pk).move(RunStatus.COMPLETED, completed_at=NOW)
    failed = make_execution(row, scheduled_for=NOW, status=RunStatus.FAILED)

    pages = [url_of(row), url_of(execution), list_of(Execution), list_of(ModelRun)]
    found = [browser.get(page).content.decode() for page in pages]

    for page in found[:3]:
        assert "&lt;b&gt;Hello&lt;/b&gt;" in page
        assert "<b>Hello</b>" not in page
    assert failed.error_message in found[0]
    assert row.name in found[3]
    assert SECRET not in "".join(found)


def test_an_execution_is_cancelled(browser: Client, row: ModelRun) -> None:
    execution = make_execution(row)
    admission.start_queued(NOW)

    assert "cancelled" in told(press(browser, execution, "cancel"))

    assert Run.objects.get().status == RunStatus.CANCELLED


def test_deleting_it_says_what_goes(browser: Client, row: ModelRun) -> None:
    make_execution(row)

    page = browser.get(url_of(row, "delete")).content.decode()
    browser.post(url_of(row, "delete"), {"post": "yes"})

    assert "All of its executions" in page
    assert not Schedule.objects.exists()
    assert not Run.objects.exists()


def test_evaluations_and_model_runs_have_pages_apart(browser: Client, own: Actor) -> None:
    row, schedule = make_model_run(own), make_schedule(own, name="Nightly")
    execution, run = make_execution(row), make_run(schedule)

    lists = {
        model: browser.get(list_of(model)).content.decode()
        for model in (Schedule, Run, ModelRun, Execution)
    }

    for model, mine, others in (
        (Schedule, schedule, row),
        (Run, run, execution),
        (ModelRun, row, schedule),
        (Execution, execution, run),
    ):
        assert str(mine.pk) in lists[model], model
        assert str(others.pk) not in lists[model], model
    for missing in (
        url_of(schedule).replace("schedule", "modelrun", 1),
        url_of(row).replace("modelrun", "schedule"),
    ):
        assert browser.get(missing).status_code == 302, missing

"""Scheduled evaluations and their runs over the API."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from access.actors import Actor
from evalsched import admission
from evalsched.models import Run, Schedule
from tests.clients import Api
from tests.factories import NOW, make_agent, make_endpoint, make_run, make_schedule, make_suite


@pytest.fixture
def body(actor: Actor) -> dict[str, Any]:
    """The least that a schedule needs."""
    return {
        "name": "Nightly",
        "schedule_type": "hourly",
        "test_suite_id": str(make_suite(actor).pk),
        "model_id": str(make_endpoint(actor).pk),
    }


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_schedule_is_made_with_what_it_needs(
    api: Api, actor: Actor, body: dict[str, Any]
) -> None:
    answer = api.create("scheduled-evaluations", body)

    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["timezone"], shown["is_active"]) == ("UTC", True)
    assert (shown["alert_on_failure"], shown["alert_on_regression"]) == (True, True)
    assert (shown["batch_test_config"], shown["regression_threshold_percent"]) == ({}, 10)
    assert (shown["overlap_policy"], shown["catchup_policy"]) == ("skip", "latest")
    assert shown["catchup_window_minutes"] is None
    assert (shown["dst_gap"], shown["dst_overlap"], shown["last_run_status"]) == (None,) * 3
    assert (shown["test_suite_id"], shown["model_id"]) == (body["test_suite_id"], body["model_id"])
    assert shown["model_name"]
    assert shown["user_id"] == str(actor.user.pk)
    assert shown["consecutive_failures"] == 0


@pytest.mark.parametrize(
    ("timing", "at"),
    [
        ({"schedule_type": "hourly"}, {"minute": 0}),
        ({"schedule_type": "daily"}, {"minute": 0, "hour": 2}),
        ({"schedule_type": "weekly"}, {"minute": 0, "hour": 2, "isoweekday": 1}),
        (
            {"schedule_type": "custom", "cron_expression": "30 4 * * SUN"},
            {"minute": 30, "hour": 4, "isoweekday": 7},
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_the_answer_says_when_it_runs_next(
    timing: dict[str, Any], at: dict[str, int], zone: str, api: Api, body: dict[str, Any]
) -> None:
    answer = api.create("scheduled-evaluations", body | timing | {"timezone": zone})

    assert answer.status_code == 201, answer.content
    next_run = _at(answer.json()["next_run_at"])
    local = next_run.astimezone(ZoneInfo(zone))
    clock = {"minute": local.minute, "hour": local.hour, "isoweekday": local.isoweekday()}
    assert at.items() <= clock.items()
    assert timezone.now() < next_run < timezone.now() + timedelta(days=8)
    assert answer.json()["description_of_times"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schedule_type": "monthly"}, "schedule_type"),
        ({"schedule_type": "custom"}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": ""}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "* * * *"}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "* * * * * *"}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "60 * * * *"}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "*/70 * * * *"}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "0 0 31 2 *"}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "@reboot"}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "@every 5m"}, "cron_expression"),
        ({"schedule_type": "custom", "cron_expression": "H * * * *"}, "cron_expression"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": "UTC+1"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"dst_gap": "sometimes"}, "dst_gap"),
        ({"dst_overlap": "third"}, "dst_overlap"),
        ({"overlap_policy": "queue"}, "overlap_policy"),
        ({"catchup_policy": "some"}, "catchup_policy"),
        ({"catchup_window_minutes": -1}, "catchup_window_minutes"),
        ({"catchup_window_minutes": 10**12}, "catchup_window_minutes"),
        ({"regression_threshold_percent": -1}, "regression_threshold_percent"),
        ({"regression_threshold_percent": 101}, "regression_threshold_percent"),
        ({"regression_threshold_percent": 1e-300}, "regression_threshold_percent"),
        ({"regression_threshold_percent": 10**600}, "regression_threshold_percent"),
        ({"batch_test_config": {"concurrency": 0}}, "batch_test_config.concurrency"),
        ({"batch_test_config": {"nonsense": 0}}, "batch_test_config.nonsense"),
        ({"batch_test_config": []}, "batch_test_config.non_field_errors"),
        ({"is_active": "perhaps"}, "is_active"),
        ({"name": ""}, "name"),
        ({"model_id": "nobody"}, "model_id"),
        ({"test_suite_id": "01900000-0000-7000-8000-000000000000"}, "test_suite_id"),
        ({"nonsense": 1}, "nonsense"),
    ],
    ids=str,
)
def test_a_bad_schedule_is_refused_by_its_field(
    change: dict[str, Any], field: str, api: Api, actor: Actor, body: dict[str, Any]
) -> None:
    schedule = make_schedule(actor)

    answers = [
        api.create("scheduled-evaluations", body | change),
        api.change(f"scheduled-evaluations/{schedule.pk}", change),
    ]

    for answer in answers:
        assert answer.status_code == 400, answer.content
        assert list(answer.json()["details"]) == [field]
        assert len(answer.json()["details"][field][0]) > 10
    assert list(Schedule.objects.all()) == [schedule]


def test_a_name_is_taken_once_in_a_project(api: Api, body: dict[str, Any]) -> None:
    make_schedule(name="Nightly")
    answers = [api.create("scheduled-evaluations", body) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 400]
    assert list(answers[1].json()["details"]) == ["name"]


def test_a_schedule_that_waits_over_a_year_warns(api: Api, body: dict[str, Any]) -> None:
    timing = {"schedule_type": "custom", "cron_expression": "0 0 29 2 MON"}
    leap = api.create("scheduled-evaluations", body | timing)
    rare = {"schedule_type": "custom", "cron_expression": "0 0 29 2 *"}
    shown = api.change(f"scheduled-evaluations/{leap.json()['id']}", rare).json()

    far = _at(shown["next_run_at"]) - timezone.now() > timedelta(days=366)
    assert bool(shown["warnings"]) == far


def test_changing_the_time_recomputes_when_it_is_due(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)
    path = f"scheduled-evaluations/{schedule.pk}"

    named = api.change(path, {"name": "Renamed"}).json()
    timed = api.change(path, {"schedule_type": "custom", "cron_expression": "7 3 * * *"}).json()

    assert _at(named["next_run_at"]) == NOW + timedelta(hours=1)
    assert _at(timed["next_run_at"]) > timezone.now()
    assert (_at(timed["next_run_at"]).hour, _at(timed["next_run_at"]).minute) == (3, 7)


def test_another_type_drops_the_expression(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, schedule_type="custom", cron_expression="7 3 * * *")

    shown = api.change(f"scheduled-evaluations/{schedule.pk}", {"schedule_type": "daily"}).json()

    assert shown["cron_expression"] == ""


def test_toggling_switches_off_and_on(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)
    Schedule.objects.filter(pk=schedule.pk).update(consecutive_failures=2)
    path = f"scheduled-evaluations/{schedule.pk}/toggle"

    off, on = api.create(path), api.create(path)

    assert (off.status_code, on.status_code) == (200, 200)
    assert (off.json()["is_active"], off.json()["next_run_at"]) == (False, None)
    assert on.json()["is_active"] is True
    # It never fires for the past.
    assert _at(on.json()["next_run_at"]) > timezone.now()
    assert on.json()["consecutive_failures"] == 0


def test_a_schedule_may_begin_switched_off(api: Api, body: dict[str, Any]) -> None:
    shown = api.create("scheduled-evaluations", body | {"is_active": False}).json()

    assert (shown["is_active"], shown["next_run_at"]) == (False, None)


# --- Runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("active", [True, False])
def test_a_run_is_triggered_by_hand(active: bool, api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, is_active=active)

    answer = api.create(f"scheduled-evaluations/{schedule.pk}/trigger")

    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["status"], shown["trigger"]) == ("triggered", "manual")
    assert shown["scheduled_evaluation_id"] == str(schedule.pk)
    assert shown["snapshot"]["test_suite_name"] == schedule.suite.name
    schedule.refresh_from_db()
    assert schedule.is_active is active


def test_a_triggered_run_gets_its_batch(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, batch_test_config={"repeats": 2})
    run = api.create(f"scheduled-evaluations/{schedule.pk}/trigger").json()

    admission.start_queued(timezone.now())

    shown = api.read(f"scheduled-evaluations/{schedule.pk}/runs/{run['id']}").json()
    assert shown["status"] == "running"
    batch = api.read(f"batches/{shown['batch_test_run_id']}").json()
    assert (batch["total"], batch["name"]) == (6, schedule.name)


def test_a_run_keeps_what_it_was_made_with(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor, name="Before")
    path = f"scheduled-evaluations/{schedule.pk}"
    run = api.create(f"{path}/trigger").json()

    api.change(path, {"name": "After"})

    assert api.read(f"{path}/runs/{run['id']}").json()["snapshot"]["schedule_name"] == "Before"


def test_runs_are_listed_newest_first(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)
    for hours, status in ((1, "completed"), (3, "failed"), (2, "triggered")):
        make_run(schedule, scheduled_for=NOW + timedelta(hours=hours), status=status)
    make_run(make_schedule(actor))
    path = f"scheduled-evaluations/{schedule.pk}/runs"

    listed = api.read(path).json()["results"]
    failed = api.read(f"{path}?status=failed").json()["results"]
    manual = api.read(f"{path}?trigger=schedule").json()["results"]

    assert [row["status"] for row in listed] == ["failed", "triggered", "completed"]
    assert [row["status"] for row in failed] == ["failed"]
    assert manual == []


def test_a_run_is_found_under_its_own_schedule_only(api: Api, actor: Actor) -> None:
    run, other = make_run(make_schedule(actor)), make_schedule(actor)

    assert api.read(f"scheduled-evaluations/{other.pk}/runs/{run.pk}").status_code == 404


def test_a_run_is_cancelled_with_its_batch(api: Api, actor: Actor) -> None:
    run = make_run(make_schedule(actor))
    admission.start_queued(NOW)
    path = f"scheduled-evaluations/{run.schedule_id}/runs/{run.pk}/cancel"

    first, second = api.create(path), api.create(path)

    assert (first.status_code, second.status_code) == (200, 409)
    assert first.json()["status"] == "cancelled"
    batch = api.read(f"batches/{first.json()['batch_test_run_id']}").json()
    assert batch["status"] == "cancelled"


def test_deleting_a_schedule_stops_and_removes_its_runs(api: Api, actor: Actor) -> None:
    run = make_run(make_schedule(actor))
    admission.start_queued(NOW)
    run.refresh_from_db()

    assert api.remove(f"scheduled-evaluations/{run.schedule_id}").status_code == 204
    assert not Run.objects.exists()
    assert api.read(f"batches/{run.batch_id}").json()["status"] == "cancelled"


def test_a_part_that_a_schedule_let_go_of_may_be_deleted(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)

    api.remove(f"scheduled-evaluations/{schedule.pk}")

    assert api.remove(f"models/{schedule.endpoint_id}").status_code == 204
    assert api.remove(f"test-suites/{schedule.suite_id}").status_code == 204


def test_an_agent_answers_in_place_of_a_model(api: Api, actor: Actor, body: dict[str, Any]) -> None:
    agent = make_agent(actor, name="Helper")
    del body["model_id"]

    answer = api.create("scheduled-evaluations", body | {"agent_id": str(agent.pk)})

    assert answer.status_code == 201, answer.content
    shown = answer.json()
    assert (shown["agent_id"], shown["agent_name"]) == (str(agent.pk), "Helper")
    assert (shown["model_id"], shown["model_name"]) == (
        str(agent.endpoint_id),
        agent.endpoint.name,
    )
    again = api.change(f"scheduled-evaluations/{shown['id']}", shown)
    assert again.status_code == 200, again.content
    assert again.json()["agent_id"] == str(agent.pk)
    deleted = api.remove(f"agents/{agent.pk}")
    assert (deleted.status_code, "'Nightly'" in deleted.json()["message"]) == (409, True)


@pytest.mark.parametrize(
    ("answering", "field"),
    [((), "model_id"), (("model_id", "agent_id"), "agent_id")],
    ids=["none", "both"],
)
def test_one_answers_and_not_two(
    answering: tuple[str, ...], field: str, api: Api, actor: Actor, body: dict[str, Any]
) -> None:
    given = body | {"agent_id": str(make_agent(actor).pk)}
    sent = {
        name: value
        for name, value in given.items()
        if name not in {"model_id", "agent_id"} or name in answering
    }

    answer = api.create("scheduled-evaluations", sent)

    assert answer.status_code == 400
    assert set(answer.json()["details"]) == {field}


def test_schedules_are_found_by_agent_and_by_the_model_of_an_agent(api: Api, actor: Actor) -> None:
    agent = make_agent(actor)
    by_agent = make_schedule(actor, agent=agent)
    by_model = make_schedule(actor, endpoint=agent.endpoint)
    make_schedule(actor)

    def found(query: str) -> set[str]:
        rows = api.read(f"scheduled-evaluations?{query}").json()["results"]
        return {row["id"] for row in rows}

    assert found(f"agent_id={agent.pk}") == {str(by_agent.pk)}
    for named in (agent.endpoint_id, agent.endpoint.name):
        assert found(f"model_id={named}") == {str(by_agent.pk), str(by_model.pk)}

"""A trailing slash is optional on every path of the API, for reading and for writing."""

import pytest
from django.test import Client
from django.urls import get_resolver

from access.actors import Actor
from tests.clients import Api
from tests.factories import (
    make_agent,
    make_alert,
    make_batch,
    make_channel,
    make_document,
    make_endpoint,
    make_event,
    make_experiment,
    make_model_run,
    make_notification,
    make_rule,
    make_run,
    make_schedule,
    make_suite,
)


def _paths(patterns: object = None, before: str = "") -> list[str]:
    found: list[str] = []
    for pattern in patterns or get_resolver().url_patterns:  # type: ignore[attr-defined]
        path = before + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            found += _paths(pattern.url_patterns, path)
        elif path.startswith("api/"):
            found.append(path.removeprefix("api/"))
    return found


@pytest.fixture
def things(actor: Actor) -> dict[str, str]:
    suite, endpoint = make_suite(actor), make_endpoint(actor)
    schedule = make_schedule(actor, suite=suite, endpoint=endpoint)
    ids = {
        "suite_id": suite.pk,
        "case_id": suite.cases.all()[0].pk,
        "endpoint_id": endpoint.pk,
        "schedule_id": schedule.pk,
        "run_id": make_run(schedule).pk,
        "batch_id": make_batch(actor, suite=suite, endpoint=endpoint).pk,
        "project_id": actor.project.pk,
        "member_id": actor.user.memberships.all()[0].pk,
        "key_id": actor.project.pk,
        "agent_id": make_agent(actor).pk,
        "model_run_id": make_model_run(actor).pk,
        "document_id": make_document(actor).pk,
        "channel_id": make_channel(actor).pk,
        "rule_id": make_rule(actor).pk,
        "alert_id": make_alert(make_rule(actor)).pk,
        "notification_id": make_notification(make_event(actor)).pk,
    }
    named = {name: str(identifier) for name, identifier in ids.items()}
    return named | {"tracking_id": make_experiment(actor).tracking_id}


def _filled(path: str, things: dict[str, str]) -> str:
    for name, identifier in things.items():
        path = path.replace(f"<uuid:{name}>", identifier)
        path = path.replace(f"<{name}:{name}>", identifier)
    assert "<" not in path, f"Add what {path} needs to `things`."
    return path


def test_every_path_answers_with_and_without(api: Api, things: dict[str, str]) -> None:
    paths = [_filled(path, things) for path in _paths()]

    answers = {path: (api.read(path), api.read(path + "/")) for path in paths}

    assert len(answers) > 25
    differing = {
        path: (plain.status_code, slashed.status_code)
        for path, (plain, slashed) in answers.items()
        if plain.status_code != slashed.status_code or slashed.status_code in {301, 302, 308}
    }
    assert differing == {}
    assert sum(plain.status_code == 200 for plain, _ in answers.values()) > 15


def test_the_body_of_a_post_is_not_lost_to_a_redirect(api: Api, things: dict[str, str]) -> None:
    plain = api.create("test-suites", {"name": "Without"})
    slashed = api.create("test-suites/", {"name": "With"})
    started = api.create(f"scheduled-evaluations/{things['schedule_id']}/trigger/")

    assert (plain.status_code, slashed.status_code, started.status_code) == (201, 201, 202)


def test_a_query_behind_the_slash_is_read(api: Api) -> None:
    for name in ("A", "B"):
        api.create("test-suites", {"name": name})

    page = api.read("test-suites/?limit=1&ordering=name").json()

    assert [row["name"] for row in page["results"]] == ["A"]
    assert page["next"].endswith("/api/test-suites?limit=1&offset=1&ordering=name")


def test_changes_and_deletions_take_the_slash_too(api: Api, things: dict[str, str]) -> None:
    path = f"scheduled-evaluations/{things['schedule_id']}/"

    assert api.change(path, {"name": "Renamed"}).json()["name"] == "Renamed"
    assert api.remove(path).status_code == 204


def test_paths_outside_of_the_api_are_left_alone(db: None) -> None:
    assert Client().get("/admin/login/").status_code == 200
    assert Client().get("/healthz").status_code == 200

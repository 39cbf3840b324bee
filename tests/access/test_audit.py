"""The trail: every change, with who, how and what, and no secrets."""

from typing import Any

import pytest

from access.actors import Actor
from access.models import AuditEvent
from tests.clients import Api, with_key
from tests.factories import make_actor, make_batch, make_endpoint, make_schedule, make_suite


def _actions() -> list[str]:
    return list(AuditEvent.objects.order_by("created_at", "id").values_list("action", flat=True))


@pytest.fixture
def things(actor: Actor) -> dict[str, str]:
    suite, endpoint = make_suite(actor), make_endpoint(actor)
    made: dict[str, Any] = {
        "suite": suite,
        "case": suite.cases.all()[0],
        "endpoint": endpoint,
        "schedule": make_schedule(actor, suite=suite, endpoint=endpoint),
        "batch": make_batch(actor, suite=suite, endpoint=endpoint),
    }
    return {name: str(thing.pk) for name, thing in made.items()}


@pytest.mark.parametrize(
    ("request_line", "body", "action"),
    [
        (
            "POST models",
            {"name": "New", "provider": "demo", "model": "demo"},
            "endpoint.created",
        ),
        ("PATCH models/{endpoint}", {"name": "New"}, "endpoint.changed"),
        ("POST test-suites", {"name": "New"}, "suite.created"),
        ("PATCH test-suites/{suite}", {"name": "New"}, "suite.changed"),
        ("POST test-suites/{suite}/cases", {"prompt": "New"}, "suite.cases_changed"),
        ("DELETE test-suites/{suite}/cases/{case}", None, "suite.case_removed"),
        ("POST batches/{batch}/cancel", None, "batch.cancelled"),
        ("PATCH scheduled-evaluations/{schedule}", {"name": "New"}, "schedule.changed"),
        ("POST scheduled-evaluations/{schedule}/toggle", None, "schedule.changed"),
        ("POST scheduled-evaluations/{schedule}/trigger", None, "run.triggered"),
        ("DELETE scheduled-evaluations/{schedule}", None, "schedule.deleted"),
    ],
)
def test_a_change_is_noted_with_who_did_it(
    request_line: str, body: Any, action: str, actor: Actor, things: dict[str, str]
) -> None:
    client = with_key(actor)
    method, path = request_line.split()
    before = len(_actions())

    answer = client.send(method, path.format(**things), body)

    assert answer.status_code < 300
    assert _actions()[before:] == [action]
    event = AuditEvent.objects.filter(action=action).order_by("-created_at")[0]
    assert (event.user_id, event.project_id, event.via) == (
        actor.user.pk,
        actor.project.pk,
        "api_key",
    )
    assert event.correlation_id == answer["X-Request-ID"]


def test_what_failed_leaves_no_trace_of_a_change(actor: Actor, api: Api) -> None:
    make_suite(actor, name="Taken")
    before = _actions()

    answer = api.create("test-suites", {"name": "Taken"})

    assert answer.status_code == 400
    assert _actions() == before


def test_what_was_deleted_is_known_by_its_name(actor: Actor, api: Api) -> None:
    suite = make_suite(actor, name="Gone")

    api.remove(f"test-suites/{suite.pk}")

    event = AuditEvent.objects.get(action="suite.deleted")
    assert (event.object_type, event.object_id, event.object_name) == (
        "testsuite",
        str(suite.pk),
        "Gone",
    )


def test_the_trail_is_read_newest_first(actor: Actor, api: Api) -> None:
    for name in ("First", "Second"):
        api.create("test-suites", {"name": name})

    listed = api.read("audit?action=suite.created").json()

    assert [row["object_name"] for row in listed["results"]] == ["Second", "First"]
    assert set(listed["results"][0]) == {
        "id",
        "project_id",
        "user_id",
        "created_at",
        "via",
        "action",
        "object_type",
        "object_id",
        "object_name",
        "details",
        "correlation_id",
    }


def test_the_trail_is_found_by_its_object(actor: Actor, api: Api) -> None:
    suite, _ = make_suite(actor), make_suite(actor)

    listed = api.read(f"audit?object_id={suite.pk}").json()

    assert {row["object_id"] for row in listed["results"]} == {str(suite.pk)}
    assert listed["count"] == 2


def test_the_trail_of_another_project_is_not_shown(api: Api) -> None:
    make_suite(make_actor())

    assert api.read("audit?action=suite.created").json()["count"] == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nobody_rewrites_the_trail(method: str, api: Api) -> None:
    assert api.send(method, "audit", {}).status_code == 405

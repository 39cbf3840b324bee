"""Lists: pages, order, filters, and as many queries for thirty rows as for three."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access import audit
from access.actors import Actor
from tests.clients import Api, with_key, with_session
from tests.factories import (
    NOW,
    make_alert,
    make_batch,
    make_endpoint,
    make_key,
    make_member,
    make_project,
    make_rule,
    make_run,
    make_schedule,
    make_suite,
    make_trace,
)

# The path of each list, and what puts another row into it.
Row = Callable[[Actor, int], object]


def _schedule_row(actor: Actor, number: int) -> object:
    """Its suite and its endpoint are its own: they are what is looked up row by row if at all."""
    return make_schedule(actor, name=f"S{number}")


LISTS: dict[str, Row] = {
    "models": lambda actor, number: make_endpoint(actor, headers={"X-N": str(number)}),
    "test-suites": lambda actor, _: make_suite(actor, cases=1),
    "batches": lambda actor, _: make_batch(actor),
    "scheduled-evaluations": _schedule_row,
    "analytics/traces": lambda actor, number: make_trace(actor, model=f"m{number}"),
    "analytics/alert-rules": lambda actor, _: make_rule(actor),
    "alerts": lambda actor, _: make_alert(make_rule(actor)),
    "audit": lambda actor, _: audit.record(actor, "test.happened", actor.project),
    "projects": lambda actor, _: make_project(actor.user),
    "keys": lambda actor, _: make_key(actor),
    "projects/{project}/members": lambda actor, _: make_member(actor.project),
}


def _queries(client: Api, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        answer = client.read(path)
    assert answer.status_code == 200, answer.content
    assert answer.json()["results"]
    return len(captured)


@pytest.mark.parametrize("path", LISTS)
def test_thirty_rows_cost_as_many_queries_as_three(path: str, actor: Actor) -> None:
    client, add = with_session(actor), LISTS[path]
    filled = path.format(project=actor.project.pk)
    for number in range(3):
        add(actor, number)
    few = _queries(client, filled)
    for number in range(3, 30):
        add(actor, number)

    many = _queries(client, filled)

    assert many == few
    assert few <= 14


@pytest.mark.parametrize("what", ["cases", "results", "runs"])
def test_thirty_inner_rows_cost_as_many_queries_as_three(what: str, actor: Actor) -> None:
    client = with_session(actor)

    def path(count: int) -> str:
        suite = make_suite(actor, cases=count)
        if what == "cases":
            return f"test-suites/{suite.pk}/cases"
        if what == "results":
            return f"batches/{make_batch(actor, suite=suite).pk}/results"
        schedule = make_schedule(actor)
        for minutes in range(count):
            make_run(schedule, scheduled_for=NOW + timedelta(minutes=minutes))
        return f"scheduled-evaluations/{schedule.pk}/runs"

    few, many = _queries(client, path(3)), _queries(client, path(30))

    assert many == few <= 14


# --- Pages -----------------------------------------------------------------------------------


@pytest.fixture
def seven(actor: Actor) -> list[str]:
    return [make_suite(actor, cases=0, name=f"Suite {number}").name for number in range(7)]


def _names(answer: Any) -> list[str]:
    return [row["name"] for row in answer.json()["results"]]


def test_a_page_says_how_many_there_are_and_where_the_next_is(api: Api, seven: list[str]) -> None:
    first = api.read("test-suites?limit=3").json()
    second = api.send("GET", first["next"].partition("/api/")[2]).json()
    third = api.send("GET", second["next"].partition("/api/")[2]).json()

    assert [first["count"], second["count"], third["count"]] == [7, 7, 7]
    assert (first["previous"], third["next"]) == (None, None)
    assert first["next"].startswith("http://testserver/api/test-suites?")
    walked = [row["name"] for page in (first, second, third) for row in page["results"]]
    assert walked == list(reversed(seven))


def test_fifty_are_shown_unless_more_are_asked_for(actor: Actor, api: Api) -> None:
    suite = make_suite(actor, cases=501)
    path = f"test-suites/{suite.pk}/cases"

    sizes = [
        len(api.read(f"{path}{query}").json()["results"])
        for query in ("", "?limit=500", "?limit=501", "?limit=1000000", "?limit=")
    ]

    assert sizes == [50, 500, 500, 500, 50]


def test_behind_the_end_there_is_nothing(api: Api, seven: list[str]) -> None:
    page = api.read("test-suites?offset=100").json()

    assert (page["count"], page["results"], page["next"]) == (len(seven), [], None)


def test_an_empty_list_is_a_list(api: Api) -> None:
    assert api.read("batches").json() == {
        "count": 0,
        "next": None,
        "previous": None,
        "results": [],
    }


# --- Order and filters -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["models", "test-suites", "scheduled-evaluations", "batches"])
def test_the_newest_come_first_unless_said_otherwise(path: str, actor: Actor, api: Api) -> None:
    for name in ("B", "C", "A"):
        suite = make_suite(actor, name=name)
        endpoint = make_endpoint(actor, name=name)
        make_schedule(actor, name=name, suite=suite, endpoint=endpoint)
        make_batch(actor, name=name, suite=suite, endpoint=endpoint)

    assert _names(api.read(path)) == ["A", "C", "B"]
    assert _names(api.read(f"{path}?ordering=name")) == ["A", "B", "C"]
    assert _names(api.read(f"{path}?ordering=-name")) == ["C", "B", "A"]


@pytest.mark.parametrize("order", ["next_run_at", "last_run_at"])
def test_schedules_are_ordered_by_their_times(order: str, actor: Actor, api: Api) -> None:
    for name, minutes in (("later", 20), ("sooner", 10)):
        schedule = make_schedule(actor, name=name)
        at = NOW + timedelta(minutes=minutes)
        type(schedule).objects.filter(pk=schedule.pk).update(**{order: at})

    assert _names(api.read(f"scheduled-evaluations?ordering={order}")) == ["sooner", "later"]
    assert _names(api.read(f"scheduled-evaluations?ordering=-{order}")) == ["later", "sooner"]


def test_schedules_are_found_by_what_they_are(actor: Actor, api: Api) -> None:
    on = make_schedule(actor, name="on")
    make_schedule(actor, name="off", is_active=False)

    found = {
        query: _names(api.read(f"scheduled-evaluations?{query}"))
        for query in (
            "is_active=true",
            "is_active=false",
            f"test_suite_id={on.suite_id}",
            f"model_id={on.endpoint_id}",
            f"model_id={on.suite_id}",
        )
    }

    assert list(found.values()) == [["on"], ["off"], ["on"], ["on"], []]


def test_batches_are_found_by_what_they_are(actor: Actor, api: Api) -> None:
    batch = make_batch(actor, name="mine")
    make_batch(actor, name="other")
    type(batch).objects.filter(pk=batch.pk).update(status="failed", completed_at=NOW)

    for query in (
        "status=failed",
        f"test_suite_id={batch.suite_id}",
        f"model_id={batch.endpoint_id}",
    ):
        assert _names(api.read(f"batches?{query}")) == ["mine"], query


def test_a_model_is_named_in_filters_as_in_bodies(actor: Actor, api: Api) -> None:
    endpoint = make_endpoint(actor, name="Support bot", model="some-model")
    make_schedule(actor, name="mine", endpoint=endpoint)
    make_schedule(actor, name="other", endpoint=make_endpoint(actor, model="another"))
    make_batch(actor, name="mine", endpoint=endpoint)

    for path in ("scheduled-evaluations", "batches"):
        for named in (endpoint.pk, "Support bot", "some-model"):
            assert _names(api.read(f"{path}?model_id={named}")) == ["mine"], named


def test_a_misspelt_filter_is_refused_by_name(api: Api) -> None:
    answer = api.read("batches?statsu=failed")

    assert answer.status_code == 400
    (reason,) = answer.json()["details"]["statsu"]
    assert reason == "This is not one of: limit, model_id, offset, ordering, status, test_suite_id."


def test_a_filter_by_another_projects_id_finds_nothing(actor: Actor) -> None:
    foreign = make_schedule()

    found = with_key(actor).read(f"scheduled-evaluations?model_id={foreign.endpoint_id}")

    assert found.json()["count"] == 0

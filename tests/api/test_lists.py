"""Lists: pages, order, filters, and as many queries for thirty rows as for three."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django_filters
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from access import audit, clock
from access.actors import Actor
from batches import batches
from batches.models import Job
from tests.api.list_views import list_views
from tests.clients import Api, with_key, with_session
from tests.factories import (
    NOW,
    make_agent,
    make_alert,
    make_batch,
    make_channel,
    make_document,
    make_endpoint,
    make_evaluation,
    make_event,
    make_execution,
    make_experiment,
    make_key,
    make_member,
    make_model_run,
    make_notification,
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
    "scheduled": lambda actor, number: make_model_run(actor),
    "agents": lambda actor, _: make_agent(actor),
    "documents": lambda actor, _: make_document(actor),
    "experiments": lambda actor, _: make_experiment(actor, now=clock.database_now()),
    "notification-channels": lambda actor, number: make_channel(actor, name=f"C{number}"),
    "notification-preferences": lambda *_: None,
    "notifications": lambda actor, _: make_notification(make_event(actor)),
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


def _cases(actor: Actor, count: int) -> str:
    return f"test-suites/{make_suite(actor, cases=count).pk}/cases"


def _results(actor: Actor, count: int) -> str:
    return f"batches/{make_batch(actor, suite=make_suite(actor, cases=count)).pk}/results"


def _runs(actor: Actor, count: int) -> str:
    schedule = make_schedule(actor)
    for minutes in range(count):
        make_run(schedule, scheduled_for=NOW + timedelta(minutes=minutes))
    return f"scheduled-evaluations/{schedule.pk}/runs"


def _cases_of_batch(actor: Actor, count: int) -> str:
    return f"batches/{make_batch(actor, suite=make_suite(actor, cases=count)).pk}/cases"


def _compared(actor: Actor, count: int) -> str:
    suite = make_suite(actor, cases=count)
    pair = [make_batch(actor, suite=suite) for _ in range(2)]
    for batch in pair:
        batches.cancel(batch, now=NOW)
    return f"batches/compare?ids={pair[0].pk},{pair[1].pk}"


def _executions(actor: Actor, count: int) -> str:
    model_run = make_model_run(actor)
    for _ in range(count):
        make_execution(model_run)
    return f"scheduled/{model_run.pk}/executions"


def _evaluations(actor: Actor, count: int) -> str:
    rule = make_rule(actor)
    for number in range(count):
        minute = NOW + timedelta(minutes=number)
        make_evaluation(rule, first_minute=minute, last_minute=minute, metric_value=number)
    return f"analytics/alert-rules/{rule.pk}/evaluations"


# What makes a list below a row, with so many rows, and returns its path.
INNER: list[Callable[[Actor, int], str]] = [
    *(_cases, _results, _runs),
    *(_cases_of_batch, _compared, _executions, _evaluations),
]


@pytest.mark.parametrize("make", INNER)
def test_thirty_inner_rows_cost_as_many_queries_as_three(
    make: Callable[[Actor, int], str], actor: Actor
) -> None:
    client = with_session(actor)

    few, many = _queries(client, make(actor, 3)), _queries(client, make(actor, 30))

    assert many == few <= 14


@pytest.mark.parametrize("query", ["status=pending", "ordering=-score", "limit=2&offset=1"])
def test_a_narrowed_list_costs_one_query_more_at_most(query: str, actor: Actor) -> None:
    client, path = with_session(actor), _results(actor, 30)

    narrowed, whole = _queries(client, f"{path}?{query}"), _queries(client, path)

    assert narrowed <= whole + 1


def test_every_list_is_counted_here(actor: Actor) -> None:
    paths = [path.format(project=actor.project.pk) for path in LISTS]
    paths += [make(actor, 1).partition("?")[0] for make in INNER]

    assert {resolve(f"/api/{path}").route for path in paths} == set(list_views())


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


def test_a_batchs_results_are_counted_with_and_without_a_filter(actor: Actor, api: Api) -> None:
    batch = make_batch(actor, suite=make_suite(actor, cases=7))
    done = Job.objects.filter(batch=batch, ordinal__lt=2)
    done.update(status="done", outcome="passed", finished_at=NOW)
    path = f"batches/{batch.pk}/results"

    counts = {
        query: api.read(f"{path}?{query}").json()["count"]
        for query in ("", "limit=3&offset=5", "ordering=score", "passed=true", "status=pending")
    }

    assert list(counts.values()) == [7, 7, 7, 2, 5]


def test_rows_that_are_equal_in_their_order_keep_their_places(actor: Actor, api: Api) -> None:
    made = [make_suite(actor, cases=0, name=f"Suite {9 - number}") for number in range(7)]
    # Neither in the table nor by its name does the first one come first.
    for suite in reversed(made):
        type(suite).objects.filter(pk=suite.pk).update(updated_at=NOW)

    pages = [
        api.read(f"test-suites?ordering=updated_at&limit=3&offset={offset}") for offset in (0, 3, 6)
    ]

    walked = [name for page in pages for name in _names(page)]
    # By their ids, which follow the clock but not within a millisecond.
    assert walked == [suite.name for suite in sorted(made, key=lambda suite: suite.pk)]


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
    assert reason.startswith("This is not one of: ")
    assert "limit, model_id, offset, ordering, status, test_suite_id" in reason


def test_a_filter_by_another_projects_id_finds_nothing(actor: Actor) -> None:
    foreign = make_schedule()

    found = with_key(actor).read(f"scheduled-evaluations?model_id={foreign.endpoint_id}")

    assert found.json()["count"] == 0


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (django_filters.BooleanFilter, "maybe", "true or false"),
        (django_filters.BooleanFilter, "2", "true or false"),
        (django_filters.IsoDateTimeFilter, "0001-01-01T00:00:00%2B22:00", "out of range"),
    ],
    ids=["maybe", "2", "before all time"],
)
def test_what_no_row_can_be_is_refused_by_every_list(
    kind: type[django_filters.Filter], value: str, said: str, actor: Actor
) -> None:
    """Taken for no filter at all it would answer all rows."""
    client, asked = with_session(actor), 0
    paths = [path.format(project=actor.project.pk) for path in LISTS]
    for path in [*paths, *(make(actor, 1).partition("?")[0] for make in INNER)]:
        view: Any = list_views()[resolve(f"/api/{path}").route]
        filters = getattr(getattr(view, "filterset_class", None), "base_filters", {})
        for name in (name for name, each in filters.items() if isinstance(each, kind)):
            answer = client.read(f"{path}?{name}={value}")
            assert answer.status_code == 400, (path, name)
            assert said in answer.json()["details"][name][0]
            asked += 1
    assert asked

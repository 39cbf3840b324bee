"""Every route of the service: who may come in, and what of another project can be reached."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from rest_framework.generics import GenericAPIView

from access import login_pages
from access.actors import Actor
from access.api.views import ApiView
from access.isolation import API_ROLE
from access.models import Role
from access.pages import Page
from batches import batches
from batches.models import Batch
from config import urls
from tests.api.calls import CALLS, Call
from tests.clients import Api, anonymous, with_key, with_session
from tests.factories import (
    NOW,
    make_actor,
    make_agent,
    make_alert,
    make_attempt,
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
    make_rule,
    make_run,
    make_schedule,
    make_suite,
    make_trace,
    make_user,
)

# In every name and text of the project that nobody else may see.
MARK = "Antarctica"


# What answers without credentials, besides config.urls.OPEN: the way to the admin, which asks for
# a login of its own.
OPEN_BESIDES = {""}
# An `ApiView` that speaks to exporters in their own way; see test_otlp.py.
OTHER_PROTOCOLS = {"v1/traces"}


@dataclass(frozen=True)
class World:
    """The other project, the caller, and what the placeholders of a `Call` stand for."""

    victim: Actor
    caller: Actor
    names: dict[str, str] = field(default_factory=dict)

    def filled(self, value: Any) -> Any:
        """Return `value` with what its placeholders stand for."""
        if isinstance(value, dict):
            return {key: self.filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner) for inner in value]
        if isinstance(value, str):
            for name, meaning in self.names.items():
                value = value.replace(f"{{{name}}}", meaning)
        return value


@pytest.fixture
def world(db: None) -> World:
    victim, caller = make_actor(make_user(MARK)), make_actor()
    suite, endpoint = make_suite(victim, name=f"Suite of {MARK}"), _endpoint(victim)
    schedule = make_schedule(victim, suite=suite, endpoint=endpoint, name=f"Schedule of {MARK}")
    batch = make_batch(victim, suite=suite, endpoint=endpoint, name=f"Batch of {MARK}")
    own_suite, own_endpoint = make_suite(caller), make_endpoint(caller)
    make_notification(make_event(victim, subject=MARK))
    make_trace(victim, model=f"Model of {MARK}")
    alert = make_alert(make_rule(victim, rule_name=f"Rule of {MARK}"))
    make_evaluation(alert.rule)
    channel = make_channel(victim, name=f"Channel of {MARK}", url=f"https://{MARK}.example/hook")
    event = make_event(victim, subject=MARK)
    notification = make_notification(event, channel=channel, address=MARK)
    make_attempt(notification, error_message=MARK)
    model_run = make_model_run(victim, endpoint=endpoint, parameters={"prompt": MARK})
    things: dict[str, Any] = {
        "project": victim.project,
        "user": victim.user,
        "member": make_member(victim.project, user=make_user(f"Friend-of-{MARK}")),
        "key": make_key(victim)[0],
        "endpoint": endpoint,
        "suite": suite,
        "case": suite.cases.all()[0],
        "batch": batch,
        "agent": make_agent(victim, name=f"Agent of {MARK}", endpoint=endpoint),
        "document": make_document(victim, title=MARK, content=MARK),
        "experiment": make_experiment(victim, tracking_id=f"trial-of-{MARK}"),
        "channel": channel,
        "event": event,
        "notification": notification,
        "schedule": schedule,
        "run": make_run(schedule, batch=batch),
        "model_run": model_run,
        "execution": make_execution(model_run),
        "rule": alert.rule,
        "alert": alert,
        "own_project": caller.project,
        "own_suite": own_suite,
        "own_endpoint": own_endpoint,
        "own_schedule": make_schedule(caller, suite=own_suite, endpoint=own_endpoint),
        "own_model_run": make_model_run(caller, endpoint=own_endpoint),
        "own_batch": _ended(make_batch(caller, suite=own_suite, endpoint=own_endpoint)),
    }
    names = {name: str(thing.pk) for name, thing in things.items()}
    return World(victim, caller, names | {"intruder": caller.user.username})


def _ended(batch: Batch) -> Batch:
    """End the batch, so that it may be compared."""
    assert batches.cancel(batch, now=NOW)
    return batch


def _endpoint(victim: Actor) -> Any:
    return make_endpoint(victim, name=f"Endpoint of {MARK}", api_key=f"sk-{MARK}")


def _routes(
    patterns: list[URLPattern | URLResolver] | None = None, before: str = ""
) -> Iterator[tuple[str, URLPattern]]:
    """Yield every route with its pattern, whatever is included where."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, path)
        else:
            yield path, pattern


def _view_class(pattern: URLPattern) -> type[Any] | None:
    return getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)


def _api_routes() -> dict[str, type[ApiView]]:
    return {
        route: view
        for route, pattern in _routes()
        if (view := _view_class(pattern))
        and issubclass(view, ApiView)
        and route not in OTHER_PROTOCOLS
    }


def page_routes() -> set[str]:
    return {
        route
        for route, pattern in _routes()
        if (view := _view_class(pattern)) and issubclass(view, Page)
    }


def _send(client: Api, call: Call, world: World, **headers: str) -> Any:
    return client.send(
        call.method, world.filled(call.path), world.filled(call.body), headers=headers
    )


def _text(answer: HttpResponseBase) -> str:
    if answer.streaming:
        return b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    return str(answer.content.decode())  # type: ignore[attr-defined]


def _snapshot(world: World) -> dict[str, str]:
    """Return a digest of all rows of the other project, table by table."""
    found = {}
    with connection.cursor() as cursor:
        for model in apps.get_models():
            columns = {column.attname for column in model._meta.concrete_fields}
            if "project_id" not in columns and model._meta.label != "access.Project":
                continue
            column = "project_id" if "project_id" in columns else "id"
            cursor.execute(
                f"SELECT coalesce(string_agg(md5(t::text), ' ' ORDER BY t::text), '')"
                f' FROM "{model._meta.db_table}" t WHERE {column} = %s',
                [world.victim.project.pk],
            )
            found[model._meta.label] = cursor.fetchone()[0]
    return found


def _allowed(call: Call) -> set[int]:
    if call.answers == "refused":
        return {404} | ({400} if call.body else set())
    return {200, 201}


def _complaints(call: Call, world: World, answer: Any) -> list[str]:
    """Return what is wrong with the answer that somebody else got, in sentences."""
    text, asked = _text(answer), str(world.filled(call.body))
    found = []
    if answer.status_code not in _allowed(call):
        found.append(f"{call} answered {answer.status_code}: {text[:200]}")
    if call.answers == "empty" and answer.json().get("count") != 0:
        found.append(f"{call} counted something.")
    if call.answers == "own" and call.method == "POST" and not _is_own(answer.json(), world):
        found.append(f"{call} made something that is not the caller's own: {text[:200]}")
    # A sentence may repeat what the caller gave; nothing else may be known.
    leaks = [world.names[name] for name in world.names if name not in _OWN] + [MARK]
    found += [f"{call} told of {leak}." for leak in leaks if leak in text and leak not in asked]
    return found


_OWN = {
    *("own_batch", "own_project", "own_suite", "own_endpoint", "own_schedule", "own_model_run"),
    "intruder",
}


def _is_own(shown: dict[str, Any], world: World) -> bool:
    return (
        shown.get("project_id", world.names["own_project"]) == world.names["own_project"]
        and shown.get("user_id") == str(world.caller.user.pk)
        and shown["id"] != world.names["project"]
    )


# --- The table is whole ----------------------------------------------------------------------


def test_every_route_of_the_api_is_in_the_table() -> None:
    known = {(resolve("/api/" + _dummy(call.path)).route, call.method.lower()) for call in CALLS}
    missing = [
        f"{method.upper()} /{route} has no Call in CALLS: add one, so that it is tested here."
        for route, view in _api_routes().items()
        for method in ("get", "post", "put", "patch", "delete")
        if hasattr(view, method) and (route, method) not in known
    ]

    assert missing == []


def _dummy(path: str) -> str:
    """Fill the placeholders so that the path resolves."""
    while "{" in path:
        start, end = path.index("{"), path.index("}")
        path = path[:start] + "0190a0b0-0000-7000-8000-000000000000" + path[end + 1 :]
    return path.partition("?")[0]


def test_every_other_route_is_known_to_be_open_or_asks_for_a_login() -> None:
    """Health, the description of the API, and logging in. The rest are views that ask who it is.

    The pages for members are tested in tests/pages.
    """
    open_routes = {str(pattern.pattern) for pattern in (*urls.OPEN, *login_pages.ROUTES)}
    open_routes |= OPEN_BESIDES | page_routes()
    unknown = [
        f"/{route} is neither an ApiView, nor a Page, nor in config.urls.OPEN."
        for route, _ in _routes()
        if route not in {*_api_routes(), *open_routes, *OTHER_PROTOCOLS}
        and not route.startswith(("admin/", "demo/"))
    ]

    assert unknown == []
    assert {str(pattern.pattern) for pattern in urls.OPEN} == {
        "healthz",
        "readyz",
        "api/cron/scheduled-evaluations/health",
        "metrics",
        "api/schema",
        "api/docs",
    }


# --- Nobody ----------------------------------------------------------------------------------


def test_nobody_gets_in(world: World) -> None:
    client, before = anonymous(), _snapshot(world)

    answers = {call: _send(client, call, world) for call in CALLS}

    let_in = [
        f"{call} answered {answer.status_code}."
        for call, answer in answers.items()
        if answer.status_code != 401
        or answer["WWW-Authenticate"] != "Bearer"
        or answer.json()["error"] != "not_authenticated"
        or MARK in _text(answer)
    ]
    assert let_in == []
    assert _snapshot(world) == before


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "TRACE"])
def test_nobody_gets_in_by_an_unusual_method(method: str, db: None) -> None:
    client = anonymous()
    paths = {_dummy(route.replace("<", "{").replace(">", "}")) for route in _api_routes()}

    answers = {path: client.generic(method, f"/{path}").status_code for path in paths}

    assert set(answers.values()) == {401}, answers


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/schema", "/api/docs"])
def test_what_is_open_answers_anybody(path: str, db: None) -> None:
    assert Client().get(path).status_code == 200


def _admin_paths() -> list[str]:
    """Return an address for each admin page, with ids that name nothing."""
    found = set()
    for route, _ in _routes():
        if not route.startswith("admin/") or route.endswith("$"):
            continue
        parts = route.split("<")
        filled = parts[0] + "".join("1" + part.partition(">")[2] for part in parts[1:])
        found.add("/" + filled)
    return sorted(found - {"/admin/login/", "/admin/logout/"})


@pytest.mark.parametrize("somebody", [False, True], ids=["nobody", "a member"])
def test_the_admin_sends_everybody_else_to_its_login(somebody: bool, db: None) -> None:
    client = Client()
    if somebody:
        client.force_login(make_user())

    answers = {path: client.get(path) for path in _admin_paths()}

    assert len(answers) > 20
    reached = {
        path: answer.status_code
        for path, answer in answers.items()
        if not (answer.status_code == 302 and answer["Location"].startswith("/admin/login/"))
    }
    assert reached == {}


# --- Somebody else ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", [with_key, with_session], ids=["key", "session"])
def test_somebody_else_reaches_nothing(way: Callable[[Actor], Api], world: World) -> None:
    client, before = way(world.caller), _snapshot(world)

    complaints = [
        complaint
        for call in CALLS
        if way is with_session or not call.session_only
        for complaint in _complaints(call, world, _send(client, call, world))
    ]

    assert complaints == []
    assert _snapshot(world) == before


def test_keys_and_projects_are_not_managed_with_a_key(world: World) -> None:
    client = with_key(world.victim)
    # Its first use is noted in the key's row.
    client.read("me")
    before = _snapshot(world)

    answers = {call: _send(client, call, world) for call in CALLS if call.session_only}

    assert {str(call): answer.status_code for call, answer in answers.items()} == dict.fromkeys(
        map(str, answers), 403
    )
    assert _snapshot(world) == before


@pytest.mark.parametrize("way", [with_key, with_session], ids=["key", "session"])
def test_the_header_opens_no_other_project(way: Callable[[Actor], Api], world: World) -> None:
    client, before = way(world.caller), _snapshot(world)
    header = {"X-Project-Id": world.names["project"]}

    answers = {call: _send(client, call, world, **header) for call in CALLS}

    assert {str(call) for call, answer in answers.items() if answer.status_code != 404} == set()
    assert _snapshot(world) == before


def test_with_the_scoping_switched_off_the_database_still_shows_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for view in _api_routes().values():
        monkeypatch.setattr(view, "get_queryset", GenericAPIView.get_queryset)
    client, before = with_session(world.caller), _snapshot(world)

    complaints = [
        complaint
        for call in CALLS
        for complaint in _complaints(call, world, _send(client, call, world))
    ]

    assert complaints == []
    assert _snapshot(world) == before


def test_with_row_level_security_switched_off_the_scoping_still_shows_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line holds by itself."""
    monkeypatch.setattr(ApiView, "acting", lambda _: transaction.atomic())
    client, before = with_session(world.caller), _snapshot(world)

    complaints = [
        complaint
        for call in CALLS
        for complaint in _complaints(call, world, _send(client, call, world))
    ]

    assert complaints == []
    assert _snapshot(world) == before


def test_a_viewer_of_the_project_changes_nothing(world: World) -> None:
    make_member(world.victim.project, user=world.caller.user, role=Role.VIEWER)
    client = with_session(make_actor(world.caller.user, project=world.victim.project))
    before = _snapshot(world)

    answers = {
        call: _send(client, call, world)
        for call in CALLS
        if call.method != "GET"
        and not call.session_only
        and not call.personal
        and "{own" not in call.path
    }

    assert {str(call) for call, answer in answers.items() if answer.status_code != 403} == set()
    # The refusals are noted.
    assert {name for name, rows in _snapshot(world).items() if rows != before[name]} == {
        "access.AuditEvent"
    }


# --- And afterwards --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "models", None, 200),
        ("POST", "test-suites", {"name": "New"}, 201),
        ("POST", "test-suites", {"name": "Taken"}, 400),
        ("POST", "test-suites", {"name": []}, 400),
        ("GET", "models/0190a0b0-0000-7000-8000-000000000000", None, 404),
        ("PUT", "models", {}, 405),
        ("GET", "me", None, 500),
        ("GET", "audit", None, 503),
    ],
    ids=str,
)
def test_no_request_leaves_the_connection_in_the_apis_role(
    method: str, path: str, body: Any, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = make_actor()
    make_suite(actor, name="Taken")
    client = with_key(actor)
    client.raise_request_exception = False
    monkeypatch.setattr("access.views.Me._projects", lambda _: 1 / 0)
    monkeypatch.setattr("access.views.Audit.get", _lose_the_connection)

    answer = client.send(method, path, body)

    assert answer.status_code == status, answer.content
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_setting('evalsched.project_id', true)")
        role, project = cursor.fetchone()
    assert role != API_ROLE
    assert not project


def _lose_the_connection(*_: Any) -> None:
    """Break what lies beneath Django's connection, and find out."""
    connection.connection.close()
    connection.cursor().execute("SELECT 1")

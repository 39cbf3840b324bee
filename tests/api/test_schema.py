"""The OpenAPI document: whole, true, and held against the service by generated requests."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.utils.crypto import get_random_string
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from batches import batches
from tests.clients import anonymous
from tests.factories import (
    NOW,
    make_actor,
    make_agent,
    make_alert,
    make_batch,
    make_channel,
    make_document,
    make_endpoint,
    make_event,
    make_experiment,
    make_key,
    make_model_run,
    make_notification,
    make_rule,
    make_run,
    make_schedule,
    make_suite,
    make_user,
)

METHODS = ("get", "post", "put", "patch", "delete")
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def _generated() -> dict[str, Any]:
    generator: Any = SchemaGenerator
    document: dict[str, Any] = generator().get_schema(request=None, public=True)
    return document


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return _generated()


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def test_it_is_made_without_warnings() -> None:
    with GENERATOR_STATS.silence():
        GENERATOR_STATS.reset()
        _generated()

    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate: Any = validate_schema
    validate(document)


def test_the_command_that_writes_it_finds_nothing_to_warn_of(tmp_path: Any) -> None:
    target = tmp_path / "schema.yaml"

    call_command("spectacular", file=str(target), validate=True, fail_on_warn=True)

    assert target.stat().st_size > 10_000


def test_anybody_may_read_it(db: None) -> None:
    answer = anonymous().read("schema", Accept="application/vnd.oai.openapi+json")

    assert answer.status_code == 200
    assert "/api/batches" in json.loads(answer.content)["paths"]


def test_it_is_made_once_whatever_the_query_says(
    db: None, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = "application/vnd.oai.openapi+json"
    first = anonymous().read("schema", Accept=accept)

    def made(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(SchemaGenerator, "get_schema", made)
    for query in ("x=1", "x=2", "version=9", "lang=de", "format=yaml"):
        assert anonymous().read(f"schema?{query}", Accept=accept).content == first.content
    assert json.loads(first.content)["paths"].keys() == document["paths"].keys()
    assert first["Content-Type"].startswith(accept)


def test_it_is_yaml_where_nothing_else_is_asked_for(db: None) -> None:
    answer = anonymous().read("schema")

    assert answer["Content-Type"].startswith("application/vnd.oai.openapi;")
    assert answer.content.startswith(b"openapi: 3.1")


def test_the_pages_ask_nothing_of_the_internet(db: None) -> None:
    page = anonymous().send("GET", "docs").content.decode()

    assert "/static/drf_spectacular_sidecar/" in page
    assert "https://" not in page.replace("https://www.w3.org", "")


def test_every_operation_has_an_answer_and_the_errors_that_any_may_give(
    document: dict[str, Any],
) -> None:
    errors = {"400", "401", "403", "404", "405", "406", "409", "413", "415", "429", "503"}

    for name, operation in _operations(document):
        declared = set(operation["responses"])
        assert errors <= declared, name
        assert declared & {"200", "201", "202", "204"}, name
        for status in errors:
            content = operation["responses"][status]["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}, name


def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in _operations(document)]

    assert len(names) == len(set(names)) > 30


def test_no_path_ends_with_a_slash(document: dict[str, Any]) -> None:
    assert [path for path in document["paths"] if path.endswith("/")] == []


def test_objects_are_closed(document: dict[str, Any]) -> None:
    open_ones = [
        name
        for name, schema in document["components"]["schemas"].items()
        if schema.get("type") == "object"
        and "properties" in schema
        and schema.get("additionalProperties") is not False
    ]

    assert open_ones == []


def test_what_is_written_only_is_in_no_answer(document: dict[str, Any]) -> None:
    """Requests and answers are components of their own."""
    properties = document["components"]["schemas"]["ModelEndpoint"]["properties"]

    assert "api_key_configured" in properties
    assert "api_key" not in properties
    assert "headers" not in properties


def test_credentials_are_declared(document: dict[str, Any]) -> None:
    assert set(document["components"]["securitySchemes"]) == {"apiKey", "apiKeyHeader", "session"}
    assert all(operation["security"] for _, operation in _operations(document))


# --- Generated requests ----------------------------------------------------------------------

GENERATING = hypothesis_settings(
    max_examples=12,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
OPENING_HEADERS = {"authorization", "x-api-key", "x-service-role-key", "x-project-id", "cookie"}


@dataclass
class Trial:
    """Generated requests of somebody who has logged in, and what came of them.

    Every second request is aimed at things that exist; the others name what was made up. Nothing
    that exists is deleted, as what comes later needs it.
    """

    cookies: dict[str, str]
    ids: dict[str, str]
    failures: list[str] = field(default_factory=list)
    seen: dict[str, set[int]] = field(default_factory=dict)
    sent: int = 0

    def send(self, case: Any) -> None:
        """Send one request and note what is wrong with the answer."""
        self.sent += 1
        if self.sent % 2 and case.method != "DELETE":
            self._aim(case)
        generated = case.headers or {}
        kept = {name: generated[name] for name in generated if name.lower() not in OPENING_HEADERS}
        case.headers = {**kept, "X-CSRFToken": self.cookies["csrftoken"]}
        case.cookies = dict(self.cookies)
        answer = case.call()
        self.seen.setdefault(case.operation.label, set()).add(answer.status_code)
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Failure, FailureGroup) as failure:
            self.failures.append(f"{case.operation.label}: {failure}"[:1500])

    def _aim(self, case: Any) -> None:
        if case.method == "POST" and case.operation.path.endswith("/cases"):
            # What a case may be is told in sentences; the schema allows more.
            case.body = {"prompt": "Hello"}
        for ending, body in TAKEN.items():
            if case.method != "GET" and case.operation.path.endswith(ending):
                case.body = dict(body)
        if case.method == "POST" and case.operation.path.endswith("/notification-channels"):
            # What a configuration may hold depends on the kind.
            case.body = CHANNEL | {"name": f"Channel {self.sent}"}
        if case.method == "POST" and case.operation.path.endswith("/scheduled-evaluations"):
            # A model or an agent answers, and not both.
            case.body = SCHEDULE | {"name": f"Schedule {self.sent}"}
        self._aim_address(case)
        bodies = [case.body, case.body.get("config") if isinstance(case.body, dict) else None]
        for body in bodies:
            if isinstance(body, dict):
                body |= {name: self.ids[name] for name in AIMED if name in body}

    def _aim_address(self, case: Any) -> None:
        for name in case.path_parameters or {}:
            case.path_parameters[name] = self.ids.get(name, case.path_parameters[name])
        if case.query:
            case.query |= {name: self.ids[name] for name in ("ids", "format") if name in case.query}


# The schema does not say which texts are zones or expressions, nor which range is in the past, nor
# what a call of a model needs.
_MODEL_RUN = {
    "model_name": "Endpoint",
    "schedule": "0 * * * *",
    "parameters": {"prompt": "Hello", "token": "x"},
}
TAKEN: dict[str, dict[str, Any]] = {
    "/batch-testing/run": {"config": {"test_suite_id": "", "model_id": ""}},
    "/scheduled": _MODEL_RUN,
    "/{model_run_id}": _MODEL_RUN,
    "/scheduled-evaluations/preview": {"schedule_type": "hourly"},
    # Either a text or an address.
    "/documents": {"content": "Hello"},
    "/backfill": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-01T05:00:00Z"},
}
# What has to name something, or be something, for a request to be taken.
CHANNEL = {"kind": "email", "configuration": {"address": "ops@example.org"}}
SCHEDULE = {"schedule_type": "hourly", "test_suite_id": "", "model_id": ""}
AIMED = (
    *("test_suite_id", "model_id", "username", "baseline", "candidate"),
    *("format", "content", "file"),
)


@pytest.fixture
def trial(transactional_db: None, settings: Settings) -> Trial:
    """A project with one of everything, and the cookies of a browser that acts in it."""
    settings.EVALSCHED_RATE_LIMIT_READS = settings.EVALSCHED_RATE_LIMIT_WRITES = 1_000_000
    actor = make_actor()
    suite, endpoint = make_suite(actor), make_endpoint(actor, name="Endpoint", api_key="sk-x")
    schedule = make_schedule(actor, suite=suite, endpoint=endpoint)
    things: dict[str, Any] = {
        "suite_id": suite,
        "test_suite_id": suite,
        "case_id": suite.cases.all()[0],
        "endpoint_id": endpoint,
        "model_id": endpoint,
        "batch_id": make_batch(actor, suite=suite, endpoint=endpoint),
        "schedule_id": schedule,
        "run_id": make_run(schedule),
        "channel_id": make_channel(actor, url="https://hooks.example.org/"),
        "notification_id": make_notification(make_event(actor), status="failed"),
        "agent_id": make_agent(actor, endpoint=endpoint),
        "document_id": make_document(actor),
        "model_run_id": make_model_run(actor, endpoint=endpoint),
        "project_id": actor.project,
        "member_id": actor.user.memberships.all()[0],
        "key_id": make_key(actor)[0],
        "rule_id": make_rule(actor),
    }
    things["alert_id"] = make_alert(things["rule_id"])
    for side in ("baseline", "candidate"):
        things[side] = make_batch(actor, suite=suite, endpoint=endpoint)
        assert batches.cancel(things[side], now=NOW)
    browser, token = Client(), get_random_string(32)
    browser.force_login(actor.user)
    cookies = {"sessionid": browser.cookies["sessionid"].value, "csrftoken": token}
    tracked = make_experiment(actor)
    things |= {"agent_id": tracked.agent, "document_id": make_document(actor)}
    ids = {name: str(thing.pk) for name, thing in things.items()}
    ids |= {"tracking_id": tracked.tracking_id, "ids": f"{ids['baseline']},{ids['candidate']}"}
    case = '{"prompt": "x"}'
    ids |= {"username": make_user().username, "format": "jsonl", "content": case, "file": case}
    return Trial(cookies, ids)


@pytest.mark.timeout(300)
def test_generated_requests_find_no_undeclared_answer(trial: Trial) -> None:
    document = schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application())
    results: list[Any] = list(document.get_all_operations())
    operations = [result.ok() for result in results]

    for operation in operations:

        @hypothesis_settings(GENERATING)
        @given(case=operation.as_strategy())
        def send_some(case: Any) -> None:
            trial.send(case)

        send_some()

    assert "\n\n".join(trial.failures[:10]) == ""
    # And they were not all turned away at the door.
    failed_only = {
        label: statuses
        for label, statuses in trial.seen.items()
        if not statuses & {200, 201, 202, 204}
        # A change before it may have left the schedule without an occurrence in the range.
        and not label.startswith("DELETE")
        and not label.endswith("/backfill")
    }
    assert len(trial.seen) == len(operations)
    assert failed_only == {}

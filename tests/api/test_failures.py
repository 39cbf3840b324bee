"""Every error, from every origin, in the one shape."""

import json
import uuid
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import close_old_connections, connection

from access.actors import Actor
from batches.models import ModelEndpoint, TestSuite
from tests.api.crashing_urls import CRASHES, DETAIL
from tests.clients import Api, anonymous, with_key, with_session
from tests.factories import make_actor, make_batch, make_schedule, make_suite

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
TYPES = {
    400: "invalid",
    401: "not_authenticated",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
    503: "unavailable",
}


def assert_error(answer: Any, status: int, *fields: str) -> dict[str, Any]:
    """Hold `answer` to the one shape, its details to `fields`, and return its body."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"error", "message", "status_code", "correlation_id"} | (
        {"details"} if fields else set()
    )
    assert body["error"] == TYPES[status]
    assert body["status_code"] == status
    assert body["correlation_id"] == answer["X-Request-ID"]
    assert len(body["message"]) > 10
    if fields:
        assert tuple(sorted(body["details"])) == tuple(sorted(fields))
        assert all(sentences for sentences in body["details"].values())
    return body


@pytest.fixture
def suite(actor: Actor) -> TestSuite:
    return make_suite(actor)


# --- Bodies that are none --------------------------------------------------------------------

BAD_BODIES = {
    "cut off": b'{"name": "x"',
    "no JSON": b"name=x",
    "single quotes": b"{'name': 'x'}",
    "deep": b"[" * 100_000,
    "deep and closed": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": -Infinity}',
    "huge float": b'{"name": 1e999}',
    "NUL": b'{"name": "a\\u0000b"}',
    "raw NUL": b'{"name": "a\x00b"}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "5,000 digits": b'{"name": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "key twice": b'{"name": "x", "name": "y"}',
    "nothing but a space": b" ",
    "trailing": b'{"name": "x"} {}',
}
# Every kind of address that takes a body.
TAKERS = [
    "POST test-suites",
    "PATCH test-suites/{suite}",
    "POST test-suites/{suite}/cases",
    "PATCH test-suites/{suite}/cases/{case}",
    "POST test-suites/{suite}/import",
    "POST models",
    "POST batches",
    "POST batch-testing/run",
    "POST scheduled-evaluations",
]


def _send_raw(api: Api, taker: str, suite: TestSuite, raw: bytes, **options: Any) -> Any:
    method, path = taker.split()
    filled = path.format(suite=suite.pk, case=suite.cases.all()[0].pk)
    return api.send(method, filled, raw=raw, **options)


@pytest.mark.parametrize("taker", TAKERS)
def test_a_body_that_is_no_good_json_is_400(taker: str, api: Api, suite: TestSuite) -> None:
    for raw in BAD_BODIES.values():
        assert_error(_send_raw(api, taker, suite, raw), 400)


@pytest.mark.parametrize("taker", TAKERS)
def test_a_body_that_is_no_object_is_400(taker: str, api: Api, suite: TestSuite) -> None:
    values: list[object] = [[], [{}], "text", 5, None, True]
    for value in values:
        answer = _send_raw(api, taker, suite, json.dumps(value).encode())

        assert answer.status_code == 400, value
        assert answer.json()["error"] == "invalid"


@pytest.mark.parametrize("taker", TAKERS)
def test_a_body_of_another_type_is_415(taker: str, api: Api, suite: TestSuite) -> None:
    for content_type in (
        "text/plain",
        "text/html",
        "application/xml",
        "application/x-www-form-urlencoded",
        "nonsense",
        # Imports take a form.
        *([] if taker.endswith("import") else ["multipart/form-data; boundary=x"]),
    ):
        answer = _send_raw(api, taker, suite, b'{"name": "x"}', content_type=content_type)

        assert_error(answer, 415)


@pytest.mark.parametrize(
    "taker", [taker for taker in TAKERS if not taker.endswith(("cases", "import"))]
)
def test_a_body_of_ten_megabytes_is_413(taker: str, api: Api, suite: TestSuite) -> None:
    raw = b'{"name": "' + b"x" * 10_000_000 + b'"}'

    assert_error(_send_raw(api, taker, suite, raw), 413)


def test_an_import_may_be_large_and_not_endless(api: Api, suite: TestSuite) -> None:
    limit = django_settings.EVALSCHED_MAX_BODY_IMPORT_BYTES
    raw = b'{"format": "jsonl", "content": "' + b"x" * limit + b'"}'

    assert_error(api.send("POST", f"test-suites/{suite.pk}/import", raw=raw), 413)


def test_a_body_with_a_byte_order_mark_is_read(api: Api) -> None:
    raw = b"\xef\xbb\xbf" + '{"name": "Größe 😀"}'.encode()

    answer = api.send("POST", "test-suites", raw=raw)

    assert answer.status_code == 201
    assert answer.json()["name"] == "Größe 😀"


# --- Fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("test-suites", {}, ["name"]),
        ("test-suites", {"name": None}, ["name"]),
        ("test-suites", {"name": ""}, ["name"]),
        ("test-suites", {"name": "x" * 201}, ["name"]),
        ("test-suites", {"name": []}, ["name"]),
        ("test-suites", {"name": {}}, ["name"]),
        ("test-suites", {"name": True}, ["name"]),
        ("test-suites", {"name": "x", "nonsense": 1}, ["nonsense"]),
        ("test-suites", {"name": "x", "a" * 500: 1}, ["a" * 100]),
        ("models", {"name": "x"}, ["model", "provider"]),
        (
            "models",
            {"name": "x", "provider": "demo", "model": "m", "price_input": "x"},
            ["price_input"],
        ),
        (
            "models",
            {"name": "x", "provider": "demo", "model": "m", "price_input": -1},
            ["price_input"],
        ),
        (
            "models",
            {"name": "x", "provider": "demo", "model": "m", "parameters": []},
            ["parameters"],
        ),
        (
            "models",
            {"name": "x", "provider": "demo", "model": "m", "headers": {"a": []}},
            ["headers.a"],
        ),
        ("batches", {}, ["model_id", "test_suite_id"]),
        ("batches", {"test_suite_id": "x", "model_id": "x"}, ["test_suite_id"]),
        ("batches", {"test_suite_id": [], "model_id": []}, ["model_id", "test_suite_id"]),
        ("batch-testing/run", {"config": {}}, ["config.model_id", "config.test_suite_id"]),
        ("batch-testing/run", {"config": []}, ["config.non_field_errors"]),
        ("batch-testing/run", {"test_suite_id": "x"}, ["config", "test_suite_id"]),
    ],
    ids=lambda part: str(part)[:60],
)
def test_a_bad_field_is_named(path: str, body: Any, fields: list[str], api: Api) -> None:
    assert_error(api.create(path, body), 400, *fields)


def test_what_only_the_service_writes_is_ignored(api: Api, actor: Actor) -> None:
    stranger = make_actor()
    body = {
        "id": str(uuid.uuid4()),
        "project_id": str(stranger.project.pk),
        "user_id": str(stranger.user.pk),
        "created_at": "2001-01-01T00:00:00Z",
        "version": 99,
        "content_hash": "0" * 64,
        "case_count": 99,
        "name": "New",
    }

    shown = api.create("test-suites", body).json()

    assert shown["id"] != body["id"]
    assert (shown["project_id"], shown["user_id"]) == (str(actor.project.pk), str(actor.user.pk))
    assert (shown["version"], shown["case_count"]) == (0, 0)
    assert not shown["created_at"].startswith("2001")


@pytest.mark.parametrize("thing", ["models", "test-suites", "batches", "scheduled-evaluations"])
def test_what_was_read_can_be_sent_back(thing: str, api: Api, actor: Actor) -> None:
    """An editor in a browser does so: the whole object, with one field changed."""
    make_schedule(actor, batch_test_config={"repeats": 2, "tags": ["a"]})
    make_batch(actor)
    shown = api.read(thing).json()["results"][0]

    answer = api.change(f"{thing}/{shown['id']}", shown | {"name": "Renamed"})

    assert answer.status_code == 200, answer.content
    changed = answer.json()
    assert changed.pop("name") == "Renamed"
    # What takes a look at all calls is not in lists.
    changed.pop("repeated", None)
    # The schedule was made in the past, and is due from now on.
    for moving in ("updated_at", "name", "next_run_at"):
        changed.pop(moving, None)
        shown.pop(moving, None)
    assert changed == shown


# --- Addresses and queries -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "models/nonsense",
        "models/123",
        f"models/{NOBODY}/nothing",
        "models/0190A0B0",
        "test-suites/%00",
        "test-suites/..%2f..%2fetc",
        "test-suites/" + "x" * 5000,
        "\U0001f600",
        "",
    ],
)
def test_an_unknown_address_is_404(path: str, api: Api) -> None:
    assert_error(api.read(path), 404)
    assert_error(anonymous().create(path, {}), 404)


@pytest.mark.parametrize(
    "path",
    ["models/{0}", "test-suites/{0}", "batches/{0}", "scheduled-evaluations/{0}", "keys/{0}"],
)
def test_an_id_that_names_nothing_is_404(path: str, actor: Actor) -> None:
    body = assert_error(with_session(actor).read(path.format(uuid.uuid4())), 404)

    assert body["message"].startswith("There is no such ")


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("me", "POST", "GET"),
        ("models", "DELETE", "GET POST"),
        ("models", "PUT", "GET POST"),
        ("batch-testing/run", "GET", "POST"),
        (f"models/{NOBODY}", "POST", "GET PATCH DELETE"),
    ],
    ids=str,
)
def test_a_wrong_method_is_405_and_says_which_are_right(
    path: str, method: str, allowed: str, api: Api
) -> None:
    answer = api.send(method, path, {})

    assert_error(answer, 405)
    named = {name.strip() for name in answer["Allow"].split(",")}
    right = set(allowed.split())
    assert right <= named <= right | {"OPTIONS", "HEAD"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=abc", "limit"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=٣", "limit"),
        ("offset=abc", "offset"),
        ("offset=-1", "offset"),
        ("offset=" + "9" * 20, "offset"),
        ("ordering=nope", "ordering"),
        ("ordering=-", "ordering"),
        ("ordering=api_key", "ordering"),
        ("ordering=project__name", "ordering"),
        ("ordering=name,nope", "ordering"),
    ],
    ids=lambda part: part[:40],
)
def test_a_query_that_makes_no_sense_is_400(query: str, field: str, api: Api) -> None:
    for path in ("models", "scheduled-evaluations", "batches"):
        assert_error(api.read(f"{path}?{query}"), 400, field)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("batches?status=nope", "status"),
        ("batches?test_suite_id=nope", "test_suite_id"),
        ("batches?model_id=%00", "model_id"),
        ("test-suites?name=%00", "name"),
        ("scheduled-evaluations?test_suite_id=nope", "test_suite_id"),
        ("audit?action=%00", "action"),
    ],
)
def test_a_filter_that_makes_no_sense_is_400(query: str, field: str, api: Api) -> None:
    assert_error(api.read(query), 400, field)


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/png", "nonsense"])
def test_another_format_is_406(accept: str, api: Api) -> None:
    assert_error(api.read("models", Accept=accept), 406)


# --- Correlation ids -------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["abc", "A-b.c_9", "x" * 64, NOBODY])
def test_a_harmless_id_of_the_client_is_kept(given: str, api: Api) -> None:
    answer = api.read("models/nonsense", **{"X-Request-ID": given})

    assert assert_error(answer, 404)["correlation_id"] == given
    assert api.read("me", **{"X-Request-ID": given})["X-Request-ID"] == given


@pytest.mark.parametrize(
    "given", ["", " ", "a b", "x" * 65, "<script>", 'a"b', "a;b", "é", "a\tb", "../x", "%0a"]
)
def test_a_harmful_id_of_the_client_is_replaced(given: str, api: Api) -> None:
    answer = api.read("models/nonsense", **{"X-Request-ID": given})

    kept = assert_error(answer, 404)["correlation_id"]
    assert kept != given
    assert len(kept) == 32


def test_two_requests_have_two_ids(api: Api) -> None:
    assert api.read("me")["X-Request-ID"] != api.read("me")["X-Request-ID"]


def test_the_id_is_in_the_log_lines_of_its_request(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    answer = api.read("models?limit=abc", **{"X-Request-ID": "find-me"})

    assert answer.status_code == 400
    assert "find-me" in caplog.text


# --- Crashes ---------------------------------------------------------------------------------


@pytest.mark.urls("tests.api.crashing_urls")
@pytest.mark.parametrize("way", ["api/crash", "crash"], ids=["in the API", "in another view"])
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("value", 500),
        ("key", 500),
        ("recursion", 500),
        ("memory", 500),
        ("missing", 404),
        ("denied", 403),
        ("suspicious", 400),
        ("operational", 503),
        ("interface", 503),
    ],
)
def test_whatever_a_view_raises_has_the_shape_and_no_details(
    kind: str, status: int, way: str, api: Api
) -> None:
    assert kind in CRASHES
    api.raise_request_exception = False

    answer = api.get(f"/{way}/{kind}")

    assert_error(answer, status)
    assert DETAIL not in answer.content.decode()
    assert "Traceback" not in answer.content.decode()
    if status == 503:
        assert int(answer["Retry-After"]) >= 1


@pytest.mark.urls("tests.api.crashing_urls")
def test_a_crash_is_found_by_the_clients_id(api: Api) -> None:
    api.raise_request_exception = False

    answer = api.read("crash/value", **{"X-Request-ID": "find-me"})

    assert assert_error(answer, 500)["correlation_id"] == "find-me"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_database_it_is_503_and_comes_back(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = make_actor()
    clients = [with_key(actor), with_session(actor)]

    with monkeypatch.context() as away:
        away.setitem(connection.settings_dict, "HOST", "/nobody/listens/here")
        connection.close()
        answers = [client.send(method, "test-suites", {"name": "x"}) for client in clients]
        connection.close()

    for answer in answers:
        assert_error(answer, 503)
        assert int(answer["Retry-After"]) >= 1
    assert clients[0].read("me").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_broke_is_replaced() -> None:
    client = with_key(make_actor())
    assert client.read("me").status_code == 200

    connection.connection.close()
    broken = client.read("me")
    # The server does so around every request, Django's test client does not.
    close_old_connections()
    mended = client.read("me")

    assert_error(broken, 503)
    assert mended.status_code == 200


def test_nothing_is_left_of_a_request_that_failed_halfway(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.raise_request_exception = False
    monkeypatch.setattr("access.audit.record", lambda *_: 1 / 0)

    answer = api.create("models", {"name": "Half", "provider": "demo", "model": "demo"})

    assert_error(answer, 500)
    assert not ModelEndpoint.objects.exists()


def test_a_body_in_chunks_that_the_server_does_not_join_is_refused(api: Api) -> None:
    answer = api.create("test-suites", {"name": "x"}, **{"Transfer-Encoding": "chunked"})

    assert answer.status_code == 400
    assert "Content-Length" in answer.json()["message"]


def test_a_name_that_is_not_allowed_is_told_which_setting_allows_it(api: Api) -> None:
    answer = api.read("me", Host="elsewhere.example")

    assert answer.status_code == 400
    assert "ALLOWED_HOSTS" in answer.json()["message"]


def test_a_form_is_told_to_come_as_json(api: Api) -> None:
    answer = api.send(
        "POST", "test-suites", raw=b"name=x", content_type="application/x-www-form-urlencoded"
    )

    assert answer.status_code == 415
    assert "application/json" in answer.json()["message"]

"""POST and GET /api/analytics/traces."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from access import clock
from access.actors import Actor
from alerts import traces
from alerts.models import Trace
from tests.clients import Api, with_key
from tests.factories import NOW, make_actor, make_span, store_spans

pytestmark = pytest.mark.django_db
PATH = "analytics/traces"
LEAST = {"span_name": "chat demo", "latency_ms": 120, "status": "success"}


@pytest.fixture
def program(actor: Actor) -> Api:
    """A client whose key may report traces and nothing else."""
    return with_key(actor, "ingest")


def _one(actor: Actor) -> Trace:
    return Trace.objects.get(project=actor.project)


def test_the_least_is_a_name_a_latency_and_a_status(program: Api, actor: Actor) -> None:
    before = clock.database_now()

    answer = program.create(PATH, LEAST)

    assert answer.status_code == 201
    assert answer.json() == {"accepted": 1, "rejected": 0, "errors": []}
    row = _one(actor)
    assert row.operation == row.span_name == "chat demo"
    assert before <= row.ended_at <= clock.database_now()
    assert row.ended_at - row.started_at == timedelta(milliseconds=120)
    assert (len(row.trace_id), len(row.span_id)) == (32, 16)
    assert row.cost is None
    assert row.total_tokens is None


def test_every_field_is_taken(program: Api, actor: Actor) -> None:
    ended = clock.database_now() - timedelta(minutes=3)
    sent = LEAST | {
        "operation": "chat",
        "model": "gpt",
        "provider": "openai",
        "status": "error",
        "ttft_ms": 20.5,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost": "0.000123",
        "started_at": (ended - timedelta(milliseconds=120)).isoformat(),
        "ended_at": ended.isoformat(),
        "attributes": {"a": 1},
        "trace_id": "t",
        "span_id": "s",
        "parent_span_id": "p",
    }

    program.create(PATH, sent)

    shown = with_key(actor).read(PATH).json()["results"][0]
    assert {
        name: shown[name] for name in sent if name not in {"started_at", "ended_at", "cost"}
    } == {name: sent[name] for name in sent if name not in {"started_at", "ended_at", "cost"}}
    assert shown["cost"] == "0.000123000000"
    assert shown["total_tokens"] == 15
    assert datetime.fromisoformat(shown["ended_at"]) == ended


def test_unknown_keys_become_attributes(program: Api, actor: Actor) -> None:
    program.create(PATH, LEAST | {"user": "x", "total_tokens": 7, "attributes": {"a": 1}})

    assert _one(actor).attributes == {"a": 1, "user": "x"}
    assert _one(actor).total_tokens == 7


@pytest.mark.parametrize(
    ("given", "length_ms"),
    [
        ({"started_at": -1000}, 120),
        ({"ended_at": -1000}, 120),
        ({"started_at": -1500, "ended_at": -1000, "latency_ms": None}, 500),
        ({"started_at": -1500, "ended_at": -1000, "latency_ms": 120}, 500),
    ],
    ids=str,
)
def test_a_time_that_is_missing_follows_from_the_others(
    given: dict[str, Any], length_ms: int, program: Api, actor: Actor
) -> None:
    now = clock.database_now()
    times = {
        name: (now + timedelta(milliseconds=value)).isoformat() if name.endswith("_at") else value
        for name, value in given.items()
    }

    answer = program.create(PATH, LEAST | times)

    assert answer.status_code == 201, answer.content
    row = _one(actor)
    assert (row.ended_at - row.started_at) / timedelta(milliseconds=1) == length_ms


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("span_name", None),
        ("span_name", 5),
        ("span_name", ""),
        ("status", "ok"),
        ("status", []),
        ("latency_ms", None),
        ("latency_ms", -1),
        ("latency_ms", "12"),
        ("latency_ms", True),
        ("latency_ms", 1e300),
        ("ttft_ms", -1),
        ("input_tokens", -1),
        ("input_tokens", 1.5),
        ("output_tokens", 2**63),
        ("output_tokens", 1e300),
        ("total_tokens", "7"),
        ("cost", "much"),
        ("cost", -1),
        ("cost", True),
        ("cost", "NaN"),
        ("cost", 1_000_000),
        ("cost", "999999.9999999999999"),
        ("cost", {}),
        ("ended_at", "yesterday"),
        ("ended_at", 5),
        ("ended_at", "1970-01-01T00:00:00Z"),
        ("ended_at", "9999-01-01T00:00:00Z"),
        ("ended_at", "0001-01-01T00:00:00Z"),
        ("started_at", "9999-12-31T23:59:59.999Z"),
        ("started_at", "0001-01-01T00:00:00+14:00"),
        ("attributes", []),
        ("trace_id", "x" * 65),
        ("span_id", "é"),
        ("model", 5),
    ],
    ids=str,
)
def test_what_is_wrong_with_one_span_is_said_by_field(
    field: str, value: Any, program: Api, actor: Actor
) -> None:
    answer = program.create(PATH, LEAST | {field: value})

    assert answer.status_code == 400, answer.content
    named = set(answer.json()["details"])
    assert field in named or (field == "started_at" and "ended_at" in named)
    assert not Trace.objects.filter(project=actor.project).exists()


@pytest.mark.parametrize("body", [5, "x", None, True])
def test_what_is_no_span_at_all_is_refused(body: object, program: Api) -> None:
    assert program.send("POST", PATH, raw=str(body).encode()).status_code == 400


def test_of_a_list_the_good_ones_are_taken(program: Api, actor: Actor) -> None:
    answer = program.create(PATH, [LEAST, 5, LEAST | {"latency_ms": "x"}, LEAST])

    assert answer.status_code == 201
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 2)
    assert [error["index"] for error in body["errors"]] == [1, 2]
    assert "latency_ms" in body["errors"][1]["details"]
    assert Trace.objects.filter(project=actor.project).count() == 2


@pytest.mark.parametrize(
    "odd",
    [
        {"started_at": "9999-12-31T23:59:59.999Z", "latency_ms": 1000},
        {"ended_at": "0001-01-01T00:00:00Z"},
        {"cost": "999999.9999999999999"},
    ],
    ids=str,
)
def test_a_number_out_of_range_costs_no_other_span(
    odd: dict[str, Any], program: Api, actor: Actor
) -> None:
    body = program.create(PATH, [LEAST, LEAST | odd]).json()

    assert (body["accepted"], body["rejected"]) == (1, 1)
    assert Trace.objects.filter(project=actor.project).count() == 1


def test_two_times_are_as_far_apart_as_a_latency_may_be_long(program: Api) -> None:
    ended = clock.database_now()
    times = {"started_at": ended - timedelta(days=12), "ended_at": ended}
    sent = LEAST | {name: time.isoformat() for name, time in times.items()}

    answers = [program.create(PATH, body) for body in (sent, sent | {"latency_ms": None})]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert "started_at" in answers[0].json()["details"]


def test_days_that_are_taken_are_named_as_they_are(program: Api) -> None:
    now = clock.database_now()
    last = (now + timedelta(days=2)).date()

    late, too_late = (
        program.create(PATH, LEAST | {"ended_at": f"{day}T12:00:00Z"})
        for day in (last, last + timedelta(days=1))
    )

    assert (late.status_code, too_late.status_code) == (201, 400)
    assert f" to {last}." in too_late.json()["message"]


def test_an_empty_list_is_taken(program: Api) -> None:
    assert program.create(PATH, []).json() == {"accepted": 0, "rejected": 0, "errors": []}


def test_a_span_with_its_ids_and_end_is_taken_once(program: Api, actor: Actor) -> None:
    span = LEAST | {
        "trace_id": "t",
        "span_id": "s",
        "ended_at": clock.database_now().isoformat(),
    }

    answers = [program.create(PATH, span).json()["accepted"] for _ in range(3)]

    assert answers == [1, 1, 1]
    assert Trace.objects.filter(project=actor.project).count() == 1


def test_a_key_for_traces_does_nothing_else(program: Api) -> None:
    assert program.read(PATH).status_code == 403
    assert program.create("test-suites", {"name": "x"}).status_code == 403


def test_a_key_that_writes_may_report_as_well(actor: Actor) -> None:
    assert with_key(actor, "write").create(PATH, LEAST).status_code == 201
    assert with_key(actor, "read").create(PATH, LEAST).status_code == 403


def test_a_body_may_be_as_large_as_the_setting_says(program: Api, settings: Settings) -> None:
    settings.EVALSCHED_MAX_BODY_TRACES_BYTES = 200

    assert program.create(PATH, LEAST).status_code == 201
    assert program.create(PATH, [LEAST] * 5).status_code == 413


def test_a_list_may_be_as_long_as_what_exporters_send(program: Api, actor: Actor) -> None:
    answer = program.create(PATH, [LEAST] * (traces.MOST_SPANS + 1))

    assert answer.status_code == 413
    assert answer.json()["error"] == "payload_too_large"
    assert "a request takes 25,000" in answer.json()["message"]
    assert not Trace.objects.filter(project=actor.project).exists()


def test_reports_have_a_limit_of_their_own(program: Api, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_INGEST = 2
    settings.EVALSCHED_RATE_LIMIT_WRITES = 1

    answers = [program.create(PATH, LEAST) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert int(answers[-1]["Retry-After"]) >= 1


# --- Reading ---------------------------------------------------------------------------------


def _three(actor: Actor) -> None:
    minute = timedelta(minutes=1)
    store_spans(
        actor,
        [
            make_span(1, model="a", operation="chat"),
            make_span(2, model="b", operation="chat", ended_at=NOW + minute),
            make_span(3, model="b", operation="embeddings", ended_at=NOW + 2 * minute),
        ],
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [3, 2, 1]),
        ("?model=b", [3, 2]),
        ("?operation=chat", [2, 1]),
        ("?model=b&operation=chat", [2]),
        ("?status=error", []),
        ("?status=success", [3, 2, 1]),
        ("?source=ingest", [3, 2, 1]),
        ("?source=evaluation", []),
        ("?start=2025-01-15T10:01:00Z", [3, 2]),
        ("?end=2025-01-15T10:01:00Z", [1]),
        ("?start=2025-01-15T10:01:00Z&end=2025-01-15T10:02:00Z", [2]),
        (f"?trace_id={2:032x}", [2]),
    ],
)
def test_the_list_is_narrowed_down(query: str, found: list[int], api: Api, actor: Actor) -> None:
    _three(actor)

    body = api.read(PATH + query).json()

    assert [int(row["span_id"], 16) for row in body["results"]] == found
    assert body["count"] == len(found)


@pytest.mark.parametrize(
    "query", ["model=x", "operation=x", "model=x&operation=x", "status=error", "source=evaluation"]
)
def test_what_no_span_is_is_found_out_without_reading_them_all(
    query: str, api: Api, actor: Actor
) -> None:
    store_spans(actor, [make_span(number) for number in range(1000)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE alerts_trace")
    with CaptureQueriesContext(connection) as captured:
        body = api.read(f"{PATH}?{query}").json()

    listed = [each["sql"] for each in captured if "alerts_trace" in each["sql"]]
    with connection.cursor() as cursor:
        plans = []
        for statement in listed:
            cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}")
            plans.append("\n".join(row[0] for row in cursor.fetchall()))

    assert body["count"] == 0
    assert len(plans) == 2
    assert not [plan for plan in plans if "Rows Removed" in plan]


def test_times_may_have_any_offset(api: Api, actor: Actor) -> None:
    _three(actor)

    assert api.read(f"{PATH}?start=2025-01-16T08:01:00%2B22:00").json()["count"] == 2
    assert api.read(f"{PATH}?start=0001-01-01T00:00:00%2B22:00").status_code == 400


@pytest.mark.parametrize("query", ["?modell=a", "?status=ok", "?start=x", "?cursor=x", "?cursor=1"])
def test_what_is_not_understood_is_refused(query: str, api: Api) -> None:
    assert api.read(PATH + query).status_code == 400


def test_pages_lead_on_by_cursor_and_miss_nothing(api: Api, actor: Actor) -> None:
    # Many of one instant: then the id decides.
    store_spans(actor, [make_span(n) for n in range(7)])
    seen, path = [], f"{PATH}?limit=3"

    for _ in range(3):
        body = api.read(path).json()
        seen += [row["id"] for row in body["results"]]
        path = (body["next"] or "").partition("/api/")[2]

    assert path == ""
    assert len(seen) == len(set(seen)) == 7
    assert seen == sorted(seen, reverse=True)


def test_a_span_that_comes_meanwhile_moves_no_page(api: Api, actor: Actor) -> None:
    store_spans(actor, [make_span(n) for n in range(4)])
    first = api.read(f"{PATH}?limit=2").json()
    store_spans(actor, [make_span(9, ended_at=NOW + timedelta(seconds=1))])

    second = api.read(first["next"].partition("/api/")[2]).json()

    ids = [row["id"] for row in first["results"] + second["results"]]
    assert len(set(ids)) == 4


def test_somebody_elses_are_not_there(api: Api) -> None:
    _three(make_actor())

    assert api.read(PATH).json()["count"] == 0

"""POST /v1/traces as exporters send it."""

import gzip
import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from django.db import OperationalError, connection
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import Status, StatusCode
from pytest_django import Settings

from access import clock
from access.actors import Actor
from alerts import traces
from alerts.models import Trace
from alerts.otlp import JSON, PROTOBUF
from tests.alerts import otlp_messages
from tests.clients import Api, anonymous, with_key
from tests.factories import make_actor, make_key
from tests.processes_at_work import Running, web

MIB = 2**20


@pytest.fixture
def exporter(actor: Actor) -> Api:
    return with_key(actor, "ingest")


def _export(client: Api, body: bytes, content_type: str = PROTOBUF, **headers: str) -> Any:
    return client.generic("POST", "/v1/traces", body, content_type, headers=headers)


def _spans(count: int = 3, **fields: Any) -> list[Any]:
    now = clock.database_now()
    return [otlp_messages.span(number + 1, ended_at=now, **fields) for number in range(count)]


def _stored(actor: Actor) -> int:
    return Trace.objects.filter(project=actor.project).count()


def _status_of(answer: Any) -> tuple[int, str]:
    """Read a google.rpc.Status by hand: a small code and a message of less than 16 KiB."""
    body: bytes = answer.content
    assert body[0] == 0x08
    assert body[2] == 0x12
    start = 4 if body[3] < 0x80 else 5
    return body[1], body[start:].decode()


# --- In one process --------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content_type", "encode"),
    [
        (PROTOBUF, otlp_messages.protobuf),
        (JSON, otlp_messages.as_json),
        ("application/json; charset=utf-8", otlp_messages.as_json),
        ("Application/X-Protobuf", otlp_messages.protobuf),
    ],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_spans_are_taken_in_either_encoding(
    content_type: str, encode: Any, compressed: bool, exporter: Api, actor: Actor
) -> None:
    body = encode(*_spans())
    headers = {"Content-Encoding": "gzip"} if compressed else {}

    answer = _export(exporter, gzip.compress(body) if compressed else body, content_type, **headers)

    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == (JSON if encode is otlp_messages.as_json else PROTOBUF)
    assert answer.content == (b"{}" if encode is otlp_messages.as_json else b"")
    assert _stored(actor) == 3


@pytest.mark.django_db
def test_of_three_spans_with_one_bad_id_two_are_stored_however_often_they_come(
    exporter: Api, actor: Actor
) -> None:
    spans = _spans()
    spans[1]["span_id"] = b"\x01" * 7
    body = otlp_messages.protobuf(*spans)

    answers = [_export(exporter, body) for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 200
        partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
        assert partial.rejected_spans == 1
        assert "8 bytes" in partial.error_message
    assert _stored(actor) == 2


@pytest.mark.django_db
def test_the_same_span_in_both_encodings_is_one_row(exporter: Api, actor: Actor) -> None:
    spans = _spans(attributes={"gen_ai.operation.name": "chat"})

    _export(exporter, otlp_messages.protobuf(*spans))
    _export(exporter, otlp_messages.as_json(*spans), JSON)

    assert _stored(actor) == 3


@pytest.mark.django_db
def test_garbage_is_refused_for_good(exporter: Api) -> None:
    binary, text = _export(exporter, b"garbage"), _export(exporter, b"garbage", JSON)

    assert (binary.status_code, text.status_code) == (400, 400)
    assert _status_of(binary)[0] == 3
    assert text.json()["code"] == 3
    assert "JSON" in text.json()["message"]


@pytest.mark.django_db
def test_a_bomb_is_refused_as_too_large(exporter: Api, settings: Settings) -> None:
    settings.EVALSCHED_MAX_BODY_TRACES_BYTES = MIB
    bomb = gzip.compress(bytes(2 * MIB))

    answer = _export(exporter, bomb, **{"Content-Encoding": "gzip"})

    assert answer.status_code == 413
    assert "1,048,576 bytes" in _status_of(answer)[1]


@pytest.mark.django_db
def test_a_body_over_the_limit_is_refused_before_it_is_read_as_spans(
    exporter: Api, settings: Settings
) -> None:
    settings.EVALSCHED_MAX_BODY_TRACES_BYTES = 100

    assert _export(exporter, otlp_messages.protobuf(*_spans())).status_code == 413


@pytest.mark.django_db
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_more_spans_than_a_request_may_bring_are_refused_for_good(
    content_type: str, exporter: Api, actor: Actor
) -> None:
    """The database would take too long over them, and a 503 is sent again for ever."""
    span = otlp_messages.span(1, ended_at=clock.database_now())
    encode = otlp_messages.protobuf if content_type == PROTOBUF else otlp_messages.as_json

    answer = _export(exporter, encode(*[span] * (traces.MOST_SPANS + 1)), content_type)

    assert answer.status_code == 413
    said = _status_of(answer)[1] if content_type == PROTOBUF else answer.json()["message"]
    assert "25,001 spans; a request takes 25,000" in said
    assert _stored(actor) == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content_type", "headers"),
    [("text/plain", {}), ("", {}), (PROTOBUF, {"Content-Encoding": "br"})],
    ids=str,
)
def test_other_types_and_encodings_are_refused(
    content_type: str, headers: dict[str, str], exporter: Api
) -> None:
    assert _export(exporter, b"x", content_type, **headers).status_code == 415


@pytest.mark.django_db
def test_whoever_may_not_is_told_in_the_shape_that_exporters_read(actor: Actor) -> None:
    nobody, reader = _export(anonymous(), b""), _export(with_key(actor, "read"), b"{}", JSON)

    assert (nobody.status_code, _status_of(nobody)[0]) == (401, 16)
    assert nobody["WWW-Authenticate"] == "Bearer"
    assert (reader.status_code, reader.json()["code"]) == (403, 7)


@pytest.mark.django_db
def test_other_methods_are_told_apart(actor: Actor) -> None:
    client = with_key(actor)

    answers = {m: client.generic(m, "/v1/traces").status_code for m in ("GET", "PUT", "DELETE")}

    assert answers == {"GET": 405, "PUT": 405, "DELETE": 405}


@pytest.mark.django_db
def test_too_many_requests_are_told_when_to_come_again(exporter: Api, settings: Settings) -> None:
    settings.EVALSCHED_RATE_LIMIT_INGEST = 1

    body = otlp_messages.protobuf(*_spans())
    first = _export(exporter, body)
    answer = _export(exporter, body)

    assert first.status_code == 200
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) >= 1
    assert _status_of(answer)[0] == 8


@pytest.mark.django_db
def test_a_database_that_is_away_is_worth_another_try(
    exporter: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any, **__: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("alerts.traces.store", lose)

    answer = _export(exporter, otlp_messages.protobuf(*_spans()))

    assert answer.status_code == 503
    assert int(answer["Retry-After"]) >= 1
    assert _status_of(answer)[0] == 14


@pytest.mark.django_db
def test_a_bug_is_told_as_one(exporter: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.traces.store", lambda *_, **__: 1 / 0)

    answer = _export(exporter, otlp_messages.protobuf(*_spans()))

    assert (answer.status_code, _status_of(answer)[0]) == (500, 13)
    assert "division" not in _status_of(answer)[1]


@pytest.mark.django_db
def test_a_span_of_a_day_that_is_not_there_yet_costs_no_other(exporter: Api, actor: Actor) -> None:
    spans = _spans(2)
    now = clock.database_now()
    spans[1] = otlp_messages.span(2, ended_at=now - timedelta(days=1))
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE alerts_trace_{now - timedelta(days=1):%Y%m%d}")

    answer = _export(exporter, otlp_messages.protobuf(*spans))

    assert (answer.status_code, answer.content) == (200, b"")
    assert _stored(actor) == 2


@pytest.mark.django_db
def test_the_slash_makes_no_difference(exporter: Api) -> None:
    body = otlp_messages.protobuf(*_spans())

    assert exporter.generic("POST", "/v1/traces/", body, PROTOBUF).status_code == 200


# --- A real web process and the stock exporter -----------------------------------------------


@pytest.fixture
def served(tmp_path: Path, transactional_db: None) -> Iterator[tuple[int, Running, Actor, str]]:
    actor = make_actor()
    _, key = make_key(actor, scopes=["ingest"])
    with web(tmp_path, ALLOWED_HOSTS="127.0.0.1") as (port, running):
        yield port, running, actor, key


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_stock_exporter_delivers(
    compression: Compression, served: tuple[int, Running, Actor, str]
) -> None:
    port, _, actor, key = served
    exporter = OTLPSpanExporter(
        endpoint=f"http://127.0.0.1:{port}/v1/traces",
        headers={"authorization": f"Bearer {key}"},
        compression=compression,
    )
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    before = datetime.now(UTC)

    with tracer.start_as_current_span("invoke_agent shop") as agent:
        agent.set_attribute("gen_ai.operation.name", "invoke_agent")
        agent.set_attribute("gen_ai.usage.input_tokens", 10)
        with tracer.start_as_current_span("chat gpt-4o") as chat:
            chat.set_attribute("gen_ai.operation.name", "chat")
            chat.set_attribute("gen_ai.provider.name", "openai")
            chat.set_attribute("gen_ai.response.model", "gpt-4o-2024-08-06")
            chat.set_attribute("gen_ai.usage.input_tokens", 10)
            chat.set_attribute("gen_ai.usage.output_tokens", 2)
            chat.set_status(Status(StatusCode.ERROR, "cut off"))
    provider.shutdown()

    chat_row = Trace.objects.get(project=actor.project, operation="chat")
    agent_row = Trace.objects.get(project=actor.project, operation="invoke_agent")
    assert chat_row.parent_span_id == agent_row.span_id
    assert chat_row.trace_id == agent_row.trace_id
    assert (chat_row.model, chat_row.status) == ("gpt-4o-2024-08-06", "error")
    assert (chat_row.total_tokens, agent_row.total_tokens) == (12, None)
    assert chat_row.cost is not None
    assert chat_row.attributes["service.name"] == "shop"
    assert before - timedelta(seconds=1) <= chat_row.started_at <= chat_row.ended_at


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
@pytest.mark.xdist_group("processes")
def test_what_the_exporter_sends_and_the_same_in_json_are_the_same_rows(
    served: tuple[int, Running, Actor, str],
) -> None:
    port, _, actor, key = served
    provider = TracerProvider()
    provider.add_span_processor(
        SimpleSpanProcessor(
            OTLPSpanExporter(
                endpoint=f"http://127.0.0.1:{port}/v1/traces",
                headers={"authorization": f"Bearer {key}"},
            )
        )
    )
    with provider.get_tracer("tests").start_as_current_span("chat demo") as span:
        span.set_attribute("gen_ai.request.model", "demo")
    sent = span.get_span_context()
    made = {
        "traceId": f"{sent.trace_id:032X}",
        "spanId": f"{sent.span_id:016x}",
        "name": "chat demo",
        "startTimeUnixNano": str(span.start_time),  # type: ignore[attr-defined]
        "endTimeUnixNano": span.end_time,  # type: ignore[attr-defined]
        "attributes": [{"key": "gen_ai.request.model", "value": {"stringValue": "demo"}}],
    }
    (by_sdk,) = Trace.objects.filter(project=actor.project).values()

    status, _ = _post(
        port, key, json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [made]}]}]})
    )

    assert status == 200
    assert list(Trace.objects.filter(project=actor.project).values()) == [by_sdk]


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
@pytest.mark.xdist_group("processes")
def test_a_body_in_chunks_is_read_to_its_end(served: tuple[int, Running, Actor, str]) -> None:
    """As the exporter for Java sends it when it compresses."""
    port, _, actor, key = served
    body = gzip.compress(otlp_messages.protobuf(*_spans(50)))
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    pieces = (body[start : start + 100] for start in range(0, len(body), 100))
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": PROTOBUF,
        "Content-Encoding": "gzip",
    }

    client.request("POST", "/v1/traces", pieces, headers, encode_chunked=True)

    assert client.getresponse().status == 200
    client.close()
    assert _stored(actor) == 50


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
@pytest.mark.xdist_group("processes")
def test_bombs_leave_the_memory_flat(served: tuple[int, Running, Actor, str]) -> None:
    port, running, actor, key = served
    honest = gzip.compress(bytes(200 * MIB))
    assert _post(port, key, b"", PROTOBUF)[0] == 200
    before = _rss(running)

    answers = [_post(port, key, honest, PROTOBUF, "gzip")[0] for _ in range(5)]

    assert answers == [413] * 5
    # Half of what one of them would have taken.
    assert _rss(running) - before < 32 * MIB
    assert _stored(actor) == 0


def _rss(running: Running) -> int:
    family = psutil.Process(running.process.pid)
    return sum(process.memory_info().rss for process in [family, *family.children(recursive=True)])


def _post(
    port: int, key: str, body: str | bytes, content_type: str = JSON, encoding: str = ""
) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    if encoding:
        headers["Content-Encoding"] = encoding
    client.request("POST", "/v1/traces", body, headers)
    answer = client.getresponse()
    found = answer.status, answer.read()
    client.close()
    return found

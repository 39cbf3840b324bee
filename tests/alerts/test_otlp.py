"""What OTLP requests say: encodings, ids, attributes of all conventions, and what is refused."""

import gzip
import json
import random
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from alerts import otlp
from alerts.otlp import JSON, PROTOBUF, Decoded
from alerts.traces import Span
from tests.alerts import otlp_messages
from tests.factories import NOW

MIB = 2**20


def read(**fields: Any) -> Span:
    """Return the one span of a protobuf request as it would be stored."""
    (found,) = otlp.decode(
        otlp_messages.protobuf(otlp_messages.span(**fields)), PROTOBUF, now=NOW
    ).spans
    return found


def said(**attributes: Any) -> Span:
    """Return the span with these attributes, `__` for each dot."""
    return read(attributes={name.replace("__", "."): value for name, value in attributes.items()})


# --- Encodings -------------------------------------------------------------------------------

EVERYTHING = [
    otlp_messages.span(
        1,
        parent_span_id=b"\xff" * 8,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 100,
            "gen_ai.response.time_to_first_chunk": 0.0125,
            "list": ["a", 1, 2.5, True],
        },
    ),
    otlp_messages.span(
        2,
        status={"code": 2, "message": "it broke"},
        events=[{"exception.type": "ValueError"}],
        ended_at=NOW + timedelta(microseconds=123456),
    ),
]


def test_both_encodings_say_the_same() -> None:
    binary = otlp.decode(otlp_messages.protobuf(*EVERYTHING, service="shop"), PROTOBUF, now=NOW)
    text = otlp.decode(otlp_messages.as_json(*EVERYTHING, service="shop"), JSON, now=NOW)

    assert binary.spans == text.spans
    assert binary.rejected == text.rejected == 0
    first, second = binary.spans
    assert first.trace_id == f"{1:032x}"
    assert (first.span_id, first.parent_span_id) == (f"{1:016x}", "f" * 16)
    assert first.attributes["service.name"] == "shop"
    assert first.attributes["list"] == ["a", 1, 2.5, True]
    assert second.ended_at == NOW + timedelta(microseconds=123456)
    assert (second.status, second.error_type) == ("error", "ValueError")
    assert second.attributes["otel.status_message"] == "it broke"


def test_instants_are_exact_to_the_microsecond() -> None:
    """Through a float the last digits would be others."""
    end = otlp_messages.nanoseconds(NOW) + 123_456_789

    span = read(end_time_unix_nano=end, start_time_unix_nano=end - 1_234_567)

    assert span.ended_at == NOW + timedelta(microseconds=123_456)
    assert span.latency_ms == 1.234567


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_an_empty_request_is_fine(content_type: str) -> None:
    body = b"" if content_type == PROTOBUF else b"{}"

    assert otlp.decode(body, content_type, now=NOW) == Decoded()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"garbage", PROTOBUF),
        (b"\xff" * 100, PROTOBUF),
        (otlp_messages.protobuf(*EVERYTHING)[:-3], PROTOBUF),
        (b"garbage", JSON),
        (b"[]", JSON),
        (b"5", JSON),
        (b"\xff\xfe", JSON),
        (b'{"resourceSpans": 5}', JSON),
        (b'{"resourceSpans": [5]}', JSON),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [5]}]}]}', JSON),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 5}]}]}]}', JSON),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"endTimeUnixNano": "x"}]}]}]}', JSON),
        (b"[" * 100_000, JSON),
        (b'{"a":' * 100_000, JSON),
        (b'{"resourceSpans": ' + b"9" * 10_000 + b"}", JSON),
    ],
    ids=range(15),
)
def test_garbage_is_undecodable(body: bytes, content_type: str) -> None:
    with pytest.raises(otlp.Undecodable):
        otlp.decode(body, content_type, now=NOW)


# --- What is rejected, one by one ------------------------------------------------------------


@pytest.mark.parametrize("encode", [otlp_messages.protobuf, otlp_messages.as_json])
@pytest.mark.parametrize(
    "fields",
    [
        {"span_id": b"\x01" * 7},
        {"span_id": b"\x01" * 9},
        {"span_id": b""},
        {"span_id": bytes(8)},
        {"trace_id": b"\x01" * 8},
        {"trace_id": bytes(16)},
        {"end_time_unix_nano": 0},
        {"start_time_unix_nano": 0},
        {"latency_ms": 10**9 + 1},
        {"start_time_unix_nano": otlp_messages.nanoseconds(NOW) + 1},
        {"end_time_unix_nano": 2**64 - 1},
        {"end_time_unix_nano": 5, "start_time_unix_nano": 1},
    ],
    ids=str,
)
def test_a_span_that_cannot_be_kept_is_rejected_alone(fields: Any, encode: Any) -> None:
    content_type = PROTOBUF if encode is otlp_messages.protobuf else JSON
    spans = [otlp_messages.span(1), otlp_messages.span(2, **fields), otlp_messages.span(3)]

    decoded = otlp.decode(encode(*spans), content_type, now=NOW)

    assert [int(span.span_id, 16) for span in decoded.spans] == [1, 3]
    assert decoded.rejected == 1


def test_an_id_that_is_not_hexadecimal_is_rejected_alone() -> None:
    body = otlp_messages.as_json(otlp_messages.span(1), otlp_messages.span(2)).replace(
        b"0000000000000002", b"zzzzzzzzzzzzzzzz"
    )

    decoded = otlp.decode(body, JSON, now=NOW)

    assert (len(decoded.spans), decoded.rejected) == (1, 1)


# --- Answers ---------------------------------------------------------------------------------


def test_a_full_success_says_nothing() -> None:
    assert otlp.answer(PROTOBUF, Decoded()) == b""
    assert json.loads(otlp.answer(JSON, Decoded())) == {}


def test_a_partial_success_says_how_many_and_why() -> None:
    decoded = Decoded()
    for reason in ("This.", "That.", "This."):
        decoded.reject(reason)

    binary = ExportTraceServiceResponse.FromString(otlp.answer(PROTOBUF, decoded))
    text = json.loads(otlp.answer(JSON, decoded))

    assert binary.partial_success.rejected_spans == 3
    assert binary.partial_success.error_message == "This. (2) That. (1)"
    assert text["partialSuccess"] == {
        "rejectedSpans": "3",
        "errorMessage": "This. (2) That. (1)",
    }


def test_a_long_list_of_reasons_is_cut() -> None:
    decoded = Decoded()
    for number in range(100_000):
        decoded.reject(f"Reason {number}.")

    assert len(otlp.answer(PROTOBUF, decoded)) < 2_000


def test_failures_are_a_google_rpc_status() -> None:
    # Field 1, a varint; field 2, length-delimited: seven bytes of UTF-8.
    assert otlp.failure(PROTOBUF, 8, "slow é") == b"\x08\x08\x12\x07slow \xc3\xa9"
    assert json.loads(otlp.failure(JSON, 3, "bad")) == {"code": 3, "message": "bad"}
    assert otlp.failure(PROTOBUF, 8, "x" * 300)[:5] == b"\x08\x08\x12\xac\x02"


# --- gzip ------------------------------------------------------------------------------------


def test_gzip_up_to_the_limit_is_taken() -> None:
    assert otlp.decompress(gzip.compress(b"x" * 1000), 1000) == b"x" * 1000


def test_gzip_of_several_members_is_what_they_hold_in_turn() -> None:
    """As RFC 1952 allows; a member may begin anywhere in what is read at a time."""
    texts = [random.Random(number).randbytes(50_000) for number in range(5)]
    body = b"".join(gzip.compress(text) for text in texts)

    assert otlp.decompress(body, 250_000) == b"".join(texts)
    with pytest.raises(otlp.Oversized):
        otlp.decompress(body, 249_999)


def test_gzip_that_holds_much_more_than_its_size_comes_back_whole() -> None:
    text = bytes(5 * MIB) + b"the end"

    assert otlp.decompress(gzip.compress(text), 6 * MIB) == text


@pytest.mark.parametrize("honest", [True, False], ids=["honest about it", "lying about it"])
def test_a_bomb_is_refused(honest: bool) -> None:
    bomb = gzip.compress(bytes(200 * MIB), compresslevel=9)
    if not honest:
        bomb = bomb[:-4] + (10).to_bytes(4, "little")

    with pytest.raises(otlp.Oversized):
        otlp.decompress(bomb, MIB)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not gzip",
        b"\xff" * 100,
        zlib.compress(b"zlib, no gzip"),
        gzip.compress(b"x" * 100)[:-9],
        gzip.compress(b"x") + b"more",
        gzip.compress(b"x") + gzip.compress(b"y")[:-1],
        gzip.compress(b"") * 1001,
    ],
    ids=range(8),
)
def test_what_is_not_whole_gzip_is_undecodable(body: bytes) -> None:
    with pytest.raises(otlp.Undecodable):
        otlp.decompress(body, MIB)


# --- What attributes mean --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"gen_ai.operation.name": "Chat"}, "chat"),
        ({"gen_ai.operation.name": "embeddings", "openinference.span.kind": "LLM"}, "embeddings"),
        ({"openinference.span.kind": "LLM"}, "chat"),
        ({"openinference.span.kind": "EMBEDDING"}, "embeddings"),
        ({"openinference.span.kind": "TOOL"}, "execute_tool"),
        ({"openinference.span.kind": "AGENT"}, "invoke_agent"),
        ({"openinference.span.kind": "RETRIEVER"}, "retrieval"),
        ({"openinference.span.kind": "GUARDRAIL"}, "guardrail"),
        ({"llm.request.type": "completion"}, "completion"),
        ({"llm.request.type": "embedding"}, "embeddings"),
        ({"traceloop.span.kind": "workflow"}, "workflow"),
        ({}, "my span"),
    ],
    ids=str,
)
def test_the_operation_is_read_from_any_convention(
    attributes: dict[str, Any], operation: str
) -> None:
    span = read(name="My Span", attributes=attributes)

    assert (span.operation, span.span_name) == (operation, "My Span")


@pytest.mark.parametrize(
    ("attributes", "model"),
    [
        ({"gen_ai.response.model": "a", "gen_ai.request.model": "b"}, "a"),
        ({"llm.response.model_name": "a", "gen_ai.request.model": "b"}, "a"),
        ({"gen_ai.request.model": "a", "llm.model_name": "b"}, "a"),
        ({"llm.request.model_name": "a", "llm.model_name": "b"}, "a"),
        ({"llm.model_name": "a"}, "a"),
        ({"embedding.model_name": "a"}, "a"),
        ({"ai.model.id": "a"}, "a"),
        ({"langfuse.observation.model.name": "a"}, "a"),
        ({"gen_ai.response.model": 5}, ""),
    ],
    ids=str,
)
def test_the_model_is_read_from_any_convention(attributes: dict[str, Any], model: str) -> None:
    assert read(attributes=attributes).model == model


def test_the_model_asked_for_is_kept_beside_the_one_that_answered() -> None:
    span = said(gen_ai__request__model="gpt-4o", gen_ai__response__model="gpt-4o-2024-08-06")

    assert (span.model, span.model_requested) == ("gpt-4o-2024-08-06", "gpt-4o")


@pytest.mark.parametrize(
    ("attributes", "ttft_ms"),
    [
        ({"gen_ai.response.time_to_first_chunk": 0.025}, 25),
        ({"gen_ai.response.time_to_first_token": 0.025}, 25),
        ({"gen_ai.latency.time_to_first_token": 0.025}, 25),
        ({"ai.response.msToFirstChunk": 25}, 25),
        ({"ai.stream.msToFirstChunk": 25.0}, 25),
        ({"ai.stream.msToFirstChunk": "25"}, 25),
        ({"langfuse.observation.completion_start_time": "2025-01-15T09:59:59.925Z"}, 25),
        ({"langfuse.observation.completion_start_time": "soon"}, None),
        ({"gen_ai.response.time_to_first_chunk": -0.1}, None),
        ({"gen_ai.response.time_to_first_chunk": 0.2}, None),
        ({"gen_ai.response.time_to_first_chunk": float("nan")}, None),
        ({"gen_ai.response.time_to_first_chunk": True}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_time_to_the_first_token_is_in_milliseconds(
    attributes: dict[str, Any], ttft_ms: float | None
) -> None:
    assert read(latency_ms=100, attributes=attributes).ttft_ms == pytest.approx(ttft_ms)


@pytest.mark.parametrize(("seconds", "remarks"), [(0.025, 0), (-0.1, 1), (0.2, 1)])
def test_a_first_token_outside_of_its_span_is_warned_of(seconds: float, remarks: int) -> None:
    sent = otlp_messages.span(attributes={"gen_ai.response.time_to_first_chunk": seconds})

    decoded = otlp.decode(otlp_messages.protobuf(sent), PROTOBUF, now=NOW)

    said = ExportTraceServiceResponse.FromString(otlp.answer(PROTOBUF, decoded)).partial_success
    assert (len(decoded.spans), said.rejected_spans) == (1, 0)
    assert said.error_message.count("first token lies outside of its span") == remarks
    assert json.loads(otlp.answer(JSON, decoded)) == (
        {"partialSuccess": {"errorMessage": said.error_message}} if remarks else {}
    )


@pytest.mark.parametrize(
    ("code", "attributes", "status", "error_type"),
    [
        (0, {}, "success", ""),
        (1, {}, "success", ""),
        (2, {}, "error", "_OTHER"),
        (2, {"error.type": "timeout"}, "error", "timeout"),
        (0, {"error.type": "timeout"}, "error", "timeout"),
        (1, {"error.type": "timeout"}, "success", ""),
    ],
    ids=str,
)
def test_errors_are_told_by_status_or_type(
    code: int, attributes: dict[str, Any], status: str, error_type: str
) -> None:
    span = read(status={"code": code}, attributes=attributes)

    assert (span.status, span.error_type) == (status, error_type)


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5},
        {"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 5},
        {"llm.token_count.prompt": 10, "llm.token_count.completion": 5},
        {"gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": 5.0},
    ],
    ids=str,
)
def test_tokens_are_read_from_any_convention(attributes: dict[str, Any]) -> None:
    span = read(attributes=attributes | {"gen_ai.operation.name": "chat"})

    assert (span.input_tokens, span.output_tokens, span.total_tokens) == (10, 5, 15)


@pytest.mark.parametrize("value", [-1, 1.5, "many", 2**62, True])
def test_a_number_of_tokens_that_cannot_be_is_none(value: Any) -> None:
    span = said(gen_ai__operation__name="chat", gen_ai__usage__input_tokens=value)

    assert span.input_tokens is None


def test_cached_tokens_are_part_of_the_input() -> None:
    span = said(
        gen_ai__operation__name="chat",
        gen_ai__usage__input_tokens=10,
        gen_ai__usage__cache_read__input_tokens=20,
    )

    assert span.cached_tokens == 10


@pytest.mark.parametrize(
    ("attributes", "counted"),
    [
        ({"gen_ai.operation.name": "chat"}, True),
        ({"gen_ai.operation.name": "generate_content"}, True),
        ({"openinference.span.kind": "LLM"}, True),
        ({"llm.request.type": "embedding"}, True),
        ({"llm.request.type": "rerank"}, True),
        ({"gen_ai.operation.name": "invoke_agent"}, False),
        ({"gen_ai.operation.name": "invoke_workflow"}, False),
        ({"openinference.span.kind": "CHAIN"}, False),
        ({"openinference.span.kind": "AGENT"}, False),
        ({"traceloop.span.kind": "workflow"}, False),
        ({"gen_ai.request.model": "gpt-4o"}, True),
        ({}, False),
    ],
    ids=str,
)
def test_tokens_and_cost_count_on_model_calls_only(
    attributes: dict[str, Any], counted: bool
) -> None:
    usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.cost": 0.5}

    span = read(name="step", attributes=attributes | usage)

    assert (span.total_tokens, span.cost) == ((10, Decimal("0.5")) if counted else (None, None))
    assert span.attributes["gen_ai.usage.input_tokens"] == 10


def test_a_reported_cost_is_exact() -> None:
    span = said(gen_ai__operation__name="chat", llm__cost__total=0.1)

    assert (span.cost, span.cost_source) == (Decimal("0.1"), "reported")


def test_without_one_the_price_list_knows_the_cost() -> None:
    """2.50 and 10 USD per million; the cached half costs 1.25."""
    span = said(
        gen_ai__operation__name="chat",
        gen_ai__provider__name="openai",
        gen_ai__response__model="gpt-4o-2024-08-06",
        gen_ai__usage__input_tokens=1000,
        gen_ai__usage__cache_read__input_tokens=500,
        gen_ai__usage__output_tokens=100,
    )

    assert (span.cost, span.cost_source) == (Decimal("0.002875"), "price_list")


@pytest.mark.parametrize(
    "named",
    [{"gen_ai.operation.name": "embeddings"}, {"llm.request.type": "embedding"}],
    ids=str,
)
def test_embeddings_cost_what_their_input_costs(named: dict[str, Any]) -> None:
    """0.02 USD per million; the list has no price of output that never is."""
    span = read(
        attributes=named
        | {"gen_ai.provider.name": "openai", "gen_ai.response.model": "text-embedding-3-small"}
        | {"gen_ai.usage.input_tokens": 100_000}
    )

    assert (span.input_tokens, span.total_tokens) == (100_000, 100_000)
    assert (span.cost, span.cost_source) == (Decimal("0.002"), "price_list")


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.response.model": "of-our-own", "gen_ai.usage.input_tokens": 10},
        {"gen_ai.response.model": "gpt-4o"},
        {"gen_ai.response.model": "gpt-4o", "gen_ai.provider.name": "our-cellar"}
        | {"gen_ai.usage.input_tokens": 10},
        {"gen_ai.usage.cost": "much"},
        {"gen_ai.usage.cost": -1},
        {"gen_ai.usage.cost": float("inf")},
        {"gen_ai.usage.cost": "999999.9999999999999"},
    ],
    ids=str,
)
def test_an_unknown_cost_is_none(attributes: dict[str, Any]) -> None:
    assert read(attributes=attributes | {"gen_ai.operation.name": "chat"}).cost is None


def test_days_are_judged_by_the_end() -> None:
    now = datetime(2025, 1, 15, tzinfo=UTC)
    spans = [
        otlp_messages.span(1, ended_at=now, latency_ms=10 * 24 * 3600 * 1000),
        otlp_messages.span(2, ended_at=now - timedelta(days=40)),
        otlp_messages.span(3, ended_at=now + timedelta(days=10)),
    ]

    decoded = otlp.decode(otlp_messages.protobuf(*spans), PROTOBUF, now=now)

    assert [int(span.span_id, 16) for span in decoded.spans] == [1]
    assert decoded.rejected == 2


def test_days_that_are_taken_are_named_as_they_are() -> None:
    beyond = datetime(2025, 1, 18, tzinfo=UTC)
    spans = [
        otlp_messages.span(1, ended_at=beyond - timedelta(seconds=1)),
        otlp_messages.span(2, ended_at=beyond),
    ]

    decoded = otlp.decode(otlp_messages.protobuf(*spans), PROTOBUF, now=NOW)

    assert len(decoded.spans) == 1
    assert list(decoded.reasons) == ["A span ended before 2025-01-13 or after 2025-01-17."]

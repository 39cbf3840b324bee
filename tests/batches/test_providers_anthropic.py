"""Anthropic's messages, from a real server that speaks them and fails as they do."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from alerts.prices import Prices
from batches.calls import Outcome
from batches.grading import Graded
from batches.outcomes import result_of
from batches.providers import anthropic, anthropic_answers
from batches.providers.base import Call, CallFailed, Endpoint, ErrorClass
from batches.results import Claim
from tests.batches.test_calls import Waits, ask
from tests.factories import make_case_draft
from tests.servers_http.scripted import Asked, Reply, ScriptedServer

USAGE = {"input_tokens": 20, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 7}
START = {"type": "message_start", "message": {"model": "claude-x", "content": [], "usage": USAGE}}
STOP = {"type": "message_stop"}


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def server(running: ScriptedServer) -> ScriptedServer:
    running.asked.clear()
    return running


def text(piece: str) -> dict[str, Any]:
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": piece},
    }


def ending(reason: str = "end_turn", tokens: int = 9) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason},
        "usage": {"output_tokens": tokens},
    }


def asked_of(server: ScriptedServer, *turns: tuple[str, str], **changes: Any) -> Outcome:
    endpoint = Endpoint("anthropic", server.root, "claude", api_key="sk-very-secret", **changes)
    messages = [{"role": role, "content": said} for role, said in turns or [("user", "ping")]]
    return ask(endpoint, Call(messages, timeout_s=5.0))


def test_a_streamed_message_has_its_text_tokens_and_times(server: ScriptedServer) -> None:
    thinking = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "x"}}
    server.reply = lambda _: Reply.events(
        START, {"type": "ping"}, thinking, {"type": "new_kind"}, text("Hel"), text("lo"), ending(),
        STOP, pause_ms=20,
    )  # fmt: skip

    answer = asked_of(server).answer

    assert answer is not None
    assert (answer.output, answer.model, answer.finish_reason) == ("Hello", "claude-x", "end_turn")
    # All that went in: new, written to the cache and read from it, which is among them.
    assert (answer.input_tokens, answer.cached_tokens, answer.output_tokens) == (30, 7, 9)
    assert answer.ttft_ms is not None
    # Thinking is no content: the fifth event is the first of it.
    assert 80 <= answer.ttft_ms < answer.latency_ms


@pytest.mark.parametrize("streamed", [True, False])
def test_what_a_cache_took_is_paid_at_its_own_price(server: ScriptedServer, streamed: bool) -> None:
    message = {"type": "message", "content": [{"type": "text", "text": "x"}], "model": "claude-x"}
    whole = message | {"usage": USAGE | {"output_tokens": 9}, "stop_reason": "end_turn"}
    server.reply = lambda _: (
        Reply.events(START, text("x"), ending(), STOP) if streamed else Reply.json(whole)
    )
    held = Prices(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"))

    outcome = asked_of(server)

    assert outcome.answer is not None
    assert (outcome.answer.cached_tokens, outcome.answer.written_tokens) == (7, 3)
    result = result_of(Claim(1, 1, None), make_case_draft(), outcome, held, Graded())
    # 20 at 3, 7 at 0.30, 3 at 3.75 and 9 at 15 USD per million.
    assert result.cost == Decimal("0.00020835")


def test_the_request_is_what_the_dialect_wants(server: ScriptedServer) -> None:
    server.reply = lambda _: Reply.events(START, text("x"), ending(), STOP)

    asked_of(
        server,
        ("system", "Be kind."),
        ("user", "a"),
        ("assistant", "b"),
        ("system", "Be short."),
        ("user", "c"),
        parameters={"temperature": 0, "model": "another", "messages": []},
    )

    (asked,) = server.asked
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == "sk-very-secret"
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in asked.headers
    assert asked.body == {
        "model": "claude",
        "max_tokens": 4096,
        "stream": True,
        "temperature": 0,
        "system": "Be kind.\n\nBe short.",
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
    }


def test_a_schema_and_the_limit_of_tokens() -> None:
    endpoint = Endpoint("anthropic", "https://api.example", "m", parameters={"max_tokens": 5})
    own = {"output_config": {"effort": "low"}, "max_tokens": None}
    call = Call([{"role": "user", "content": "x"}], own, schema={"type": "object"})

    body = anthropic.payload(endpoint, call)

    # The dialect demands a limit, so taking it out brings the usual one back.
    assert body["max_tokens"] == 4096
    assert body["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": {"type": "object"}},
    }


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.example", "https://api.example/", "https://api.example/v1",
        "https://api.example/v1/", "https://api.example/v1/messages",
    ],
)  # fmt: skip
def test_the_root_may_be_given_with_or_without_its_version(base_url: str) -> None:
    assert anthropic.messages_url(base_url) == "https://api.example/v1/messages"


def test_an_answer_in_one_piece(server: ScriptedServer) -> None:
    message = {
        "type": "message",
        "model": "claude-x",
        "content": [{"type": "text", "text": "Hel"}, {"type": "tool_use"}, {"text": "lo"}],
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 4, "output_tokens": 2},
    }
    server.reply = lambda _: Reply.json(message)

    answer = asked_of(server, parameters={"stream": False}).answer

    assert answer is not None
    assert (answer.output, answer.ttft_ms, answer.finish_reason) == ("Hello", None, "max_tokens")
    assert (answer.input_tokens, answer.cached_tokens, answer.output_tokens) == (4, 0, 2)
    assert server.asked[0].body["stream"] is False


def test_a_refusal_is_the_models_own_doing(server: ScriptedServer) -> None:
    server.reply = lambda _: Reply.events(START, text("I"), ending("refusal"), STOP)

    outcome = asked_of(server)

    assert outcome.error_class is ErrorClass.REFUSED
    assert "declined" in outcome.error


@pytest.mark.parametrize(
    ("status", "code"), [(529, "overloaded_error"), (500, "api_error"), (429, "rate_limit_error")]
)
@pytest.mark.parametrize("within_the_stream", [False, True])
def test_what_passes_is_tried_again(
    server: ScriptedServer, status: int, code: str, within_the_stream: bool
) -> None:
    error = {"type": "error", "error": {"type": code, "message": "quoting the prompt"}}

    def reply(asked: Asked) -> Reply:
        if asked.nth > 2:
            return Reply.events(START, text("at last"), ending(), STOP)
        if within_the_stream:
            return Reply.events(START, text("half"), error)
        return Reply.json(error, status=status)

    server.reply = reply

    outcome = asked_of(server)

    assert outcome.answer is not None
    assert (outcome.answer.output, outcome.attempts) == ("at last", 3)


def test_the_wait_that_is_asked_for_is_kept(server: ScriptedServer) -> None:
    waits = Waits()
    limited = Reply.json({"type": "error"}, status=429, **{"retry-after": "7"})
    server.reply = lambda asked: (
        limited if asked.nth == 1 else Reply.events(START, text("x"), ending(), STOP)
    )
    endpoint = Endpoint("anthropic", server.root, "m")

    ask(endpoint, backoff=waits.backoff())

    assert len(waits.taken) == 1
    assert 7 <= waits.taken[0] <= 7.5


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "invalid_request_error", "not accepted"),
        (401, "authentication_error", "key refused"),
        (403, "permission_error", "not permitted"),
        (404, "not_found_error", "no such model"),
        (413, "request_too_large", "too large"),
    ],
)
def test_what_would_fail_again_is_rejected_at_once(
    server: ScriptedServer, status: int, code: str, words: str
) -> None:
    error = {"type": "error", "error": {"type": code, "message": "key sk-very-secret"}}
    for reply in (Reply.json(error, status=status), Reply.events(START, error)):
        server.asked.clear()
        server.reply = lambda _, reply=reply: reply  # type: ignore[misc]

        outcome = asked_of(server)

        assert (outcome.error_class, len(server.asked)) == (ErrorClass.REJECTED, 1)
        assert words in outcome.error
        assert code in outcome.error
        assert "sk-very-secret" not in outcome.error


def test_a_stream_that_is_cut_off_is_no_answer(server: ScriptedServer) -> None:
    server.reply = lambda _: Reply.events(START, text("half an ans"), cut=True)

    outcome = asked_of(server)

    assert (outcome.error_class, outcome.attempts) == (ErrorClass.INFRA, 5)


def test_counts_that_come_after_the_reason_may_be_lost(server: ScriptedServer) -> None:
    server.reply = lambda _: Reply.events(START, text("whole"), ending(), cut=True)

    answer = asked_of(server).answer

    assert answer is not None
    assert answer.output == "whole"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"{}", b'{"content": "text"}', b"{", b"[" * 10_000,
        b'{"type": "error", "error": 7}',
    ],
)  # fmt: skip
def test_what_is_no_message_is_no_answer(body: bytes) -> None:
    with pytest.raises(CallFailed) as caught:
        anthropic_answers.whole(body, "api.example", 1.0)

    assert caught.value.error_class is ErrorClass.INFRA


@pytest.mark.parametrize(
    "event",
    [
        "no json", "[]", {"type": "message_start"}, {"type": "content_block_delta", "delta": 3},
        {"type": "message_delta", "delta": None, "usage": []}, {"type": None}, {},
        {"type": "message_delta", "usage": {"output_tokens": True}},
    ],
)  # fmt: skip
def test_no_event_breaks_the_reader(event: object) -> None:
    reader = anthropic_answers.StreamedMessage("api.example")
    data = event if isinstance(event, str) else json.dumps(event)

    def read() -> None:
        reader.take(data, 1.0)
        reader.result()

    with pytest.raises(CallFailed) as caught:
        read()

    assert caught.value.error_class is ErrorClass.INFRA

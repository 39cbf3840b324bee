"""Calls of a real server that fails in every way it can."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from access import egress
from access.egress import PrivateHosts
from batches import calls, endings
from batches.calls import Backoff, Outcome
from batches.providers.base import Call, CallFailed, Endpoint, ErrorClass
from tests.servers_http import ModelServer
from tests.servers_http.blackhole import blackhole

LOOPBACK = PrivateHosts.parse(["127.0.0.0/8"])


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def server(running: ModelServer) -> ModelServer:
    running.reset()
    return running


@dataclass
class Waits:
    """A back-off without chance and without waiting, which notes what it would have waited."""

    taken: list[float] = field(default_factory=list)

    def backoff(self) -> Backoff:
        return Backoff(uniform=lambda _, most: most, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)


def make_endpoint(server: ModelServer, **changes: Any) -> Endpoint:
    return Endpoint(**{"provider": "openai", "base_url": server.base_url, "model": "m", **changes})


def make_call(prompt: str = "ping", **changes: Any) -> Call:
    return Call(messages=[{"role": "user", "content": prompt}], **{"timeout_s": 5.0, **changes})


def ask(
    endpoint: Endpoint,
    question: Call | None = None,
    *,
    within_s: float = 30,
    backoff: Backoff | None = None,
    on_wait: Any = None,
) -> Outcome:
    async def scenario() -> Outcome:
        async with egress.session(private=LOOPBACK) as session:
            return await calls.call(
                session,
                endpoint,
                question or make_call(),
                deadline=time.monotonic() + within_s,
                backoff=backoff or Waits().backoff(),
                on_wait=on_wait,
            )

    return asyncio.run(scenario())


def test_a_streamed_answer_has_its_text_tokens_and_times(server: ModelServer) -> None:
    server.configure(
        answer="one two three", latency_ms=150, first_token_ms=60, chunks=3, model="m-2026"
    )

    outcome = ask(make_endpoint(server))

    assert outcome.answer is not None
    answer = outcome.answer
    assert (answer.output, answer.output_tokens, answer.model) == ("one two three", 3, "m-2026")
    assert answer.ttft_ms is not None
    assert 60 <= answer.ttft_ms < answer.latency_ms - 40
    assert 150 <= answer.latency_ms < 1500
    assert outcome.attempts == 1


def test_an_answer_in_one_piece_is_taken_although_a_stream_was_asked_for(
    server: ModelServer,
) -> None:
    server.configure(mode="plain_json", answer="whole", latency_ms=50)

    outcome = ask(make_endpoint(server))

    assert outcome.answer is not None
    assert (outcome.answer.output, outcome.answer.ttft_ms) == ("whole", None)
    assert outcome.answer.latency_ms >= 50


def test_what_is_sent_is_the_calls_own_and_nothing_else(server: ModelServer) -> None:
    endpoint = make_endpoint(
        server,
        api_key="sk-1\n",
        headers={"X-Team": "blue"},
        parameters={"temperature": 0, "top_p": 1, "model": "not this one"},
    )

    ask(endpoint, make_call("hi", parameters={"temperature": 0.5, "top_p": None}))

    sent = server.calls().last
    assert sent["body"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert sent["headers"]["authorization"] == "Bearer sk-1"
    assert sent["headers"]["x-team"] == "blue"


def test_streaming_can_be_turned_off_by_a_parameter(server: ModelServer) -> None:
    outcome = ask(make_endpoint(server, parameters={"stream": False}))

    assert outcome.answer is not None
    assert outcome.answer.ttft_ms is None
    assert "stream_options" not in server.calls().last["body"]


def test_connections_are_used_again_although_the_end_comes_late(server: ModelServer) -> None:
    end = 'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
    server.configure(mode="script", script=[[0, end + "data: [DONE]\n\n"], [50, ""]])

    async def scenario() -> int:
        async with egress.session(private=LOOPBACK) as session:
            for _ in range(3):
                await calls.call(
                    session, make_endpoint(server), make_call(), deadline=time.monotonic() + 10
                )
            connector = session._client.connector
            assert connector is not None
            return sum(len(idle) for idle in connector._conns.values())

    assert asyncio.run(scenario()) == 1


def test_a_failing_server_is_asked_again_with_growing_waits(server: ModelServer) -> None:
    server.configure(failures_first=3, failure_status=500)
    waits = Waits()

    outcome = ask(make_endpoint(server), backoff=waits.backoff())

    assert outcome.answer is not None
    assert outcome.attempts == server.calls().count == 4
    assert waits.taken == [0.5, 1.0, 2.0]


def test_waiting_counts_in_wall_time_and_never_in_latency(server: ModelServer) -> None:
    server.configure(failures_first=2, failure_status=503, retry_after="", latency_ms=20)
    real = Backoff(first_s=0.2, uniform=lambda _, most: most)

    outcome = ask(make_endpoint(server), backoff=real)

    assert outcome.answer is not None
    assert outcome.answer.latency_ms < 200
    assert outcome.wall_ms >= 600


def test_retry_after_is_a_minimum_and_is_announced(server: ModelServer) -> None:
    server.configure(failures_first=1, failure_status=429, retry_after="3")
    waits, heard = Waits(), []

    outcome = ask(
        make_endpoint(server),
        backoff=waits.backoff(),
        on_wait=lambda seconds, failure: heard.append((seconds, failure.status)),
    )

    assert outcome.answer is not None
    assert waits.taken == [3.5]
    assert heard == [(3.5, 429)]


@pytest.mark.parametrize(("mode", "attempts"), [("500", 5), ("429", 8), ("cut_off", 5)])
def test_attempts_end_as_infra(server: ModelServer, mode: str, attempts: int) -> None:
    server.configure(mode=mode)

    outcome = ask(make_endpoint(server))

    assert outcome.answer is None
    assert outcome.error_class is ErrorClass.INFRA
    assert outcome.attempts == server.calls().count == attempts


@pytest.mark.parametrize("mode", ["400", "401", "403", "404", "redirect"])
def test_what_is_rejected_is_not_asked_again(server: ModelServer, mode: str) -> None:
    server.configure(mode=mode, location=f"{server.base_url}/elsewhere")

    outcome = ask(make_endpoint(server))

    assert outcome.error_class is ErrorClass.REJECTED
    assert outcome.attempts == server.calls().count == 1


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("html", "web page"),
        ("broken_json", "not a JSON object"),
        ("empty_choices", "no choices"),
        ("huge", "more than"),
        ("gzip_bomb", "more than"),
    ],
)
def test_an_answer_that_is_no_answer_is_infra(server: ModelServer, mode: str, words: str) -> None:
    server.configure(mode=mode)

    outcome = ask(make_endpoint(server), make_call(timeout_s=20.0))

    assert outcome.error_class is ErrorClass.INFRA
    assert words in outcome.error
    assert outcome.attempts == 1


@pytest.mark.parametrize("mode", ["hang", "trickle"])
def test_a_slow_model_is_a_timeout_and_is_asked_once(server: ModelServer, mode: str) -> None:
    server.configure(mode=mode)

    outcome = ask(make_endpoint(server), make_call(timeout_s=0.4))

    assert outcome.error_class is ErrorClass.TIMEOUT
    assert outcome.attempts == 1
    assert 350 <= outcome.wall_ms < 2000


@pytest.mark.parametrize("mode", ["refusal", "content_filter"])
def test_a_model_that_declines_is_refused(server: ModelServer, mode: str) -> None:
    server.configure(mode=mode)

    outcome = ask(make_endpoint(server))

    assert outcome.error_class is ErrorClass.REFUSED
    assert outcome.attempts == 1


def test_text_that_cannot_be_stored_is_cleaned(server: ModelServer) -> None:
    server.configure(mode="nul")

    outcome = ask(make_endpoint(server))

    assert outcome.answer is not None
    assert outcome.answer.output == "before\ufffdafter\ufffdend"


def test_a_stream_left_open_after_its_end_does_not_delay_the_answer(server: ModelServer) -> None:
    end = 'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
    server.configure(mode="script", script=[[0, end + "data: [DONE]\n\n"], [10_000, ""]])

    outcome = ask(make_endpoint(server))

    assert outcome.answer is not None
    assert outcome.wall_ms < 2000


def test_a_stream_that_breaks_after_its_finish_is_an_answer(server: ModelServer) -> None:
    end = 'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
    server.configure(mode="script", script=[[0, end], [10_000, ""]])

    outcome = ask(make_endpoint(server), make_call(timeout_s=0.5))

    assert outcome.answer is not None
    assert outcome.answer.output == "hi"
    assert outcome.answer.latency_ms < 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "text/event-stream"])
def test_a_stream_is_known_by_its_text_and_not_by_its_type(
    server: ModelServer, content_type: str
) -> None:
    pieces = [
        "\r\n: hello\r\n\r\n",
        'data: {"choices": [{"delta": {"content": "gr\xc3',
        '\xbcn"}, "finish_reason": "stop"}]}\r\n\r',
        "\ndata: [DONE]\r\n\r\n",
    ]
    server.configure(
        mode="script", content_type=content_type, script=[[10, piece] for piece in pieces]
    )

    outcome = ask(make_endpoint(server))

    assert outcome.answer is not None
    assert outcome.answer.output == "grün"


def test_no_wait_crosses_the_deadline(server: ModelServer) -> None:
    server.configure(mode="429", retry_after="60")
    waits = Waits()

    outcome = ask(make_endpoint(server), within_s=10, backoff=waits.backoff())

    assert outcome.error_class is ErrorClass.INFRA
    assert waits.taken == []
    assert outcome.attempts == 1


def test_the_deadline_ends_an_attempt_without_blaming_the_model(server: ModelServer) -> None:
    server.configure(mode="hang")

    outcome = ask(make_endpoint(server), within_s=0.4)

    assert outcome.error_class is ErrorClass.INFRA
    assert outcome.wall_ms < 2000


def test_cancelling_passes_through_and_ends_the_request(server: ModelServer) -> None:
    server.configure(mode="hang")

    async def scenario() -> None:
        async with egress.session(private=LOOPBACK) as session:
            running = asyncio.create_task(
                calls.call(
                    session, make_endpoint(server), make_call(), deadline=time.monotonic() + 30
                )
            )
            while not server.calls().in_flight:
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(scenario())
    until = time.monotonic() + 5
    while server.calls().in_flight and time.monotonic() < until:
        time.sleep(0.02)
    assert server.calls().in_flight == 0


@pytest.mark.parametrize(("patience_s", "attempts"), [(0.15, 1), (0.5, 3), (5, 5)])
def test_where_connecting_takes_long_it_is_not_tried_on_and_on(
    patience_s: float, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "CONNECT_S", 0.2)
    backoff = replace(Waits().backoff(), unconnected_s=patience_s)

    with blackhole() as port:
        endpoint = Endpoint("openai", f"http://127.0.0.1:{port}/v1", "m")
        outcome = ask(endpoint, backoff=backoff)

    assert (outcome.error_class, outcome.attempts) == (ErrorClass.INFRA, attempts)
    assert "127.0.0.1: no connection in time; check the address" in outcome.error


def test_five_calls_that_cannot_connect_take_less_than_a_minute() -> None:
    """They are made one after the other where the concurrency is 1."""
    unconnected = CallFailed(ErrorClass.INFRA, "", retryable=True, unconnected=True)

    assert Backoff().wait_s(1, unconnected, tried_s=egress.CONNECT_S) is None
    assert endings.CIRCUIT * egress.CONNECT_S <= 45


def test_an_endpoint_at_a_private_address_is_rejected_without_a_call(server: ModelServer) -> None:
    async def scenario() -> Outcome:
        async with egress.session(private=PrivateHosts()) as session:
            return await calls.call(
                session, make_endpoint(server), make_call(), deadline=time.monotonic() + 5
            )

    outcome = asyncio.run(scenario())

    assert outcome.error_class is ErrorClass.REJECTED
    assert "EVALSCHED_PRIVATE_HOSTS" in outcome.error
    assert server.calls().count == 0


def test_an_unknown_provider_is_rejected(server: ModelServer) -> None:
    outcome = ask(make_endpoint(server, provider="astrology"))

    assert outcome.error_class is ErrorClass.REJECTED
    assert "anthropic, demo, http, openai" in outcome.error


def test_neither_key_nor_body_gets_into_an_error(server: ModelServer) -> None:
    server.configure(mode="401")
    endpoint = make_endpoint(server, api_key="sk-very-secret")

    outcome = ask(endpoint)

    assert "sk-very-secret" not in outcome.error + repr(endpoint)
    assert "quote the prompt" not in outcome.error
    assert "invalid_api_key" in outcome.error


def test_jitter_spreads_the_waits_over_the_whole_range() -> None:
    failure = CallFailed(ErrorClass.INFRA, "", retryable=True, status=500)
    waits = [Backoff().wait_s(3, failure) or 0.0 for _ in range(200)]

    assert min(waits) < 0.5
    assert 1.5 < max(waits) <= 2.0


def test_waits_stop_growing() -> None:
    failure = CallFailed(ErrorClass.INFRA, "", retryable=True, status=429)
    patient = Backoff(attempts_when_limited=100, uniform=lambda _, most: most)

    assert patient.wait_s(50, failure) == patient.most_s


def test_a_check_of_a_working_endpoint_names_model_and_time(server: ModelServer) -> None:
    server.configure(model="m-2026", api_key="sk-1")

    result = calls.check_now(make_endpoint(server, api_key="sk-1"), LOOPBACK)

    assert result.ok
    assert result.model == "m-2026"
    assert result.latency_ms is not None
    assert server.calls().last["body"]["max_tokens"] == 1


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("401", "key refused"),
        ("404", "no such model or path"),
        ("html", "root of its API"),
        ("500", "the server failed"),
        ("hang", "in time"),
    ],
)
def test_a_check_says_in_words_what_is_wrong(server: ModelServer, mode: str, words: str) -> None:
    server.configure(mode=mode)

    result = calls.check_now(make_endpoint(server), LOOPBACK, timeout_s=0.5)

    assert not result.ok
    assert words in result.sentence
    assert server.calls().count == 1


def test_a_check_of_a_model_that_refuses_max_tokens_asks_without_it(server: ModelServer) -> None:
    server.configure(failures_first=1, failure_status=400)

    result = calls.check_now(make_endpoint(server), LOOPBACK)

    assert result.ok
    assert "max_tokens" not in server.calls().last["body"]


def test_a_check_of_a_closed_port_says_so() -> None:
    endpoint = Endpoint("openai", "http://127.0.0.1:1/v1", "m")

    result = calls.check_now(endpoint, LOOPBACK)

    assert "connection refused" in result.sentence
    assert not result.ok


def test_a_thousand_calls_keep_a_hundred_in_flight(server: ModelServer) -> None:
    server.configure(latency_ms=100, first_token_ms=50)

    async def scenario() -> float:
        slots = asyncio.Semaphore(100)

        async def one(number: int) -> Outcome:
            async with slots:
                return await calls.call(
                    session,
                    make_endpoint(server),
                    make_call(f"question {number}", timeout_s=20.0),
                    deadline=time.monotonic() + 30,
                )

        async with egress.session(private=LOOPBACK, limit=100) as session:
            started = time.monotonic()
            outcomes = await asyncio.gather(*(one(number) for number in range(1000)))
        assert all(outcome.answer is not None for outcome in outcomes)
        return time.monotonic() - started

    took_s = asyncio.run(scenario())

    seen = server.calls()
    assert (seen.count, seen.max_in_flight) == (1000, 100)
    assert took_s < 10

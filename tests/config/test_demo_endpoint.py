"""The demonstration model over a real socket, asked by the project's own provider."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from access import egress
from access.egress import PrivateHosts
from batches import calls
from batches.providers.base import Answer, Call, Endpoint
from batches.providers.demo import demo_key
from batches.scoring.assertions import Answer as Scored
from batches.scoring.parsing import parse
from batches.scoring.scores import score
from config.demo import endpoint as demo
from config.demo import knowledge
from config.demo.cases import CASES

LOOPBACK = PrivateHosts.parse(["127.0.0.1"])
WRONG = {"capital-australia", "times-7-8", "echo-answer"}


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def base_url() -> Iterator[str]:
    with override_settings(
        EVALSCHED_DEMO=True,
        ROOT_URLCONF="tests.config.demo_urls",
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        ALLOWED_HOSTS=["127.0.0.1"],
    ):
        server = _Server(("127.0.0.1", 0), _Quiet)
        server.set_app(WSGIHandler())
        url = f"http://127.0.0.1:{server.server_port}/demo/v1"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        with override_settings(DEMO_BASE_URL=url):
            yield url
        server.shutdown()
        serving.join()
        server.server_close()


def request(
    base_url: str, method: str, path: str, body: bytes = b"", key: str | None = None
) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection(base_url.split("/")[2], timeout=10)
    try:
        key = demo_key(settings.SECRET_KEY) if key is None else key
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, f"/demo/v1{path}", body, headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), json.loads(response.read())
    finally:
        connection.close()


def ask(base_url: str, prompt: str, **changes: Any) -> tuple[int, dict[str, str], Any]:
    body = {"messages": [{"role": "user", "content": prompt}], **changes}
    return request(base_url, "POST", "/chat/completions", json.dumps(body).encode())


def answer_of(endpoint: Endpoint, prompt: str, **parameters: Any) -> Answer:
    async def scenario() -> calls.Outcome:
        async with egress.session(private=LOOPBACK) as session:
            question = Call([{"role": "user", "content": prompt}], parameters, timeout_s=10)
            return await calls.call(session, endpoint, question, deadline=time.monotonic() + 20)

    outcome = asyncio.run(scenario())
    assert outcome.answer is not None, outcome.error
    return outcome.answer


@pytest.mark.parametrize("stream", [True, False])
def test_the_demo_provider_needs_no_address_and_no_key(base_url: str, stream: bool) -> None:
    prompt = "What is the capital of France?"

    answer = answer_of(Endpoint("demo", "", "demo-1"), prompt, stream=stream)

    assert answer.output == "The capital of France is Paris."
    assert answer.model == "demo-1"
    assert answer.latency_ms >= knowledge.latency_ms(prompt)
    assert (answer.ttft_ms is not None) == stream
    assert answer.input_tokens == 8
    assert answer.output_tokens == 8


def test_the_first_token_comes_before_the_last(base_url: str) -> None:
    answer = answer_of(Endpoint("demo", "", "demo-1"), "What is the capital of Canada?")

    assert answer.ttft_ms is not None
    assert answer.ttft_ms < answer.latency_ms - 50


def test_a_check_of_the_demo_endpoint_succeeds(base_url: str) -> None:
    assert calls.check_now(Endpoint("demo", "", "demo-1"), LOOPBACK).ok


@pytest.mark.parametrize("key", ["", "wrong", "schlüssel"])
def test_without_its_key_nobody_is_answered(base_url: str, key: str) -> None:
    for method, path in (("GET", "/models"), ("POST", "/chat/completions")):
        status, _, body = request(base_url, method, path, key=key.encode().decode("latin-1"))

        assert status == 401
        assert body["error"]["code"] == "invalid_api_key"


def test_it_is_not_there_unless_this_is_a_demonstration(base_url: str) -> None:
    with override_settings(EVALSCHED_DEMO=False):
        assert request(base_url, "GET", "/models")[0] == 404
        assert ask(base_url, "What is 7 times 8?")[0] == 404


def test_it_lists_its_model(base_url: str) -> None:
    _, _, body = request(base_url, "GET", "/models")

    assert [model["id"] for model in body["data"]] == ["demo-1"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"[" * 50_000, 400),
        (b"{}", 400),
        (b'{"messages": []}', 400),
        (b'{"messages": ["text"]}', 400),
        (b'{"messages": [{"content": 5}]}', 400),
        (b'{"messages": [{"content": "' + b"a" * demo.MAX_BODY + b'"}]}', 413),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(base_url: str, body: bytes, status: int) -> None:
    assert request(base_url, "POST", "/chat/completions", body)[0] == status


@pytest.mark.parametrize("stream", [True, False])
def test_the_fifth_call_at_once_is_told_to_wait(base_url: str, stream: bool) -> None:
    slots = [demo._Slot() for _ in range(demo.MAX_AT_ONCE)]
    try:
        status, headers, body = ask(base_url, "What is 9 times 9?", stream=stream)
    finally:
        for slot in slots:
            slot.free()

    assert status == 429
    assert headers["Retry-After"] == "1"
    assert body["error"]["code"] == "rate_limit_exceeded"


def test_every_call_gives_its_place_back(base_url: str) -> None:
    endpoint = Endpoint("demo", "", "demo-1")
    prompts = [f"What is {number} plus 1?" for number in range(12)]
    with ThreadPoolExecutor(demo.MAX_AT_ONCE) as pool:
        answers = list(pool.map(lambda prompt: answer_of(endpoint, prompt), prompts))

    assert len(answers) == 12
    _assert_all_places_free()


def test_a_client_that_goes_away_gives_its_place_back(base_url: str) -> None:
    connection = http.client.HTTPConnection(base_url.split("/")[2], timeout=10)
    body = json.dumps({"stream": True, "messages": [{"content": "What is 9 times 9?"}]})
    key = demo_key(settings.SECRET_KEY)
    connection.request(
        "POST", "/demo/v1/chat/completions", body, {"Authorization": f"Bearer {key}"}
    )
    connection.close()

    _assert_all_places_free()


def _assert_all_places_free() -> None:
    until = time.monotonic() + 5
    while True:
        slots = [demo._Slot() for _ in range(demo.MAX_AT_ONCE)]
        free = all(slots)
        for slot in slots:
            slot.free()
        if free or time.monotonic() > until:
            break
        time.sleep(0.02)
    assert free


def test_the_key_depends_on_the_secret_and_does_not_show_it() -> None:
    key = demo_key("a secret")

    assert key != demo_key("another secret")
    assert len(key) == 64
    assert "secret" not in key


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("What is 100 minus 58?", "42"),
        ("  what IS 9 times 9?\n", "81"),
        ("Reply with exactly: OK", "OK"),
        ("Answer in JSON: name Ada, age 36", '{"name": "Ada", "age": 36}'),
    ],
)
def test_it_answers_what_it_knows(prompt: str, expected: str) -> None:
    assert knowledge.answer_to(prompt) == expected


def test_it_says_politely_what_it_does_not_know() -> None:
    assert "demonstration model" in knowledge.answer_to("Write me a poem about autumn.")


def test_about_the_stated_share_of_prompts_is_wrong() -> None:
    prompts = [f"What is {number} plus 1?" for number in range(2000)]
    wrong = sum(map(knowledge.is_wrong, prompts)) / len(prompts)

    assert wrong == pytest.approx(knowledge.WRONG_SHARE, abs=0.03)


def test_seventeen_of_the_twenty_cases_pass() -> None:
    failed = set()
    for case in CASES:
        prompt = case["prompt"]
        answer = Scored(knowledge.answer_to(prompt), knowledge.latency_ms(prompt), None)
        if not score(parse(case["assertions"]), answer, variables={}, threshold=None).passed:
            failed.add(case["key"])

    assert len({case["key"] for case in CASES}) == 20
    assert failed == WRONG

"""Any JSON endpoint: what is sent by a template, and where the answer is found."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access import egress
from access.egress import PrivateHosts
from access.errors import Invalid
from batches.calls import Outcome
from batches.providers import http
from batches.providers.base import Call, CallFailed, Endpoint, ErrorClass
from tests.batches.test_calls import ask
from tests.servers_http.scripted import Reply, ScriptedServer

TURNS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": 'say "hi" {{ model }}'},
]


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def server(running: ScriptedServer) -> ScriptedServer:
    running.asked.clear()
    return running


def make_endpoint(base_url: str = "https://api.example/ask", **changes: Any) -> Endpoint:
    wanted = {"request_template": {"q": "{{ prompt }}"}, "answer_path": "answer"}
    return Endpoint("http", base_url, "m", **{**wanted, **changes})


def asked_of(server: ScriptedServer, answer: object, path: str = "answer") -> Outcome:
    server.reply = lambda _: Reply.json(answer)
    return ask(make_endpoint(f"{server.root}/ask?v=2", answer_path=path, api_key="k"))


def test_the_template_is_sent_with_its_names_filled(server: ScriptedServer) -> None:
    server.reply = lambda _: Reply.json({"data": [{"text": "Hello"}], "usage": {"input_tokens": 3}})
    endpoint = make_endpoint(
        f"{server.root}/ask",
        request_template={"q": "{{ prompt }}", "m": "{{ model }}"},
        answer_path="$.data[0].text",
        api_key="the-key",
        headers={"X-Team": "a"},
    )

    outcome = ask(endpoint, Call(TURNS, timeout_s=5.0))

    assert outcome.answer is not None
    assert (outcome.answer.output, outcome.answer.ttft_ms) == ("Hello", None)
    assert (outcome.answer.input_tokens, outcome.answer.output_tokens) == (3, None)
    (asked,) = server.asked
    assert (asked.path, asked.body) == ("/ask", {"q": 'say "hi" {{ model }}', "m": "m"})
    assert asked.headers["authorization"] == "Bearer the-key"
    assert asked.headers["x-team"] == "a"


def test_a_text_that_is_one_tag_becomes_the_value_itself() -> None:
    template = {
        "list": "{{ messages }}",
        "deep": [{"t": "{{temperature}}", "text": "t={{ temperature }} {{ tags }}"}],
        "system": "{{ system }}",
        "fixed": [1, None, True],
    }
    endpoint = make_endpoint(
        request_template=template, parameters={"temperature": 1, "tags": ["a", "b"]}
    )

    assert http.payload(endpoint, Call(TURNS, {"temperature": 0.5})) == {
        "list": TURNS,
        "deep": [{"t": 0.5, "text": 't=0.5 ["a", "b"]'}],
        "system": "Be kind.",
        "fixed": [1, None, True],
    }


@given(st.text())
def test_no_prompt_can_change_the_body_around_it(prompt: str) -> None:
    call = Call([{"role": "user", "content": prompt}])
    endpoint = make_endpoint(request_template={"q": "Q: {{ prompt }}", "admin": False})

    assert http.payload(endpoint, call) == {"q": f"Q: {prompt}", "admin": False}


def test_a_parameter_that_nobody_gives_any_more_is_rejected() -> None:
    endpoint = make_endpoint(request_template={"q": "{{ prompt }}", "k": "{{ top_k }}"})

    with pytest.raises(CallFailed) as caught:
        http.payload(endpoint, Call(TURNS))

    assert caught.value.error_class is ErrorClass.REJECTED
    assert "top_k" in caught.value.sentence


@pytest.mark.parametrize(
    ("answer", "path", "output"),
    [
        ({"a": {"b": ["x", "y"]}}, "a.b.1", "y"),
        ({"a": {"b": ["x", "y"]}}, "$.a.b[0]", "x"),
        ([["x"]], "[0][0]", "x"),
        ({"1": "one"}, "1", "one"),
        ({"answer": 3.0}, "answer", "3"),
        ({"answer": True}, "answer", "true"),
        ({"answer": ["é", 1]}, "answer", '["é", 1]'),
        ({"answer": ""}, "answer", ""),
        ("plain", "", "plain"),
        ({"a": 1}, "", '{"a": 1}'),
    ],
)
def test_the_answer_stands_where_the_path_says(
    server: ScriptedServer, answer: object, path: str, output: str
) -> None:
    found = asked_of(server, answer, path).answer

    assert found is not None
    assert found.output == output


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        ({"other": 1}, "answer"),
        ({"answer": None}, "answer"),
        ({"answer": []}, "answer[0]"),
        ({"answer": "text"}, "answer[0]"),
        ({"answer": {"0": "x"}}, "answer[0]"),
        (None, ""),
    ],
)
def test_nothing_at_the_path_is_no_answer_and_says_what_to_check(
    server: ScriptedServer, answer: object, path: str
) -> None:
    outcome = asked_of(server, answer, path)

    assert (outcome.error_class, outcome.attempts) == (ErrorClass.INFRA, 1)
    assert "check the endpoint's answer_path" in outcome.error


def test_a_body_that_is_no_json_is_an_answer_only_where_all_of_it_is(
    server: ScriptedServer,
) -> None:
    server.reply = lambda _: Reply([(0, b"plain text")])

    whole = ask(make_endpoint(server.root, answer_path="")).answer
    part = ask(make_endpoint(server.root))

    assert whole is not None
    assert whole.output == "plain text"
    assert (part.error_class, part.answer) == (ErrorClass.INFRA, None)


def test_statuses_mean_what_they_always_mean(server: ScriptedServer) -> None:
    server.reply = lambda _: Reply.json({"error": {"code": "bad_key"}}, status=401)
    assert ask(make_endpoint(server.root)).error_class is ErrorClass.REJECTED

    server.asked.clear()
    server.reply = lambda asked: Reply.json({"answer": "x"}, status=503 if asked.nth < 3 else 200)
    assert ask(make_endpoint(server.root)).attempts == 3


def test_a_private_address_is_not_called(server: ScriptedServer) -> None:
    async def scenario() -> None:
        async with egress.session(private=PrivateHosts.parse([])) as session:
            await http.Http().complete(session, make_endpoint(server.root), Call(TURNS))

    with pytest.raises(CallFailed) as caught:
        asyncio.run(scenario())

    assert caught.value.error_class is ErrorClass.REJECTED
    assert server.asked == []


@pytest.mark.parametrize(
    "template",
    [
        None,
        "{{ prompt }}",
        ["{{ prompt }}"],
        {},
        {"q": "always the same"},
        {"{{ prompt }}": "in a key"},
        {"q": "{{ prompt }}", "k": "{{ unknown }}"},
        {"q": "{{ prompt | upper }}"},
        {"q": "{{ prompt }} {% if x %}"},
        {"q": "{{ prompt }}", "pad": "x" * 20_001},
        {"q": "{{ prompt }}", "nul": "\x00"},
    ],
    ids=str,
)
def test_templates_that_are_refused(template: object) -> None:
    with pytest.raises(Invalid):
        http.check_template(template, {"temperature": 0})


@pytest.mark.parametrize("path", ["a..b", "a[", "a[x]", "[0", "a.", "a[0]b", "a[-1]"])
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(Invalid):
        http.check_path(path)

"""Server-sent events in every cut, and what a chat completion says."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches.providers import answers, failures
from batches.providers.answers import StreamedAnswer
from batches.providers.base import Answer, CallFailed, ErrorClass
from batches.providers.openai import completions_url
from batches.providers.sse import EventStream
from batches.providers.text import clean

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def events(*pieces: bytes) -> list[str]:
    stream = EventStream()
    found = [data for piece in pieces for data in stream.feed(piece)]
    return found + list(stream.close())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b": keep-alive\n\ndata: a\n\n: more\n\n", ["a"]),
        (b"event: message\nid: 7\nretry: 10\ndata: a\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: last without its blank line", ["last without its blank line"]),
        (b"data: a\n\ndata: b\n", ["a", "b"]),
        (b"data: gr\xc3\xbc\xc3\x9fe \xf0\x9f\x98\x80\n\n", ["grüße 😀"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        (b"data\n\n", [""]),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_events_are_read_as_the_standard_says(body: bytes, expected: list[str]) -> None:
    assert events(body) == expected


@given(
    cuts=st.lists(st.integers(0, 80), max_size=12),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_where_the_pieces_are_cut_changes_nothing(cuts: list[int], end: bytes) -> None:
    body = end.join(
        [
            "data: grüße 😀".encode(),
            b"",
            b": note",
            b"data: x",
            b"data: y",
            b"",
            b"data: z",
            b"",
            b"",
        ]
    )
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:stop] for start, stop in itertools.pairwise(edges)]

    assert events(*pieces) == ["grüße 😀", "x\ny", "z"]


def test_a_byte_at_a_time_is_read_too() -> None:
    body = b"data: a\r\n\r\ndata: \xf0\x9f\x98\x80\r\n\r\n"

    assert events(*(body[at : at + 1] for at in range(len(body)))) == ["a", "😀"]


def chunk(delta: dict[str, Any] | None = None, **choice: Any) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": delta or {}, **choice}]})


def streamed(*datas: str) -> Answer:
    """Put the events together; each arrives 10 ms after the one before."""
    answer = StreamedAnswer("api.example")
    for at, data in enumerate(datas, start=1):
        answer.take(data, at * 10.0)
    return answer.result()


def test_time_to_first_token_counts_from_content_and_not_from_role_or_empty_pieces() -> None:
    answer = streamed(
        chunk({"role": "assistant", "content": ""}),
        chunk({"role": "assistant"}),
        chunk({"reasoning_content": "let me think"}),
        chunk({"content": "Pa"}),
        chunk({"content": "ris"}),
        chunk(finish_reason="stop"),
        json.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}),
        "[DONE]",
    )

    assert (answer.output, answer.ttft_ms, answer.latency_ms) == ("Paris", 40.0, 50.0)
    assert (answer.input_tokens, answer.cached_tokens, answer.output_tokens) == (7, None, 2)
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, (None, None, None)),
        ("many", (None, None, None)),
        ({}, (None, None, None)),
        ({"prompt_tokens": -1, "completion_tokens": True}, (None, None, None)),
        ({"prompt_tokens": 2**40, "completion_tokens": 1.5}, (None, None, None)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 0,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
            (10, 4, 0),
        ),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}, (3, 3, None)),
    ],
)
def test_token_counts_are_taken_only_where_they_make_sense(usage: object, expected: object) -> None:
    last = json.dumps({"choices": [], "usage": usage})
    answer = streamed(chunk({"content": "hi"}), chunk(finish_reason="stop"), last)

    assert (answer.input_tokens, answer.cached_tokens, answer.output_tokens) == expected


def test_an_answer_may_be_empty() -> None:
    answer = streamed(chunk({"content": ""}), chunk(finish_reason="stop"), "[DONE]")

    assert (answer.output, answer.ttft_ms, answer.latency_ms) == ("", None, 20.0)


def test_done_without_a_finish_reason_is_an_end() -> None:
    assert streamed(chunk({"content": "hi"}), "[DONE]").output == "hi"


def test_only_the_first_of_several_choices_is_the_answer() -> None:
    answer = streamed(
        json.dumps({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
        chunk({"content": "first"}),
        chunk(finish_reason="stop"),
    )

    assert answer.output == "first"


@pytest.mark.parametrize(
    ("datas", "error_class", "retryable"),
    [
        ([chunk({"content": "half"})], ErrorClass.INFRA, True),
        ([], ErrorClass.INFRA, True),
        (["[DONE]"], ErrorClass.INFRA, False),
        (['{"choices": ['], ErrorClass.INFRA, False),
        (["[" * 100_000], ErrorClass.INFRA, False),
        (['"text"'], ErrorClass.INFRA, False),
        ([chunk({"content": "a"}), '{"error": {"type": "server_error"}}'], ErrorClass.INFRA, True),
        (['{"error": "overloaded"}'], ErrorClass.INFRA, True),
        (['{"error": {"code": 429, "message": "slow down"}}'], ErrorClass.INFRA, True),
        (['{"error": {"type": "invalid_request_error"}}'], ErrorClass.REJECTED, False),
        (['{"object": "error", "code": 404, "message": "no model"}'], ErrorClass.REJECTED, False),
        ([chunk({"refusal": "No."}), chunk(finish_reason="stop")], ErrorClass.REFUSED, False),
        ([chunk({"content": "a"}, finish_reason="content_filter")], ErrorClass.REFUSED, False),
        ([chunk({"content": "a"}, finish_reason="error")], ErrorClass.INFRA, True),
    ],
)
def test_a_stream_that_is_no_answer(
    datas: list[str], error_class: ErrorClass, retryable: bool
) -> None:
    with pytest.raises(CallFailed) as caught:
        streamed(*datas)

    assert (caught.value.error_class, caught.value.retryable) == (error_class, retryable)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<!doctype html><p>Log in</p>", "web page"),
        (b'{"choices": [{', "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b"\xff\xfe{}", "not a JSON object"),
        (b"{}", "no choices"),
        (b'{"choices": []}', "no choices"),
        (b'{"choices": [null]}', "no choices"),
        (b'{"choices": {"0": 1}}', "no choices"),
        (b'{"choices": [{"text": "an older dialect"}]}', "no choices"),
    ],
)
def test_a_body_that_is_no_answer_says_what_it_is(body: bytes, what: str) -> None:
    with pytest.raises(CallFailed, match=what) as caught:
        answers.whole(body, "api.example", 5)

    assert caught.value.error_class is ErrorClass.INFRA


def test_content_may_come_in_parts() -> None:
    message = {"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}
    body = json.dumps({"choices": [{"message": message}]}).encode()

    assert answers.whole(body, "api.example", 5).output == "ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain 😀", "plain 😀"),
        ("a\0b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("", ""),
    ],
)
def test_cleaned_text_can_be_stored(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text(st.characters(codec=None)))
def test_cleaned_text_is_always_utf_8_without_nul(text: str) -> None:
    assert b"\0" not in clean(text).encode()


def test_a_surrogate_pair_parted_by_the_stream_becomes_one_character() -> None:
    first = '{"choices": [{"delta": {"content": "\\ud83d"}}]}'
    second = '{"choices": [{"delta": {"content": "\\ude00"}, "finish_reason": "stop"}]}'

    assert streamed(first, second).output == "😀"


@pytest.mark.parametrize(
    ("status", "code", "error_class", "retryable"),
    [
        (301, "", ErrorClass.REJECTED, False),
        (400, "", ErrorClass.REJECTED, False),
        (401, "invalid_api_key", ErrorClass.REJECTED, False),
        (403, "", ErrorClass.REJECTED, False),
        (404, "model_not_found", ErrorClass.REJECTED, False),
        (408, "", ErrorClass.INFRA, True),
        (422, "", ErrorClass.REJECTED, False),
        (429, "", ErrorClass.INFRA, True),
        (429, "insufficient_quota", ErrorClass.INFRA, False),
        (400, "content_filter", ErrorClass.REFUSED, False),
        (500, "", ErrorClass.INFRA, True),
        (503, "", ErrorClass.INFRA, True),
        (529, "overloaded_error", ErrorClass.INFRA, True),
    ],
)
def test_what_a_status_means(
    status: int, code: str, error_class: ErrorClass, retryable: bool
) -> None:
    failure = failures.from_status(status, "api.example", code=code)

    assert (failure.error_class, failure.retryable, failure.status) == (
        error_class,
        retryable,
        status,
    )
    assert failure.sentence.startswith(f"{status} from api.example")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("999999999", failures.MAX_RETRY_AFTER_S),
        ("inf", failures.MAX_RETRY_AFTER_S),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, expected: float | None) -> None:
    assert failures.retry_after_s(value, NOW) == expected


def test_retry_after_as_a_date_is_counted_from_now() -> None:
    value = "Sun, 01 Mar 2026 12:00:30 GMT"

    assert failures.retry_after_s(value, NOW + timedelta(seconds=10)) == 20.0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "model_not_found", "type": "x_y"}, "model_not_found"),
        ({"code": None, "type": "server_error"}, "server_error"),
        ({"code": "sk-Secret123", "type": "Your key sk-123 is wrong"}, ""),
        ("overloaded", ""),
        (None, ""),
    ],
)
def test_only_identifiers_are_quoted_from_an_error(error: object, expected: str) -> None:
    assert failures.error_code(error) == expected


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.example/v1", "https://api.example/v1/chat/completions"),
        ("https://api.example/v1/", "https://api.example/v1/chat/completions"),
        ("https://api.example", "https://api.example/chat/completions"),
        ("https://a.example/x?v=1", "https://a.example/x/chat/completions?v=1"),
        (
            "https://api.example/v1/chat/completions",
            "https://api.example/v1/chat/completions",
        ),
    ],
)
def test_the_path_is_put_after_the_root(base_url: str, expected: str) -> None:
    assert completions_url(base_url) == expected

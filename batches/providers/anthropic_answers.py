"""What a message of Anthropic's says, in one piece or streamed. Pure: it sees text and times only.

Source: the Messages API's reference, version 2023-06-01.
"""

from typing import Any

from batches.providers import failures, parts
from batches.providers.base import Answer, CallFailed, ErrorClass
from batches.providers.text import clean

_REFUSAL = "refusal"
# Errors in a stream come with status 200; their types mean these. Source: "Errors".
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class StreamedMessage:
    """Puts a message together from the events of its stream. See `exchange.Streamed`."""

    def __init__(self, host: str) -> None:
        self.done = False
        self.finished = False
        self._host = host
        self._texts: list[str] = []
        self._started = False
        self._ttft_ms: float | None = None
        self._latency_ms = 0.0
        self._usage: dict[str, Any] = {}
        self._model = ""
        self._stop_reason = ""

    def take(self, data: str, at_ms: float) -> None:
        """Add the data of one event that arrived `at_ms` after the request's start.

        Raises:
            CallFailed: it is an error, or not JSON.
        """
        event = parts.json_object(data)
        if event is None:
            raise failures.no_answer(self._host, "the stream holds broken JSON")
        match event.get("type"):
            case "message_start":
                self._begin(event.get("message"))
            case "content_block_delta":
                self._add(event.get("delta"), at_ms)
            case "message_delta":
                self._end(event, at_ms)
            case "message_stop":
                self.done = self.finished = True
            case "error":
                raise _failure(event, self._host)
            case _:
                # Pings, the edges of blocks, and whatever is added to the dialect.
                pass

    def result(self) -> Answer:
        """Return the answer.

        Raises:
            CallFailed: the stream was cut off, held no message, or the model declined.
        """
        if not self.finished:
            raise failures.no_answer(self._host, "the stream was cut off", retryable=True)
        if not self._started:
            raise failures.no_answer(self._host, "the stream holds no message")
        return _answer(
            self._host,
            text="".join(self._texts),
            stop_reason=self._stop_reason,
            ttft_ms=self._ttft_ms,
            latency_ms=self._latency_ms,
            usage=self._usage,
            model=self._model,
        )

    def _begin(self, message: object) -> None:
        if isinstance(message, dict):
            self._started = True
            self._model = parts.name(message.get("model"))
            self._count(message.get("usage"))

    def _add(self, delta: object, at_ms: float) -> None:
        text = delta.get("text") if isinstance(delta, dict) else None
        # What the model thinks and which tools it would use are not its answer.
        if isinstance(text, str) and text:
            self._texts.append(text)
            self._latency_ms = at_ms
            if self._ttft_ms is None:
                self._ttft_ms = at_ms

    def _end(self, event: dict[str, Any], at_ms: float) -> None:
        delta = event.get("delta")
        reason = parts.name(delta.get("stop_reason")) if isinstance(delta, dict) else ""
        if reason:
            self._stop_reason, self.finished = reason, True
            self._latency_ms = self._latency_ms or at_ms
        self._count(event.get("usage"))

    def _count(self, usage: object) -> None:
        # Counts are running totals, and an event names only those that changed.
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}


def whole(body: bytes, host: str, latency_ms: float) -> Answer:
    """Return the answer in a body that came in one piece. It has no time to first token.

    Raises:
        CallFailed: it is no message, an error object, or the model declined.
    """
    if not body.strip():
        raise failures.no_answer(host, "the body is empty", retryable=True)
    if body.lstrip().startswith(b"<"):
        raise failures.no_answer(host, "it is a web page")
    parsed = parts.json_object(body)
    if parsed is None:
        raise failures.no_answer(host, "it is not a JSON object")
    if parsed.get("type") == "error":
        raise _failure(parsed, host)
    content = parsed.get("content")
    if not isinstance(content, list):
        raise failures.no_answer(host, "it holds no content")
    texts = (block.get("text") for block in content if isinstance(block, dict))
    usage = parsed.get("usage")
    return _answer(
        host,
        text="".join(text for text in texts if isinstance(text, str)),
        stop_reason=parts.name(parsed.get("stop_reason")),
        ttft_ms=None,
        latency_ms=latency_ms,
        usage=usage if isinstance(usage, dict) else {},
        model=parts.name(parsed.get("model")),
    )


def code_of(body: bytes) -> str:
    """Return the type in an error's body, "" where it holds none."""
    return failures.error_code((parts.json_object(body) or {}).get("error"))


def _answer(
    host: str,
    *,
    text: str,
    stop_reason: str,
    ttft_ms: float | None,
    latency_ms: float,
    usage: dict[str, Any],
    model: str,
) -> Answer:
    if stop_reason == _REFUSAL:
        raise CallFailed(ErrorClass.REFUSED, f"{host}: the model declined to answer")
    tokens_in, cached, written = _input_tokens(usage)
    return Answer(
        output=clean(text),
        ttft_ms=ttft_ms,
        latency_ms=latency_ms,
        input_tokens=tokens_in,
        cached_tokens=cached,
        written_tokens=written,
        output_tokens=parts.count(usage.get("output_tokens")),
        model=model,
        finish_reason=stop_reason,
    )


def _failure(event: dict[str, Any], host: str) -> CallFailed:
    code = failures.error_code(event.get("error"))
    return failures.from_status(_STATUSES.get(code, 500), host, code=code)


def _input_tokens(usage: dict[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Return all tokens of the input, and of these the ones read from and written to the cache.

    The dialect counts them apart: new ones, ones written to the cache, and ones read from it.
    """
    new = parts.count(usage.get("input_tokens"))
    if new is None:
        return None, None, None
    written = parts.count(usage.get("cache_creation_input_tokens")) or 0
    read = parts.count(usage.get("cache_read_input_tokens")) or 0
    return parts.count(new + written + read), read, written

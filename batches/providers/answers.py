"""What a chat completion says, in one piece or streamed. Pure: it sees text and times only."""

from typing import Any

from batches.providers import failures, parts
from batches.providers.base import Answer, CallFailed, ErrorClass
from batches.providers.text import clean

_DONE = "[DONE]"
_FILTERED = "content_filter"
_BROKEN = "error"  # a finish reason of gateways whose upstream failed
_STATUSES = range(300, 600)
_REQUEST_AT_FAULT = frozenset({"invalid_request_error", "model_not_found", "invalid_api_key"})


class StreamedAnswer:
    """Puts an answer together from the events of its stream.

    `finished` once the model said why it stopped, or the stream said it is over: what comes after
    that can only add token counts. `done` once nothing more will come.
    """

    def __init__(self, host: str) -> None:
        self.done = False
        self.finished = False
        self._host = host
        self._texts: list[str] = []
        self._declined = False
        self._answered = False
        self._ttft_ms: float | None = None
        self._latency_ms = 0.0
        self._usage: object = None
        self._model = ""
        self._finish_reason = ""

    def take(self, data: str, at_ms: float) -> None:
        """Add the data of one event that arrived `at_ms` after the request's start.

        Raises:
            CallFailed: it is an error object, or not JSON.
        """
        if data.strip() == _DONE:
            self.done = self.finished = True
            return
        event = parts.json_object(data)
        if event is None:
            raise failures.no_answer(self._host, "the stream holds broken JSON")
        _raise_error_in(event, self._host)
        self._usage = event.get("usage") or self._usage
        self._model = parts.name(event.get("model")) or self._model
        choice = _first_choice(event)
        if choice is not None:
            self._take_choice(choice, at_ms)

    def _take_choice(self, choice: dict[str, Any], at_ms: float) -> None:
        self._answered = True
        # A server that does not stream may still wrap its whole message in one event.
        said = choice.get("delta") or choice.get("message") or {}
        text = _text(said)
        if text:
            self._texts.append(text)
            self._latency_ms = at_ms
            if self._ttft_ms is None:
                self._ttft_ms = at_ms
        self._declined = self._declined or _declined(said)
        reason = parts.name(choice.get("finish_reason"))
        if reason:
            self._finish_reason, self.finished = reason, True
            self._latency_ms = self._latency_ms or at_ms

    def result(self) -> Answer:
        """Return the answer.

        Raises:
            CallFailed: the stream was cut off, held no choice, or the model declined.
        """
        if not self.finished:
            raise failures.no_answer(self._host, "the stream was cut off", retryable=True)
        if not self._answered:
            raise failures.no_answer(self._host, "the stream holds no choices")
        return _answer(
            self._host,
            text="".join(self._texts),
            declined=self._declined,
            finish_reason=self._finish_reason,
            ttft_ms=self._ttft_ms,
            latency_ms=self._latency_ms,
            usage=self._usage,
            model=self._model,
        )


def whole(body: bytes, host: str, latency_ms: float) -> Answer:
    """Return the answer in a body that came in one piece. It has no time to first token.

    Raises:
        CallFailed: it is no chat completion, an error object, or the model declined.
    """
    if not body.strip():
        raise failures.no_answer(host, "the body is empty", retryable=True)
    if body.lstrip().startswith(b"<"):
        raise failures.no_answer(host, "it is a web page")
    parsed = parts.json_object(body)
    if parsed is None:
        raise failures.no_answer(host, "it is not a JSON object")
    _raise_error_in(parsed, host)
    choice = _first_choice(parsed)
    if choice is None or not isinstance(choice.get("message"), dict):
        raise failures.no_answer(host, "it holds no choices")
    return _answer(
        host,
        text=_text(choice["message"]),
        declined=_declined(choice["message"]),
        finish_reason=parts.name(choice.get("finish_reason")),
        ttft_ms=None,
        latency_ms=latency_ms,
        usage=parsed.get("usage"),
        model=parts.name(parsed.get("model")),
    )


def code_of(body: bytes) -> str:
    """Return the code in an error's body, "" where it holds none."""
    return failures.error_code((parts.json_object(body) or {}).get("error"))


def _answer(
    host: str,
    *,
    text: str,
    declined: bool,
    finish_reason: str,
    ttft_ms: float | None,
    latency_ms: float,
    usage: object,
    model: str,
) -> Answer:
    if declined or finish_reason == _FILTERED:
        raise CallFailed(ErrorClass.REFUSED, f"{host}: the model declined to answer")
    if finish_reason == _BROKEN:
        raise failures.no_answer(host, "the model broke off with an error", retryable=True)
    tokens_in, cached, tokens_out = _tokens(usage)
    return Answer(
        output=clean(text),
        ttft_ms=ttft_ms,
        latency_ms=latency_ms,
        input_tokens=tokens_in,
        cached_tokens=cached,
        output_tokens=tokens_out,
        model=model,
        finish_reason=finish_reason,
    )


def _raise_error_in(event: dict[str, Any], host: str) -> None:
    """Raise what an error object sent with status 200 means; its `code` may be a status."""
    error = event if event.get("object") == "error" else event.get("error")
    if not error:
        return
    code = failures.error_code(error)
    status = error.get("code") if isinstance(error, dict) else None
    if isinstance(status, int) and status in _STATUSES:
        raise failures.from_status(status, host, code=code)
    if code in _REQUEST_AT_FAULT:
        raise failures.from_status(400, host, code=code)
    raise failures.from_status(500, host, code=code)


def _first_choice(event: dict[str, Any]) -> dict[str, Any] | None:
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            return choice
    return None


def _text(said: object) -> str:
    """Return the text of a message or delta: a string, or a list of parts with text."""
    content = said.get("content") if isinstance(said, dict) else None
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _declined(said: object) -> bool:
    return isinstance(said, dict) and bool(said.get("refusal"))


def _tokens(usage: object) -> tuple[int | None, int | None, int | None]:
    """Return input, cached and output tokens; cached ones are part of the input."""
    if not isinstance(usage, dict):
        return None, None, None
    tokens_in = parts.count(usage.get("prompt_tokens"))
    details = usage.get("prompt_tokens_details")
    cached = parts.count(details.get("cached_tokens")) if isinstance(details, dict) else None
    if cached is not None and tokens_in is not None:
        cached = min(cached, tokens_in)
    return tokens_in, cached, parts.count(usage.get("completion_tokens"))

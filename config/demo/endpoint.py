"""The demonstration model as an OpenAI-compatible endpoint, served by the web process itself."""

import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from batches.providers.demo import demo_key
from config.demo import knowledge

MODEL = "demo-1"
# The web process has 16 threads: a demonstration must not keep the pages waiting for one.
MAX_AT_ONCE = 4
MAX_BODY = 64 * 1024
_MAX_CHUNKS = 4
_CHARS_PER_TOKEN = 4  # the usual estimate for English
_FIRST_TOKEN_SHARE = 0.4

_slots = threading.BoundedSemaphore(MAX_AT_ONCE)

View = Callable[[HttpRequest], HttpResponseBase]


class _Slot:
    """One of the calls at once. Given back once, whoever notices the end first."""

    def __init__(self) -> None:
        self._held = _slots.acquire(blocking=False)

    def __bool__(self) -> bool:
        return self._held

    def free(self) -> None:
        if self._held:
            self._held = False
            _slots.release()


class _Stream:
    """The events of an answer. Closed by the server also where the client has gone away.

    A class, not a generator: closing a generator that never ran would not give the slot back.
    """

    def __init__(self, events: Iterator[bytes], slot: _Slot) -> None:
        self._events = events
        self._slot = slot

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._events)

    def close(self) -> None:
        self._slot.free()


def _guarded(view: View) -> View:
    """Answer 404 unless this is a demonstration, and 401 without its key."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        if not settings.EVALSCHED_DEMO:
            return _error(HTTPStatus.NOT_FOUND, "not_found", "The demonstration model is off")
        expected = f"Bearer {demo_key(settings.SECRET_KEY)}"
        given = request.headers.get("Authorization", "")
        # Bytes, because compare_digest refuses text beyond ASCII.
        if not hmac.compare_digest(given.encode(), expected.encode()):
            return _error(HTTPStatus.UNAUTHORIZED, "invalid_api_key", "This is not the demo's key")
        return view(request)

    return handle


@require_GET
@_guarded
def models(request: HttpRequest) -> HttpResponseBase:
    """List the one model."""
    return JsonResponse(
        {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "evalsched"}]}
    )


@csrf_exempt
@require_POST
@_guarded
def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Answer a prompt after the time that it takes, streamed where asked."""
    body = _body(request)
    if isinstance(body, JsonResponse):
        return body
    prompt = _prompt(body)
    if prompt is None:
        return _error(HTTPStatus.BAD_REQUEST, "invalid_request_error", "messages are missing")
    slot = _Slot()
    if not slot:
        response = _error(
            HTTPStatus.TOO_MANY_REQUESTS,
            "rate_limit_exceeded",
            f"The demonstration model takes {MAX_AT_ONCE} calls at once",
        )
        response["Retry-After"] = "1"
        return response
    if body.get("stream"):
        return StreamingHttpResponse(
            _Stream(_events(prompt), slot),
            content_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    try:
        time.sleep(knowledge.latency_ms(prompt) / 1000)
        return JsonResponse(_whole(prompt))
    finally:
        slot.free()


def _body(request: HttpRequest) -> dict[str, Any] | JsonResponse:
    # Read, not `request.body`: the size limit has to hold before the bytes are in memory.
    raw = request.read(MAX_BODY + 1)
    if len(raw) > MAX_BODY:
        return _error(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "invalid_request_error",
            f"A request may have {MAX_BODY} bytes",
        )
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return _error(HTTPStatus.BAD_REQUEST, "invalid_request_error", "The body is not JSON")
    return body


def _prompt(body: dict[str, Any]) -> str | None:
    """Return the text of the last message, or None where there is none."""
    messages = body.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = last.get("content") if isinstance(last, dict) else None
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        content = " ".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else None


def _whole(prompt: str) -> dict[str, Any]:
    text = knowledge.answer_to(prompt)
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-demo",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(prompt, text),
    }


def _events(prompt: str) -> Iterator[bytes]:
    """Yield the answer's events, the first content after a share of the whole time."""
    text = knowledge.answer_to(prompt)
    pieces = _pieces(text)
    whole_s = knowledge.latency_ms(prompt) / 1000
    rest_s = whole_s * (1 - _FIRST_TOKEN_SHARE) / max(len(pieces) - 1, 1)
    yield _event(delta={"role": "assistant", "content": ""})
    time.sleep(whole_s * _FIRST_TOKEN_SHARE if len(pieces) > 1 else whole_s)
    for at, piece in enumerate(pieces):
        if at:
            time.sleep(rest_s)
        yield _event(delta={"content": piece})
    yield _event(delta={}, finish_reason="stop")
    yield _data({"object": "chat.completion.chunk", "choices": [], "usage": _usage(prompt, text)})
    yield b"data: [DONE]\n\n"


def _event(*, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _data(
        {
            "id": "chatcmpl-demo",
            "object": "chat.completion.chunk",
            "model": MODEL,
            "choices": [choice],
        }
    )


def _data(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def _pieces(text: str) -> list[str]:
    size = -(-len(text) // _MAX_CHUNKS) or 1
    return [text[at : at + size] for at in range(0, len(text), size)]


def _usage(prompt: str, text: str) -> dict[str, Any]:
    tokens_in, tokens_out = (-(-len(each) // _CHARS_PER_TOKEN) for each in (prompt, text))
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _error(status: HTTPStatus, code: str, message: str) -> JsonResponse:
    """Return an error in the shape that OpenAI's clients expect."""
    return JsonResponse({"error": {"message": message, "type": code, "code": code}}, status=status)

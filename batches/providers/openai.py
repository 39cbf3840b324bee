"""Any server that speaks OpenAI's chat completions, streaming or not."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from access.egress import EgressFailed, EgressRefused, Response, Session
from batches.providers import answers, failures
from batches.providers.answers import StreamedAnswer
from batches.providers.base import Answer, Call, CallFailed, Endpoint, ErrorClass
from batches.providers.sse import EventStream

_OK = 200
_PATH = "/chat/completions"
_ERROR_BYTES = 64 * 1024
_ANSWER_BYTES = 4 * 1024 * 1024
_BLANK = b" \t\r\n\xef\xbb\xbf"
# After [DONE] only the body's end is due; a server that keeps it open costs its connection.
_DRAIN_S = 0.25


@dataclass(frozen=True)
class OpenAI:
    """The provider `openai`."""

    async def complete(self, session: Session, endpoint: Endpoint, call: Call) -> Answer:
        """Make one attempt. Raises CallFailed as `Provider.complete`."""
        started = time.monotonic()
        try:
            async with session.post(
                completions_url(endpoint.base_url),
                json=payload(endpoint, call),
                headers=_headers(endpoint),
                timeout_s=call.timeout_s,
                max_bytes=_ANSWER_BYTES,
            ) as response:
                if response.status != _OK:
                    raise await _refusal(response)
                return await _read(response, started)
        except EgressRefused as refusal:
            raise CallFailed(ErrorClass.REJECTED, refusal.message) from refusal
        except EgressFailed as failure:
            raise failures.from_egress(failure) from failure


def completions_url(base_url: str) -> str:
    """Return the address to post to. A query (some gateways want a version there) is kept."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def payload(endpoint: Endpoint, call: Call) -> dict[str, Any]:
    """Return the request's body. Parameters cannot replace the model or the messages.

    `stream: false` among the parameters asks for one piece, for servers that cannot stream.
    """
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        **endpoint.parameters,
        **call.parameters,
        "model": endpoint.model,
        "messages": list(call.messages),
    }
    if not body["stream"]:
        body["stream_options"] = None
    return {name: value for name, value in body.items() if value is not None}


def _headers(endpoint: Endpoint) -> dict[str, str]:
    headers = {"Accept": "text/event-stream, application/json"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key.strip()}"
    # Last, so that a gateway with another scheme can have its own header.
    return {**headers, **endpoint.headers}


async def _refusal(response: Response) -> CallFailed:
    """Return the failure that a status other than 200 means; its body may only add a code."""
    wait_s = failures.retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
    body = bytearray()
    # Without its body the status still means the same.
    with suppress(EgressFailed):
        async with aclosing(response.chunks()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > _ERROR_BYTES:
                    break
    code = answers.code_of(bytes(body))
    return failures.from_status(response.status, response.host, code=code, retry_after_s=wait_s)


async def _read(response: Response, started: float) -> Answer:
    """Read an answer as what its first character says it is: content types are often wrong."""
    head = bytearray()
    async with aclosing(response.chunks()) as pieces:
        async for piece in pieces:
            head += piece
            if head.lstrip(_BLANK):
                break
        if _is_stream(head):
            return await _read_stream(bytes(head), pieces, response.host, started)
        async for piece in pieces:
            head += piece
    return answers.whole(bytes(head), response.host, _ms_since(started))


async def _read_stream(
    head: bytes, pieces: AsyncGenerator[bytes, None], host: str, started: float
) -> Answer:
    events, answer = EventStream(), StreamedAnswer(host)
    try:
        for data in events.feed(head):
            answer.take(data, _ms_since(started))
        while not answer.done and (piece := await anext(pieces, b"")):
            for data in events.feed(piece):
                answer.take(data, _ms_since(started))
        for data in events.close():
            answer.take(data, _ms_since(started))
        await _drain(pieces)
    except EgressFailed:
        # Everything that counts was said before the connection broke off or the time was up.
        if not answer.finished:
            raise
    return answer.result()


async def _drain(pieces: AsyncGenerator[bytes, None]) -> None:
    """Read the end of a finished body, so that its connection can serve the next call."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in pieces:
                pass


def _is_stream(head: bytearray) -> bool:
    """Whether a body that begins with `head` is a stream; JSON and HTML begin otherwise."""
    return not head.lstrip(_BLANK).startswith((b"{", b"[", b"<", b'"'))


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000

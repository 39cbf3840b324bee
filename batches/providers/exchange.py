"""One request and its answer, in one piece or streamed. Which words are spoken, a dialect says."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from access.egress import EgressFailed, EgressRefused, Response, Session
from batches.providers import failures
from batches.providers.base import Answer, CallFailed, Endpoint, ErrorClass
from batches.providers.sse import EventStream

_OK = 200
_ERROR_BYTES = 64 * 1024
_ANSWER_BYTES = 4 * 1024 * 1024
_BLANK = b" \t\r\n\xef\xbb\xbf"
# After its last event only the body's end is due; a server that keeps it open costs its connection.
_DRAIN_S = 0.25


class Streamed(Protocol):
    """Puts an answer together from the events of its stream.

    `finished` once the model said why it stopped, or the stream said it is over: what comes after
    that can only add token counts. `done` once nothing more will come.
    """

    done: bool
    finished: bool

    def take(self, data: str, at_ms: float) -> None:
        """Add the data of one event that arrived `at_ms` after the start. Raises CallFailed."""
        ...

    def result(self) -> Answer:
        """Return the answer. Raises CallFailed where there is none."""
        ...


@dataclass(frozen=True)
class Dialect:
    """How a server's bodies are read.

    `whole` takes a body, the host and the milliseconds it took; `streamed` makes a reader for the
    host's stream; `code_of` returns the code in an error's body, "" where it holds none.
    """

    whole: Callable[[bytes, str, float], Answer]
    streamed: Callable[[str], Streamed]
    code_of: Callable[[bytes], str]


async def ask(
    session: Session,
    url: str,
    dialect: Dialect,
    *,
    json: object,
    headers: Mapping[str, str],
    timeout_s: float,
) -> Answer:
    """Post `json` and read what comes, whole or streamed. Raises CallFailed."""
    started = time.monotonic()
    posted = session.post(
        url, json=json, headers=headers, timeout_s=timeout_s, max_bytes=_ANSWER_BYTES
    )
    async with _accepted(posted, dialect.code_of) as response:
        return await _read(response, dialect, started)


async def ask_whole(
    session: Session,
    url: str,
    code_of: Callable[[bytes], str],
    *,
    json: object,
    headers: Mapping[str, str],
    timeout_s: float,
) -> tuple[bytes, str, float]:
    """Post `json` and return the body, the host, and how many milliseconds it took.

    Raises:
        CallFailed: as `Provider.complete`.
    """
    started = time.monotonic()
    posted = session.post(
        url, json=json, headers=headers, timeout_s=timeout_s, max_bytes=_ANSWER_BYTES
    )
    async with _accepted(posted, code_of) as response:
        return await response.read(), response.host, ms_since(started)


def bearer(endpoint: Endpoint) -> dict[str, str]:
    """Return the headers of a server that takes its key as a bearer token."""
    headers = {"Accept": "text/event-stream, application/json"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key.strip()}"
    # Last, so that a gateway with another scheme can have its own header.
    return {**headers, **endpoint.headers}


def without_none(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request's body without the parameters that somebody took out."""
    return {name: value for name, value in body.items() if value is not None}


def ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000


@asynccontextmanager
async def _accepted(
    posted: AbstractAsyncContextManager[Response], code_of: Callable[[bytes], str]
) -> AsyncIterator[Response]:
    """Open the answer to a request that was accepted; everything else is a CallFailed."""
    try:
        async with posted as response:
            if response.status != _OK:
                raise await _refusal(response, code_of)
            yield response
    except EgressRefused as refusal:
        raise CallFailed(ErrorClass.REJECTED, refusal.message) from refusal
    except EgressFailed as failure:
        raise failures.from_egress(failure) from failure


async def _refusal(response: Response, code_of: Callable[[bytes], str]) -> CallFailed:
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
    code = code_of(bytes(body))
    return failures.from_status(response.status, response.host, code=code, retry_after_s=wait_s)


async def _read(response: Response, dialect: Dialect, started: float) -> Answer:
    """Read an answer as what its first character says it is: content types are often wrong."""
    head = bytearray()
    async with aclosing(response.chunks()) as pieces:
        async for piece in pieces:
            head += piece
            if head.lstrip(_BLANK):
                break
        if _is_stream(head):
            return await _read_stream(bytes(head), pieces, dialect.streamed(response.host), started)
        async for piece in pieces:
            head += piece
    return dialect.whole(bytes(head), response.host, ms_since(started))


async def _read_stream(
    head: bytes, pieces: AsyncGenerator[bytes, None], answer: Streamed, started: float
) -> Answer:
    events = EventStream()
    try:
        for data in events.feed(head):
            answer.take(data, ms_since(started))
        while not answer.done and (piece := await anext(pieces, b"")):
            for data in events.feed(piece):
                answer.take(data, ms_since(started))
        for data in events.close():
            answer.take(data, ms_since(started))
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

"""A small OpenAI-compatible server whose every fault can be switched on. For tests and benchmarks.

`python -m tests.servers_http.model_server --port 0` prints its port and serves until it is stopped;
with `--until-eof` also until its standard input closes, so that it never outlives its parent.
"""

import argparse
import asyncio
import contextlib
import gzip
import hmac
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from aiohttp import web

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Behaviour:
    """What the server does with a call. Times are milliseconds, shares are 0..1.

    `latency_ms` spans request to last chunk, `first_token_ms` request to first content token.
    Shares are drawn from `seed`, the prompt and how often it was asked: the order of calls in
    flight changes nothing. `prompt_modes` and `answers` are by exact prompt (the last message);
    `answers` falls back to `answer`, and that to an echo of the prompt. `failures_first` answers
    that many calls of each prompt with `failure_status` before it behaves. `script` is the raw body
    of mode "script": pairs of a pause before it and a text in Latin-1, one character a byte.
    """

    mode: str = "answer"
    latency_ms: float = 0
    first_token_ms: float = 0
    chunks: int = 3
    share_429: float = 0
    share_500: float = 0
    failures_first: int = 0
    failure_status: int = 500
    retry_after: str = "0"
    seed: int = 0
    api_key: str = ""
    answer: str | None = None
    answers: dict[str, str] = field(default_factory=dict)
    prompt_modes: dict[str, str] = field(default_factory=dict)
    usage: bool = True
    model: str = "test-model"
    location: str = ""
    script: list[tuple[float, str]] = field(default_factory=list)
    content_type: str = "text/event-stream"


@dataclass
class Seen:
    """The calls so far."""

    count: int = 0
    answered: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    prompts: Counter[str] = field(default_factory=Counter)
    starts: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One call: what was asked, whether as a stream, and when."""

    request: web.Request
    behaviour: Behaviour
    prompt: str
    stream: bool
    started: float

    async def until(self, after_ms: float) -> None:
        """Wait until `after_ms` after the request came; other work does not add to it."""
        left_s = self.started + after_ms / 1000 - time.monotonic()
        if left_s > 0:
            await asyncio.sleep(left_s)


class Server:
    """The state of one server: how it behaves, and what it has seen."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.seen = Seen()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * _MIB)
        app.router.add_post("/v1/chat/completions", self.complete)
        app.router.add_post("/control/configure", self.configure)
        app.router.add_post("/control/reset", self.reset)
        app.router.add_post("/control/calls", self.calls)
        return app

    async def configure(self, request: web.Request) -> web.Response:
        changes = await request.json()
        unknown = set(changes) - {each.name for each in fields(Behaviour)}
        if unknown or changes.get("mode", "answer") not in MODES:
            return web.json_response({"error": f"unknown: {unknown or changes}"}, status=400)
        self.behaviour = replace(self.behaviour, **changes)
        return web.json_response({})

    async def reset(self, request: web.Request) -> web.Response:
        self.behaviour, self.seen = Behaviour(), Seen(in_flight=self.seen.in_flight)
        return web.json_response({})

    async def calls(self, request: web.Request) -> web.Response:
        return web.json_response(vars(self.seen))

    async def complete(self, request: web.Request) -> web.StreamResponse:
        started = time.monotonic()
        body = await request.json()
        prompt = _prompt(body)
        self._note(body, prompt, request, started)
        asked = Asked(request, self.behaviour, prompt, bool(body.get("stream")), started)
        try:
            response = self._turned_away(asked) or await self._mode(asked)(asked)
            if response.status == 200:
                self.seen.answered += 1
            return response
        finally:
            # A reset in between keeps the calls in flight, so they leave the new account.
            self.seen.in_flight -= 1

    def _note(self, body: Any, prompt: str, request: web.Request, started: float) -> None:
        seen = self.seen
        seen.count += 1
        seen.in_flight += 1
        seen.max_in_flight = max(seen.max_in_flight, seen.in_flight)
        seen.prompts[prompt] += 1
        seen.starts.append(started)
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.last = {"body": body, "headers": headers}

    def _mode(self, asked: Asked) -> "Mode":
        return MODES[asked.behaviour.prompt_modes.get(asked.prompt, asked.behaviour.mode)]

    def _turned_away(self, asked: Asked) -> web.Response | None:
        behaviour, nth = asked.behaviour, self.seen.prompts[asked.prompt]
        if behaviour.api_key and not hmac.compare_digest(
            asked.request.headers.get("Authorization", ""), f"Bearer {behaviour.api_key}"
        ):
            return _error(401, "invalid_api_key")
        if nth <= behaviour.failures_first:
            return _error(behaviour.failure_status, "", behaviour.retry_after)
        drawn = random.Random(f"{behaviour.seed}:{asked.prompt}:{nth}").random()
        if drawn < behaviour.share_429:
            return _error(429, "rate_limit_exceeded", behaviour.retry_after)
        if drawn < behaviour.share_429 + behaviour.share_500:
            return _error(500, "server_error")
        return None


Mode = Callable[[Asked], Awaitable[web.StreamResponse]]


async def answer(asked: Asked) -> web.StreamResponse:
    text = asked.behaviour.answers.get(asked.prompt, asked.behaviour.answer)
    text = asked.prompt if text is None else text
    if not asked.stream:
        return await plain_json(asked)
    return await _stream(asked, text)


async def plain_json(asked: Asked) -> web.StreamResponse:
    """Answer in one piece, although a stream may have been asked for."""
    text = asked.behaviour.answers.get(asked.prompt, asked.behaviour.answer)
    await asked.until(asked.behaviour.latency_ms)
    message = {"role": "assistant", "content": asked.prompt if text is None else text}
    body: dict[str, Any] = {
        "object": "chat.completion",
        "model": asked.behaviour.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if asked.behaviour.usage:
        body["usage"] = _usage(asked.prompt, message["content"])
    return web.json_response(body)


async def hang(asked: Asked) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise web.HTTPGatewayTimeout


async def trickle(asked: Asked) -> web.StreamResponse:
    """One byte of content a second, for ever."""
    response = await _open(asked)
    while True:
        await response.write(_event(asked, {"content": "x"}))
        await asyncio.sleep(1)


async def huge(asked: Asked) -> web.StreamResponse:
    """50 MB of content."""
    response = await _open(asked)
    piece = _event(asked, {"content": "x" * 65536})
    for _ in range(800):
        await response.write(piece)
    await response.write(b"data: [DONE]\n\n")
    return response


async def gzip_bomb(asked: Asked) -> web.StreamResponse:
    """A gigabyte of blanks in a megabyte of gzip: sixteen members of 64 MiB."""
    member = gzip.compress(b" " * (64 * _MIB), compresslevel=9)
    response = web.StreamResponse(
        headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
    )
    await response.prepare(asked.request)
    for _ in range(16):
        await response.write(member)
    return response


async def html(asked: Asked) -> web.StreamResponse:
    return web.Response(text="<!doctype html><title>Log in</title>", content_type="text/html")


async def broken_json(asked: Asked) -> web.StreamResponse:
    return web.Response(text='{"choices": [{"message": {"con', content_type="application/json")


async def empty_choices(asked: Asked) -> web.StreamResponse:
    return web.json_response({"object": "chat.completion", "choices": []})


async def nul(asked: Asked) -> web.StreamResponse:
    return await _stream(asked, "before\0after\ud800end")


async def cut_off(asked: Asked) -> web.StreamResponse:
    """Some content, then the connection is gone."""
    response = await _open(asked)
    await response.write(_event(asked, {"content": "half an ans"}))
    assert asked.request.transport is not None
    asked.request.transport.close()
    return response


async def error_in_stream(asked: Asked) -> web.StreamResponse:
    response = await _open(asked)
    await response.write(b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n')
    return response


async def refusal(asked: Asked) -> web.StreamResponse:
    response = await _open(asked)
    await response.write(_event(asked, {"refusal": "I cannot help with that."}))
    return await _close(asked, response, "", "stop")


async def content_filter(asked: Asked) -> web.StreamResponse:
    response = await _open(asked)
    await response.write(_event(asked, {"content": "As to"}))
    return await _close(asked, response, "As to", "content_filter")


async def script(asked: Asked) -> web.StreamResponse:
    """Exactly the bytes of `script`, piece by piece."""
    response = web.StreamResponse(headers={"Content-Type": asked.behaviour.content_type})
    await response.prepare(asked.request)
    for pause_ms, text in asked.behaviour.script:
        await asyncio.sleep(pause_ms / 1000)
        await response.write(text.encode("latin-1"))
    return response


async def redirect(asked: Asked) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": asked.behaviour.location})


def _status(status: int, code: str) -> Mode:
    async def respond(asked: Asked) -> web.StreamResponse:
        return _error(status, code, asked.behaviour.retry_after)

    return respond


MODES: dict[str, Mode] = {
    mode.__name__: mode
    for mode in (
        answer,
        plain_json,
        hang,
        trickle,
        huge,
        gzip_bomb,
        html,
        broken_json,
        empty_choices,
        nul,
        cut_off,
        error_in_stream,
        refusal,
        content_filter,
        script,
        redirect,
    )
} | {
    "400": _status(400, "invalid_request_error"),
    "401": _status(401, "invalid_api_key"),
    "403": _status(403, "permission_denied"),
    "404": _status(404, "model_not_found"),
    "429": _status(429, "rate_limit_exceeded"),
    "500": _status(500, "server_error"),
    "503": _status(503, "overloaded"),
}


async def _stream(asked: Asked, text: str) -> web.StreamResponse:
    """Stream `text` so that its first piece and its last come when the behaviour says."""
    first_ms, last_ms = asked.behaviour.first_token_ms, asked.behaviour.latency_ms
    if asked.behaviour.chunks > 1 and first_ms < last_ms:
        response = await _open(asked)
    else:
        # One packet for all: the server must not be what a benchmark measures.
        await asked.until(max(first_ms, last_ms))
        response = await _open(asked, _content(asked, text))
        return await _close(asked, response, text, "stop")
    pieces = _pieces(text, asked.behaviour.chunks)
    for at, piece in enumerate(pieces):
        share = at / max(len(pieces) - 1, 1)
        await asked.until(first_ms + (last_ms - first_ms) * share)
        await response.write(_event(asked, {"content": piece}))
    return await _close(asked, response, text, "stop")


async def _open(asked: Asked, more: bytes = b"") -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(asked.request)
    await response.write(_event(asked, {"role": "assistant", "content": ""}) + more)
    return response


async def _close(
    asked: Asked, response: web.StreamResponse, text: str, reason: str
) -> web.StreamResponse:
    last = _event(asked, {}, finish_reason=reason)
    if asked.behaviour.usage:
        usage = {"choices": [], "usage": _usage(asked.prompt, text)}
        last += f"data: {json.dumps(usage)}\n\n".encode()
    await response.write(last + b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _content(asked: Asked, text: str) -> bytes:
    pieces = _pieces(text, asked.behaviour.chunks)
    return b"".join(_event(asked, {"content": piece}) for piece in pieces)


def _event(asked: Asked, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    event = {
        "object": "chat.completion.chunk",
        "model": asked.behaviour.model,
        "choices": [choice],
    }
    return f"data: {json.dumps(event)}\n\n".encode()


def _pieces(text: str, count: int) -> list[str]:
    size = max(-(-len(text) // max(count, 1)), 1)
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def _usage(prompt: str, text: str) -> dict[str, Any]:
    tokens = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
    return {
        **tokens,
        "total_tokens": sum(tokens.values()),
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _error(status: int, code: str, retry_after: str = "") -> web.Response:
    body = {"error": {"message": "a message that may quote the prompt", "code": code}}
    headers = {"Retry-After": retry_after} if retry_after and status in {429, 503} else {}
    return web.json_response(body, status=status, headers=headers)


def _prompt(body: Any) -> str:
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content", "")
    return content if isinstance(content, str) else json.dumps(content)


async def serve(host: str, port: int, *, until_eof: bool) -> None:
    # Handlers are cancelled when their client goes: `hang` must not hold up the end.
    runner = web.AppRunner(Server().app(), handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024, shutdown_timeout=0.1)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    if until_eof:
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()
    else:
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until-eof", action="store_true")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.host, options.port, until_eof=options.until_eof))


if __name__ == "__main__":
    main()

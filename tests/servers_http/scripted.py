"""A real HTTP server in a thread, whose every answer a test writes itself."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

_START_S = 20


@dataclass(frozen=True)
class Asked:
    """A request as it came; `headers` by lower-case names, `nth` counts from 1.

    `at` are seconds of one monotonic clock.
    """

    path: str
    headers: Mapping[str, str]
    body: Any
    nth: int
    at: float


@dataclass(frozen=True)
class Reply:
    """What to answer: pieces with the milliseconds to wait before each. `cut` breaks off."""

    pieces: list[tuple[float, bytes]]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False

    @classmethod
    def json(cls, value: object, *, status: int = 200, **headers: str) -> "Reply":
        return cls([(0, json.dumps(value).encode())], status, headers)

    @classmethod
    def events(cls, *values: object, pause_ms: float = 0, cut: bool = False) -> "Reply":
        """Return a stream of events, each with its type as its name."""
        pieces = []
        for value in values:
            name = value.get("type", "") if isinstance(value, dict) else ""
            data = value if isinstance(value, str) else json.dumps(value)
            pieces.append((pause_ms, f"event: {name}\ndata: {data}\n\n".encode()))
        return cls(pieces, cut=cut)


class ScriptedServer:
    """Answers each request as `reply` says; `asked` holds what came, in order."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.reply: Callable[[Asked], Reply] = lambda _: Reply.json({}, status=500)
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_START_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._answer)
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        at, body = time.monotonic(), await request.json()
        asked = Asked(request.path, headers, body, len(self.asked) + 1, at)
        self.asked.append(asked)
        reply = self.reply(asked)
        response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
        await response.prepare(request)
        for pause_ms, piece in reply.pieces:
            await asyncio.sleep(pause_ms / 1000)
            await response.write(piece)
        if reply.cut and request.transport is not None:
            request.transport.close()
        return response

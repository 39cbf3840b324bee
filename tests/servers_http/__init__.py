"""Real HTTP servers for tests and benchmarks, each in a process of its own."""

import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ROOT = Path(__file__).resolve().parents[2]
_START_S = 20
_STOP_S = 5


@dataclass(frozen=True)
class Calls:
    """What a model server has seen since it was last reset.

    `starts` are the arrival times in seconds of one monotonic clock, in order; `last` is the last
    request: `{"body": ..., "headers": {lower-case name: value}}`.
    """

    count: int
    answered: int
    in_flight: int
    max_in_flight: int
    prompts: dict[str, int]
    starts: list[float]
    last: dict[str, Any]


class ModelServer:
    """Runs `tests.servers_http.model_server` while the context is open.

    `configure` takes the fields of `model_server.Behaviour`, at the start and at any time after.
    """

    def __init__(self, **behaviour: object) -> None:
        self._behaviour = behaviour
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers_http.model_server", "--until-eof"],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        if self._behaviour:
            self.configure(**self._behaviour)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stdin):
            if pipe is not None:
                pipe.close()

    def configure(self, **behaviour: object) -> None:
        """Change the given fields of the behaviour; the others stay."""
        self._control("configure", behaviour)

    def reset(self) -> None:
        """Forget the calls seen so far, and go back to the behaviour the server starts with."""
        self._control("reset", {})

    def calls(self) -> Calls:
        return Calls(**self._control("calls", {}))

    def _control(self, verb: str, body: dict[str, object]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/control/{verb}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        # A proxy from the environment has no business between a test and its own server.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_START_S) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

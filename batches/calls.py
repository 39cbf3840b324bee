"""One call of a model, with its retries. Knows no database, batch or limiter."""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from access import egress
from access.egress import PrivateHosts, Session
from access.errors import RateLimited
from batches.providers import PROVIDERS
from batches.providers.base import (
    Answer,
    Call,
    CallFailed,
    Embedded,
    Endpoint,
    ErrorClass,
    Provider,
)

T = TypeVar("T")

_RATE_LIMITED = 429
_CHECK_TIMEOUT_S = 15.0
MOST_CHECKS = 4
_checks = threading.BoundedSemaphore(MOST_CHECKS)
_BAD_REQUEST = 400


@dataclass(frozen=True)
class Backoff:
    """How long to wait before trying again, and how often.

    Full jitter: the calls that a failing server turned away together do not come back together.
    A broken server gets 5 attempts (7.5 s of waiting at most), so that a dead one opens the
    batch's circuit soon. A busy one gets 8 (about a minute), because limits count by the minute.
    One that cannot be connected to is given up once the attempts have taken `unconnected_s`
    together: TCP itself has tried several times, and five calls one after the other are to open
    the circuit within a minute.
    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    first_s: float = 0.5
    most_s: float = 30.0
    attempts: int = 5
    attempts_when_limited: int = 8
    unconnected_s: float = 5.0
    uniform: Callable[[float, float], float] = field(default=random.uniform, repr=False)
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)

    def wait_s(self, attempt: int, failure: CallFailed, *, tried_s: float = 0) -> float | None:
        """Return the seconds to wait after `attempt` (from 1) failed, or None to give up.

        `tried_s` is how long the attempts took so far, without the waits between them. What the
        server asked for is a minimum: the jitter comes on top of it.
        """
        limited = failure.status == _RATE_LIMITED
        if not failure.retryable or attempt >= (
            self.attempts_when_limited if limited else self.attempts
        ):
            return None
        if failure.unconnected and tried_s >= self.unconnected_s:
            return None
        if failure.retry_after_s is not None:
            return failure.retry_after_s + self.uniform(0, self.first_s)
        return self.uniform(0, min(self.most_s, self.first_s * 2 ** (attempt - 1)))


BACKOFF = Backoff()


@dataclass(frozen=True)
class Tried(Generic[T]):
    """What came of a call: an answer, or an error class with its sentence.

    `answer.latency_ms` is that of the attempt that answered; `wall_ms` includes all waiting;
    `status` is the HTTP status of the last failure, where there was one.
    """

    answer: T | None
    error_class: ErrorClass | None
    error: str
    attempts: int
    wall_ms: float
    status: int | None = None


Outcome = Tried[Answer]


@dataclass(frozen=True)
class CheckResult:
    """Whether an endpoint answers, in a sentence; `latency_ms` is None where it does not."""

    ok: bool
    sentence: str
    latency_ms: float | None = None
    model: str = ""


async def call(
    session: Session,
    endpoint: Endpoint,
    question: Call,
    *,
    deadline: float,
    before: Callable[[], Awaitable[None]] | None = None,
    on_wait: Callable[[float, CallFailed], None] | None = None,
    backoff: Backoff = BACKOFF,
) -> Outcome:
    """Ask until there is an answer, nothing to hope for, or `deadline` (`time.monotonic()`).

    `before` is awaited before every attempt: it may wait for the endpoint's allowance.
    `on_wait` hears of every wait before it begins: its seconds and the failure that caused it.
    Cancelling passes through at once; nothing else is raised.
    """
    return await _tried(
        lambda left_s: _attempt(session, endpoint, question, left_s),
        deadline=deadline,
        before=before,
        on_wait=on_wait,
        backoff=backoff,
    )


async def embed(
    session: Session,
    endpoint: Endpoint,
    texts: Sequence[str],
    *,
    timeout_s: float,
    deadline: float,
    before: Callable[[], Awaitable[None]] | None = None,
    backoff: Backoff = BACKOFF,
) -> Tried[Embedded]:
    """Turn texts into vectors, as persistently as `call` asks."""

    async def attempt(left_s: float) -> Embedded:
        if left_s <= 0:
            raise _too_late()
        provider = _provider(endpoint)
        return await provider.embed(session, endpoint, texts, min(timeout_s, left_s))

    return await _tried(attempt, deadline=deadline, before=before, on_wait=None, backoff=backoff)


async def check(
    session: Session, endpoint: Endpoint, *, timeout_s: float = _CHECK_TIMEOUT_S
) -> CheckResult:
    """Make one tiny call and say in words whether the endpoint works. Raises nothing."""
    question = Call(
        messages=[{"role": "user", "content": "Say OK."}],
        parameters={"max_tokens": 1},
        timeout_s=timeout_s,
    )
    try:
        try:
            answer = await _complete(session, endpoint, question)
        except CallFailed as failure:
            if failure.status != _BAD_REQUEST:
                raise
            # Reasoning models refuse `max_tokens`, and think before their first token.
            second = replace(question, parameters={"max_tokens": None})
            answer = await _complete(session, endpoint, second)
    except CallFailed as failure:
        # A model that declines to answer has been reached all the same.
        reached = failure.error_class is ErrorClass.REFUSED
        return CheckResult(ok=reached, sentence=failure.sentence)
    model = answer.model or endpoint.model
    return CheckResult(
        ok=True,
        sentence=f"{model} answered in {answer.latency_ms:.0f} ms",
        latency_ms=answer.latency_ms,
        model=model,
    )


def check_now(
    endpoint: Endpoint, private: PrivateHosts, *, timeout_s: float = _CHECK_TIMEOUT_S
) -> CheckResult:
    """Do as `check`, for callers without a running loop (a view). Open no transaction around it.

    Raises:
        RateLimited: MOST_CHECKS are under way in this process. A server that answers nothing must
            not take all threads of the web process.
    """

    async def with_session() -> CheckResult:
        async with egress.session(private=private, limit=1) as session:
            return await check(session, endpoint, timeout_s=timeout_s)

    if not _checks.acquire(blocking=False):
        raise RateLimited("Too many endpoints are being checked at once.", retry_after=5)
    try:
        return asyncio.run(with_session())
    finally:
        _checks.release()


async def _tried(
    attempt: Callable[[float], Awaitable[T]],
    *,
    deadline: float,
    before: Callable[[], Awaitable[None]] | None,
    on_wait: Callable[[float, CallFailed], None] | None,
    backoff: Backoff,
) -> Tried[T]:
    """Make attempts, each told how many seconds are left, until one ends the matter."""
    started = time.monotonic()
    attempts, tried_s = 0, 0.0
    while True:
        attempts += 1
        if before:
            await before()
        began = time.monotonic()
        try:
            answer = await attempt(deadline - began)
        except CallFailed as failure:
            tried_s += time.monotonic() - began
            wait_s = backoff.wait_s(attempts, failure, tried_s=tried_s)
            if wait_s is None:
                return _failed(failure, failure.sentence, attempts, started)
            if time.monotonic() + wait_s >= deadline:
                sentence = f"{failure.sentence} (no time left to try again)"
                return _failed(failure, sentence, attempts, started)
            if on_wait:
                on_wait(wait_s, failure)
            await backoff.sleep(wait_s)
        else:
            return Tried(answer, None, "", attempts, _ms_since(started))


async def _attempt(session: Session, endpoint: Endpoint, question: Call, left_s: float) -> Answer:
    """Make one attempt within `left_s`. Running out of it says nothing about the model."""
    if left_s <= 0:
        raise _too_late()
    if left_s >= question.timeout_s:
        return await _complete(session, endpoint, question)
    try:
        return await _complete(session, endpoint, replace(question, timeout_s=left_s))
    except CallFailed as failure:
        if failure.error_class is not ErrorClass.TIMEOUT:
            raise
        raise CallFailed(
            ErrorClass.INFRA, "The run's deadline came before the answer; resume it"
        ) from failure


async def _complete(session: Session, endpoint: Endpoint, question: Call) -> Answer:
    return await _provider(endpoint).complete(session, endpoint, question)


def _provider(endpoint: Endpoint) -> Provider:
    provider = PROVIDERS.get(endpoint.provider)
    if provider is None:
        known = ", ".join(sorted(PROVIDERS))
        raise CallFailed(
            ErrorClass.REJECTED,
            f"There is no provider {endpoint.provider!r}; choose one of {known}",
        )
    return provider


def _too_late() -> CallFailed:
    return CallFailed(ErrorClass.INFRA, "The run's deadline came before the call")


def _failed(failure: CallFailed, sentence: str, attempts: int, started: float) -> Tried[T]:
    return Tried(None, failure.error_class, sentence, attempts, _ms_since(started), failure.status)


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000

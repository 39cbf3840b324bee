"""The engine: one worker process working on one batch for a slice of time.

A loop keeps up to N calls in flight as a sliding window. Whatever touches the database runs on
one thread of its own (the ORM must not run on the loop), lease renewal on another, so that a slow
scoring cannot let leases end.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import connection

from access import clock, egress
from access.errors import Refusal
from alerts import prices
from alerts.prices import Prices
from batches import calls, claims, endpoints, scoring, suites
from batches.batches import CALLS_PER_WORKER
from batches.cases import CaseDraft, rendered
from batches.claims import Claim, Exchange, Result
from batches.models import Batch, JobOutcome, TestCase
from batches.providers.base import Call, Endpoint, ErrorClass
from batches.providers.text import clean

logger = structlog.get_logger(__name__)
T = TypeVar("T")

# Results wait for company this long: one transaction takes in and hands out several jobs.
GATHER_SECONDS = 0.02
# Without any result the batch's state is looked at this often: was it cancelled, is it too late?
LOOK_SECONDS = 1.0
# Of the time a worker has to go down; the rest is for giving back what did not land.
LANDING_SHARE = 0.6
# Ended calls were the endpoint's fault or the model's own.
_ENDPOINTS_FAULT = {ErrorClass.INFRA, ErrorClass.REJECTED}


@dataclass(frozen=True)
class Assignment:
    """What one slice needs to know of its batch. Read once; the batch's status is not in it."""

    batch_id: uuid.UUID
    endpoint: Endpoint
    prices: Prices
    parameters: dict[str, object]
    timeout_s: float
    concurrency: int
    # On this process's monotonic clock.
    deadline: float


def work(batch_id: uuid.UUID, *, stopping: Callable[[], bool]) -> bool:
    """Work on the batch until its end, the end of the slice, or `stopping()`.

    Return whether jobs are left for another slice. Nothing is lost by dying in here: what was
    claimed and not written is freed when its lease ends.
    """
    try:
        assignment = _assignment(batch_id)
    except Refusal as refusal:
        claims.fail(batch_id, refusal.message, now=clock.database_now())
        return False
    if assignment is None:
        return False
    return asyncio.run(_Slice(assignment, stopping).run())


def _assignment(batch_id: uuid.UUID) -> Assignment | None:
    batch = Batch.objects.select_related("endpoint").open().filter(pk=batch_id).first()
    if batch is None:
        return None
    if batch.endpoint is None:
        claims.fail(
            batch_id,
            "Its model endpoint was deleted. Choose another one and run it again.",
            now=clock.database_now(),
        )
        return None
    left = timedelta(days=1)
    if batch.deadline_at:
        left = batch.deadline_at - clock.database_now()
    return Assignment(
        batch_id=batch.pk,
        endpoint=endpoints.connection(batch.endpoint),
        prices=endpoints.prices(batch.endpoint),
        parameters=batch.parameters,
        timeout_s=batch.timeout_ms / 1000,
        concurrency=min(batch.concurrency, CALLS_PER_WORKER),
        deadline=time.monotonic() + left.total_seconds(),
    )


class _Slice:
    """The calls in flight, the results not yet written, and the cases read so far."""

    def __init__(self, assignment: Assignment, stopping: Callable[[], bool]) -> None:
        self._assignment = assignment
        self._stopping = stopping
        self._ends = time.monotonic() + settings.EVALSCHED_SLICE_SECONDS
        self._stop_seen: float | None = None
        self._flying: dict[asyncio.Task[Result], Claim] = {}
        self._cases: dict[uuid.UUID, CaseDraft] = {}
        # One thread each, so each has one connection, closed with it.
        self._database = ThreadPoolExecutor(1, "database")
        self._leases = ThreadPoolExecutor(1, "leases")

    async def run(self) -> bool:
        limit = self._assignment.concurrency
        renewing = asyncio.create_task(self._keep_leases())
        try:
            async with egress.session(
                private=endpoints.private_hosts(), limit=limit
            ) as self._session:
                return await self._until_done()
        finally:
            renewing.cancel()
            await self._drop_calls()
            await self._on(self._database, _close_connection)
            await self._on(self._leases, _close_connection)
            self._database.shutdown()
            self._leases.shutdown()

    async def _until_done(self) -> bool:
        """Exchange results for claims until nothing is claimed and nothing is in flight."""
        results: list[Result] = []
        while True:
            want = 0 if self._over() else self._assignment.concurrency - len(self._flying)
            answer = await self._exchange(results, want)
            if not answer.open:
                return False
            if answer.claims:
                await self._take_off(answer.claims)
            if not self._flying:
                # Asked for and not had: others fill the concurrency, and hint for what is left.
                return want == 0 and answer.waiting > 0
            if self._out_of_patience():
                return True
            results = await self._landed()

    def _over(self) -> bool:
        return self._stopping() or time.monotonic() >= self._ends

    def _out_of_patience(self) -> bool:
        """Whether the worker goes down and the calls in flight have had their time to land."""
        if self._stopping() and self._stop_seen is None:
            self._stop_seen = time.monotonic()
        patience = settings.EVALSCHED_SOFT_SHUTDOWN_SECONDS * LANDING_SHARE
        return self._stop_seen is not None and time.monotonic() - self._stop_seen > patience

    async def _exchange(self, results: list[Result], want: int) -> Exchange:
        def exchanged() -> Exchange:
            return claims.exchange(
                self._assignment.batch_id, results, want=want, now=clock.database_now()
            )

        return await self._on(self._database, exchanged)

    async def _take_off(self, claimed: list[Claim]) -> None:
        await self._on(self._database, lambda: self._read_cases(claimed))
        for claim in claimed:
            self._flying[asyncio.create_task(self._job(claim))] = claim

    async def _landed(self) -> list[Result]:
        """Wait for the next calls to end, a moment longer for company, and return their results."""
        done, _ = await asyncio.wait(
            self._flying, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if done and len(done) < len(self._flying):
            await asyncio.sleep(GATHER_SECONDS)
        ended = [task for task in self._flying if task.done()]
        for task in ended:
            del self._flying[task]
        # A cancelled call has no result: its job was taken away by another worker.
        return [task.result() for task in ended if not task.cancelled()]

    async def _job(self, claim: Claim) -> Result:
        case = self._cases.get(claim.case_id) if claim.case_id else None
        if case is None:
            return Result(
                claim,
                JobOutcome.ERROR,
                attempts=0,
                wall_ms=0,
                error_class=ErrorClass.INFRA,
                error_message="Its case was deleted while the batch ran.",
            )
        outcome = await calls.call(
            self._session,
            self._assignment.endpoint,
            Call(rendered(case), self._assignment.parameters, self._assignment.timeout_s),
            deadline=self._assignment.deadline,
        )
        return result_of(claim, case, outcome, self._assignment.prices)

    def _read_cases(self, claimed: list[Claim]) -> None:
        missing = {claim.case_id for claim in claimed if claim.case_id} - self._cases.keys()
        for case in TestCase.objects.filter(pk__in=missing):
            self._cases[case.pk] = suites.draft_of(case)

    async def _keep_leases(self) -> None:
        """Renew the leases; a call whose job is somebody else's now is dropped."""
        while True:
            await asyncio.sleep(settings.EVALSCHED_LEASE_SECONDS / 3)
            held = list(self._flying.values())
            if not held:
                continue
            try:
                kept = await self._on(self._leases, partial(_renewed, held))
            except Exception as error:  # noqa: BLE001  the database may be back for the next one
                logger.warning("leases not renewed", error=repr(error))
                continue
            for task, claim in list(self._flying.items()):
                if claim in held and claim.job_id not in kept:
                    task.cancel()

    async def _drop_calls(self) -> None:
        """Stop what is in flight and give its jobs back."""
        if not self._flying:
            return
        for task in self._flying:
            task.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)
        held = list(self._flying.values())
        self._flying.clear()
        await self._on(
            self._database,
            lambda: claims.give_back(self._assignment.batch_id, held, now=clock.database_now()),
        )

    async def _on(self, pool: ThreadPoolExecutor, task: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, task)


def _close_connection() -> None:
    """Close the connection of the thread that runs this: looked up here, it is that thread's."""
    connection.close()


def _renewed(held: list[Claim]) -> set[int]:
    return claims.renew(held, now=clock.database_now())


def result_of(
    claim: Claim, case: CaseDraft, outcome: calls.Outcome, prices_of_endpoint: Prices
) -> Result:
    """Score an outcome.

    A model that declined or took too long scores 0; a broken endpoint leaves the score alone.
    """
    answer = outcome.answer
    if answer is None:
        at_fault = outcome.error_class in _ENDPOINTS_FAULT
        return Result(
            claim,
            JobOutcome.ERROR if at_fault else JobOutcome.FAILED,
            attempts=outcome.attempts,
            wall_ms=outcome.wall_ms,
            weight=case.weight,
            score=None if at_fault else 0.0,
            error_class=outcome.error_class or "",
            error_message=clean(outcome.error),
        )
    cost = prices.cost(
        prices_of_endpoint,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cached_tokens=answer.cached_tokens or 0,
    )
    scored = scoring.score(
        scoring.effective(case.assertions, case.expected),
        scoring.Answer(answer.output, answer.latency_ms, cost),
        variables=case.variables,
        threshold=case.threshold,
    )
    return Result(
        claim,
        _outcome(scored.passed),
        attempts=outcome.attempts,
        wall_ms=round(outcome.wall_ms, 3),
        weight=case.weight,
        output=answer.output,
        score=scored.score,
        assertions=[asdict(item) for item in scored.assertions],
        latency_ms=round(answer.latency_ms, 3),
        ttft_ms=None if answer.ttft_ms is None else round(answer.ttft_ms, 3),
        input_tokens=answer.input_tokens,
        cached_tokens=answer.cached_tokens,
        output_tokens=answer.output_tokens,
        cost=cost,
    )


def _outcome(passed: bool | None) -> JobOutcome:
    if passed is None:
        return JobOutcome.UNSCORED
    return JobOutcome.PASSED if passed else JobOutcome.FAILED

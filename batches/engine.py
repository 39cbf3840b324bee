"""The engine: one worker process working on one batch for a slice of time.

A loop keeps up to N calls in flight as a sliding window. Whatever touches the database runs on
one thread of its own (the ORM must not run on the loop), lease renewal on another, so that a slow
scoring cannot let leases end.
"""

import asyncio
import time
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings

from access import clock, egress
from access.errors import Refusal
from batches import (
    assignments,
    budgets,
    calls,
    claims,
    endings,
    endpoints,
    questions,
    rescues,
)
from batches.allowances import Allowance
from batches.assignments import Assignment
from batches.batches import CALLS_PER_WORKER
from batches.cases import CaseDraft
from batches.claims import Exchange, ahead
from batches.database_thread import DatabaseThread
from batches.grading import Grading
from batches.models import JobOutcome
from batches.outcomes import ENDPOINTS_FAULT, result_of, takes_long
from batches.providers.base import Call, ErrorClass
from batches.results import Claim, Result
from batches.window import Window

logger = structlog.get_logger(__name__)

# Results wait for company this long: one transaction takes in and hands out several jobs.
GATHER_SECONDS = 0.05
# Without any result the batch's state is looked at this often: was it cancelled, is it too late?
LOOK_SECONDS = 1.0
# After so long a slice makes way for a batch that nobody works on.
QUANTUM_SECONDS = 5.0
# Of the time a worker has to go down; the rest is for giving back what did not land.
LANDING_SHARE = 0.6


def work(
    batch_id: uuid.UUID,
    *,
    stopping: Callable[[], bool],
    hand_on: Callable[[], None] = lambda: None,
) -> bool:
    """Work on the batch until its end, the end of the slice, or `stopping()`.

    Return whether jobs are left for another slice; `hand_on` is called as soon as that is clear and
    a place is free, so that another worker need not wait for this one's slowest call, and again at
    the end where somebody came too early. Nothing is lost by dying in here: what was claimed and
    not written is freed when its lease ends.
    """
    try:
        assignment = assignments.read(batch_id, now=clock.database_now())
    except Refusal as refusal:
        endings.fail(batch_id, refusal.message, now=clock.database_now())
        return False
    if assignment is None:
        return False
    return asyncio.run(_Slice(assignment, stopping, hand_on).run())


class _Slice:
    """The window of calls, and the cases read so far."""

    def __init__(
        self,
        assignment: Assignment,
        stopping: Callable[[], bool],
        hand_on: Callable[[], None],
    ) -> None:
        self._assignment = assignment
        self._stopping = stopping
        self._hand_on = hand_on
        self._handed_on = False
        # How many calls this worker may have in flight, and how many jobs it claims for that.
        self._width = min(assignment.concurrency, CALLS_PER_WORKER)
        self._most = self._width + ahead(assignment.concurrency)
        self._began = self._looked = time.monotonic()
        self._ends = self._began + settings.EVALSCHED_SLICE_SECONDS
        self._over_since: float | None = None
        self._allowance = Allowance()
        self._window = Window(self._job)
        # Of the claims that are held, and no longer: a batch may have 100,000.
        self._cases: dict[int, CaseDraft] = {}
        # Claims whose cases are being read, which may take a while: their leases run already.
        self._reading: list[Claim] = []
        # Claims whose call has begun: stopped now, it may have to be paid for all the same.
        self._called: set[Claim] = set()
        self._database = DatabaseThread("database")
        self._leases = DatabaseThread("leases")

    async def run(self) -> bool:
        renewing = asyncio.create_task(self._keep_leases())
        private = endpoints.private_hosts()
        try:
            async with egress.session(private=private, limit=self._width) as self._session:
                self._grading = Grading(self._session, self._assignment, self._allowance)
                try:
                    left = await self._until_done()
                finally:
                    # Before the session closes: that would break the calls in flight.
                    renewing.cancel()
                    await self._leave()
            if left and await self._database.run(self._nobody_comes):
                # Whoever came for the first hint found no place, and went.
                await self._database.run(self._hand_on)
            return left
        finally:
            await self._allowance.close()
            await self._database.close()
            await self._leases.close()

    def _nobody_comes(self) -> bool:
        return claims.somebody_was_sent_away(self._assignment.batch_id, now=clock.database_now())

    async def _leave(self) -> None:
        """Stop what is in flight and give it back; what has landed meanwhile is kept."""
        await self._give_back(await self._window.close())
        landed = await self._window.results(patience=0, gather=0)
        if landed:
            await self._exchange(landed, want=0)

    async def _until_done(self) -> bool:
        """Exchange results for claims until nothing is claimed and nothing is in flight."""
        results: list[Result] = []
        while True:
            want = await self._wanted()
            answer = await self._exchange(results, want)
            if not answer.open:
                return False
            await self._take_off(answer)
            if not self._window.size:
                # Asked for and not had: others fill the concurrency, and hint for what is left.
                return want == 0 and await self._leaves(answer)
            if await self._over() and await self._leaves(answer) and self._out_of_patience():
                return True
            results = await self._window.results(patience=LOOK_SECONDS, gather=GATHER_SECONDS)

    async def _leaves(self, answer: Exchange) -> bool:
        """Return whether jobs are left for others, who are told of it once there is a place."""
        left = answer.waiting > 0 or self._window.size > 0
        if left and not self._handed_on and self._window.size < self._width:
            await self._database.run(self._hand_on)
            self._handed_on = True
        return left

    async def _wanted(self) -> int:
        """Return how many further jobs to ask for: none at the slice's end, or beside a suspect."""
        if await self._over():
            await self._give_back(self._window.ground())
            return 0
        if any(claim.suspect for claim in self._window.held):
            return 0
        return self._most - self._window.size

    async def _over(self) -> bool:
        """Whether to claim no more: the worker stops, the slice ends, or another batch waits."""
        if self._over_since is None and (self._stopping() or await self._makes_way()):
            self._over_since = time.monotonic()
        return self._over_since is not None

    async def _makes_way(self) -> bool:
        now = time.monotonic()
        if now >= self._ends:
            return True
        if now - self._looked < QUANTUM_SECONDS:
            return False
        self._looked = now
        batch_id = self._assignment.batch_id
        return await self._database.run(lambda: rescues.others_wait(batch_id))

    def _out_of_patience(self) -> bool:
        """Whether the calls in flight have had their time to land after the slice was over."""
        if self._over_since is None:
            return False
        patience = self._assignment.timeout_s + LOOK_SECONDS
        if self._stopping():
            patience = settings.EVALSCHED_SOFT_SHUTDOWN_SECONDS * LANDING_SHARE
        return time.monotonic() - self._over_since > patience

    async def _exchange(self, results: list[Result], want: int) -> Exchange:
        held = self._window.size

        def exchanged() -> Exchange:
            return claims.exchange(
                self._assignment.batch_id,
                results,
                want=want,
                held=held,
                now=clock.database_now(),
            )

        # Said twice it does no harm: a result that was written is not the claim's any more.
        return await self._database.run(exchanged)

    async def _take_off(self, answer: Exchange) -> None:
        if answer.claims:
            self._reading = answer.claims
            await self._database.run(lambda: self._read_cases(answer.claims))
        self._window.add(answer.claims, limit=min(answer.limit, self._width))
        self._reading = []

    async def _job(self, claim: Claim) -> Result:
        case = self._cases.pop(claim.job_id, None)
        if case is None:
            return Result(
                claim,
                JobOutcome.ERROR,
                attempts=0,
                wall_ms=0,
                error_class=ErrorClass.INFRA,
                error_message="Its case or document was deleted while the batch ran.",
            )
        try:
            return await self._called_and_scored(claim, case)
        except Exception as error:
            # A bug of ours must not take the answers of others along.
            logger.exception("call failed unexpectedly", job=claim.job_id)
            return Result(
                claim,
                JobOutcome.ERROR,
                attempts=1,
                wall_ms=0,
                error_class=ErrorClass.INFRA,
                error_message=f"evalsched failed here: {type(error).__name__}. See the logs.",
            )
        finally:
            self._called.discard(claim)

    async def _called_and_scored(self, claim: Claim, case: CaseDraft) -> Result:
        question = Call(
            self._assignment.conversation(case),
            self._assignment.parameters,
            self._assignment.timeout_s,
        )
        outcome = await calls.call(
            self._session,
            self._assignment.endpoint,
            question,
            deadline=self._assignment.deadline,
            before=lambda: self._allowed(claim, question),
        )
        await self._correct(question, outcome)
        graded = await self._grading.grade(case, outcome.answer)
        if outcome.error_class in ENDPOINTS_FAULT or graded.failure:
            # It may be the batch's end: its place stays empty until the batch was asked.
            self._window.limit -= 1
        found = (claim, case, outcome, self._assignment.prices, graded)
        if not takes_long(case, outcome):
            return result_of(*found)
        # The leases have to be renewed meanwhile.
        return await asyncio.to_thread(result_of, *found)

    async def _allowed(self, claim: Claim, question: Call) -> None:
        """Wait until the endpoint's limits and the batch's delay let one more call start."""
        if self._assignment.tokens:
            await self._allowance.take(
                self._assignment.tokens,
                budgets.expected_tokens(question.messages, question.parameters),
            )
        # The batch's delay comes last: nothing waits between it and the call.
        for rate in self._assignment.rates:
            await self._allowance.take(rate)
        self._called.add(claim)

    async def _correct(self, question: Call, outcome: calls.Outcome) -> None:
        """Book what the call really used beyond the guesses, one an attempt, or give it back."""
        if self._assignment.tokens is None:
            return
        used = guess = budgets.expected_tokens(question.messages, question.parameters)
        answer = outcome.answer
        if answer is not None and answer.input_tokens is not None:
            used = answer.input_tokens + (answer.output_tokens or 0)
        await self._allowance.book(self._assignment.tokens, used - guess * outcome.attempts)

    def _read_cases(self, claimed: list[Claim]) -> None:
        asked = self._assignment
        self._cases |= questions.read(claimed, asked.assertions, asked.messages)

    async def _keep_leases(self) -> None:
        """Renew the leases; a call whose job is somebody else's now is dropped."""
        while True:
            await asyncio.sleep(settings.EVALSCHED_LEASE_SECONDS / 3)
            held = [*self._window.held, *self._reading]
            if not held:
                continue
            try:
                kept = await self._renewed(held)
            except Exception as error:  # noqa: BLE001  the database may be back for the next one
                logger.warning("leases not renewed", error=repr(error))
                continue
            self._window.drop({claim for claim in held if claim.fence not in kept})

    async def _renewed(self, held: list[Claim]) -> set[tuple[int, int]]:
        return await self._leases.run(lambda: claims.renew(held, now=clock.database_now()))

    async def _give_back(self, held: list[Claim]) -> None:
        """Return jobs that were not called, or whose calls were stopped."""
        if not held:
            return
        batch_id = self._assignment.batch_id
        called = [claim for claim in held if claim in self._called]
        await self._database.run(
            lambda: claims.give_back(batch_id, held, called=called, now=clock.database_now())
        )
        for claim in held:
            self._cases.pop(claim.job_id, None)
            self._called.discard(claim)

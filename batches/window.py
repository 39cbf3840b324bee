"""The sliding window: up to `limit` calls in flight, and the next one ready when one lands.

Without jobs in reserve every call that ends would leave its place empty while the database is
asked for another: at 200 ms a call that costs a tenth of the speed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from batches.results import Claim, Result


class Window:
    """Claims that wait, claims in flight, and results that nobody has taken yet."""

    def __init__(self, call: Callable[[Claim], Awaitable[Result]]) -> None:
        self.limit = 0
        self._call = call
        self._waiting: deque[Claim] = deque()
        self._flying: dict[asyncio.Future[Result], Claim] = {}
        self._landed: list[asyncio.Future[Result]] = []
        self._somebody_landed = asyncio.Event()
        self._half = 0
        self._half_gone = asyncio.Event()

    @property
    def held(self) -> list[Claim]:
        """The claims without a result: in flight, or waiting to be."""
        return [*self._flying.values(), *self._waiting]

    @property
    def size(self) -> int:
        """How many claims are still this window's, those included whose results lie here."""
        return len(self._flying) + len(self._waiting) + len(self._landed)

    def add(self, claims: Iterable[Claim], *, limit: int) -> None:
        """Take further claims, and let as many off as `limit` now allows in flight."""
        self.limit = limit
        self._waiting.extend(claims)
        self._take_off()
        self._half = len(self._waiting) // 2
        self._half_gone.clear()

    async def results(self, *, patience: float, gather: float) -> list[Result]:
        """Return what has landed, waiting up to `patience` seconds for the first.

        Then `gather` seconds more for company, unless nobody else is in flight; where claims wait
        to follow, as long again, but no longer than half of them last.
        """
        if not self._landed:
            try:
                await asyncio.wait_for(self._somebody_landed.wait(), patience)
            except TimeoutError:
                return []
            if self._flying:
                await self._company(gather)
        landed, self._landed = self._landed, []
        self._somebody_landed.clear()
        # A cancelled call has no result: its job was taken away by another worker.
        return [task.result() for task in landed if not task.cancelled()]

    def ground(self) -> list[Claim]:
        """Give up the claims that wait, and return them."""
        grounded = list(self._waiting)
        self._waiting.clear()
        return grounded

    def drop(self, lost: set[Claim]) -> None:
        """Stop the calls of these claims; their jobs are somebody else's now."""
        self._waiting = deque(claim for claim in self._waiting if claim not in lost)
        for task, claim in list(self._flying.items()):
            if claim in lost:
                task.cancel()

    async def close(self) -> list[Claim]:
        """Stop everything and return the claims that have no result."""
        grounded = self.ground()
        stopped = list(self._flying)
        unfinished = [claim for task, claim in self._flying.items() if not task.done()]
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)
        return [*unfinished, *grounded]

    async def _company(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._half_gone.wait(), seconds)

    def _take_off(self) -> None:
        while self._waiting and len(self._flying) < self.limit:
            claim = self._waiting.popleft()
            task = asyncio.ensure_future(self._call(claim))
            self._flying[task] = claim
            task.add_done_callback(self._land)
        if len(self._waiting) <= self._half:
            self._half_gone.set()

    def _land(self, task: asyncio.Future[Result]) -> None:
        del self._flying[task]
        self._landed.append(task)
        self._somebody_landed.set()
        self._take_off()

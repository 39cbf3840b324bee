"""The sliding window: plain asyncio, with calls that end when the test says so."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches.models import JobOutcome
from batches.results import Claim, Result
from batches.window import Window


class Model:
    """Calls that hang until they are let go, and what was seen of them."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.most = 0
        self._open: dict[int, asyncio.Future[None]] = {}

    @property
    def in_flight(self) -> set[int]:
        return set(self._open)

    async def __call__(self, claim: Claim) -> Result:
        self.started.append(claim.job_id)
        self._open[claim.job_id] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self._open))
        try:
            await self._open[claim.job_id]
        finally:
            del self._open[claim.job_id]
        return Result(claim, JobOutcome.PASSED, attempts=1, wall_ms=1)

    async def end(self, job_id: int, error: Exception | None = None) -> None:
        """Let a call go, and everybody who waits for it have their turn."""
        if error:
            self._open[job_id].set_exception(error)
        else:
            self._open[job_id].set_result(None)
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def claims(*job_ids: int) -> list[Claim]:
    return [Claim(job_id, 1, None) for job_id in job_ids]


def ids(held: list[Claim]) -> list[int]:
    return sorted(claim.job_id for claim in held)


def jobs(results: list[Result]) -> list[int]:
    return sorted(result.claim.job_id for result in results)


def run(scenario: Callable[[Window, Model], Coroutine[None, None, None]]) -> None:
    async def played() -> None:
        model = Model()
        window = Window(model)
        try:
            await scenario(window, model)
        finally:
            await window.close()

    asyncio.run(played())


def test_a_call_that_lands_is_followed_at_once_and_in_order() -> None:
    async def scenario(window: Window, model: Model) -> None:
        window.add(claims(1, 2, 3, 4), limit=2)
        await settled()
        assert model.in_flight == {1, 2}

        await model.end(2)

        assert model.in_flight == {1, 3}
        assert window.size == 4
        assert jobs(await window.results(patience=1, gather=0)) == [2]
        assert window.size == 3

    run(scenario)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 6)), max_size=25))
def test_never_more_than_the_limit_take_off(steps: list[tuple[int, int, int]]) -> None:
    """A lower limit stops no call: it holds back the next ones until enough have landed."""

    async def scenario(window: Window, model: Model) -> None:
        number = 0
        for added, limit, ending in steps:
            flying = len(model.in_flight)
            window.add(claims(*range(number, number + added)), limit=limit)
            number += added
            await settled()
            assert len(model.in_flight) <= max(limit, flying)
            for job_id in sorted(model.in_flight)[:ending]:
                before = len(model.in_flight)
                await model.end(job_id)
                assert len(model.in_flight) <= max(limit, before - 1)
            # Nobody waits while there is room.
            waiting = number - len(model.started)
            assert not waiting or len(model.in_flight) >= limit
        assert model.started == sorted(model.started)

    run(scenario)


def test_results_wait_for_company_but_not_when_nobody_else_is_in_flight() -> None:
    async def scenario(window: Window, model: Model) -> None:
        window.add(claims(1, 2), limit=2)
        await settled()
        taking = asyncio.ensure_future(window.results(patience=1, gather=0.05))
        await model.end(1)
        await model.end(2)
        assert jobs(await taking) == [1, 2]

        window.add(claims(3), limit=2)
        await settled()
        taking = asyncio.ensure_future(window.results(patience=1, gather=60))
        await model.end(3)
        assert jobs(await asyncio.wait_for(taking, 1)) == [3]

    run(scenario)


def test_results_wait_no_longer_than_half_of_the_claims_that_follow_last() -> None:
    async def scenario(window: Window, model: Model) -> None:
        window.add(claims(*range(1, 9)), limit=4)
        await settled()
        taking = asyncio.ensure_future(window.results(patience=1, gather=0.5))
        sleeping = asyncio.ensure_future(asyncio.sleep(0.8))
        await model.end(1)
        await model.end(2)
        await asyncio.wait({taking, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        assert not sleeping.done()
        assert jobs(await taking) == [1, 2]
        assert model.in_flight == {3, 4, 5, 6}

    run(scenario)


def test_without_any_result_patience_ends() -> None:
    async def scenario(window: Window, model: Model) -> None:
        window.add(claims(1), limit=1)
        assert await window.results(patience=0.01, gather=60) == []
        assert ids(window.held) == [1]

    run(scenario)


def test_grounded_claims_are_returned_and_those_in_flight_go_on() -> None:
    async def scenario(window: Window, model: Model) -> None:
        window.add(claims(1, 2, 3), limit=1)
        await settled()

        assert ids(window.ground()) == [2, 3]

        await model.end(1)
        assert model.started == [1]
        assert window.held == []

    run(scenario)


def test_a_dropped_job_is_stopped_has_no_result_and_leaves_its_place() -> None:
    async def scenario(window: Window, model: Model) -> None:
        window.add(claims(1, 2, 3, 4), limit=2)
        await settled()

        window.drop(set(claims(2, 3)))
        await settled()

        assert model.in_flight == {1, 4}
        assert await window.results(patience=1, gather=0) == []
        assert ids(window.held) == [1, 4]
        assert window.size == 2

    run(scenario)


def test_closing_returns_what_has_no_result_and_keeps_what_landed() -> None:
    async def scenario(window: Window, model: Model) -> None:
        window.add(claims(1, 2, 3, 4), limit=3)
        await settled()
        await model.end(1)

        assert ids(await window.close()) == [2, 3, 4]

        assert model.in_flight == set()
        assert jobs(await window.results(patience=0, gather=0)) == [1]
        assert (window.size, window.held) == (0, [])

    run(scenario)


def test_what_a_call_raises_surfaces() -> None:
    async def scenario(window: Window, model: Model) -> None:
        window.add(claims(1, 2), limit=2)
        await settled()
        await model.end(2, RuntimeError("a bug in scoring"))

        with pytest.raises(RuntimeError, match="a bug in scoring"):
            await window.results(patience=1, gather=0)

        assert ids(window.held) == [1]

    run(scenario)

"""The calls in flight of all workers together never exceed the concurrency, whatever the order."""

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batches import batches, claims
from batches.claims import Exchange, ahead
from batches.models import Batch, BatchStatus, JobOutcome
from batches.results import Claim, Result
from tests.batches.engine_at_work import make_asked, work
from tests.factories import NOW, make_actor, make_batch, make_suite
from tests.processes_at_work import at_once
from tests.servers_http import ModelServer


@dataclass
class Worker:
    """What an engine does between its exchanges, a step at a time.

    `answer` is what the database has said and the worker has not heard yet: meanwhile its calls
    land and take off by the old limit.
    """

    batch: Batch
    limit: int = 0
    waiting: list[Claim] = field(default_factory=list)
    flying: list[Claim] = field(default_factory=list)
    landed: list[Claim] = field(default_factory=list)
    answer: Exchange | None = None
    open: bool = True

    def land(self) -> None:
        if self.flying:
            self.landed.append(self.flying.pop(0))
            self.take_off()

    def take_off(self) -> None:
        while self.waiting and len(self.flying) < self.limit:
            self.flying.append(self.waiting.pop(0))

    def ask(self, leaving: bool) -> None:
        """Give what has landed, and ask for more unless the slice is over."""
        if self.answer is not None:
            return
        results = [Result(claim, JobOutcome.PASSED, 1, 1.0) for claim in self.landed]
        self.landed = []
        if leaving:
            claims.give_back(self.batch.pk, self.waiting, now=NOW)
            self.waiting = []
        held = len(self.waiting) + len(self.flying)
        most = self.batch.concurrency + ahead(self.batch.concurrency)
        want = 0 if leaving else most - held
        self.answer = claims.exchange(self.batch.pk, results, want=want, held=held, now=NOW)

    def hear(self) -> None:
        if self.answer is not None:
            self.open = self.answer.open
            self.limit = self.answer.limit
            assert self.limit > 0 or not self.answer.claims, "claims that may not be called"
            self.waiting += self.answer.claims
            self.answer = None
            self.take_off()


STEPS = st.tuples(
    st.integers(0, 2), st.sampled_from(["land", "land", "ask", "hear", "hear", "leave"])
)


@pytest.mark.django_db
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(concurrency=st.integers(1, 8), steps=st.lists(STEPS, min_size=10, max_size=60))
def test_three_workers_in_any_order_keep_to_it_and_finish(
    concurrency: int, steps: list[tuple[int, str]]
) -> None:
    actor = make_actor()
    batch = make_batch(actor, suite=make_suite(actor, cases=12), concurrency=concurrency)
    workers = [Worker(batch) for _ in range(3)]

    def in_flight() -> int:
        return sum(len(worker.flying) for worker in workers)

    for number, verb in steps:
        worker = workers[number]
        match verb:
            case "land":
                worker.land()
            case "hear":
                worker.hear()
            case _:
                worker.ask(leaving=verb == "leave")
        assert in_flight() <= concurrency
        batch.refresh_from_db(fields=["running"])
        assert batch.running <= concurrency + ahead(concurrency)

    # Whatever has happened, whoever goes on finds all of it: no claim waits for a place for ever.
    for _ in range(30):
        for worker in workers:
            worker.hear()
            for _ in range(concurrency):
                worker.land()
            worker.ask(leaving=False)
            assert in_flight() <= concurrency
    batch.refresh_from_db()
    assert (batch.status, batch.done, batch.running) == (BatchStatus.COMPLETED, 12, 0)


@pytest.mark.django_db
def test_a_second_worker_takes_no_places_from_the_first() -> None:
    """It would hold claims that it may not call, and the first one would make room for them."""
    actor = make_actor()
    batch = make_batch(actor, suite=make_suite(actor, cases=40), concurrency=10)
    first = claims.exchange(batch.pk, [], want=10, now=NOW)

    second = claims.exchange(batch.pk, [], want=15, now=NOW)
    again = claims.exchange(batch.pk, [], want=5, held=10, now=NOW)
    third = claims.exchange(batch.pk, [], want=15, now=NOW)

    assert (len(first.claims), first.limit) == (10, 10)
    assert second.claims == []
    assert (len(again.claims), again.limit) == (5, 10)
    assert third.claims == []


@pytest.mark.django_db
def test_workers_of_a_wide_batch_fill_it_together() -> None:
    actor = make_actor()
    batch = make_batch(actor, suite=make_suite(actor, cases=300), concurrency=250)
    each = batches.CALLS_PER_WORKER + ahead(batch.concurrency)

    answers = [claims.exchange(batch.pk, [], want=each, now=NOW) for _ in range(3)]
    again = claims.exchange(batch.pk, [], want=0, held=each, now=NOW)

    assert [len(answer.claims) for answer in answers] == [100, 100, 50]
    assert [answer.limit for answer in answers] == [250, 150, 50]
    assert again.limit == 100


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("concurrency", [3, 10])
def test_threads_that_come_and_go_keep_to_it(server: ModelServer, concurrency: int) -> None:
    server.configure(latency_ms=25)
    batch = make_asked(server, 120, concurrency=concurrency)
    over = threading.Event()

    def worker(number: int) -> None:
        looks = 0

        def leaving() -> bool:
            nonlocal looks
            looks += 1
            return looks % (7 + number) == 0

        while not over.is_set():
            work(batch, leaving)
            if Batch.objects.filter(pk=batch.pk, completed_at__isnull=False).exists():
                over.set()

    at_once(*[lambda number=number: worker(number) for number in range(3)])

    batch.refresh_from_db()
    assert (batch.status, batch.done, batch.running) == ("completed", 120, 0)
    assert server.calls().max_in_flight == concurrency
    assert set(server.calls().prompts.values()) == {1}

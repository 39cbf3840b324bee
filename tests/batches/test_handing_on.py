"""The end of a slice: somebody is told of what is left, and finds a place for it."""

import queue
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import connection
from pytest_django import Settings

from batches import engine
from batches.models import Batch, BatchStatus
from tests.batches.engine_at_work import make_asked
from tests.servers_http import ModelServer

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS = 2


def work_as_hinted(batch: Batch) -> int:
    """Let two workers take hints until nobody works and no hint is left. Nothing ticks.

    Return how many hints there were.
    """
    taken = 0
    hinted: queue.SimpleQueue[None] = queue.SimpleQueue()

    def slice_of_work() -> None:
        try:
            engine.work(batch.pk, stopping=lambda: False, hand_on=lambda: hinted.put(None))
        finally:
            connection.close()

    hinted.put(None)
    with ThreadPoolExecutor(WORKERS) as pool:
        working: set[Future[None]] = set()
        while working or not hinted.empty():
            done = {future for future in working if future.done()}
            for future in done:
                future.result()
            working -= done
            while len(working) < WORKERS:
                try:
                    hinted.get(timeout=0.01)
                except queue.Empty:
                    break
                taken += 1
                working.add(pool.submit(slice_of_work))
    return taken


def test_a_hint_at_a_slices_end_is_not_lost_on_a_worker_that_finds_no_place(
    server: ModelServer, settings: Settings
) -> None:
    settings.EVALSCHED_SLICE_SECONDS = 1
    # When the slice ends all calls are in flight, and no place is free for a while.
    server.configure(latency_ms=1500)
    batch = make_asked(server, 4, concurrency=2)

    work_as_hinted(batch)

    batch.refresh_from_db()
    assert (batch.status, batch.done) == (BatchStatus.COMPLETED, 4)
    assert server.calls().count == 4


def test_hints_do_not_pile_up_from_slice_to_slice(server: ModelServer, settings: Settings) -> None:
    """Each slice leaves one: two would keep other batches from their turn."""
    settings.EVALSCHED_SLICE_SECONDS = 0.3
    server.configure(latency_ms=100)
    batch = make_asked(server, 40, concurrency=2)

    hints = work_as_hinted(batch)

    batch.refresh_from_db()
    assert (batch.status, batch.done) == (BatchStatus.COMPLETED, 40)
    slices = 40 / 2 * 0.1 / settings.EVALSCHED_SLICE_SECONDS
    assert hints <= 2 * slices

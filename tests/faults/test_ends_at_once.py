"""Many batches whose last jobs end at the same moment: each ends once, and is told of once."""

from collections.abc import Callable
from functools import partial

import pytest
from pytest_django import Settings

from access import clock
from alerts.models import Notification
from batches import claims
from batches.models import Batch, BatchStatus, JobOutcome
from batches.results import Result
from evalsched import admission, ticks
from evalsched.models import Run, RunStatus
from tests.batches.engine_at_work import counters_and_aggregates
from tests.factories import make_actor, make_endpoint, make_run, make_schedule, make_suite
from tests.faults.long_batches import Ends, Line, report
from tests.faults.sizes import SIZES, chance
from tests.processes_at_work import at_once

pytestmark = pytest.mark.django_db(transaction=True)
THREADS = 40


def make_running(count: int) -> list[Batch]:
    """Make that many runs of as many schedules, each with a batch of two jobs."""
    actor = make_actor()
    suite, endpoint = make_suite(actor, cases=2), make_endpoint(actor)
    now = clock.database_now()
    for _ in range(count):
        schedule = make_schedule(actor, suite=suite, endpoint=endpoint, now=now)
        make_run(schedule, scheduled_for=now)
    while admission.start_queued(now):
        pass
    return list(Batch.objects.open())


def last_exchange(batch: Batch) -> Callable[[], None]:
    """Claim a job of the batch as a worker of its own; return what brings its broken result."""
    (claim,) = claims.exchange(batch.pk, [], want=1, now=clock.database_now()).claims
    result = Result(
        claim,
        JobOutcome.ERROR,
        attempts=1,
        wall_ms=1,
        error_class="infra",
        error_message="no connection",
    )

    def exchange() -> None:
        claims.exchange(batch.pk, [result], want=0, held=0, now=clock.database_now())

    return exchange


def test_all_end_once_each_and_are_told_of_once(settings: Settings, ends: Ends) -> None:
    settings.EVALSCHED_MAX_CONCURRENT_RUNS = SIZES.ends_at_once
    # The first is still held when the last has been claimed.
    settings.EVALSCHED_LEASE_SECONDS = 300
    batches = make_running(SIZES.ends_at_once)
    assert len(batches) == SIZES.ends_at_once
    # The two workers of a batch bring its last two results side by side.
    chance("ends at once").shuffle(batches)
    exchanges = [last_exchange(batch) for batch in batches for _ in range(2)]

    def bring(mine: list[Callable[[], None]]) -> None:
        for exchange in mine:
            exchange()

    def tick() -> None:
        for _ in range(5):
            ticks.tick(clock.database_now())

    at_once(*(partial(bring, exchanges[number::THREADS]) for number in range(THREADS)), tick, tick)

    report(Line(f"{len(batches)} batches end at once", len(exchanges), 1))
    for batch in batches:
        batch.refresh_from_db()
        assert (batch.status, batch.done, batch.running) == (BatchStatus.COMPLETED, 2, 0)
        assert ends(batch) == 1
        counted, found = counters_and_aggregates(batch)
        assert counted == found
    assert set(Run.objects.values_list("status", flat=True)) == {RunStatus.FAILED}
    told = Notification.objects.values_list("event__key", flat=True)
    assert len(told) == len(set(told)) == len(batches)

"""Batches long enough for something to happen to their workers, and what has to hold then."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

from django.db.models import QuerySet

from access import clock
from batches.claims import ahead
from batches.models import Batch, BatchStatus, Job
from tests.batches.engine_at_work import counters_and_aggregates
from tests.factories import make_actor, make_batch, make_endpoint, make_suite
from tests.faults.sizes import MOST_RESUMED_SECONDS, SEED, SIZES
from tests.processes_at_work import beat, make_beats_entries, ticking, until, worker
from tests.servers_http import ModelServer

CASES, CONCURRENCY, EARLY = SIZES.cases, 10, SIZES.cases // 5
# What one worker has claimed, so what may be called again when it is lost: in flight, or answered
# since the last flush.
CLAIMED = CONCURRENCY + ahead(CONCURRENCY)
Ends = Callable[[Batch], int]


def make_long_batch(
    server: ModelServer, *, cases: int = CASES, concurrency: int = CONCURRENCY
) -> Batch:
    actor = make_actor()
    return make_batch(
        actor,
        suite=make_suite(actor, cases=cases),
        endpoint=make_endpoint(actor, provider="openai", base_url=server.base_url, model="m"),
        now=clock.database_now(),
        concurrency=concurrency,
    )


def done(batch: Batch) -> int:
    return Batch.objects.values_list("done", flat=True).get(pk=batch.pk)


def wait_for_the_end(batch: Batch) -> None:
    until(
        lambda: Batch.objects.filter(pk=batch.pk, completed_at__isnull=False).exists(),
        seconds=SIZES.patience_s,
        what=lambda: f"the end of the batch, {done(batch)} done",
    )


@contextmanager
def ticks(directory: Path) -> Iterator[None]:
    """Tick often in this process; with EVALSCHED_SOAK as production does, at its pace."""
    if not SIZES.soak:
        with ticking():
            yield
        return
    make_beats_entries()
    with (
        worker(directory, queues="ticks,deliveries", concurrency=1, settings=SIZES.environment),
        beat(directory, **SIZES.environment),
    ):
        yield


@dataclass
class Story:
    """What a fault did to a batch. `losing`: it takes workers away, so calls may be repeated."""

    fault: str
    batch: Batch
    server: ModelServer
    losing: bool = True
    outages: int = 0
    resumed_s: list[float] = field(default_factory=list)
    longest_answer_s: float | None = None

    def struck(self) -> None:
        """Note one more outage, and how long it takes from now until the next result."""
        self.outages += 1
        before, began = done(self.batch), time.monotonic()
        until(
            lambda: done(self.batch) > min(before, CASES - 1),
            seconds=SIZES.patience_s,
            what=lambda: f"{self.fault}: a result after {before} results",
        )
        self.resumed_s.append(time.monotonic() - began)

    def note_pause(self) -> None:
        """Note the longest time between two calls: a fault may strike again before a result."""
        starts = self.server.calls().starts
        self.resumed_s.append(max(after - before for before, after in pairwise(starts)))

    def judge(self, ends: Ends, *, errors: int = 0, allowed: int | None = None) -> None:
        """Assert that nothing was lost nor doubled, and print the line of the table."""
        extra = self._extra_calls()
        if allowed is None:
            allowed = self.outages * CLAIMED if self.losing else 0
        self._print(extra, allowed)
        batch, jobs = self.batch, Job.objects.filter(batch=self.batch)
        batch.refresh_from_db()
        assert (batch.status, batch.running) == (BatchStatus.COMPLETED, 0)
        assert ends(batch) == 1
        assert jobs.count() == jobs.values("case_id", "repeat").distinct().count() == CASES
        answered = jobs.filter(status="done", outcome="passed", latency_ms__gte=100)
        assert answered.count() == CASES - errors
        assert jobs.filter(status="done", outcome="error", error_class="infra").count() == errors
        asked = {f"Say {key.removeprefix('case-')}.": key for key in _keys(answered)}
        assert dict(answered.values_list("output", "case_key")) == asked
        counted, found = counters_and_aggregates(batch)
        assert counted == found
        lost = sum(jobs.values_list("lost_workers", flat=True))
        assert extra <= lost <= allowed
        if SIZES.soak:
            assert max(self.resumed_s, default=0) <= MOST_RESUMED_SECONDS

    def _extra_calls(self) -> int:
        # What it had in flight when it was taken away has its answers, which nobody wants.
        until(lambda: not self.server.calls().in_flight)
        prompts = self.server.calls().prompts
        return sum(times for prompt, times in prompts.items() if prompt.startswith("Say ")) - CASES

    def _print(self, extra: int, allowed: int) -> None:
        resumed = max(self.resumed_s, default=None)
        report(
            Line(
                fault=self.fault,
                cases=CASES,
                outages=self.outages,
                extra_calls=extra,
                allowed_calls=allowed,
                resumed_seconds=None if resumed is None else round(resumed, 1),
                longest_answer_ms=_ms(self.longest_answer_s),
            )
        )


@dataclass(frozen=True)
class Line:
    """A line of the table in docs/faults.md; None where the fault has nothing to say."""

    fault: str
    cases: int
    outages: int
    extra_calls: int | None = None
    allowed_calls: int | None = None
    resumed_seconds: float | None = None
    longest_answer_ms: int | None = None


def report(line: Line) -> None:
    """Print the line, and append it to the file that EVALSCHED_FAULTS_REPORT names."""
    cells = ["-" if cell is None else str(cell) for cell in asdict(line).values()]
    sys.stderr.write(f"\n| {' | '.join(cells)} |\n")
    if name := os.environ.get("EVALSCHED_FAULTS_REPORT"):
        with Path(name).open("a") as file:
            file.write(json.dumps(asdict(line) | {"soak": SIZES.soak, "seed": SEED}) + "\n")


def _keys(jobs: QuerySet[Job]) -> list[str]:
    return list(jobs.values_list("case_key", flat=True))


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)

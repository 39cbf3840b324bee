"""A model that turns calls away: everything is answered all the same, and waiting is no latency."""

import tempfile
from pathlib import Path

from django.db.models import Avg, Sum

from batches.models import Batch, Job
from benchmarks import starting
from benchmarks.figures import Figure
from benchmarks.starting import suite_of
from tests.processes_at_work import worker
from tests.servers_http import ModelServer

CASES, LATENCY_MS, WIDTH = 1_000, 200, 100
SHARE_429, SHARE_500, RETRY_AFTER_S, SEED = 0.05, 0.02, 1, 7


def measure() -> list[Figure]:
    with (
        ModelServer(latency_ms=LATENCY_MS) as server,
        tempfile.TemporaryDirectory() as logs,
        worker(Path(logs), queues="batches", concurrency=1),
    ):
        about = starting.caller(server)
        about.run(suite_of(about, 20))
        suite_id = suite_of(about, CASES)
        clean = about.run(suite_id, concurrency=WIDTH)
        server.reset()
        server.configure(
            latency_ms=LATENCY_MS,
            share_429=SHARE_429,
            share_500=SHARE_500,
            retry_after=str(RETRY_AFTER_S),
            seed=SEED,
        )
        print(f"{CASES:,} cases, {SHARE_429:.0%} answered 429 and {SHARE_500:.0%} 500")
        faulty = about.run(suite_id, concurrency=WIDTH)
        calls = server.calls()
    jobs = Job.objects.filter(batch=faulty.batch)
    attempts = jobs.aggregate(Sum("attempts"))["attempts__sum"]
    assert calls.count == attempts, f"{calls.count} calls came, {attempts} attempts are written"
    name = f"{CASES:,} cases of {LATENCY_MS} ms, {SHARE_429:.0%} 429 and {SHARE_500:.0%} 500"
    return [
        Figure(f"{name}: with a result", faulty.batch.passed, "cases", CASES, least=True),
        Figure(f"{name}: calls turned away and made again", calls.count - CASES, "calls"),
        Figure(f"{name}: average latency", latency(faulty.batch), "ms"),
        Figure(
            f"{name}: ... as a multiple of a run without faults",
            latency(faulty.batch) / latency(clean.batch),
            "x",
        ),
        Figure(
            f"{name}: average with waiting, as a multiple",
            waited(faulty.batch) / waited(clean.batch),
            "x",
        ),
        Figure(f"{name}: POST to completed", faulty.seconds, "s"),
        Figure("... without faults", clean.seconds, "s"),
    ]


def latency(batch: Batch) -> float:
    return batch.latency_sum_ms / batch.latency_count


def waited(batch: Batch) -> float:
    average = Job.objects.filter(batch=batch).aggregate(Avg("wall_ms"))["wall_ms__avg"]
    return float(average)

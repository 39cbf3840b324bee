"""What people do with results: compare, look at repeats, export, score anew. Times and memory."""

import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from statistics import median
from typing import Any

from django.db import connection
from django.test import Client

from access.actors import Actor
from batches import rescoring
from batches.exports import formats
from batches.models import Batch, BatchStatus, Job
from benchmarks.figures import Figure
from tests.factories import NOW, make_actor, make_batch, make_suite

COMPARED = 1_000
EXPORTED = 20_000
TIMES = 5
# Characters of an answer.
ANSWER = 500


def measure() -> Iterator[Figure]:
    # The web's limit of 10 s is for requests.
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    actor = make_actor()
    yield from compared(actor)
    yield from exported(actor)


def compared(actor: Actor) -> Iterator[Figure]:
    """Compare three batches, with verdicts and case by case, and score one anew."""
    suite = make_suite(actor, cases=COMPARED)
    three = [ended(make_batch(actor, suite=suite), wrong=9 + number) for number in range(3)]
    Batch.objects.filter(pk__in=[batch.pk for batch in three]).update(tracking_id="trial")
    client = Client(headers={"X-Project-Id": str(actor.project.pk)})
    client.force_login(actor.user)
    ids = ",".join(str(batch.pk) for batch in three)
    calls: dict[str, Callable[[], Any]] = {
        "a page of 500 side by side, worst first": lambda: client.get(
            f"/api/batches/compare?ids={ids}&ordering=-loss&limit=500"
        ),
        "their page, with verdicts, worst first": lambda: client.get(
            "/experiments/trial?order=worst"
        ),
        "their page, different answers only": lambda: client.get("/experiments/trial?show=answers"),
        "the repeats of one, by case": lambda: client.get(f"/api/batches/{three[0].pk}/cases"),
        "an experiment with its verdicts": lambda: client.get("/api/experiments/trial"),
    }
    for what, call in calls.items():
        assert call().status_code == 200
        times = [timed(call) for _ in range(TIMES)]
        wall, cpu = (median(one[side] for one in times) for side in (0, 1))
        yield Figure(f"3 x {COMPARED:,} cases: {what}", wall, "ms", 1000)
        # What a busy machine changes least.
        yield Figure("... CPU of the web's process", cpu, "ms")
    began = time.perf_counter()
    rescoring.rescore(actor, three[0], now=NOW)
    took = time.perf_counter() - began
    yield Figure(f"{COMPARED:,} answers scored anew", took * 1000, "ms")


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Return how long a call takes and how much CPU, in milliseconds."""
    began, used = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - began) * 1000, (time.process_time() - used) * 1000


def exported(actor: Actor) -> Iterator[Figure]:
    repeats = 50
    suite = make_suite(actor, cases=EXPORTED // repeats)
    batch = ended(make_batch(actor, suite=suite, repeats=repeats), wrong=9)
    for format_ in formats.MEDIA_TYPES:

        def pieces(format_: str = format_) -> Iterable[str]:
            return formats.export("batch", format_, [batch], nullcontext).pieces

        began = time.perf_counter()
        size = sum(map(len, pieces()))
        took = time.perf_counter() - began
        # JUnit leaves the answers of what passed out.
        assert size > EXPORTED * ANSWER or format_ == "junit"
        yield Figure(f"{EXPORTED:,} calls as {format_}", took, "s")
        tracemalloc.start()
        for _ in pieces():
            pass
        most = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        yield Figure(f"{EXPORTED:,} calls as {format_}: most memory", most, "MiB", 20)


def ended(batch: Batch, *, wrong: int) -> Batch:
    """End the batch with its answers; each `wrong`th case fails."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE batches_job SET status = 'done', finished_at = %s, output = repeat('x', %s),"
            " outcome = CASE WHEN ordinal %% %s = 0 THEN 'failed' ELSE 'passed' END,"
            " score = CASE WHEN ordinal %% %s = 0 THEN 0 ELSE 1 END,"
            " latency_ms = 100 + ordinal %% 50 WHERE batch_id = %s",
            [NOW, ANSWER, wrong, wrong, batch.pk],
        )
    failed = Job.objects.filter(batch=batch, outcome="failed").count()
    Batch.objects.filter(pk=batch.pk).update(
        status=BatchStatus.COMPLETED,
        completed_at=NOW,
        done=batch.total,
        failed=failed,
        passed=batch.total - failed,
    )
    batch.refresh_from_db()
    return batch

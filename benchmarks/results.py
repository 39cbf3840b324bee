"""What people do with results: compare, look at repeats, export, score anew. Times and memory."""

import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil  # type: ignore[import-untyped]
from django.db import connection
from django.test import Client

from access.actors import Actor
from batches import rescoring
from batches.exports import formats
from batches.models import Batch, BatchStatus, Job
from benchmarks.figures import Figure, family
from tests.factories import NOW, make_actor, make_batch, make_key, make_suite
from tests.processes_at_work import Running, until, web

COMPARED = 1_000
EXPORTED = 50_000
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
        assert size > least_size(format_)
        yield Figure(f"{EXPORTED:,} calls as {format_}", took, "s")
        tracemalloc.start()
        for _ in pieces():
            pass
        most = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        yield Figure(f"{EXPORTED:,} calls as {format_}: most memory", most, "MiB", 20)
    yield from served(actor, batch)


def served(actor: Actor, batch: Batch) -> Iterator[Figure]:
    """Export through a web process as production runs it, and watch how much it grows by."""
    _, key = make_key(actor)
    small = ended(make_batch(actor, suite=make_suite(actor)), wrong=9)
    with TemporaryDirectory() as directory, web(Path(directory)) as (port, running):
        until(lambda: answers(port), seconds=60, what=running.said)
        # What it loads when first asked is there from then on.
        for format_ in formats.MEDIA_TYPES:
            read(port, key, f"/api/batches/{small.pk}/export?format={format_}")
        before = rss_mib(running)
        for format_ in formats.MEDIA_TYPES:
            with ThreadPoolExecutor(1) as pool:
                path = f"/api/batches/{batch.pk}/export?format={format_}"
                reading = pool.submit(read, port, key, path)
                most = before
                while not reading.done():
                    most = max(most, rss_mib(running))
                    time.sleep(0.02)
            assert reading.result() > least_size(format_)
            what = f"{EXPORTED:,} calls as {format_}: the web process grew by"
            yield Figure(what, most - before, "MiB", 20)


def least_size(format_: str) -> int:
    """Return how many bytes all calls have at least; JUnit keeps the answers of failures alone."""
    return EXPORTED * (50 if format_ == "junit" else ANSWER)


def answers(port: int) -> bool:
    try:
        read(port, "", "/healthz")
    except OSError:
        return False
    return True


def read(port: int, key: str, path: str) -> int:
    """Return how many bytes came, of which none is kept."""
    client = HTTPConnection("127.0.0.1", port, timeout=600)
    client.request("GET", path, headers={"Host": "testserver", "X-API-Key": key} if key else {})
    answer = client.getresponse()
    assert not key or answer.status == HTTPStatus.OK, answer.read()
    size = 0
    while piece := answer.read(65_536):
        size += len(piece)
    client.close()
    return size


def rss_mib(running: Running) -> float:
    """Return the memory of the processes that answer."""
    processes = [psutil.Process(pid) for pid in family(running.process.pid)]
    return float(sum(process.memory_info().rss for process in processes)) / 2**20


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

"""Expired experiments deleted beside as many that live on, and by turns as many in plain SQL."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]
from django.db import connection, transaction

from access import clock
from batches import cleanup
from batches.models import (
    Agent,
    Batch,
    BatchStatus,
    Document,
    DocumentStatus,
    Job,
    Tombstone,
)
from benchmarks.figures import Figure
from benchmarks.many_rows import insert, nth, numbers
from tests.factories import make_actor, make_endpoint

FEW, MANY = 1_000, 10_000
DOCUMENTS, JOBS = 10, 100
MOST_SECONDS = 10
LEAST_A_SECOND = 500
MOST_FLOORS = 2
MOST_TRANSACTION_MS = 1_000
MOST_MIB = 10


@dataclass(frozen=True)
class Cleaned:
    """What cleaning up took, and what deleting as many took in plain SQL.

    `longest_s` is the longest transaction, `grown_mib` what the process grew by at most.
    """

    seconds: float
    plain_seconds: float
    longest_s: float
    grown_mib: float


def measure() -> list[Figure]:
    # The web's limit of 10 s is for requests.
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    return [*of(FEW), *of(MANY)]


def of(count: int) -> list[Figure]:
    print(f"making {count:,} expired experiments of {JOBS} jobs, and twice as many others")
    make(count)
    load = os.getloadavg()[0]
    cleaned = clean_up(count)
    print(f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after")
    refuse_anything_else(count)
    for model in (Job, Document, Batch, Agent, Tombstone):
        model.objects.all()._raw_delete(connection.alias)
    what = f"{count:,} experiments cleaned up"
    most = MOST_SECONDS if count == FEW else None
    return [
        Figure(what, cleaned.seconds, "s", most),
        Figure(f"{what}: a second", count / cleaned.seconds, "", LEAST_A_SECOND, least=True),
        Figure(f"{what}: longest transaction", cleaned.longest_s * 1000, "ms", MOST_TRANSACTION_MS),
        Figure(f"{what}: memory grown by", cleaned.grown_mib, "MiB", MOST_MIB),
        Figure(f"{count:,} deleted in plain SQL, as many at a time", cleaned.plain_seconds, "s"),
        Figure(f"{what}: times that", cleaned.seconds / cleaned.plain_seconds, "x", MOST_FLOORS),
    ]


def clean_up(count: int) -> Cleaned:
    """Clean up chunk by chunk, and by turns delete as much in plain SQL on the same machine."""
    plain = Batch.objects.filter(name="plain").order_by("expires_at", "pk")
    ids = list(plain.values_list("pk", flat=True))
    steps, plain_seconds, deleted = [], 0.0, 0
    chunks = cleanup.clean_up(clock.database_now())
    with peak_mib() as grown:
        while True:
            began = time.perf_counter()
            # A step is one transaction.
            gone = next(chunks, None)
            steps.append(time.perf_counter() - began)
            if gone is None:
                break
            deleted += gone
            plain_seconds += delete_in_plain_sql(ids[deleted - gone : deleted])
    assert deleted == count
    return Cleaned(sum(steps), plain_seconds, max(steps), grown())


@contextmanager
def peak_mib() -> Iterator[Callable[[], float]]:
    """Yield what tells by how much this process grew at most while the context was open."""
    process, over = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.wait(0.01):
            most = max(most, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield lambda: (most - before) / 2**20
    finally:
        over.set()
        watching.join()


def delete_in_plain_sql(batch_ids: list[uuid.UUID]) -> float:
    """Delete experiments from the leaves up and do nothing else. Return the seconds it took."""
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        for table, column in (
            ("batches_job", "batch_id"),
            ("batches_document", "ephemeral_batch_id"),
            ("batches_batch", "id"),
        ):
            cursor.execute(f"DELETE FROM {table} WHERE {column} = ANY(%s)", [batch_ids])
    return time.perf_counter() - began


def refuse_anything_else(count: int) -> None:
    """Fail where one that lives on lost anything, or one that is gone has no tombstone."""
    assert set(Batch.objects.values_list("name", flat=True)) == {"live"}
    assert Batch.objects.filter(agent__isnull=False).count() == count
    assert Batch.objects.count() == Agent.objects.count() == count
    assert Document.objects.count() == count * DOCUMENTS
    assert Job.objects.filter(document__isnull=False).count() == count * JOBS
    stones = Tombstone.objects.filter(name="expired", documents=DOCUMENTS, total=JOBS)
    assert stones.count() == Tombstone.objects.count() == count


def make(count: int) -> None:
    """Make `count` expired experiments, as many live ones, and as many to delete in plain SQL.

    They lie row by row beside each other.
    """
    actor = make_actor()
    own = {"project_id": f"'{actor.project.pk}'::uuid", "user_id": f"'{actor.user.pk}'::uuid"}
    endpoint = f"'{make_endpoint(actor).pk}'::uuid"
    made = {**own, "id": "uuidv7()", "created_at": "now()"}
    insert(
        Batch,
        numbers(3 * count),
        {
            **made,
            "started_at": "now()",
            "completed_at": "now()",
            "endpoint_id": endpoint,
            "name": "CASE n % 3 WHEN 0 THEN 'expired' WHEN 1 THEN 'plain' ELSE 'live' END",
            "tracking_id": "'trial-' || n",
            "expires_at": "now() + CASE n % 3 WHEN 0 THEN -n ELSE 24 * n END * interval '1 hour'",
        },
        status=BatchStatus.COMPLETED,
        is_ephemeral=True,
        model_name="Endpoint",
        agent_name="Trial",
        total=JOBS,
        done=JOBS,
        passed=JOBS,
    )
    of_each = nth("batches_batch", "ephemeral_batch")
    insert(
        Agent,
        of_each,
        {**made, "ephemeral_batch_id": "ephemeral_batch_id", "endpoint_id": endpoint},
        name="Trial",
        primary_instructions="Summarise.",
    )
    insert(
        Document,
        f"{of_each}, generate_series(1, {DOCUMENTS}) AS page",
        {
            **made,
            "ephemeral_batch_id": "ephemeral_batch_id",
            "title": "'Page ' || page",
            "content": "repeat('A page has some text. ', 100)",
        },
        status=DocumentStatus.READY,
        content_hash="0" * 64,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE batches_batch b SET agent_id = a.id FROM batches_agent a"
            " WHERE a.ephemeral_batch_id = b.id"
        )
    _make_jobs(own["project_id"])
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _make_jobs(project_id: str) -> None:
    insert(
        Job,
        "(SELECT ephemeral_batch_id, id, row_number() OVER (PARTITION BY ephemeral_batch_id) AS nth"
        f" FROM batches_document) AS page, generate_series(1, {JOBS // DOCUMENTS}) AS again",
        {
            "project_id": project_id,
            "batch_id": "ephemeral_batch_id",
            "document_id": "page.id",
            "case_key": "'Page ' || nth",
            "ordinal": "nth - 1",
            "repeat": "again",
            "output": "repeat('The answer to that is somewhat long. ', 6)",
            "latency_ms": "200 + nth",
            "started_at": "now()",
            "finished_at": "now()",
        },
        case_hash="0" * 64,
        status="done",
        outcome="passed",
        score=1.0,
        attempts=1,
    )

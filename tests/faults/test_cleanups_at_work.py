"""Experiments cleaned up by processes that are killed, by two at once, and while others use them.

Whatever happens, an experiment is either there as a whole or gone with one tombstone.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection
from pytest_django import Settings

from access.errors import Conflict, Invalid, NotFound
from batches import batches, claims, cleanup, documents, experiments, rescoring
from batches.batches import Config
from batches.experiments import Plan
from batches.models import (
    Agent,
    Batch,
    Document,
    Job,
    JobOutcome,
    Tombstone,
)
from batches.results import Claim, Result
from tests.factories import NOW, make_actor, make_endpoint, make_experiment, make_suite
from tests.faults.sizes import SIZES, chance
from tests.processes_at_work import Running, at_once, managing, until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]
DOCUMENTS = 2
# Long after everything that is made at NOW has expired.
LATE = NOW + timedelta(days=8)
COMMAND = "cleanup_experiments"
# The ways to use an experiment while it is cleaned up.
USES = 6


@pytest.fixture(autouse=True)
def _no_cap(settings: Settings) -> None:
    settings.EVALSCHED_EXPERIMENT_MAX_PER_USER = 1_000_000


def make_expired(count: int) -> list[Batch]:
    """Make that many experiments that have ended and expired, each with all it may own."""
    actor = make_actor()
    endpoint = make_endpoint(actor)
    made = [make_experiment(actor, endpoint=endpoint, documents=DOCUMENTS) for _ in range(count)]
    for batch in made:
        assert batches.cancel(batch, now=NOW)
    return made


def whole() -> set[Any]:
    """Return the experiments that are there; fail where one has lost anything it owns."""
    there = set(Batch.objects.values_list("pk", flat=True))
    owned = Counter(Document.objects.values_list("ephemeral_batch_id", flat=True))
    calls = Counter(Job.objects.values_list("batch_id", flat=True))
    agents = Counter(Agent.objects.values_list("ephemeral_batch_id", flat=True))
    assert owned == calls == Counter(dict.fromkeys(there, DOCUMENTS))
    assert agents == Counter(there)
    assert not Job.objects.filter(document=None).exists()
    return there


def gone() -> set[Any]:
    return set(Tombstone.objects.values_list("batch_id", flat=True))


def tombstones() -> list[tuple[Any, ...]]:
    names = [field.name for field in Tombstone._meta.fields if field.name != "created_at"]
    return sorted(Tombstone.objects.values_list(*names))


@contextmanager
def slowly(seconds: float) -> Iterator[None]:
    """Let each chunk wait when its batches are deleted, before that is committed."""
    with _triggered(
        "AFTER DELETE ON batches_batch FOR EACH STATEMENT", f"PERFORM pg_sleep({seconds});"
    ):
        yield


@contextmanager
def _triggered(event: str, body: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE FUNCTION in_the_way() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
                'BEGIN {body} RETURN NULL; END';
            CREATE TRIGGER in_the_way {event} EXECUTE FUNCTION in_the_way();
            """
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION in_the_way() CASCADE")


def others_idle() -> bool:
    """Whether no backend but our own is in a transaction: what a killed one held is let go."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            " AND backend_type = 'client backend'"
        )
        return bool(cursor.fetchone()[0] == 0)


def deleted_by(running: Running) -> int:
    """Return how many batches a process of the command says it has deleted."""
    assert running.wait(120) == 0, running.said()
    said = re.search(r"(\d+) batches of experiments deleted", running.said())
    assert said is not None, running.said()
    return int(said[1])


def test_what_was_killed_half_way_ends_the_same_when_it_is_started_again(tmp_path: Path) -> None:
    made = make_expired(SIZES.expired)
    live = make_experiment(days=36_500, documents=DOCUMENTS)
    moments = chance("cleanup killed")
    everything = {batch.pk for batch in made} | {live.pk}
    kills = 0
    with slowly(0.3):
        while kills < SIZES.cleanup_kills and len(gone()) < len(made):
            before = len(gone())
            with managing(tmp_path, COMMAND) as running:
                until(lambda b=before: len(gone()) > b, what=running.said)  # type: ignore[misc]
                time.sleep(moments.uniform(0, 0.2))
                running.kill()
            until(others_idle, what="the killed one's transaction ends")
            kills += 1
            assert whole() | gone() == everything
            assert not whole() & gone()
    halfway = tombstones()
    assert halfway

    with managing(tmp_path, COMMAND) as running:
        assert deleted_by(running) == len(made) - len(halfway)

    assert whole() == {live.pk}
    assert gone() == everything - {live.pk}
    assert set(halfway) <= set(tombstones())
    stones = Tombstone.objects.values_list("total", "documents", "status", "agent_name")
    assert set(stones) == {(DOCUMENTS, DOCUMENTS, "cancelled", "Trial")}


def test_two_processes_at_once_delete_once_and_their_counts_add_up(tmp_path: Path) -> None:
    made = make_expired(SIZES.expired)
    lock = 7_301_999
    with (
        _triggered(
            "AFTER INSERT ON batches_tombstone FOR EACH STATEMENT",
            # Not by waiting for it: locks are waited for five seconds at most.
            f"WHILE NOT pg_try_advisory_xact_lock_shared({lock}) LOOP PERFORM pg_sleep(0.05);"
            " END LOOP;",
        ),
        connection.cursor() as cursor,
    ):
        # Both are let go when each of them is in the middle of a chunk.
        cursor.execute("SELECT pg_advisory_lock(%s)", [lock])
        # A worker's statements may take a minute.
        patient = {"EVALSCHED_PROCESS": "worker"}
        with (
            managing(tmp_path, COMMAND, **patient) as one,
            managing(tmp_path, COMMAND, **patient) as other,
        ):
            until(lambda: _waiting() == 2, seconds=90, what=lambda: one.said() + other.said())
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])
            counts = deleted_by(one), deleted_by(other)

    assert min(counts) > 0
    assert sum(counts) == len(made)
    assert gone() == {batch.pk for batch in made}
    assert Tombstone.objects.count() == len(made)
    assert whole() == set()


def _waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event = 'PgSleep'"
        )
        return int(cursor.fetchone()[0])


@contextmanager
def noting_losses() -> Iterator[Callable[[], list[tuple[Any, ...]]]]:
    """Note each unfinished job that is deleted, or loses what it asks about, by whomever."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TABLE noted_losses (batch_id uuid, job_id bigint, status text, what text);
            GRANT INSERT ON noted_losses TO PUBLIC;
            CREATE FUNCTION note_loss() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
                'BEGIN INSERT INTO noted_losses VALUES (OLD.batch_id, OLD.id, OLD.status, TG_OP);
                RETURN NULL; END';
            CREATE TRIGGER note_deleted AFTER DELETE ON batches_job FOR EACH ROW
                WHEN (OLD.status IN ('pending', 'running')) EXECUTE FUNCTION note_loss();
            CREATE TRIGGER note_emptied AFTER UPDATE OF document_id ON batches_job FOR EACH ROW
                WHEN (OLD.status IN ('pending', 'running') AND NEW.document_id IS NULL
                    AND OLD.document_id IS NOT NULL)
                EXECUTE FUNCTION note_loss();
            """
        )

    def found() -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM noted_losses")
            return list(cursor.fetchall())

    yield found
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION note_loss() CASCADE; DROP TABLE noted_losses")


class Users:
    """People and workers who use experiments that have expired, each with the next best one.

    What is refused because the experiment is gone, or in no state for it, is counted.
    """

    def __init__(self) -> None:
        self.actor = make_actor()
        self.endpoint = make_endpoint(self.actor)
        self.suite = make_suite(self.actor, cases=DOCUMENTS)
        self.over = threading.Event()
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.regular: list[Any] = []

    def use(self, number: int) -> None:
        moments = chance(f"users of experiments {number}")
        actions: list[Callable[[Batch], None]] = [
            *(self.run, self.let_go_late, self.resume_and_cancel, self.rescore),
            *(self.ask_about_the_documents_of_another, self.extend),
        ]
        while not self.over.is_set():
            self.make()
            action = moments.choice(actions)
            try:
                action(moments.choice(list(Batch.objects.filter(is_ephemeral=True))))
            except (NotFound, Conflict, Invalid, IntegrityError, IndexError):
                self.refused[action.__name__] += 1
            else:
                self.done[action.__name__] += 1

    def make(self) -> None:
        """Make two that have ended: one about documents, one about a suite."""
        batches.cancel(make_experiment(self.actor, endpoint=self.endpoint), now=NOW)
        made = experiments.create(
            self.actor,
            Plan(is_ephemeral=True, agent={"name": "Trial"}),
            endpoint=self.endpoint,
            config=Config(),
            suite=self.suite,
            now=NOW,
        )
        batches.cancel(made, now=NOW)

    def run(self, batch: Batch) -> None:
        """Run what is missing to the end."""
        claimed = self._resumed(batch)
        results = [Result(claim, JobOutcome.UNSCORED, attempts=1, wall_ms=1) for claim in claimed]
        self.over.wait(0.01)
        claims.exchange(batch.pk, results, want=0, now=NOW)

    def let_go_late(self, batch: Batch) -> None:
        """Cancel while calls are in flight, whose workers notice a moment later."""
        claimed = self._resumed(batch)
        batches.cancel(batch, now=NOW)
        self.over.wait(0.02)
        claims.give_back(batch.pk, claimed, now=NOW)

    def resume_and_cancel(self, batch: Batch) -> None:
        batches.resume(batch, now=NOW)
        batches.cancel(batch, now=NOW)

    def rescore(self, batch: Batch) -> None:
        rescoring.rescore(self.actor, batch, now=NOW)

    def ask_about_the_documents_of_another(self, batch: Batch) -> None:
        """Start a batch that stays, in the same experiment, about what this one brought along."""
        own = list(Document.objects.filter(ephemeral_batch=batch).values_list("pk", flat=True))
        asked = documents.find_all(self.actor.project.pk, own, tracking_id=batch.tracking_id)
        made = experiments.create(
            self.actor,
            Plan(tracking_id=batch.tracking_id),
            endpoint=self.endpoint,
            config=Config(),
            now=NOW,
            asked=asked,
        )
        self.regular.append(made.pk)
        self.over.wait(0.02)
        batches.cancel(made, now=NOW)

    def extend(self, batch: Batch) -> None:
        """Let it live on for a while, and then expire as before."""
        experiments.extend(self.actor, batch.tracking_id, days=30, now=LATE)
        self.over.wait(0.02)
        experiments.extend(self.actor, batch.tracking_id, days=7, now=NOW)

    def _resumed(self, batch: Batch) -> list[Claim]:
        batches.resume(batch, now=NOW)
        return claims.exchange(batch.pk, [], want=DOCUMENTS, now=NOW).claims


def test_whatever_is_done_with_experiments_meanwhile_none_with_an_unfinished_job_is_deleted() -> (
    None
):
    users, deleted = Users(), Counter[str]()

    def clean(name: str) -> None:
        while not users.over.is_set():
            deleted[name] += sum(cleanup.clean_up(LATE))
            # So that some live long enough to be used.
            users.over.wait(0.05)

    def watch() -> None:
        until(
            lambda: users.over.is_set() or enough(),
            seconds=SIZES.patience_s,
            what=lambda: f"done {users.done}, refused {users.refused}, deleted {deleted}",
        )

    def enough() -> bool:
        return len(users.done) == USES and min(users.done.values()) >= SIZES.uses

    def stopping(task: Callable[[], None]) -> None:
        try:
            task()
        finally:
            users.over.set()

    with noting_losses() as losses:
        tasks: list[Callable[[], None]] = [
            *(partial(users.use, number) for number in range(4)),
            *(partial(clean, name) for name in ("one", "other")),
            watch,
        ]
        at_once(*(partial(stopping, task) for task in tasks))
        assert losses() == []

        assert enough()
        assert min(deleted.values()) > 0
        assert Tombstone.objects.count() == sum(deleted.values())
        assert not gone() & set(Batch.objects.values_list("pk", flat=True))
        assert Batch.objects.filter(pk__in=users.regular).count() == len(users.regular)
        # Several may extend the same one, so each is judged by when it expired as it was deleted.
        assert not Tombstone.objects.filter(expired_at__gt=LATE).exists()
        for batch in Batch.objects.open():
            batches.cancel(batch, now=NOW)
        rest = Batch.objects.filter(is_ephemeral=True, jobs__status="running").distinct().count()
        assert rest == 0
        left = Batch.objects.filter(is_ephemeral=True).count()
        assert sum(cleanup.clean_up(LATE + timedelta(days=365))) == left
        assert losses() == []
    assert not Agent.objects.exists()
    assert not Document.objects.exists()

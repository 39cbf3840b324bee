"""Experiments: made as a whole, extended, deleted, and cleaned up without losing what runs."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from access.actors import Actor
from access.errors import Conflict, Invalid, NotFound
from batches import batches, claims, cleanup, documents, experiments, fetching, rescoring, rescues
from batches.batches import Config
from batches.documents import Draft
from batches.experiments import Plan
from batches.models import Agent, Batch, BatchStatus, Document, Job, JobStatus, Tombstone
from tests.batches.engine_at_work import work_to_the_end
from tests.factories import (
    NOW,
    make_actor,
    make_batch,
    make_document,
    make_endpoint,
    make_experiment,
    make_project,
    make_suite,
)
from tests.processes_at_work import at_once, until
from tests.servers_http import ModelServer

pytestmark = pytest.mark.django_db(transaction=True)
LATE = NOW + timedelta(days=8)


def make_ended(**fields: Any) -> Batch:
    batch = make_experiment(**fields)
    batches.cancel(batch, now=NOW)
    batch.refresh_from_db()
    return batch


def clean_up(now: Any = LATE) -> int:
    return sum(cleanup.clean_up(now))


def counts() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Batch, Job, Document, Agent, Tombstone))


def test_an_experiment_is_made_with_all_it_brings_along() -> None:
    batch = make_experiment(documents=3)

    assert (batch.total, batch.is_ephemeral, batch.agent_name) == (3, True, "Trial")
    assert batch.expires_at == NOW + timedelta(days=7)
    assert batch.agent == batch.ephemeral_agents.get()
    keys = Job.objects.filter(batch=batch).values_list("case_key", flat=True)
    assert list(keys) == ["Page 0", "Page 1", "Page 2"]


def make_served(server: ModelServer, actor: Actor | None = None, **fields: Any) -> Batch:
    actor = actor or make_actor()
    endpoint = make_endpoint(actor, provider="openai", base_url=server.base_url, model="m")
    return make_experiment(actor, endpoint=endpoint, **fields)


def test_an_experiment_runs_like_any_batch(server: ModelServer) -> None:
    done = work_to_the_end(make_served(server))

    assert (done.status, done.unscored) == (BatchStatus.COMPLETED, 2)


def test_what_cannot_be_made_whole_is_not_made_at_all() -> None:
    actor = make_actor()
    before = counts()
    plan = Plan(
        is_ephemeral=True,
        agent={"name": "Trial"},
        documents=[Draft("Fine", "Text."), Draft(url="http://169.254.169.254/")],
    )

    with pytest.raises(Invalid) as refused:
        experiments.create(actor, plan, endpoint=make_endpoint(actor), config=Config(), now=NOW)

    assert "ephemeral_documents[1]" in refused.value.details
    assert counts() == before


def test_caps_are_named(settings: Settings) -> None:
    settings.EVALSCHED_EXPERIMENT_MAX_DOCUMENTS = 2
    settings.EVALSCHED_EXPERIMENT_MAX_PER_USER = 1
    actor = make_actor()

    with pytest.raises(Invalid, match="EVALSCHED_EXPERIMENT_MAX_DOCUMENTS"):
        make_experiment(actor, documents=3)
    make_experiment(actor)
    with pytest.raises(Invalid, match="EVALSCHED_EXPERIMENT_MAX_PER_USER"):
        make_experiment(actor)
    make_experiment(actor, now=LATE)


def test_a_further_batch_of_an_experiment_is_no_further_experiment(settings: Settings) -> None:
    settings.EVALSCHED_EXPERIMENT_MAX_PER_USER = 1
    actor = make_actor()
    make_experiment(actor, tracking_id="mine")

    make_experiment(actor, tracking_id="mine")

    with pytest.raises(Invalid, match="EVALSCHED_EXPERIMENT_MAX_PER_USER"):
        make_experiment(actor, tracking_id="other")
    with pytest.raises(Invalid, match="EVALSCHED_EXPERIMENT_MAX_PER_USER"):
        make_experiment(actor)


def test_experiments_of_a_user_are_counted_in_each_project(settings: Settings) -> None:
    settings.EVALSCHED_EXPERIMENT_MAX_PER_USER = 1
    actor = make_actor()
    make_experiment(actor)

    make_experiment(make_actor(actor.user, project=make_project(actor.user)))


def test_all_documents_of_an_experiment_count_and_each_once(settings: Settings) -> None:
    settings.EVALSCHED_EXPERIMENT_MAX_DOCUMENTS = 4
    actor = make_actor()
    kept = [make_document(actor) for _ in range(4)]

    def start(brought: int, asked: Sequence[Document], **fields: Any) -> Batch:
        drafts = [Draft(content=f"Text {number}.") for number in range(brought)]
        plan = Plan(tracking_id="mine", is_ephemeral=True, documents=drafts)
        endpoint = make_endpoint(actor)
        return experiments.create(
            actor, plan, endpoint=endpoint, config=Config(), now=NOW, asked=asked, **fields
        )

    with pytest.raises(Invalid, match="these would be 5") as refused:
        start(1, kept)
    assert list(refused.value.details) == ["ephemeral_documents"]
    first = start(2, kept[:1])
    same = [*first.ephemeral_documents.all(), kept[0]]
    start(0, same)
    start(0, [*same, *kept[1:]], target_count=4)
    with pytest.raises(Invalid, match="these would be 5") as refused:
        start(0, kept[2:3])
    assert list(refused.value.details) == ["document_ids"]


def test_two_experiments_at_once_do_not_pass_the_cap_together(settings: Settings) -> None:
    settings.EVALSCHED_EXPERIMENT_MAX_PER_USER = 3
    actor = make_actor()

    def attempt() -> bool:
        try:
            make_experiment(actor)
        except Invalid:
            return False
        return True

    assert sum(at_once(*[attempt] * 6)) == 3


def test_only_an_ephemeral_batch_has_parts_that_go_with_it() -> None:
    actor = make_actor()
    plan = Plan(tracking_id="kept", documents=[Draft("A", "Text.")])

    with pytest.raises(Invalid, match="is_ephemeral"):
        experiments.create(actor, plan, endpoint=make_endpoint(actor), config=Config(), now=NOW)


def test_documents_of_an_experiment_serve_the_same_experiment_only() -> None:
    actor = make_actor()
    page = make_experiment(actor, tracking_id="mine").ephemeral_documents.all()[0]

    assert documents.find_all(actor.project.pk, [page.pk], tracking_id="mine") == [page]
    with pytest.raises(Invalid, match="belongs to the experiment 'mine'"):
        documents.find_all(actor.project.pk, [page.pk])


def test_extending_moves_the_end() -> None:
    actor = make_actor()
    batch = make_experiment(actor, tracking_id="longer")

    assert experiments.extend(actor, "longer", days=30, now=NOW) == 1

    batch.refresh_from_db()
    assert batch.expires_at == NOW + timedelta(days=30)
    with pytest.raises(NotFound):
        experiments.extend(make_actor(), "longer", days=30, now=NOW)


def test_deleting_waits_for_what_is_under_way_unless_told_otherwise() -> None:
    actor = make_actor()
    make_experiment(actor, tracking_id="gone")

    with pytest.raises(Conflict, match="under way"):
        experiments.delete(actor, "gone", cancel=False, now=NOW)
    assert experiments.delete(actor, "gone", cancel=True, now=NOW) == 1

    assert counts() == (0, 0, 0, 0, 1)


def make_asked_again(actor: Actor, tracking_id: str) -> tuple[Batch, Batch]:
    """Make a batch with documents that has ended, and another that asks about the same ones."""
    old = make_ended(actor=actor, tracking_id=tracking_id)
    own = list(old.ephemeral_documents.values_list("pk", flat=True))
    new = experiments.create(
        actor,
        Plan(tracking_id=tracking_id),
        endpoint=make_endpoint(actor),
        config=Config(),
        now=NOW,
        asked=documents.find_all(actor.project.pk, own, tracking_id=tracking_id),
    )
    return old, new


def test_a_batch_whose_documents_are_being_asked_about_is_not_deleted_alone() -> None:
    actor = make_actor()
    old, new = make_asked_again(actor, "pair")

    with pytest.raises(Conflict, match="Another batch of this experiment is under way"):
        batches.delete(actor, old, now=NOW)

    assert not Job.objects.filter(batch=new, document=None).exists()
    batches.cancel(new, now=NOW)
    batches.delete(actor, old, now=NOW)
    stone = Tombstone.objects.get()
    assert (stone.batch_id, stone.tracking_id, stone.documents) == (old.pk, "pair", 2)
    assert Batch.objects.get() == new


def test_a_batch_of_an_experiment_is_not_deleted_while_a_call_is_in_flight() -> None:
    batch = make_experiment()
    claimed = claims.exchange(batch.pk, [], want=1, now=NOW).claims
    batches.cancel(batch, now=NOW)

    with pytest.raises(Conflict, match="in flight"):
        batches.delete(make_actor(batch.user), batch, now=NOW)

    claims.give_back(batch.pk, claimed, now=NOW)
    batches.delete(make_actor(batch.user), batch, now=NOW)
    assert counts() == (0, 0, 0, 0, 1)


def test_a_batch_that_only_has_a_tracking_id_leaves_a_tombstone_too() -> None:
    actor = make_actor()
    kept = experiments.create(
        actor,
        Plan(tracking_id="kept"),
        endpoint=make_endpoint(actor),
        config=Config(),
        suite=make_suite(actor),
        now=NOW,
    )
    batches.cancel(kept, now=NOW)

    batches.delete(actor, kept, now=NOW)

    assert Tombstone.objects.get().batch_id == kept.pk


def test_cleaning_up_takes_all_of_it_and_leaves_a_tombstone(server: ModelServer) -> None:
    actor = make_actor()
    kept_document = make_document(actor)
    regular = make_batch(actor, suite=make_suite(actor))
    batch = work_to_the_end(make_served(server, actor, tracking_id="old"))
    live = make_ended(actor=actor, days=30)
    hashes = "".join(Job.objects.filter(batch=batch).values_list("case_hash", flat=True))

    assert clean_up() == 1
    assert clean_up() == 0

    assert set(Batch.objects.values_list("pk", flat=True)) == {regular.pk, live.pk}
    assert Document.objects.filter(pk=kept_document.pk).exists()
    assert Document.objects.filter(ephemeral_batch=live).count() == 2
    stone = Tombstone.objects.get()
    assert (stone.tracking_id, stone.agent_name, stone.status) == ("old", "Trial", "completed")
    assert (stone.total, stone.unscored, stone.documents) == (2, 2, 2)
    assert stone.content_hash == documents.content_hash(hashes)
    assert (stone.project_id, stone.user_id) == (batch.project_id, batch.user_id)


def test_an_experiment_with_an_unfinished_job_is_left_alone() -> None:
    batch = make_experiment()

    assert clean_up() == 0

    batches.cancel(batch, now=LATE)
    assert clean_up() == 1


def test_a_batch_is_left_alone_while_another_of_its_experiment_is_under_way() -> None:
    """The other one may still ask about the documents that this one has brought along."""
    actor = make_actor()
    make_ended(actor=actor, tracking_id="pair")
    other = make_experiment(actor, tracking_id="pair", days=30)

    assert clean_up() == 0

    batches.cancel(other, now=NOW)
    assert clean_up() == 1
    assert set(Batch.objects.values_list("pk", flat=True)) == {other.pk}


def test_a_batch_that_is_just_being_made_keeps_the_documents_it_asks_about() -> None:
    """Looking for jobs before the documents are locked misses those that nobody sees yet."""
    actor = make_actor()
    old = make_ended(actor=actor, tracking_id="pair")
    own = list(old.ephemeral_documents.values_list("pk", flat=True))
    made = threading.Event()

    def start() -> None:
        with transaction.atomic():
            asked = documents.find_all(actor.project.pk, own, tracking_id="pair")
            endpoint, plan = make_endpoint(actor), Plan(tracking_id="pair")
            experiments.create(
                actor, plan, endpoint=endpoint, config=Config(), now=NOW, asked=asked
            )
            made.set()
            until(somebody_waits, what="cleaning up meets the new jobs")

    def clean() -> int:
        made.wait(20)
        return clean_up()

    assert at_once(start, clean)[1] == 0
    assert not Job.objects.filter(document=None).exists()


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def test_a_cancelled_batch_is_left_alone_while_a_call_is_in_flight() -> None:
    batch = make_experiment()
    claimed = claims.exchange(batch.pk, [], want=1, now=NOW).claims
    batches.cancel(batch, now=NOW)

    assert clean_up() == 0
    with pytest.raises(Conflict, match="in flight"):
        experiments.delete(make_actor(batch.user), batch.tracking_id, cancel=False, now=NOW)

    claims.give_back(batch.pk, claimed, now=NOW)
    assert clean_up() == 1


def test_a_chunk_with_few_but_large_batches_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "CHUNK_CALLS", 5)
    for documents_ in (2, 2, 2, 8, 1):
        make_ended(documents=documents_)

    assert list(cleanup.clean_up(LATE)) == [2, 1, 1, 1]


def test_what_somebody_else_holds_is_left_for_later_and_the_rest_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleanup, "CHUNK", 1)
    held, _ = make_ended(), make_ended()
    holding, cleaned = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            list(Document.objects.filter(ephemeral_batch=held).select_for_update())
            holding.set()
            cleaned.wait(20)

    def clean() -> list[int]:
        holding.wait(20)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        try:
            return list(cleanup.clean_up(LATE))
        finally:
            cleaned.set()

    assert at_once(hold, clean)[1] == [0, 1]
    assert clean_up() == 1


def test_an_original_whose_copy_somebody_holds_is_left_without_waiting() -> None:
    """Whoever holds the copy may be about to look at the original."""
    actor = make_actor()
    plan = Plan(is_ephemeral=True, agent={"name": "Trial"})
    original = experiments.create(
        actor,
        plan,
        endpoint=make_endpoint(actor),
        config=Config(),
        suite=make_suite(actor),
        now=NOW,
    )
    batches.cancel(original, now=NOW)
    copy = rescoring.rescore(actor, original, now=NOW)
    holding, cleaned = threading.Event(), threading.Event()

    def hold() -> bool:
        with transaction.atomic():
            list(Batch.objects.filter(pk=copy.pk).select_for_update())
            holding.set()
            # Less than others wait for a lock.
            return cleaned.wait(4)

    def clean() -> int:
        holding.wait(20)
        try:
            return clean_up()
        finally:
            cleaned.set()

    assert at_once(hold, clean) == [True, 0]
    assert clean_up() == 2


def test_a_page_that_arrives_when_its_experiment_is_gone_is_dropped() -> None:
    actor = make_actor()
    plan = Plan(
        is_ephemeral=True, agent={"name": "Trial"}, documents=[Draft(url="https://example.org/")]
    )
    batch = experiments.create(actor, plan, endpoint=make_endpoint(actor), config=Config(), now=NOW)
    document = batch.ephemeral_documents.get()
    experiments.delete(actor, batch.tracking_id, cancel=True, now=NOW)

    fetching.record(document, Invalid("It answered 404."), now=NOW)

    assert counts() == (0, 0, 0, 0, 1)


def test_two_that_clean_up_at_once_delete_once() -> None:
    for _ in range(8):
        make_ended()

    assert sum(at_once(clean_up, clean_up)) == 8

    assert counts() == (0, 0, 0, 0, 8)


def test_no_experiment_that_is_started_again_meanwhile_is_deleted() -> None:
    """A single DELETE with NOT EXISTS loses this race: it looks before it locks."""
    ended = [make_ended() for _ in range(60)]
    resumed: list[Any] = []
    over = threading.Event()

    def rerun() -> None:
        for batch in ended:
            try:
                batches.resume(batch, now=NOW)
            except (NotFound, Conflict):
                continue
            claims.exchange(batch.pk, [], want=2, now=LATE)
            resumed.append(batch.pk)
        over.set()

    def clean() -> None:
        while not over.is_set():
            clean_up()

    at_once(rerun, clean)

    alive = set(Batch.objects.values_list("pk", flat=True))
    assert alive == set(resumed)
    running = Job.objects.filter(status=JobStatus.RUNNING)
    assert set(running.values_list("batch_id", flat=True)) == alive
    assert Tombstone.objects.count() == len(ended) - len(resumed)


def test_the_summary_of_an_experiment_takes_its_batches_together() -> None:
    actor = make_actor()
    for days in (7, 9):
        make_experiment(actor, tracking_id="pair", days=days)
    rescues.end_late(NOW)

    (row,) = experiments.summed(Batch.objects.all())

    assert (row["tracking_id"], row["batches"], row["total"]) == ("pair", 2, 4)
    assert (row["status"], row["users"][0]) == ("running", actor.user.pk)
    assert row["expires_at"] == NOW + timedelta(days=9)

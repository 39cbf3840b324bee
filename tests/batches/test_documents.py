"""Documents that are asked about: which, how many, and with which content."""

from decimal import Decimal
from typing import Any

import pytest

from access.actors import Actor
from access.errors import Conflict, Invalid
from batches import batches, documents, experiments
from batches.batches import Config
from batches.documents import Draft
from batches.experiments import Plan
from batches.models import Batch, Document, Job
from tests.batches.engine_at_work import work_to_the_end
from tests.factories import NOW, make_actor, make_document, make_endpoint, make_experiment
from tests.servers_http import ModelServer

pytestmark = pytest.mark.django_db(transaction=True)


def make_asked(server: ModelServer, actor: Actor, *asked: Document, **config: Any) -> Batch:
    return batches.create(
        user_id=actor.user.pk,
        endpoint=make_endpoint(actor, provider="openai", base_url=server.base_url, model="m"),
        config=Config(**config),
        documents=asked,
        now=NOW,
    )


def test_a_result_has_the_hash_of_the_text_that_was_asked(server: ModelServer) -> None:
    actor = make_actor()
    same, edited = make_document(actor), make_document(actor, content="Old text.")
    batch = make_asked(server, actor, same, edited)
    documents.change(actor, edited, content="New text.")

    work_to_the_end(batch)

    hashes = list(Job.objects.filter(batch=batch).values_list("case_hash", flat=True))
    assert hashes == [same.content_hash, documents.content_hash("New text.")]
    assert server.calls().prompts == {same.content: 1, "New text.": 1}


def test_a_batch_is_made_without_reading_what_it_asks(server: ModelServer) -> None:
    """Thousands of documents may be chosen, and each may be long."""
    actor = make_actor()
    ids = [make_document(actor).pk for _ in range(2)]
    endpoint = make_endpoint(
        actor, provider="openai", base_url=server.base_url, price_input=1, price_output=1
    )
    chosen = documents.find_all(actor.project.pk, ids)
    newest = documents.newest(actor.project.pk, 2)

    for asked in (chosen, newest):
        batch = batches.create(
            user_id=actor.user.pk,
            endpoint=endpoint,
            config=Config(max_cost=Decimal(1)),
            documents=asked,
            now=NOW,
        )
        assert (batch.total, batch.expected_call_cost > 0) == (2, True)
        assert all("content" in document.get_deferred_fields() for document in asked)


def test_how_long_documents_are_is_guessed_of_those_that_are_not_there_yet() -> None:
    actor = make_actor()
    known = make_document(actor, content="x" * 300)
    unseen = make_document(actor, content="", url="https://example.org/")

    assert documents.characters([known]) == 300
    assert documents.characters([known, unseen]) == 300 + documents.UNSEEN_CHARACTERS
    assert documents.characters([]) == 0


def test_a_document_that_is_named_twice_is_asked_about_once() -> None:
    actor = make_actor()
    one, other = make_document(actor), make_document(actor)

    found = documents.find_all(actor.project.pk, [other.pk, one.pk, other.pk])

    assert found == [other, one]


def test_a_document_without_a_title_is_called_by_its_first_line() -> None:
    actor = make_actor()
    typed = make_document(actor, title="A title", content="First line\nSecond")
    waiting = make_document(actor, title="A title", content="", url="https://example.org/a")

    assert documents.change(actor, typed, title="").title == "First line"
    assert documents.change(actor, waiting, title="").title == "https://example.org/a"
    both = documents.change(actor, typed, title="", content="Another\nline")
    both.refresh_from_db()
    assert (both.title, both.content) == ("Another", "Another\nline")


def test_a_document_without_any_text_is_refused() -> None:
    actor = make_actor()
    document = make_document(actor)

    with pytest.raises(Invalid) as made:
        make_document(actor, content=" \n\t")
    with pytest.raises(Invalid) as changed:
        documents.change(actor, document, content=" \n")
    plan = Plan(is_ephemeral=True, documents=[Draft("One", "Text."), Draft("Two", " ")])
    with pytest.raises(Invalid) as brought:
        experiments.create(actor, plan, endpoint=make_endpoint(actor), config=Config(), now=NOW)

    assert (list(made.value.details), list(changed.value.details)) == (["content"], ["content"])
    assert list(brought.value.details) == ["ephemeral_documents[1]"]


def test_an_experiments_document_stays_as_it_was_given() -> None:
    batch = make_experiment(documents=1)
    page = batch.ephemeral_documents.get()

    with pytest.raises(Conflict, match="belongs to an experiment"):
        documents.change(make_actor(batch.user), page, content="Another text.")

    page.refresh_from_db()
    assert page.content == "Text 0."

"""Documents that are asked about: which, how many, and with which content."""

from typing import Any

import pytest

from access.actors import Actor
from access.errors import Conflict
from batches import batches, documents
from batches.batches import Config
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


def test_an_experiments_document_stays_as_it_was_given() -> None:
    batch = make_experiment(documents=1)
    page = batch.ephemeral_documents.get()

    with pytest.raises(Conflict, match="belongs to an experiment"):
        documents.change(make_actor(batch.user), page, content="Another text.")

    page.refresh_from_db()
    assert page.content == "Text 0."

"""Documents fetched from real HTTP servers, and the batches that wait for them."""

from datetime import timedelta

import pytest
from pytest_django import Settings
from pytest_httpserver import HTTPServer

from access import clock
from access.errors import Conflict, Invalid
from batches import batches, documents, experiments, fetching, rescues, tasks
from batches.articles import Article
from batches.batches import Config
from batches.documents import Draft
from batches.experiments import Plan
from batches.models import Batch, Document, DocumentStatus, Job
from batches.models.agents import DocumentQuerySet
from tests.batches.engine_at_work import hints, work, work_to_the_end
from tests.factories import NOW, make_actor, make_document, make_endpoint
from tests.processes_at_work import LOOPBACK, at_once
from tests.servers_http import ModelServer

pytestmark = pytest.mark.django_db(transaction=True)

SENTENCE = "The tide comes in twice a day, and whoever walks on the flats should know when. "
PAGE = f"""<!doctype html><html><head><title>Tides</title></head><body>
<nav><a href="/">Home</a> <a href="/about">About this site</a></nav>
<article><h1>Tides</h1><p>{SENTENCE * 5}</p><p>{SENTENCE * 4}</p></article>
<footer>All rights reserved</footer></body></html>"""


@pytest.fixture(autouse=True)
def _loopback(settings: Settings) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]


def make_asked(
    *urls: str, server: ModelServer | None = None, target_count: int | None = None
) -> Batch:
    actor = make_actor()
    fields = {"provider": "openai", "base_url": server.base_url, "model": "m"} if server else {}
    plan = Plan(is_ephemeral=True, documents=[Draft(url=url) for url in urls])
    endpoint = make_endpoint(actor, **fields)
    return experiments.create(
        actor, plan, endpoint=endpoint, config=Config(), now=NOW, target_count=target_count
    )


def taken_up(batch: Batch) -> list[Document]:
    """Return the batch's own documents, by their addresses, as a worker has them."""
    own = Document.objects.filter(ephemeral_batch=batch)
    own.move(DocumentStatus.FETCHING, claim_no=1, lease_expires_at=NOW + fetching.LEASE)
    return list(own.order_by("source_url"))


def somebody_fetches(waiting: DocumentQuerySet, count: int) -> None:
    chosen = waiting.filter(pk__in=list(waiting.values_list("pk", flat=True)[:count]))
    chosen.move(
        DocumentStatus.FETCHING, lease_expires_at=clock.database_now() + timedelta(minutes=1)
    )


def test_the_article_is_kept_without_menus_and_footers(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/tides").respond_with_data(PAGE, content_type="text/html")
    document = make_document(make_actor(), title="", content="", url=httpserver.url_for("/tides"))
    assert document.status == DocumentStatus.WAITING

    assert fetching.fetch_waiting() == 1

    document.refresh_from_db()
    assert (document.status, document.title) == (DocumentStatus.READY, "Tides")
    assert "twice a day" in document.content
    assert "All rights reserved" not in document.content
    assert "About this site" not in document.content
    assert document.content_hash == documents.content_hash(document.content)
    assert document.fetched_at is not None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/missing", "answered 500"),
        ("/image", "image/png"),
        ("/empty", "no article text"),
        ("/broken", "not utf-8"),
        ("/inwards", "not public"),
    ],
)
def test_each_address_has_an_outcome_of_its_own(
    path: str, why: str, httpserver: HTTPServer, settings: Settings
) -> None:
    httpserver.expect_request("/image").respond_with_data(b"x", content_type="image/png")
    httpserver.expect_request("/empty").respond_with_data("<p></p>", content_type="text/html")
    httpserver.expect_request("/broken").respond_with_data(b"\xff\xfe", content_type="text/plain")
    httpserver.expect_request("/inwards").respond_with_data(
        "", status=302, headers={"Location": "http://169.254.169.254/latest/meta-data"}
    )
    document = make_document(make_actor(), content="", url=httpserver.url_for(path))

    fetching.fetch_waiting()

    document.refresh_from_db()
    assert document.status == DocumentStatus.FAILED
    assert why in document.error_message


def test_few_pages_are_fetched_at_once_and_the_others_queue_up_behind_batches() -> None:
    make_asked(*(f"http://127.0.0.1:1/{number}" for number in range(35)))
    waiting = Document.objects.filter(status=DocumentStatus.WAITING)
    somebody_fetches(waiting, 12)
    before = hints()

    tasks.fetch_documents()

    assert (waiting.count(), hints()) == (35 - 12 - 8, before + 1)
    somebody_fetches(waiting, 8)
    assert fetching.fetch_waiting() == 0
    tasks.fetch_documents()
    assert (waiting.count(), hints()) == (35 - 12 - 8 - 8, before + 1)


def test_a_batch_asks_when_all_its_documents_have_had_their_turn(
    httpserver: HTTPServer, server: ModelServer
) -> None:
    httpserver.expect_request("/tides").respond_with_data(PAGE, content_type="text/html")
    batch = make_asked(httpserver.url_for("/tides"), httpserver.url_for("/missing"), server=server)
    assert (batch.total, batch.waiting_documents) == (2, 2)
    assert not work(batch), "nobody asks about what is not there yet"
    assert rescues.wake_idle(NOW + timedelta(minutes=5)) == 0
    waiting = hints()

    assert fetching.fetch_waiting() == 2

    batch.refresh_from_db()
    assert (batch.waiting_documents, batch.done, batch.errors) == (0, 1, 1)
    assert hints() == waiting + 1
    done = work_to_the_end(batch)
    assert (done.status, done.unscored, done.errors) == ("completed", 1, 1)
    assert "twice a day" in server.calls().last["body"]["messages"][-1]["content"]
    lost = Job.objects.get(batch=batch, outcome="error")
    assert lost.error_message == "The document could not be fetched: localhost answered 500."
    assert (lost.error_class, lost.attempts) == ("infra", 0)


def test_a_batch_without_any_document_ends_when_the_last_has_failed(
    httpserver: HTTPServer,
) -> None:
    batch = make_asked(httpserver.url_for("/missing"))

    fetching.fetch_waiting()

    batch.refresh_from_db()
    assert (batch.status, batch.done, batch.errors) == ("completed", 1, 1)


def test_resuming_fetches_again_what_could_not_be_fetched(
    httpserver: HTTPServer, server: ModelServer
) -> None:
    handler = httpserver.expect_oneshot_request("/tides")
    handler.respond_with_data("", status=503)
    batch = make_asked(httpserver.url_for("/tides"), server=server)
    fetching.fetch_waiting()
    httpserver.expect_request("/tides").respond_with_data(PAGE, content_type="text/html")
    batch.refresh_from_db()

    batch = batches.resume(batch, now=NOW)

    assert (batch.status, batch.waiting_documents, batch.done) == ("pending", 1, 0)
    assert fetching.fetch_waiting() == 1
    done = work_to_the_end(batch)
    assert (done.status, done.unscored, done.errors) == ("completed", 1, 0)


def test_a_batch_of_the_first_few_documents_does_not_count_the_others(
    httpserver: HTTPServer, server: ModelServer
) -> None:
    httpserver.expect_request("/tides").respond_with_data(PAGE, content_type="text/html")
    gone = [httpserver.url_for(f"/missing{number}") for number in range(2)]
    batch = make_asked(httpserver.url_for("/tides"), *gone, server=server, target_count=1)
    *others, tides = taken_up(batch)
    for document in others:
        fetching.record(document, Invalid("It answered 404."), now=NOW)

    assert not work(batch), "its own document is still being fetched"

    batch.refresh_from_db()
    assert (batch.waiting_documents, batch.done) == (1, 0)
    fetching.record(tides, Article("Tides", SENTENCE), now=NOW)
    done = work_to_the_end(batch)
    assert (done.status, done.unscored, done.errors) == ("completed", 1, 0)


def test_a_batch_resumed_while_its_documents_are_fetched_waits_for_them(
    httpserver: HTTPServer, server: ModelServer
) -> None:
    httpserver.expect_request("/tides").respond_with_data(PAGE, content_type="text/html")
    batch = make_asked(*[httpserver.url_for("/tides")] * 3, server=server)
    failed, on_its_way, waiting = taken_up(batch)
    fetching.record(failed, Invalid("It answered 503."), now=NOW)
    Document.objects.filter(pk=waiting.pk).move(DocumentStatus.WAITING, lease_expires_at=None)
    batches.cancel(batch, now=NOW)

    batch = batches.resume(batch, now=NOW)

    assert (batch.status, batch.waiting_documents) == ("pending", 3)
    assert not work(batch)
    fetching.record(on_its_way, Article("Tides", SENTENCE), now=NOW)
    assert fetching.fetch_waiting() == 2
    done = work_to_the_end(batch)
    assert (done.status, done.unscored, done.errors) == ("completed", 3, 0)


def test_what_is_fetched_for_a_cancelled_batch_is_what_it_asks_when_it_is_resumed(
    httpserver: HTTPServer,
) -> None:
    httpserver.expect_request("/tides").respond_with_data(PAGE, content_type="text/html")
    batch = make_asked(httpserver.url_for("/tides"))
    batches.cancel(batch, now=NOW)
    fetching.fetch_waiting()

    batch = batches.resume(batch, now=NOW)

    job = Job.objects.get(batch=batch)
    page = batch.ephemeral_documents.get()
    assert (batch.waiting_documents, job.case_key) == (0, "Tides")
    assert job.case_hash == page.content_hash


def test_a_document_whose_worker_was_lost_is_fetched_by_another_and_given_up_at_last() -> None:
    document = make_document(make_actor(), content="", url="http://127.0.0.1:1/")
    late = NOW
    for round_ in range(fetching.MOST_CLAIMS):
        (claimed,) = fetching._claim(late)
        assert claimed.claim_no == round_ + 1
        late += fetching.LEASE + timedelta(seconds=1)
        fetching.rescue(late)

    document.refresh_from_db()
    assert (document.status, document.error_message) == ("failed", "Reading it failed 4 times.")


def test_a_claim_that_is_over_writes_nothing(httpserver: HTTPServer) -> None:
    document = make_document(make_actor(), content="", url=httpserver.url_for("/x"))
    (old,) = fetching._claim(NOW)
    late = NOW + fetching.LEASE + timedelta(seconds=1)
    fetching.rescue(late)
    (new,) = fetching._claim(late)

    fetching.record(old, Invalid("Too late."), now=late)

    document.refresh_from_db()
    assert (document.status, new.claim_no) == ("fetching", 2)


def test_two_workers_never_fetch_the_same_document() -> None:
    actor = make_actor()
    for number in range(20):
        make_document(actor, content="", url=f"http://127.0.0.1:1/{number}")

    claims = at_once(*[lambda: fetching._claim(NOW)] * 4)

    claimed = [document.pk for chunk in claims for document in chunk]
    assert len(claimed) == len(set(claimed)) == Document.objects.count()


def test_a_private_address_is_refused_when_it_is_typed_in(settings: Settings) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = []

    with pytest.raises(Invalid):
        make_document(make_actor(), content="", url="http://169.254.169.254/latest")


def test_an_experiments_document_is_not_deleted_alone(httpserver: HTTPServer) -> None:
    batch = make_asked(httpserver.url_for("/x"))

    with pytest.raises(Conflict, match="goes with it"):
        documents.delete(make_actor(), batch.ephemeral_documents.get())

"""Experiments, agents and documents in the admin."""

from datetime import timedelta

import pytest
from django.test import Client

from access.actors import Actor
from access.clock import database_now
from access.models import AuditEvent
from batches import batches, experiments
from batches.models import (
    Agent,
    Batch,
    BatchStatus,
    Document,
    DocumentStatus,
    Experiment,
    Job,
    Tombstone,
)
from tests.admin.pages import errors, list_of, press, send, told, url_of
from tests.factories import (
    make_actor,
    make_agent,
    make_batch,
    make_document,
    make_endpoint,
    make_experiment,
    make_suite,
)

FORM = "experiment_form"


def row_of(batch: Batch) -> Experiment:
    return Experiment.objects.get(pk=batch.pk)


def listed(browser: Client, query: str = "") -> list[str]:
    """Return the tracking ids on the list, from top to bottom."""
    answer = browser.get(f"{list_of(Experiment)}?{query}")
    return [row.tracking_id for row in answer.context["cl"].result_list]


def test_active_ones_come_first_and_each_once(browser: Client, own: Actor) -> None:
    now = database_now()
    make_experiment(own, tracking_id="old", now=now)
    make_experiment(own, tracking_id="expired", now=now - timedelta(days=9))
    make_experiment(own, tracking_id="new", now=now)
    make_experiment(own, tracking_id="old", now=now)

    assert listed(browser) == ["new", "old", "expired"]


def test_one_tracking_id_in_two_projects_is_two_experiments(browser: Client, own: Actor) -> None:
    make_experiment(own, tracking_id="trial", documents=2)
    make_experiment(make_actor(), tracking_id="trial", documents=5)

    page = browser.get(list_of(Experiment)).content.decode()

    assert "0 of 2 calls<small>1 batch</small>" in page
    assert "0 of 5 calls<small>1 batch</small>" in page


def test_the_list_is_filtered(browser: Client, own: Actor) -> None:
    now, other = database_now(), make_actor()
    make_experiment(own, tracking_id="running", now=now)
    expired = make_experiment(own, tracking_id="expired", now=now - timedelta(days=9))
    batches.cancel(expired, now=now)
    make_experiment(other, tracking_id="theirs", now=now, days=1)

    assert listed(browser, "state=running") == ["theirs", "running"]
    assert listed(browser, "state=cancelled") == ["expired"]
    assert listed(browser, "state=failed") == listed(browser, "state=completed") == []
    assert listed(browser, "expiry=active") == ["theirs", "running"]
    assert listed(browser, "expiry=soon") == ["theirs"]
    assert listed(browser, "expiry=expired") == ["expired"]
    assert listed(browser, f"user__id__exact={other.user.pk}") == ["theirs"]


def test_regular_batches_have_a_list_without_experiments(browser: Client, own: Actor) -> None:
    regular, trial = make_batch(own), make_experiment(own)

    found = browser.get(list_of(Batch)).context["cl"].result_list

    assert [batch.pk for batch in found] == [regular.pk]
    assert trial.tracking_id in browser.get(url_of(trial)).content.decode()


def test_an_experiment_is_extended_by_a_button(browser: Client, own: Actor) -> None:
    batch = make_experiment(own, now=database_now())

    said = told(press(browser, row_of(batch), "keep_long"))

    batch.refresh_from_db()
    assert batch.expires_at is not None
    assert batch.expires_at - database_now() > timedelta(days=29)
    assert "expires 30 days from now" in said
    assert AuditEvent.objects.filter(action="experiment.extended", via="admin").exists()


def test_an_experiment_under_way_is_cancelled_and_then_deleted(browser: Client, own: Actor) -> None:
    row = row_of(make_experiment(own, tracking_id="trial"))
    delete = url_of(row, "delete")

    refused = told(browser.post(delete, {"post": "yes"}, follow=True))
    cancelled = told(press(browser, row, "cancel"))
    asked = browser.get(delete).content.decode()
    browser.post(delete, {"post": "yes"})

    assert "under way" in refused
    assert "trial is cancelled" in cancelled
    assert "2 calls" in asked
    assert not Batch.objects.exists()
    assert not Document.objects.exists()
    assert AuditEvent.objects.filter(action="experiment.deleted", via="admin").exists()


def test_the_page_of_an_experiment_leads_to_everything(browser: Client, own: Actor) -> None:
    batch = make_experiment(own, tracking_id="trial")

    page = browser.get(url_of(row_of(batch))).content.decode()

    assert f"/experiments/trial?project={own.project.pk}" in page
    assert url_of(batch) in page
    query = "?origin=experiment&amp;q=trial"
    assert list_of(Agent) + query in page
    assert (
        "Page 1" in browser.get(f"{list_of(Document)}?origin=experiment&q=trial").content.decode()
    )


def test_an_experiment_is_made_by_a_form(browser: Client, own: Actor) -> None:
    endpoint = make_endpoint(own)

    send(
        browser,
        list_of(Experiment, "add"),
        FORM,
        tracking_id="brief",
        description="Shorter?",
        days="3",
        endpoint=str(endpoint.pk),
        agent_name="Brief",
        instructions="One sentence.",
        pasted="First text.\r\nMore of it.\r\n---\r\nSecond text.",
        urls="https://example.com/article\n",
    )

    batch = Batch.objects.get()
    assert (batch.tracking_id, batch.agent_name, batch.total) == ("brief", "Brief", 3)
    assert batch.instructions == "One sentence."
    titles = Document.objects.values_list("title", "content", "status")
    assert sorted(titles) == [
        ("First text.", "First text.\nMore of it.", "ready"),
        ("Second text.", "Second text.", "ready"),
        ("https://example.com/article", "", "waiting"),
    ]
    assert AuditEvent.objects.filter(action="experiment.started", via="admin").exists()


def test_a_form_without_anything_to_ask_says_so(browser: Client, own: Actor) -> None:
    endpoint, suite = make_endpoint(own), make_suite(own)
    add = list_of(Experiment, "add")

    nothing = send(browser, add, FORM, endpoint=str(endpoint.pk))
    both = send(browser, add, FORM, endpoint=str(endpoint.pk), suite=str(suite.pk), pasted="x")

    assert list(errors(nothing)) == list(errors(both)) == ["suite"]


def test_an_address_that_may_not_be_fetched_is_named_by_its_number(
    browser: Client, own: Actor
) -> None:
    answer = send(
        browser,
        list_of(Experiment, "add"),
        FORM,
        endpoint=str(make_endpoint(own).pk),
        pasted="Text.",
        urls="http://169.254.169.254/latest",
    )

    assert "Document 2: " in str(errors(answer)["urls"])
    assert not Batch.objects.exists()


def test_parts_of_another_project_are_refused(browser: Client, own: Actor) -> None:
    theirs = make_endpoint(make_actor())

    answer = send(
        browser, list_of(Experiment, "add"), FORM, endpoint=str(theirs.pk), pasted="Text."
    )

    assert "another project" in str(errors(answer)["endpoint"])


class TestAgents:
    def test_an_agent_is_made_and_changed(self, browser: Client, own: Actor) -> None:
        endpoint = make_endpoint(own)
        send(
            browser,
            list_of(Agent, "add"),
            "agent_form",
            name="Brief",
            endpoint=str(endpoint.pk),
            primary_instructions="One sentence.",
            temperature="0",
            **{"assertions-0-type": "contains", "assertions-0-value": "."},
        )
        agent = Agent.objects.get()
        send(browser, url_of(agent), "agent_form", name="Briefer", max_tokens="50")

        agent.refresh_from_db()
        assert (agent.name, agent.primary_instructions) == ("Briefer", "One sentence.")
        assert agent.parameters == {"temperature": 0, "max_tokens": 50}
        assert agent.assertions == [{"type": "contains", "value": "."}]
        assert set(AuditEvent.objects.filter(via="admin").values_list("action", flat=True)) == {
            "agent.created",
            "agent.changed",
        }

    def test_a_wrong_assertion_is_named_by_its_row(self, browser: Client, own: Actor) -> None:
        answer = send(
            browser,
            url_of(make_agent(own)),
            "agent_form",
            **{"assertions-0-type": "regex", "assertions-0-value": "("},
        )

        assert "Row 1" in str(errors(answer)["assertions"])

    def test_one_of_an_experiment_says_so_and_stays(self, browser: Client, own: Actor) -> None:
        batch = make_experiment(own, tracking_id="trial")
        agent = batch.ephemeral_agents.get()

        page = browser.get(url_of(agent)).content.decode()

        assert "/experiments/trial" in page
        assert 'name="_save"' not in page
        assert browser.post(url_of(agent, "delete"), {"post": "yes"}).status_code == 403


class TestDocuments:
    def test_a_document_is_pasted_and_changed(self, browser: Client, own: Actor) -> None:
        send(browser, list_of(Document, "add"), "document_form", content="First line.\r\nMore.")
        document = Document.objects.get()
        send(browser, url_of(document), "document_form", title="Renamed")

        document.refresh_from_db()
        assert (document.title, document.content) == ("Renamed", "First line.\nMore.")

    def test_text_and_address_are_one_or_the_other(self, browser: Client, own: Actor) -> None:
        answer = send(browser, list_of(Document, "add"), "document_form")

        assert list(errors(answer)) == ["content"]

    def test_what_could_not_be_fetched_is_fetched_again(self, browser: Client, own: Actor) -> None:
        document = make_document(own, title="", content="", url="https://example.com/page")
        Document.objects.filter(pk=document.pk).move(
            DocumentStatus.FAILED, error_message="example.com answered 500."
        )
        page = browser.get(list_of(Document)).content.decode()

        said = told(press(browser, document, "fetch_again"))

        document.refresh_from_db()
        assert "example.com answered 500." in page
        assert 'href="https://example.com/page"' in page
        assert document.status == DocumentStatus.WAITING
        assert "is fetched again" in said
        assert AuditEvent.objects.filter(action="document.retried").exists()

    def test_what_was_fetched_is_not_fetched_again(self, browser: Client, own: Actor) -> None:
        document = make_document(own)

        said = told(press(browser, document, "fetch_again"))

        assert "there is nothing to do" in said

    def test_an_experiments_document_lets_its_batch_go_on(
        self, browser: Client, own: Actor
    ) -> None:
        batch = make_experiment(own, tracking_id="trial", documents=1)
        document = Document.objects.get()
        batches.cancel(batch, now=database_now())
        Document.objects.filter(pk=document.pk).update(
            status=DocumentStatus.FAILED,
            source_url="https://example.com/page",
            error_message="No answer.",
        )

        said = told(press(browser, document, "fetch_again"))

        batch.refresh_from_db()
        assert "trial goes on" in said
        assert batch.status == BatchStatus.PENDING
        assert Job.objects.filter(batch=batch, status="pending").count() == 1

    def test_an_experiments_document_is_shown_and_left_alone(
        self, browser: Client, own: Actor
    ) -> None:
        make_experiment(own, tracking_id="trial", documents=1)
        document = Document.objects.get()

        page = browser.get(url_of(document)).content.decode()

        assert "Text 0." in page
        assert "/experiments/trial" in page
        assert 'name="_save"' not in page


@pytest.mark.django_db
def test_cancelling_an_experiment_stops_its_batches_alone() -> None:
    actor, now = make_actor(), database_now()
    mine = [make_experiment(actor, tracking_id="trial") for _ in range(2)]
    other = make_experiment(actor, tracking_id="other")

    stopped = experiments.cancel(actor, "trial", now=now, reason="Enough.")

    assert stopped == 2
    states = dict(Batch.objects.values_list("pk", "status"))
    assert {states[batch.pk] for batch in mine} == {BatchStatus.CANCELLED}
    assert states[other.pk] == BatchStatus.PENDING


def test_what_remains_of_a_deleted_experiment_is_shown(browser: Client, own: Actor) -> None:
    make_experiment(own, tracking_id="trial", documents=2, now=database_now())
    experiments.delete(own, "trial", cancel=True, now=database_now())

    page = browser.get(f"{list_of(Tombstone)}?q=trial").content.decode()
    assert "trial" in page
    assert "0 of 2 passed" in page
    shown = browser.get(url_of(Tombstone.objects.get())).content.decode()
    assert Tombstone.objects.get().content_hash in shown

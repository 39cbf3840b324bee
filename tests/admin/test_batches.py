"""Endpoints, batches and jobs in the admin."""

import pytest
from django.test import Client, override_settings

from access.actors import Actor
from access.clock import database_now
from access.secrets import Secret
from batches import batches, documents, endpoints
from batches.batches import Config
from batches.models import Batch, BatchStatus, Job, ModelEndpoint
from tests.admin.pages import errors, inputs, list_of, press, send, told, url_of
from tests.factories import (
    make_batch,
    make_document,
    make_endpoint,
    make_job,
    make_schedule,
)

KEY = "sk-very-secret"


@pytest.fixture
def endpoint(own: Actor) -> ModelEndpoint:
    return make_endpoint(
        own,
        name="Production",
        provider="openai",
        base_url="https://api.example.com/v1",
        api_key=KEY,
        headers={"X-Team": "evals-secret"},
        parameters={"seed": 1, "temperature": 0.5},
    )


def revealed(endpoint: ModelEndpoint) -> tuple[str, dict[str, str]]:
    fresh = ModelEndpoint.objects.get(pk=endpoint.pk)
    key = fresh.api_key.reveal() if isinstance(fresh.api_key, Secret) else ""
    return key, endpoints.stored_headers(fresh)


class TestEndpoints:
    FORM = "modelendpoint_form"

    def test_credentials_are_on_no_page(self, browser: Client, endpoint: ModelEndpoint) -> None:
        page = browser.get(url_of(endpoint)).content.decode()

        assert KEY not in page
        assert "evals-secret" not in page
        assert "configured" in page

    def test_empty_inputs_keep_the_credentials(
        self, browser: Client, endpoint: ModelEndpoint
    ) -> None:
        send(browser, url_of(endpoint), self.FORM, name="Renamed")

        assert ModelEndpoint.objects.get().name == "Renamed"
        assert revealed(endpoint) == (KEY, {"X-Team": "evals-secret"})

    def test_an_endpoint_of_any_json_is_written_as_json(
        self, browser: Client, endpoint: ModelEndpoint
    ) -> None:
        send(
            browser,
            url_of(endpoint),
            self.FORM,
            provider="http",
            request_template='{"q": "{{ prompt }}"}',
            answer_path="data.text",
        )
        made = ModelEndpoint.objects.get()
        send(browser, url_of(made), self.FORM, name="Renamed")

        kept = ModelEndpoint.objects.get()
        assert (kept.name, kept.provider, kept.answer_path) == ("Renamed", "http", "data.text")
        assert kept.request_template == {"q": "{{ prompt }}"}
        assert inputs(browser, url_of(kept), self.FORM)["request_template"] != ["null"]

    def test_a_template_that_asks_nothing_is_refused_at_its_field(
        self, browser: Client, endpoint: ModelEndpoint
    ) -> None:
        assert inputs(browser, url_of(endpoint), self.FORM)["request_template"] == [""]
        for written in ("", "{", '{"q": "x"}'):
            told_ = send(
                browser, url_of(endpoint), self.FORM, provider="http", request_template=written
            )
            assert list(errors(told_)) == ["request_template"]

    def test_ticked_boxes_remove_them(self, browser: Client, endpoint: ModelEndpoint) -> None:
        send(browser, url_of(endpoint), self.FORM, clear_api_key="on", clear_headers="on")

        assert revealed(endpoint) == ("", {})

    def test_new_ones_replace_them(self, browser: Client, endpoint: ModelEndpoint) -> None:
        send(
            browser,
            url_of(endpoint),
            self.FORM,
            new_api_key="sk-new",
            new_headers="A: 1\r\nB: x: y",
        )

        assert revealed(endpoint) == ("sk-new", {"A": "1", "B": "x: y"})

    def test_another_server_never_gets_the_stored_key(
        self, browser: Client, endpoint: ModelEndpoint
    ) -> None:
        send(browser, url_of(endpoint), self.FORM, base_url="https://elsewhere.example.com/v1")

        assert revealed(endpoint) == ("", {})

    def test_a_provider_that_moves_elsewhere_never_gets_the_stored_key(
        self, browser: Client, endpoint: ModelEndpoint
    ) -> None:
        send(browser, url_of(endpoint), self.FORM, provider="anthropic", base_url="")

        page = browser.get(url_of(endpoint))
        assert ModelEndpoint.objects.get().base_url == "https://api.anthropic.com/v1"
        assert revealed(endpoint) == ("", {})
        assert "the stored credentials were removed" in told(page)

    def test_parameters_that_are_not_shown_are_kept(
        self, browser: Client, endpoint: ModelEndpoint
    ) -> None:
        send(browser, url_of(endpoint), self.FORM, temperature="", max_tokens="50")

        assert ModelEndpoint.objects.get().parameters == {"seed": 1, "max_tokens": 50}

    def test_a_private_address_is_refused_at_its_field(
        self, browser: Client, endpoint: ModelEndpoint
    ) -> None:
        response = send(browser, url_of(endpoint), self.FORM, base_url="https://10.0.0.1/v1")

        assert list(errors(response)) == ["base_url"]

    def test_a_header_that_breaks_the_protocol_is_refused_at_its_field(
        self, browser: Client, endpoint: ModelEndpoint
    ) -> None:
        response = send(browser, url_of(endpoint), self.FORM, new_headers="Host: elsewhere")

        assert list(errors(response)) == ["new_headers"]

    def test_one_that_a_schedule_uses_stays_and_the_schedule_is_named(
        self, browser: Client, own: Actor, endpoint: ModelEndpoint
    ) -> None:
        make_schedule(own, endpoint=endpoint, name="Nightly")

        page = browser.post(url_of(endpoint, "delete"), {"post": "yes"}, follow=True)

        assert "Nightly" in told(page)
        assert ModelEndpoint.objects.exists()

    @override_settings(DEMO_BASE_URL="http://127.0.0.1:9/v1", EVALSCHED_PRIVATE_HOSTS=["127.0.0.1"])
    def test_check_says_in_words_that_nobody_answers(self, browser: Client, own: Actor) -> None:
        page = press(browser, make_endpoint(own, name="Demo"), "check_now")

        assert told(page).startswith("Demo: ")
        assert [message.level_tag for message in page.context["messages"]] == ["error"]


class TestBatches:
    def test_cancel_stops_it(self, browser: Client, own: Actor) -> None:
        batch = make_batch(own)

        press(browser, batch, "cancel")

        batch.refresh_from_db()
        assert batch.status == BatchStatus.CANCELLED

    def test_resume_opens_it_again(self, browser: Client, own: Actor) -> None:
        batch = make_batch(own)
        batches.cancel(batch, now=database_now())

        press(browser, batch, "resume")

        assert Batch.objects.get().status == BatchStatus.PENDING

    def test_resuming_one_that_is_under_way_is_refused_in_words(
        self, browser: Client, own: Actor
    ) -> None:
        assert "under way" in told(press(browser, make_batch(own), "resume"))

    def test_nothing_of_it_can_be_edited(self, browser: Client, own: Actor) -> None:
        batch = make_batch(own)

        assert browser.post(url_of(batch), {"status": "completed"}).status_code == 403
        assert browser.post(url_of(batch, "delete"), {"post": "yes"}).status_code == 403

    def test_what_a_model_wrote_is_text_and_never_markup(self, browser: Client, own: Actor) -> None:
        job = make_job(make_batch(own))
        evil = "<script>alert(1)</script>"
        Job.objects.filter(pk=job.pk).update(
            status="done",
            outcome="failed",
            finished_at=database_now(),
            output=evil,
            error_message=evil,
            assertions=[
                {
                    "type": evil,
                    "metric": evil,
                    "passed": False,
                    "score": 0.0,
                    "weight": 1,
                    "reason": evil,
                }
            ],
        )

        pages = browser.get(url_of(job)).content + browser.get(list_of(Job)).content

        assert evil.encode() not in pages
        assert b"&lt;script&gt;alert(1)&lt;/script&gt;" in pages

    def test_a_job_shows_its_prompt_and_why_it_failed(self, browser: Client, own: Actor) -> None:
        job = make_job(make_batch(own))
        Job.objects.filter(pk=job.pk).update(
            status="done",
            outcome="failed",
            finished_at=database_now(),
            assertions=[
                {
                    "type": "contains",
                    "metric": None,
                    "passed": False,
                    "score": 0.0,
                    "weight": 1,
                    "reason": "It said nothing of the kind.",
                }
            ],
        )

        page = browser.get(url_of(job)).content.decode()

        assert "Say 1." in page
        assert "It said nothing of the kind." in page

    def test_a_job_of_a_document_shows_its_text_until_it_is_deleted(
        self, browser: Client, own: Actor
    ) -> None:
        document = make_document(own, title="Tides", content="Twice a <day>.")
        batch = batches.create(
            user_id=own.user.pk,
            endpoint=make_endpoint(own),
            config=Config(),
            documents=[document],
            now=database_now(),
        )
        job = make_job(batch)

        address = url_of(document)
        page = browser.get(url_of(job)).content.decode()
        documents.delete(own, document)
        later = browser.get(url_of(job)).content.decode()

        assert address in page
        assert "Twice a &lt;day&gt;." in page
        assert "The document was deleted." in later
        assert "deleted with its suite" not in later

    def test_the_list_of_jobs_can_be_that_of_one_batch(self, browser: Client, own: Actor) -> None:
        batch, _ = make_batch(own), make_batch(own)

        shown = browser.get(list_of(Job), {"batch__id__exact": str(batch.pk)}).context["cl"]

        assert {job.batch_id for job in shown.result_list} == {batch.pk}
        assert [job.ordinal for job in shown.result_list] == [0, 1, 2]

    def test_a_batch_that_is_no_id_shows_an_answer_and_no_crash(self, browser: Client) -> None:
        response = browser.get(list_of(Job), {"batch__id__exact": "nonsense"})

        assert response.status_code in {200, 302}

"""Model endpoints over the API."""

from typing import Any

import pytest
from pytest_django import Settings

from access.actors import Actor
from batches import endpoints
from batches.models import Batch, ModelEndpoint
from tests.clients import Api
from tests.factories import make_actor, make_batch, make_endpoint, make_schedule, make_suite
from tests.servers_http import ModelServer

DEMO = {"name": "Demo", "provider": "demo", "model": "demo"}
OPENAI = {
    "name": "Local",
    "provider": "openai",
    "base_url": "https://api.example.com/v1",
    "model": "large",
}


def test_an_endpoint_is_made_with_what_it_needs(api: Api, actor: Actor) -> None:
    answer = api.create("models", DEMO)

    assert answer.status_code == 201
    shown = answer.json()
    assert set(shown) == {
        *("id", "project_id", "user_id", "created_at", "updated_at", "name", "provider"),
        *("base_url", "model", "api_key_configured", "header_names", "parameters"),
        *("request_template", "answer_path"),
        *("requests_per_minute", "tokens_per_minute"),
        *("price_input", "price_cached_input", "price_output"),
    }
    assert (shown["project_id"], shown["user_id"]) == (str(actor.project.pk), str(actor.user.pk))
    # An unknown price is null, never 0.
    assert shown["price_input"] is None


def test_another_server_never_gets_the_stored_credentials(api: Api) -> None:
    body = OPENAI | {"api_key": "sk-stored", "headers": {"X-Team": "stored"}}
    made = api.create("models", body).json()
    path = f"models/{made['id']}"

    same = api.change(path, {"base_url": "https://api.example.com/v2"}).json()
    other = api.change(path, {"base_url": "https://api.example.com:80/v2", "name": "X"}).json()

    assert (same["api_key_configured"], same["header_names"]) == (True, ["X-Team"])
    assert (other["api_key_configured"], other["header_names"]) == (False, [])
    stored = ModelEndpoint.objects.get()
    assert (endpoints.connection(stored).api_key, endpoints.stored_headers(stored)) == ("", {})
    given = api.change(path, {"base_url": "https://b.example.com", "api_key": "sk-new"}).json()
    assert given["api_key_configured"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "demo"},
        {"provider": "demo", "base_url": "https://api.example.com/v1"},
        {"provider": "anthropic", "base_url": ""},
    ],
)
def test_a_provider_with_an_address_of_its_own_never_gets_the_stored_credentials(
    change: dict[str, str], api: Api
) -> None:
    body = OPENAI | {"api_key": "sk-stored", "headers": {"X-Team": "stored"}}
    path = f"models/{api.create('models', body).json()['id']}"

    other = api.change(path, change).json()
    last = api.change(path, {"provider": "anthropic"}).json()

    for shown in (other, last):
        assert (shown["api_key_configured"], shown["header_names"]) == (False, [])
    assert last["base_url"] == "https://api.anthropic.com/v1"
    stored = endpoints.connection(ModelEndpoint.objects.get())
    assert (stored.api_key, stored.headers) == ("", {})


def test_another_provider_of_the_same_server_keeps_the_credentials(api: Api) -> None:
    path = f"models/{api.create('models', OPENAI | {'api_key': 'sk-stored'}).json()['id']}"

    other = api.change(path, {"provider": "anthropic"}).json()

    assert other["base_url"] == OPENAI["base_url"]
    assert other["api_key_configured"] is True


@pytest.mark.parametrize("field", ["requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("limit", [0, -1, 2**31])
def test_a_limit_is_at_least_one(field: str, limit: int, api: Api) -> None:
    made = api.create("models", DEMO).json()

    answers = [
        api.create("models", DEMO | {"name": "Other", field: limit}),
        api.change(f"models/{made['id']}", {field: limit}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert [list(answer.json()["details"]) for answer in answers] == [[field], [field]]


def test_anthropics_address_need_not_be_known(api: Api) -> None:
    body = {"name": "A", "provider": "anthropic", "model": "claude-sonnet-4-5"}

    own = api.create("models", body).json()
    other = api.create("models", body | {"name": "B", "base_url": "https://gateway.example"}).json()

    assert own["base_url"] == "https://api.anthropic.com/v1"
    assert other["base_url"] == "https://gateway.example"


def test_an_endpoint_of_any_json_has_its_template_and_path(api: Api) -> None:
    body = OPENAI | {
        "provider": "http",
        "request_template": {"q": "{{ prompt }}", "t": "{{ temperature }}"},
        "answer_path": "data[0].text",
        "parameters": {"temperature": 0},
    }

    made = api.create("models", body).json()
    changed = api.change(f"models/{made['id']}", {"answer_path": "$.answer"}).json()
    # Its template names a parameter that would be gone.
    refused = api.change(f"models/{made['id']}", {"parameters": {}})

    assert made["request_template"] == body["request_template"]
    assert (made["answer_path"], changed["answer_path"]) == ("data[0].text", "$.answer")
    assert refused.status_code == 400
    assert list(refused.json()["details"]) == ["request_template"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"provider": "http"}, "request_template"),
        ({"provider": "http", "request_template": "{{ prompt }}"}, "request_template"),
        ({"provider": "http", "request_template": {"q": "x"}}, "request_template"),
        ({"provider": "http", "request_template": {"q": "{{ p }}"}}, "request_template"),
        (
            {
                "provider": "http",
                "request_template": {"q": "{{ prompt }}"},
                "answer_path": "a..b",
            },
            "answer_path",
        ),
        ({"request_template": {"q": "{{ prompt }}"}}, "request_template"),
        ({"answer_path": "a"}, "answer_path"),
        ({"provider": "anthropic", "base_url": "https://10.0.0.1"}, "base_url"),
        (
            {
                "provider": "http",
                "request_template": {"q": "{{ prompt }}"},
                "base_url": "http://169.254.169.254/",
            },
            "base_url",
        ),
    ],
    ids=str,
)
def test_templates_paths_and_addresses_that_are_refused(
    change: dict[str, Any], field: str, api: Api
) -> None:
    made = api.create("models", OPENAI | change)

    assert made.status_code == 400, made.content
    assert list(made.json()["details"]) == [field]


def test_prices_are_decimal_strings(api: Api) -> None:
    shown = api.create("models", DEMO | {"price_input": "0.15", "price_output": 0.6}).json()

    assert (shown["price_input"], shown["price_output"]) == ("0.150000", "0.600000")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"provider": "unheard-of"}, "provider"),
        ({"provider": ""}, "provider"),
        ({"base_url": ""}, "base_url"),
        ({"base_url": "api.example.com"}, "base_url"),
        ({"base_url": "ftp://api.example.com"}, "base_url"),
        ({"base_url": "javascript:alert(1)"}, "base_url"),
        ({"base_url": "https://user:pass@api.example.com/v1"}, "base_url"),
        ({"base_url": "https://127.0.0.1/v1"}, "base_url"),
        ({"base_url": "https://[::1]/v1"}, "base_url"),
        ({"base_url": "https://169.254.169.254/latest"}, "base_url"),
        ({"base_url": "http://["}, "base_url"),
        ({"base_url": "https://" + "a" * 600}, "base_url"),
        ({"headers": {"bad name": "x"}}, "headers"),
        ({"headers": {"X-A": "line\nbreak"}}, "headers"),
        ({"headers": {"Host": "evil.example"}}, "headers"),
        ({"price_output": "-0.01"}, "price_output"),
        ({"price_output": "1e30"}, "price_output"),
        ({"price_output": "NaN"}, "price_output"),
        ({"model": ""}, "model"),
        ({"parameters": "text"}, "parameters"),
    ],
    ids=str,
)
def test_a_bad_endpoint_is_refused_by_its_field(
    change: dict[str, Any], field: str, api: Api
) -> None:
    made = api.create("models", OPENAI | change)

    assert made.status_code == 400, made.content
    assert list(made.json()["details"]) == [field]
    assert len(made.json()["details"][field][0]) > 15
    assert not ModelEndpoint.objects.exists()


def test_a_name_is_taken_once_in_a_project(api: Api, actor: Actor) -> None:
    make_endpoint(make_actor(), name="Demo")
    first, second = api.create("models", DEMO), api.create("models", DEMO)
    other = make_endpoint(actor, name="Other")

    renamed = api.change(f"models/{other.pk}", {"name": "Demo"})

    assert first.status_code == 201
    for refused in (second, renamed):
        assert refused.status_code == 400
        assert list(refused.json()["details"]) == ["name"]


def test_an_endpoint_is_changed_field_by_field(api: Api) -> None:
    made = api.create("models", DEMO | {"parameters": {"temperature": 0}}).json()

    changed = api.change(f"models/{made['id']}", {"model": "other"}).json()

    assert changed["model"] == "other"
    assert changed["parameters"] == {"temperature": 0}
    assert changed["updated_at"] > made["updated_at"]


def test_an_endpoint_that_a_schedule_uses_stays(api: Api, actor: Actor) -> None:
    schedules = [make_schedule(actor, name=name) for name in ("Nightly", "Weekly")]
    endpoint = schedules[0].endpoint
    type(schedules[1]).objects.filter(pk=schedules[1].pk).update(endpoint=endpoint)

    answer = api.remove(f"models/{endpoint.pk}")

    assert answer.status_code == 409
    assert answer.json()["error"] == "conflict"
    assert "'Nightly', 'Weekly'" in answer.json()["message"]
    assert ModelEndpoint.objects.filter(pk=endpoint.pk).exists()


def test_an_endpoint_that_no_schedule_uses_goes_and_its_batches_stay(
    api: Api, actor: Actor
) -> None:
    batch = make_batch(actor)

    answer = api.remove(f"models/{batch.endpoint_id}")

    assert answer.status_code == 204
    assert answer.content == b""
    shown = api.read(f"batches/{batch.pk}").json()
    assert (shown["model_id"], shown["model_name"]) == (None, batch.model_name)
    assert Batch.objects.get().total == 3


# --- What people call it ---------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "name", "model"])
def test_a_batch_finds_its_endpoint_by_id_name_or_model(by: str, api: Api, actor: Actor) -> None:
    endpoint = make_endpoint(actor, name="The name", model="the-model")
    make_endpoint(actor)
    wanted = {"id": str(endpoint.pk), "name": "The name", "model": "the-model"}[by]
    body = {"test_suite_id": str(make_suite(actor).pk), "model_id": wanted}

    shown = api.create("batches", body).json()

    assert (shown["model_id"], shown["model_name"]) == (str(endpoint.pk), "The name")


def test_a_model_that_several_serve_is_not_guessed(api: Api, actor: Actor) -> None:
    make_endpoint(actor, model="the-model")
    make_endpoint(actor, model="the-model")
    body = {"test_suite_id": str(make_suite(actor).pk), "model_id": "the-model"}

    answer = api.create("batches", body)

    assert answer.status_code == 400
    assert "Several endpoints" in answer.json()["details"]["model_id"][0]


def test_an_unknown_model_is_named(api: Api, actor: Actor) -> None:
    make_endpoint(make_actor(), name="theirs")
    body = {"test_suite_id": str(make_suite(actor).pk), "model_id": "theirs"}

    answer = api.create("batches", body)

    assert answer.status_code == 400
    assert "'theirs'" in answer.json()["details"]["model_id"][0]


# --- One tiny call ---------------------------------------------------------------------------


@pytest.fixture
def local(settings: Settings) -> None:
    settings.EVALSCHED_PRIVATE_HOSTS = ["127.0.0.1"]


def _check(api: Api, base_url: str) -> dict[str, Any]:
    made = api.create("models", OPENAI | {"base_url": base_url, "api_key": "sk-never-seen"})
    assert made.status_code == 201, made.content
    answer = api.create(f"models/{made.json()['id']}/check")
    assert answer.status_code == 200, answer.content
    assert "never-seen" not in answer.content.decode()
    shown: dict[str, Any] = answer.json()
    return shown


@pytest.mark.usefixtures("local")
def test_a_check_says_that_it_works(api: Api) -> None:
    with ModelServer() as server:
        shown = _check(api, server.base_url)
        calls = server.calls()

    assert shown["ok"] is True
    assert shown["latency_ms"] > 0
    assert calls.count == 1
    assert calls.last["headers"]["authorization"] == "Bearer sk-never-seen"


@pytest.mark.usefixtures("local")
def test_a_check_says_in_words_that_nobody_answers(api: Api) -> None:
    shown = _check(api, "http://127.0.0.1:9/v1")

    assert shown["ok"] is False
    assert len(shown["sentence"]) > 20

"""Credentials at rest: encrypted, rotated, and shown to nobody."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from access.actors import Actor
from access.models import AuditEvent
from access.secrets import Secret, UnreadableSecret
from batches import endpoints
from batches.models import ModelEndpoint
from evalsched.models import Schedule
from tests.clients import Api, with_key, with_session
from tests.factories import make_actor, make_endpoint, make_schedule

KEY = "sk-never-to-be-seen"
TOKEN = "tok-never-to-be-seen"
SEEN = "never-to-be-seen"
BODY = {
    "name": "Paid",
    "provider": "openai",
    "base_url": "https://api.example.com/v1",
    "model": "large",
    "api_key": KEY,
    "headers": {"X-Token": TOKEN},
}
OLD, NEW = "o" * 32, "n" * 40


@pytest.fixture
def made(api: Api) -> dict[str, Any]:
    answer = api.create("models", BODY)
    assert answer.status_code == 201, answer.content
    shown: dict[str, Any] = answer.json()
    return shown


def _stored() -> ModelEndpoint:
    return ModelEndpoint.objects.get()


def test_answers_say_that_there_is_a_key_and_never_which(made: dict[str, Any], api: Api) -> None:
    answers = [
        api.read(f"models/{made['id']}"),
        api.read("models"),
        api.change(f"models/{made['id']}", {"name": "Renamed"}),
        api.change(f"models/{made['id']}", {"headers": {"bad header": TOKEN}}),
        api.change(f"models/{made['id']}", {"api_key": KEY * 1000}),
        api.read("audit"),
    ]

    assert (made["api_key_configured"], made["header_names"]) == (True, ["X-Token"])
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 400, 200]
    for answer in answers:
        assert SEEN not in answer.content.decode()
    assert SEEN not in json.dumps(made)


def test_an_endpoint_without_a_key_says_so(api: Api) -> None:
    shown = api.create("models", {"name": "Free", "provider": "demo", "model": "demo"}).json()

    assert (shown["api_key_configured"], shown["header_names"]) == (False, [])


def test_the_database_holds_ciphertext(made: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT e::text FROM batches_modelendpoint e")
        row = cursor.fetchone()[0]

    assert made["name"] in row
    assert SEEN not in row


def test_nobody_sees_it_by_accident(made: dict[str, Any]) -> None:
    endpoint = _stored()
    call = endpoints.connection(endpoint)

    shown = [
        *(repr(endpoint), str(endpoint), f"{endpoint.api_key}", repr(endpoint.headers)),
        *(repr(vars(endpoint)), repr(call), str(call)),
        serializers.serialize("json", [endpoint]),
    ]

    assert SEEN not in "".join(shown)
    assert str(endpoint.api_key) == "configured"
    assert (call.api_key, call.headers) == (KEY, {"X-Token": TOKEN})


def test_logs_and_the_audit_trail_are_silent(
    api: Api, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    made = api.create("models", BODY).json()
    api.change(f"models/{made['id']}", {"api_key": KEY + "2"})
    api.create("models", BODY)
    api.create("models", BODY | {"provider": "unknown"})
    api.remove(f"models/{made['id']}")

    out, err = capfd.readouterr()
    assert SEEN not in caplog.text + out + err
    trail = AuditEvent.objects.filter(object_type="modelendpoint")
    assert trail.count() == 3
    assert SEEN not in str(list(trail.values()))


def test_runs_and_schedules_keep_no_copy(made: dict[str, Any], actor: Actor, api: Api) -> None:
    schedule = make_schedule(actor, endpoint=_stored())

    run = api.create(f"scheduled-evaluations/{schedule.pk}/trigger")

    assert run.status_code == 202
    assert SEEN not in run.content.decode()
    assert SEEN not in str(Schedule.objects.values())


def test_a_crash_shows_it_neither_in_the_answer_nor_in_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api.raise_request_exception = False
    monkeypatch.setattr("access.audit.record", lambda *_: 1 / 0)

    answer = api.create("models", BODY)

    assert answer.status_code == 500
    assert SEEN not in answer.content.decode()
    assert SEEN not in caplog.text


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.example.org/v1",
        "https://example.com/v1",
        "https://api.example.com.evil.example/v1",
    ],
)
def test_another_origin_gets_no_credentials(base_url: str, made: dict[str, Any], api: Api) -> None:
    """Whoever may edit must not be able to send the stored key to a host of their own."""
    answer = api.change(f"models/{made['id']}", {"base_url": base_url})

    assert answer.status_code == 200
    assert (answer.json()["api_key_configured"], answer.json()["header_names"]) == (False, [])
    assert (_stored().api_key, _stored().headers) == ("", "")


@pytest.mark.parametrize(
    "base_url", ["https://api.example.com/v2", "https://API.example.com:443/v1"]
)
def test_another_path_of_the_same_origin_keeps_them(
    base_url: str, made: dict[str, Any], api: Api
) -> None:
    answer = api.change(f"models/{made['id']}", {"base_url": base_url})

    assert answer.json()["api_key_configured"] is True
    assert endpoints.connection(_stored()).api_key == KEY


def test_another_origin_may_come_with_its_own_credentials(made: dict[str, Any], api: Api) -> None:
    body = {"base_url": "https://api.example.org/v1", "api_key": "sk-another"}

    api.change(f"models/{made['id']}", body)

    call = endpoints.connection(_stored())
    assert (call.api_key, call.headers) == ("sk-another", {})


def test_a_change_of_something_else_keeps_them(made: dict[str, Any], api: Api) -> None:
    api.change(f"models/{made['id']}", {"model": "small"})

    assert endpoints.connection(_stored()).api_key == KEY


def test_an_empty_key_takes_it_away(made: dict[str, Any], api: Api) -> None:
    answer = api.change(f"models/{made['id']}", {"api_key": "", "headers": {}})

    assert answer.json()["api_key_configured"] is False
    assert (_stored().api_key, _stored().headers) == ("", "")


# --- Keys of the encryption ------------------------------------------------------------------


def test_the_same_text_is_never_encrypted_alike() -> None:
    first, second = Secret.hide("text"), Secret.hide("text")

    assert first.token != second.token
    assert first.reveal() == second.reveal() == "text"


@pytest.mark.parametrize("key", ["a passphrase of more than 32 characters", "é" * 32, OLD])
def test_any_long_text_is_a_key(key: str, settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [key]

    assert Secret.hide("text").reveal() == "text"


def test_an_older_key_still_opens(settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    secret = Secret.hide("text")

    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]

    assert secret.reveal() == "text"


def test_rotation_leaves_the_old_key_without_use(settings: Settings, actor: Actor) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    make_endpoint(actor, api_key=KEY, headers={"X-Token": TOKEN})
    make_endpoint(actor)
    out = StringIO()

    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    call_command("rotate_secrets", stdout=out)
    settings.FIELD_ENCRYPTION_KEYS = [NEW]

    with_secrets = ModelEndpoint.objects.exclude(api_key="").get()
    call = endpoints.connection(with_secrets)
    assert (call.api_key, call.headers) == (KEY, {"X-Token": TOKEN})
    assert out.getvalue() == "2 secrets are encrypted with the newest key.\n"


def test_rotation_says_what_it_could_not_read_and_goes_on(settings: Settings, actor: Actor) -> None:
    settings.FIELD_ENCRYPTION_KEYS = ["l" * 32]
    make_endpoint(actor, api_key="lost")
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    kept = make_endpoint(actor, api_key=KEY)
    out, err = StringIO(), StringIO()

    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    call_command("rotate_secrets", stdout=out, stderr=err)
    settings.FIELD_ENCRYPTION_KEYS = [NEW]

    assert out.getvalue().startswith("1 secrets")
    assert err.getvalue().startswith("1 could not be read")
    kept.refresh_from_db()
    assert endpoints.connection(kept).api_key == KEY


def test_a_secret_whose_key_is_gone_says_what_to_do(settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    secret = Secret.hide("text")
    settings.FIELD_ENCRYPTION_KEYS = [NEW]

    for attempt in (secret.reveal, secret.rotated):
        with pytest.raises(UnreadableSecret, match="FIELD_ENCRYPTION_KEYS") as caught:
            attempt()
        assert "text" not in str(caught.value)


def test_endpoints_whose_key_is_gone_are_listed_and_mended(
    settings: Settings, actor: Actor, api: Api
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [OLD]
    endpoint = make_endpoint(actor, api_key=KEY, headers={"X-Token": TOKEN})
    settings.FIELD_ENCRYPTION_KEYS = [NEW]

    listed = api.read("models")
    checked = api.create(f"models/{endpoint.pk}/check")
    mended = api.change(f"models/{endpoint.pk}", {"api_key": "sk-new", "headers": {}})

    assert listed.json()["results"][0]["api_key_configured"] is True
    assert checked.status_code == 400
    assert checked.json()["error"] == "unreadable_secret"
    assert "enter the secret again" in checked.json()["message"]
    assert mended.status_code == 200
    endpoint.refresh_from_db()
    assert endpoints.connection(endpoint).api_key == "sk-new"


def test_a_member_of_another_project_cannot_borrow_it(made: dict[str, Any]) -> None:
    stranger = make_actor()

    for client in (with_key(stranger), with_session(stranger)):
        answer = client.change(f"models/{made['id']}", {"base_url": "https://evil.example/v1"})
        assert answer.status_code == 404
    assert endpoints.connection(_stored()).api_key == KEY

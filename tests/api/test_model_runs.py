"""Scheduled model runs and their executions over the API."""

import json
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from access.actors import Actor
from access.models import AuditEvent
from batches.models import Batch, Job, JobOutcome, JobStatus
from evalsched import admission
from evalsched.model_runs import MAX_BYTES
from evalsched.models import ModelRun, Run, RunStatus, Schedule
from tests.clients import Api
from tests.factories import (
    NOW,
    make_batch,
    make_endpoint,
    make_execution,
    make_model_run,
    make_run,
    make_schedule,
)

SECRET = "sk-very-secret"


@pytest.fixture
def body(actor: Actor) -> dict[str, Any]:
    """The least that one needs."""
    make_endpoint(actor, name="Support bot", model="gpt-small")
    return {
        "model_name": "Support bot",
        "schedule": "30 7 * * MON-FRI",
        "parameters": {"prompt": "Say hello.", "temperature": 0},
    }


def make(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.create("scheduled", body)
    assert answer.status_code == 201, answer.content
    shown: dict[str, Any] = answer.json()
    return shown


def test_one_is_made_with_what_it_needs(api: Api, actor: Actor, body: dict[str, Any]) -> None:
    shown = make(api, body)

    assert shown.items() >= body.items()
    assert (shown["timezone"], shown["enabled"], shown["last_run"]) == ("UTC", True, None)
    assert shown["user_id"] == str(actor.user.pk)
    assert datetime.fromisoformat(shown["next_run"]) > timezone.now()
    assert shown["created_at"]
    assert shown["updated_at"]
    assert api.read(f"scheduled/{shown['id']}").json() == shown


def test_one_that_is_not_enabled_has_no_next_run(api: Api, body: dict[str, Any]) -> None:
    shown = make(api, body | {"enabled": False, "timezone": "Asia/Kolkata"})

    assert (shown["enabled"], shown["timezone"], shown["next_run"]) == (False, "Asia/Kolkata", None)


@pytest.mark.parametrize("by", ["name", "model", "id"])
def test_the_model_is_named_by_name_model_or_id(
    by: str, api: Api, actor: Actor, body: dict[str, Any]
) -> None:
    other = make_endpoint(actor, name="Other", model="other-1")
    wanted = {"name": "Other", "model": "other-1", "id": str(other.pk)}[by]

    shown = make(api, body | {"model_name": wanted})
    make(api, body)

    assert shown["model_name"] == "Other"
    listed = api.read(f"scheduled?model_name={wanted}").json()
    assert [row["id"] for row in listed["results"]] == [shown["id"]]


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"model_name": "gpt-unheard-of"}, "model_name", "gpt-unheard-of"),
        ({"model_name": 7}, "model_name", "7"),
        ({"model_name": None}, "model_name", "null"),
        ({"schedule": "99 * * * *"}, "schedule", "99"),
        ({"schedule": "often"}, "schedule", ""),
        ({"schedule": ""}, "schedule", "blank"),
        ({"schedule": ["* * * * *"]}, "schedule", ""),
        ({"timezone": "Europe/Atlantis"}, "timezone", "Europe/Atlantis"),
        ({"enabled": "perhaps"}, "enabled", ""),
        ({"parameters": None}, "parameters", "null"),
        ({"parameters": "Say hello."}, "parameters", ""),
        ({"parameters": ["Say hello."]}, "parameters", ""),
        ({"parameters": {}}, "parameters.prompt", "prompt or messages"),
        ({"parameters": {"prompt": ""}}, "parameters.prompt", "empty"),
        ({"parameters": {"prompt": 7}}, "parameters.prompt", "text"),
        ({"parameters": {"prompt": "a", "messages": []}}, "parameters.prompt", "not both"),
        ({"parameters": {"messages": []}}, "parameters.messages", "list"),
        (
            {"parameters": {"messages": [{"role": "robot", "content": "a"}]}},
            "parameters.messages[0].role",
            "system",
        ),
        ({"parameters": {"prompt": "a", "sensitive": "x"}}, "parameters.sensitive", "list"),
        ({"parameters": {"prompt": "a", "sensitive": [1]}}, "parameters.sensitive", "texts"),
        (
            {"parameters": {"prompt": "a", "api_key": "********0a1b2c3d"}},
            "parameters.api_key",
            "mask",
        ),
        ({"unheard_of": 1}, "unheard_of", "no such field"),
    ],
    ids=str,
)
def test_bad_input_is_refused_at_its_field(
    change: dict[str, Any], field: str, said: str, api: Api, body: dict[str, Any]
) -> None:
    answer = api.create("scheduled", body | change)

    assert answer.status_code == 400, answer.content
    assert list(answer.json()["details"]) == [field]
    assert said in answer.content.decode()
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("missing", ["model_name", "schedule", "parameters"])
def test_what_is_needed_is_asked_for(missing: str, api: Api, body: dict[str, Any]) -> None:
    del body[missing]

    answer = api.create("scheduled", body)

    assert (answer.status_code, list(answer.json()["details"])) == (400, [missing])


def test_parameters_may_be_256_kib_and_no_more(api: Api, body: dict[str, Any]) -> None:
    room = MAX_BYTES - len(json.dumps({"prompt": ""}))
    make(api, body | {"parameters": {"prompt": "ä" * (room // 2)}})

    answer = api.create("scheduled", body | {"parameters": {"prompt": "x" * (room + 1)}})

    assert (answer.status_code, list(answer.json()["details"])) == (400, ["parameters"])


def test_a_change_of_the_times_moves_the_next_run(api: Api, body: dict[str, Any]) -> None:
    shown = make(api, body)

    answer = api.change(f"scheduled/{shown['id']}", {"schedule": "0 3 1 1 *"})

    assert answer.status_code == 200, answer.content
    assert answer.json()["schedule"] == "0 3 1 1 *"
    assert answer.json()["next_run"] != shown["next_run"]
    assert answer.json()["parameters"] == body["parameters"]


def test_a_bad_change_changes_nothing(api: Api, body: dict[str, Any]) -> None:
    shown = make(api, body)

    answer = api.change(f"scheduled/{shown['id']}", {"enabled": False, "schedule": "99 * * * *"})

    assert (answer.status_code, list(answer.json()["details"])) == (400, ["schedule"])
    assert api.read(f"scheduled/{shown['id']}").json() == shown


def test_put_replaces_all_but_a_model_that_is_left_out(api: Api, body: dict[str, Any]) -> None:
    shown = make(api, body | {"enabled": False, "timezone": "Asia/Kolkata"})
    new = {"schedule": "0 3 * * *", "parameters": {"prompt": "Say goodbye."}}

    answer = api.send("PUT", f"scheduled/{shown['id']}", new)

    assert answer.status_code == 200, answer.content
    after = answer.json()
    assert after.items() >= new.items()
    assert (after["model_name"], after["enabled"], after["timezone"]) == (
        "Support bot",
        True,
        "UTC",
    )


def test_put_takes_another_model(api: Api, actor: Actor, body: dict[str, Any]) -> None:
    make_endpoint(actor, name="Other")
    shown = make(api, body)

    answer = api.send("PUT", f"scheduled/{shown['id']}", body | {"model_name": "Other"})
    unknown = api.send("PUT", f"scheduled/{shown['id']}", body | {"model_name": "Nobody"})

    assert answer.json()["model_name"] == "Other"
    assert (unknown.status_code, list(unknown.json()["details"])) == (400, ["model_name"])
    assert "Nobody" in unknown.json()["message"]


@pytest.mark.parametrize("missing", ["schedule", "parameters"])
def test_put_needs_what_it_replaces(missing: str, api: Api, body: dict[str, Any]) -> None:
    shown = make(api, body)
    del body[missing]

    answer = api.send("PUT", f"scheduled/{shown['id']}", body)

    assert (answer.status_code, list(answer.json()["details"])) == (400, [missing])


# --- What nobody may see -----------------------------------------------------------------------


@pytest.fixture
def secretive(body: dict[str, Any]) -> dict[str, Any]:
    parameters = body["parameters"] | {
        "API-Key": SECRET,
        "headers": [{"Authorization": f"Bearer {SECRET}"}],
        "tenant": f"tenant {SECRET}",
        "sensitive": ["tenant"],
    }
    return body | {"parameters": parameters}


def plain_of(model_run_id: str) -> dict[str, Any]:
    """Return what is really stored."""
    row = ModelRun.objects.get(pk=model_run_id)
    plain: dict[str, Any] = json.loads(row.parameters.reveal())["parameters"]
    return plain


def test_sensitive_values_come_back_masked_and_are_stored_encrypted(
    api: Api, secretive: dict[str, Any]
) -> None:
    answer = api.create("scheduled", secretive)
    listed = api.read("scheduled")

    assert SECRET not in answer.content.decode() + listed.content.decode()
    shown = answer.json()["parameters"]
    assert shown["API-Key"].startswith("*****")
    assert shown["headers"][0]["Authorization"].startswith("*****")
    assert shown["tenant"].startswith("*****")
    assert (shown["prompt"], shown["sensitive"]) == ("Say hello.", ["tenant"])
    assert plain_of(answer.json()["id"]) == secretive["parameters"]
    assert _rows_with(SECRET) == []


def test_sending_the_masks_back_keeps_the_values(api: Api, secretive: dict[str, Any]) -> None:
    shown = make(api, secretive)
    # Under the same key, elsewhere.
    parameters = shown["parameters"]
    parameters["nested"] = {"api_key": parameters.pop("API-Key")}
    parameters["prompt"] = "Say goodbye."

    answer = api.send("PUT", f"scheduled/{shown['id']}", secretive | {"parameters": parameters})

    assert answer.status_code == 200, answer.content
    assert answer.json()["parameters"] == parameters
    stored = plain_of(shown["id"])
    assert stored["nested"] == {"api_key": SECRET}
    assert stored["tenant"] == secretive["parameters"]["tenant"]
    assert stored["prompt"] == "Say goodbye."


@pytest.mark.parametrize(
    "trick",
    [
        {"sensitive": []},
        {"sensitive": ["prompt", "tenant"], "prompt": "API-Key"},
        {"messages": [{"role": "user", "content": "API-Key"}], "prompt": None},
    ],
    ids=["not sensitive any more", "as the prompt", "as a message"],
)
def test_a_mask_cannot_bring_a_value_to_light(
    trick: dict[str, Any], api: Api, secretive: dict[str, Any]
) -> None:
    shown = make(api, secretive)
    masks = shown["parameters"]
    text = json.dumps(trick).replace("API-Key", masks["API-Key"])

    answer = api.change(f"scheduled/{shown['id']}", {"parameters": masks | json.loads(text)})

    assert answer.status_code == 400, answer.content
    assert SECRET not in answer.content.decode()
    assert plain_of(shown["id"]) == secretive["parameters"]


def test_stored_values_do_not_go_to_another_host(
    api: Api, actor: Actor, secretive: dict[str, Any]
) -> None:
    own = {"provider": "openai", "base_url": "https://elsewhere.example/v1", "model": "m"}
    make_endpoint(actor, name="Elsewhere", **own)
    shown = make(api, secretive)

    answer = api.change(f"scheduled/{shown['id']}", {"model_name": "Elsewhere"})
    given_again = {"model_name": "Elsewhere", "parameters": secretive["parameters"]}
    again = api.change(f"scheduled/{shown['id']}", given_again)

    assert (answer.status_code, list(answer.json()["details"])) == (400, ["parameters"])
    assert again.status_code == 200, again.content


def test_no_other_row_holds_the_plain_values(
    api: Api, actor: Actor, secretive: dict[str, Any]
) -> None:
    shown = make(api, secretive)
    api.change(f"scheduled/{shown['id']}", {"parameters": secretive["parameters"]})
    api.create(f"scheduled/{shown['id']}/trigger", **{"Idempotency-Key": "once"})
    admission.start_queued(timezone.now())

    assert Batch.objects.get().parameters == {}
    assert _rows_with(SECRET) == []
    assert set(AuditEvent.objects.values_list("object_type", flat=True)) >= {"schedule", "run"}


def _rows_with(text: str) -> list[str]:
    """Return the tables in which a row holds the text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        found = []
        for table in tables:
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s', [f"%{text}%"])
            found += [table] if cursor.fetchone()[0] else []
    return found


# --- Executions --------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
def test_a_trigger_is_answered_with_the_execution(
    enabled: bool, api: Api, body: dict[str, Any]
) -> None:
    shown = make(api, body | {"enabled": enabled})

    answer = api.create(f"scheduled/{shown['id']}/trigger")

    assert answer.status_code == 202, answer.content
    execution = answer.json()
    assert (execution["scheduled_run_id"], execution["trigger"]) == (shown["id"], "manual")
    assert (execution["status"], execution["output"]) == ("triggered", None)
    assert (execution["started_at"], execution["completed_at"]) == (None, None)
    listed = api.read(f"scheduled/{shown['id']}/executions").json()
    assert (listed["count"], listed["results"]) == (1, [execution])


def test_the_same_idempotency_key_triggers_once(api: Api, body: dict[str, Any]) -> None:
    shown = make(api, body)
    twice = [
        api.create(f"scheduled/{shown['id']}/trigger", **{"Idempotency-Key": "k"}).json()
        for _ in range(2)
    ]

    assert twice[0] == twice[1]
    assert Run.objects.count() == 1


def test_an_execution_shows_its_answer(api: Api, actor: Actor) -> None:
    row = make_model_run(actor)
    execution = make_execution(row)
    assert admission.start_queued(NOW) == 1
    Job.objects.update(
        status=JobStatus.DONE,
        outcome=JobOutcome.UNSCORED,
        finished_at=NOW,
        output="Hello.",
        latency_ms=12.5,
        ttft_ms=3.5,
        input_tokens=4,
        output_tokens=2,
        cost="0.000012",
    )
    Run.objects.filter(pk=execution.pk).move(RunStatus.COMPLETED, completed_at=NOW)

    (shown,) = api.read(f"scheduled/{row.pk}/executions").json()["results"]

    assert (shown["status"], shown["output"], shown["error_message"]) == ("completed", "Hello.", "")
    assert (shown["latency_ms"], shown["ttft_ms"]) == (12.5, 3.5)
    assert (shown["input_tokens"], shown["output_tokens"]) == (4, 2)
    assert float(shown["cost"]) == 0.000012


def test_deleting_one_takes_its_executions_and_their_answers_along(api: Api, actor: Actor) -> None:
    row = make_model_run(actor)
    make_execution(row)
    admission.start_queued(NOW)
    assert Batch.objects.exists()

    answer = api.remove(f"scheduled/{row.pk}")

    assert answer.status_code == 204
    assert api.read(f"scheduled/{row.pk}").status_code == 404
    assert not Run.objects.exists()
    assert not Batch.objects.exists()
    assert not Job.objects.exists()


def test_pages_have_a_limit_and_an_offset(api: Api, actor: Actor) -> None:
    made = [make_model_run(actor) for _ in range(3)]
    for row in made:
        make_execution(row)

    page = api.read("scheduled?limit=1&offset=1").json()

    assert page["count"] == 3
    assert [row["id"] for row in page["results"]] == [str(made[1].pk)]
    assert api.read("scheduled?limit=x").status_code == 400
    assert api.read("scheduled?modelname=x").status_code == 400


# --- Beside evaluations ------------------------------------------------------------------------


def test_the_addresses_of_evaluations_know_nothing_of_model_runs(api: Api, actor: Actor) -> None:
    row = make_model_run(actor)
    execution = make_execution(row)
    admission.start_queued(NOW)
    execution.refresh_from_db()
    batch = execution.batch_id

    assert api.read("scheduled-evaluations").json()["count"] == 0
    assert api.read("batches").json()["count"] == 0
    for path in (
        f"scheduled-evaluations/{row.pk}",
        f"scheduled-evaluations/{row.pk}/runs",
        f"scheduled-evaluations/{row.pk}/runs/{execution.pk}",
        f"scheduled-evaluations/{row.pk}/runs.csv",
        f"batches/{batch}",
        f"batches/{batch}/results",
        f"batches/{batch}/cases",
        f"batches/{batch}/export",
        f"batches/compare?ids={batch},{make_batch(actor).pk}",
    ):
        assert api.read(path).status_code == 404, path
    assert api.create(f"scheduled-evaluations/{row.pk}/trigger").status_code == 404
    for verb in ("cancel", "resume", "rescore"):
        assert api.create(f"batches/{batch}/{verb}").status_code == 404, verb
    sides = {"baseline": str(execution.pk), "candidate": str(batch)}
    assert api.create("runs/compare", sides).status_code == 400


def test_the_addresses_of_model_runs_know_nothing_of_evaluations(api: Api, actor: Actor) -> None:
    schedule = make_schedule(actor)
    make_run(schedule)

    assert api.read("scheduled").json()["count"] == 0
    assert api.read(f"scheduled/{schedule.pk}").status_code == 404
    assert api.read(f"scheduled/{schedule.pk}/executions").status_code == 404
    assert api.create(f"scheduled/{schedule.pk}/trigger").status_code == 404


def test_a_model_that_is_used_is_not_deleted(api: Api, actor: Actor) -> None:
    endpoint = make_endpoint(actor, name="Support bot")
    make_model_run(actor, endpoint=endpoint)

    answer = api.remove(f"models/{endpoint.pk}")

    assert answer.status_code == 409
    assert "Support bot (0 * * * *)" in answer.json()["message"]

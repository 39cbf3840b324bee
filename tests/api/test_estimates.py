"""What a batch would take, said before it is started."""

from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from access.actors import Actor
from access.models import AuditEvent
from batches.models import Agent, Batch, Document
from tests.clients import Api
from tests.factories import make_case_draft, make_document, make_endpoint, make_suite

pytestmark = pytest.mark.django_db


def make_priced(actor: Actor, **fields: Any) -> Any:
    return make_endpoint(
        actor,
        provider="openai",
        base_url="https://api.example.org/v1",
        price_input=1,
        price_output=2,
        **fields,
    )


def test_calls_tokens_and_money_and_what_the_suite_can_see(actor: Actor, api: Api) -> None:
    drafts = [make_case_draft(number, prompt="x" * 400) for number in range(20)]
    suite, endpoint = make_suite(actor, cases=drafts), make_priced(actor)
    body = {"test_suite_id": str(suite.pk), "model_id": endpoint.name, "repeats": 3}
    before = AuditEvent.objects.count()

    answer = api.create("batches/estimate", body | {"parameters": {"max_tokens": 50}})

    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert (told["items"], told["calls"]) == (20, 60)
    assert (told["input_tokens"], told["output_tokens"]) == (6_000, 3_000)
    assert Decimal(told["cost"]) == Decimal("0.012")
    assert Decimal(told["judge_cost"]) == 0
    assert told["cost_unknown_because"] == ""
    assert told["detects"]["cases"] == 20
    assert "detects a drop of" in told["detects"]["sentence"]
    assert not Batch.objects.exists()
    assert AuditEvent.objects.count() == before


def test_an_unknown_price_is_null_and_says_why(actor: Actor, api: Api) -> None:
    body = {"test_suite_id": str(make_suite(actor).pk), "model_id": make_endpoint(actor).name}

    told = api.create("batches/estimate", body).json()

    assert told["cost"] is None
    assert told["cost_unknown_because"] == "The demonstration model has no price."


def test_judges_are_priced_beside_the_model(actor: Actor, api: Api) -> None:
    rubric = {"type": "llm-rubric", "value": "Polite."}
    suite = make_suite(actor, cases=[make_case_draft(assertions=[rubric])])
    body = {"test_suite_id": str(suite.pk), "model_id": make_priced(actor).name}

    make_priced(actor, name="Judge")
    agreed = api.create("batches/estimate", body | {"judge_model_id": "Judge"})
    refused = api.create("batches/estimate", body)

    assert agreed.status_code == 200, agreed.content
    assert Decimal(agreed.json()["judge_cost"]) > 0
    assert refused.status_code == 400
    assert "judge_model_id" in refused.json()["details"]


def test_an_experiment_is_estimated_with_what_it_would_bring(actor: Actor, api: Api) -> None:
    own = make_document(actor, content="y" * 100)
    body = {
        "is_ephemeral": True,
        "document_ids": [str(own.pk)],
        "ephemeral_agent": {
            "name": "Trial",
            "primary_instructions": "z" * 60,
            "model_id": make_priced(actor).name,
        },
        "ephemeral_documents": {"inline": [{"content": "x" * 300}]},
    }

    told = api.create("batches/estimate", body).json()

    assert (told["calls"], told["input_tokens"], told["detects"]) == (2, 2 * 65, None)
    assert (Agent.objects.count(), Document.objects.count()) == (0, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ephemeral_documents": {"urls": ["http://[::1"]}}, "ephemeral_documents.urls[0]"),
        ({"is_ephemeral": False}, "ephemeral_documents"),
        ({"expires_in_days": 3, "is_ephemeral": False}, "expires_in_days"),
        ({"max_cost": "1"}, "max_cost"),
        ({}, "is_ephemeral"),
        ({"ephemeral_documents": {"inline": [{"content": "x"}] * 3}}, "ephemeral_documents"),
    ],
    ids=str,
)
def test_what_a_batch_refuses_its_estimate_refuses_alike(
    change: dict[str, Any], field: str, actor: Actor, api: Api, settings: Settings
) -> None:
    settings.EVALSCHED_EXPERIMENT_MAX_DOCUMENTS = 2
    settings.EVALSCHED_EXPERIMENT_MAX_PER_USER = 1 if change else 0
    body = {
        "model_id": make_endpoint(actor).name,
        "is_ephemeral": True,
        "ephemeral_documents": {"inline": [{"content": "x"}]},
    } | change

    refusals = [api.create(path, body) for path in ("batches", "batches/estimate")]

    assert [refusal.status_code for refusal in refusals] == [400, 400]
    batch, estimate = (refusal.json() for refusal in refusals)
    assert list(batch["details"]) == [field]
    assert (estimate["message"], estimate["details"]) == (batch["message"], batch["details"])


def test_what_could_not_be_started_is_refused(actor: Actor, api: Api) -> None:
    empty = make_suite(actor, cases=0)
    body = {"test_suite_id": str(empty.pk), "model_id": make_endpoint(actor).name}
    wrong = {"name": "T", "assertions": [{"type": "no"}], "model_id": make_endpoint(actor).name}

    assert api.create("batches/estimate", body).status_code == 400
    answer = api.create(
        "batches/estimate",
        {
            "is_ephemeral": True,
            "ephemeral_agent": wrong,
            "ephemeral_documents": {"inline": [{"content": "x"}]},
        },
    )
    assert answer.status_code == 400

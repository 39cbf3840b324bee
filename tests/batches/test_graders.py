"""Whom a batch asks: found when it is made, kept with it, and counted in its budget."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from access.actors import Actor
from access.errors import Invalid
from batches.models import Batch, BatchStatus, Job, ModelEndpoint
from evalsched import admission, runs
from evalsched.models import Run
from tests.batches.engine_at_work import work_to_the_end
from tests.batches.judges_at_work import RUBRIC, SIMILAR, make_judged, verdict
from tests.clients import Api, with_key
from tests.factories import (
    NOW,
    make_actor,
    make_agent,
    make_batch,
    make_case_draft,
    make_endpoint,
    make_schedule,
    make_suite,
)
from tests.servers_http import ModelServer
from tests.servers_http.scripted import ScriptedServer

OPENAI = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}


@pytest.fixture(scope="module")
def judging() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def judge(judging: ScriptedServer) -> ScriptedServer:
    judging.asked.clear()
    judging.reply = lambda _: verdict()
    return judging


def make(actor: Actor, *assertions: dict[str, Any], **config: Any) -> Batch:
    """Make a batch of two cases with these assertions; the endpoint under test has embeddings."""
    drafts = [make_case_draft(number, assertions=list(assertions)) for number in (1, 2)]
    endpoint = make_endpoint(actor, price_input=1, price_output=1, **OPENAI)
    return make_batch(actor, suite=make_suite(actor, cases=drafts), endpoint=endpoint, **config)


def complaint(actor: Actor, *assertions: dict[str, Any], **config: Any) -> tuple[str, str]:
    """Return the field and the sentence of the refusal; nothing must have been made."""
    with pytest.raises(Invalid) as caught:
        make(actor, *assertions, **config)
    assert not Batch.objects.exists()
    ((field, (sentence,)),) = caught.value.details.items()
    return field, sentence


def test_the_batch_keeps_whom_it_asks(actor: Actor) -> None:
    judge = make_endpoint(actor, name="Judge", parameters={"temperature": 0})
    own = make_endpoint(actor, name="Own", **OPENAI)

    batch = make(
        actor,
        RUBRIC,
        {"type": "not-llm-rubric", "value": "Rude?", "provider": "Own"},
        SIMILAR,
        {"type": "contains", "value": "x"},
        judge_model_id=str(judge.pk),
    )

    assert batch.graders == [
        {
            "type": "llm-rubric",
            "provider": "",
            "model_id": str(judge.pk),
            "model_name": "Judge",
            "model": "demo",
            "parameters": {"temperature": 0},
        },
        {
            "type": "llm-rubric",
            "provider": "Own",
            "model_id": str(own.pk),
            "model_name": "Own",
            "model": "m",
            "parameters": {},
        },
        {
            "type": "similar",
            "provider": "",
            "model_id": str(batch.endpoint_id),
            "model_name": batch.model_name,
            "model": "m",
            "parameters": {},
        },
    ]


def test_a_suite_that_asks_nobody_needs_nobody(actor: Actor) -> None:
    assert make(actor, {"type": "contains", "value": "x"}).graders == []


def test_a_missing_judge_refuses_the_batch_with_a_sentence(actor: Actor) -> None:
    field, sentence = complaint(actor, RUBRIC)

    assert field == "judge_model_id"
    assert "names no judge" in sentence
    assert "Give judge_model_id" in sentence


@pytest.mark.parametrize(
    ("assertion", "field"),
    [
        (RUBRIC, "judge_model_id"),
        (RUBRIC | {"provider": "Nobody"}, "agent_id"),
        (SIMILAR | {"provider": "Demo"}, "embedding_model_id"),
    ],
)
def test_an_assertion_of_the_agent_is_not_put_down_to_the_suite(
    assertion: dict[str, Any], field: str, actor: Actor
) -> None:
    make_endpoint(actor, name="Demo")
    agent = make_agent(actor, name="Strict", assertions=[assertion])
    suite = make_suite(actor, name="Demo questions")

    with pytest.raises(Invalid) as caught:
        make_batch(actor, suite=suite, endpoint=agent.endpoint, agent=agent)

    ((blamed, (sentence,)),) = caught.value.details.items()
    assert blamed == field
    assert sentence.startswith("The agent 'Strict' has ")


@pytest.mark.parametrize(
    ("assertion", "config", "field", "words"),
    [
        (RUBRIC, {"judge_model_id": "Nobody"}, "judge_model_id", "no model endpoint 'Nobody'"),
        (RUBRIC | {"provider": "Nobody"}, {}, "test_suite_id", "no model endpoint 'Nobody'"),
        (SIMILAR, {"embedding_model_id": "Nobody"}, "embedding_model_id", "'Nobody'"),
        (SIMILAR, {"embedding_model_id": "Demo"}, "embedding_model_id", "no embeddings"),
        (SIMILAR | {"provider": "Demo"}, {}, "embedding_model_id", "no embeddings"),
        ({"type": "contains", "value": "x"}, {"judge_model_id": "X"}, "judge_model_id", "'X'"),
    ],
)
def test_what_is_named_has_to_be_there_and_fit(
    assertion: dict[str, Any], config: dict[str, Any], field: str, words: str, actor: Actor
) -> None:
    make_endpoint(actor, name="Demo")

    blamed, sentence = complaint(actor, assertion, **config)

    assert blamed == field
    assert words in sentence


@pytest.mark.parametrize("by", ["id", "name", "model"])
def test_a_judge_of_another_project_does_not_exist(by: str, actor: Actor) -> None:
    theirs = make_endpoint(make_actor(), name="Their judge", **(OPENAI | {"model": "their-model"}))
    named = {"id": str(theirs.pk), "name": theirs.name, "model": theirs.model}[by]

    assert complaint(actor, RUBRIC, judge_model_id=named)[0] == "judge_model_id"
    assert complaint(actor, RUBRIC | {"provider": named})[0] == "test_suite_id"


def test_only_the_current_cases_are_asked_about(actor: Actor) -> None:
    suite = make_suite(actor, cases=[make_case_draft(1, assertions=[RUBRIC])])
    api = with_key(actor)
    (case,) = api.read(f"test-suites/{suite.pk}/cases").json()["results"]
    api.change(f"test-suites/{suite.pk}/cases/{case['id']}", {"assertions": []})
    suite.refresh_from_db()

    assert make_batch(actor, suite=suite).graders == []


def test_a_budget_needs_the_judges_prices(actor: Actor) -> None:
    make_endpoint(actor, name="Judge")

    field, sentence = complaint(actor, RUBRIC, judge_model_id="Judge", max_cost=Decimal(1))

    assert field == "max_cost"
    assert "'Judge', which llm-rubric assertions ask" in sentence


def test_the_first_guess_of_a_call_holds_its_judges(actor: Actor) -> None:
    make_endpoint(actor, name="Judge", price_input=0, price_output=100)
    config = {"judge_model_id": "Judge", "max_cost": Decimal(1), "parameters": {"max_tokens": 1}}

    judged = make(actor, RUBRIC, RUBRIC, **config)
    alone = make(actor, {"type": "contains", "value": "x"}, **config)

    # Two verdicts of 100 tokens at 100 USD per million.
    assert judged.expected_call_cost - alone.expected_call_cost == Decimal("0.02")


@pytest.mark.django_db(transaction=True)
def test_a_budget_is_for_the_judges_too(server: ModelServer, judge: ScriptedServer) -> None:
    batch = work_to_the_end(
        make_judged(server, judge, 12, concurrency=1, max_cost=Decimal("0.0101"))
    )

    # A call costs 0.000006 and its verdict 0.002 USD: five are 0.01003.
    assert (batch.status, batch.done) == (BatchStatus.STOPPED_BUDGET, 5)
    assert (batch.total_cost, batch.judge_cost) == (Decimal("0.000030"), Decimal("0.01"))
    assert "of which 0.01003" in batch.error_message
    assert batch.reserved_cost == 0


@pytest.mark.django_db(transaction=True)
def test_a_verdict_without_a_token_count_counts_as_what_was_reserved(
    server: ModelServer, judge: ScriptedServer
) -> None:
    judge.reply = lambda _: verdict(usage=None)

    batch = make_judged(server, judge, 12, concurrency=1, max_cost=Decimal("0.1"))
    each = batch.expected_call_cost
    batch = work_to_the_end(batch)

    assert batch.status == BatchStatus.STOPPED_BUDGET
    assert batch.done == int(Decimal("0.1") / each)
    assert Job.objects.filter(batch=batch, status="done", judge_cost=None).count() == batch.done


@pytest.mark.django_db(transaction=True)
def test_a_deleted_judge_ends_the_batch_with_a_sentence(
    server: ModelServer, judge: ScriptedServer
) -> None:
    batch = make_judged(server, judge)
    ModelEndpoint.objects.filter(name="Judge").delete()

    work_to_the_end(batch)

    assert (batch.status, judge.asked) == (BatchStatus.FAILED, [])
    assert "was deleted. Choose another one" in batch.error_message
    assert server.calls().count == 0


@pytest.mark.django_db(transaction=True)
def test_a_schedule_names_its_judge(server: ModelServer, judge: ScriptedServer) -> None:
    first = make_judged(server, judge)
    assert first.suite is not None
    assert first.endpoint is not None
    actor = make_actor(first.user, project=first.project)
    schedule = make_schedule(
        actor,
        suite=first.suite,
        endpoint=first.endpoint,
        batch_test_config={"judge_model_id": "Judge"},
    )
    run = runs.trigger(actor, schedule, now=NOW)

    admission.start_queued(NOW)

    run = Run.objects.get(pk=run.pk)
    assert run.batch is not None
    assert run.batch.graders == first.graders


def test_the_api_takes_and_shows_judges(api: Api, actor: Actor) -> None:
    suite = make_suite(actor, cases=[make_case_draft(1, assertions=[RUBRIC])])
    asked = make_endpoint(actor, name="Asked")
    make_endpoint(actor, name="Judge")
    body = {"test_suite_id": str(suite.pk), "model_id": asked.name}

    refused = api.create("batches", body)
    made = api.create("batches", body | {"judge_model_id": "Judge"})

    assert refused.status_code == 400
    assert list(refused.json()["details"]) == ["judge_model_id"]
    assert made.status_code == 202
    shown = made.json()
    assert [grader["model_name"] for grader in shown["graders"]] == ["Judge"]
    assert shown["judge_cost"] is None


def test_the_api_shows_what_a_result_was_priced_by(api: Api, actor: Actor) -> None:
    batch = make_batch(actor)
    prices = {"input": "1", "cached_input": None, "output": "2", "source": "list"}
    Job.objects.filter(batch=batch, ordinal=0).update(prices=prices, judge_cost="0.5")
    Job.objects.filter(batch=batch, ordinal=1).update(cost_unknown_because="No price.")

    answer = api.read(f"batches/{batch.pk}/results?ordering=ordinal").json()["results"]

    assert answer[0]["prices"] == prices
    assert answer[0]["judge_cost"] == "0.500000000000"
    assert (answer[1]["prices"], answer[1]["cost_unknown_because"]) == (None, "No price.")

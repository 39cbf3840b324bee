"""Agents: what they bring to a batch, and what keeps them from being deleted."""

import pytest

from access.errors import Conflict, Invalid
from batches import agents, batches, endpoints
from batches.batches import Config
from batches.models import Job
from tests.batches.engine_at_work import work_to_the_end
from tests.factories import (
    NOW,
    make_actor,
    make_agent,
    make_batch,
    make_case_draft,
    make_document,
    make_endpoint,
    make_experiment,
    make_suite,
)
from tests.servers_http import ModelServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_agent_speaks_first_and_its_assertions_hold_beside_the_cases_own(
    server: ModelServer,
) -> None:
    actor = make_actor()
    endpoint = make_endpoint(
        actor, provider="openai", base_url=server.base_url, model="m", parameters={"seed": 1}
    )
    agent = make_agent(
        actor,
        endpoint=endpoint,
        primary_instructions="You are {{ not a template }}.",
        parameters={"temperature": 0.5, "seed": 2},
        assertions=[{"type": "contains", "value": "nowhere"}],
    )
    suite = make_suite(actor, cases=[make_case_draft(1)])
    batch = batches.create(
        user_id=actor.user.pk,
        endpoint=endpoint,
        agent=agent,
        suite=suite,
        config=Config(parameters={"seed": 3}),
        now=NOW,
    )

    done = work_to_the_end(batch)

    asked = server.calls().last["body"]
    assert asked["messages"] == [
        {"role": "system", "content": "You are {{ not a template }}."},
        {"role": "user", "content": "Say 1."},
    ]
    assert (asked["temperature"], asked["seed"]) == (0.5, 3)
    job = Job.objects.get(batch=done)
    assert [(item["type"], item["passed"]) for item in job.assertions] == [
        ("contains", True),
        ("contains", False),
    ]
    assert (done.agent_name, done.failed) == (agent.name, 1)


def test_an_agent_changed_later_does_not_reach_batches_made_before() -> None:
    actor = make_actor()
    agent = make_agent(actor, primary_instructions="Old.")
    batch = batches.create(
        user_id=actor.user.pk,
        endpoint=agent.endpoint,
        agent=agent,
        documents=[make_document(actor)],
        config=Config(),
        now=NOW,
    )

    agents.change(actor, agent, primary_instructions="New.")

    batch.refresh_from_db()
    assert batch.instructions == "Old."


def test_an_endpoint_that_an_agent_uses_is_not_deleted() -> None:
    actor = make_actor()
    agent = make_agent(actor, name="Helper")

    with pytest.raises(Conflict, match="used by the agent 'Helper'"):
        endpoints.delete(actor, agent.endpoint)


def test_an_experiments_agent_answers_in_its_own_experiment_only() -> None:
    actor = make_actor()
    batch = make_experiment(actor, tracking_id="mine")
    agent = batch.ephemeral_agents.get()

    assert agents.find(actor.project.pk, agent.pk, tracking_id="mine") == agent
    with pytest.raises(Invalid, match="belongs to the experiment 'mine'"):
        agents.find(actor.project.pk, agent.pk, tracking_id="other")
    with pytest.raises(Conflict, match="goes with it"):
        agents.delete(actor, agent)


def test_two_agents_of_a_project_do_not_share_a_name() -> None:
    actor = make_actor()
    make_agent(actor, name="Helper")

    with pytest.raises(Invalid, match="has this name already"):
        make_agent(actor, name="Helper")
    make_experiment(actor)
    make_experiment(actor)


def test_a_batch_remembers_its_agent_by_name() -> None:
    actor = make_actor()
    agent = make_agent(actor, name="Helper")
    batch = make_batch(actor, endpoint=agent.endpoint, agent=agent)

    agents.delete(actor, agent)

    batch.refresh_from_db()
    assert (batch.agent, batch.agent_name) == (None, "Helper")

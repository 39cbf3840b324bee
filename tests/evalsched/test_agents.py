"""Schedules whose suite an agent answers."""

from typing import Any

import pytest
from django.db import IntegrityError

from access.actors import Actor
from access.errors import Conflict, Invalid
from batches import agents
from batches.models import Agent, Batch
from evalsched import admission, dispatch, run_lines, schedules
from evalsched.models import Run, RunStatus, Schedule
from tests.evalsched.compared_runs import batch_of, make_completed
from tests.factories import (
    NOW,
    make_actor,
    make_agent,
    make_endpoint,
    make_experiment,
    make_run,
    make_schedule,
    make_suite,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor() -> Actor:
    return make_actor()


@pytest.fixture
def agent(actor: Actor) -> Agent:
    return make_agent(
        actor,
        name="Helper",
        primary_instructions="Answer in one word.",
        parameters={"temperature": 0},
        assertions=[{"type": "not-contains", "value": "sorry"}],
    )


@pytest.fixture
def schedule(actor: Actor, agent: Agent) -> Schedule:
    return make_schedule(actor, suite=make_suite(actor, cases=12), agent=agent)


def details_of(run: Run) -> dict[str, Any]:
    details: dict[str, Any] | None = run.regression_details
    assert details is not None
    return details


def test_a_run_asks_the_agent_and_keeps_what_it_was(schedule: Schedule, agent: Agent) -> None:
    run = make_completed(schedule)

    batch = batch_of(run)
    assert (batch.agent, batch.endpoint) == (agent, agent.endpoint)
    assert batch.instructions == "Answer in one word."
    kept = run.snapshot["agent"]
    assert kept == agents.as_json(agent)
    assert (run.snapshot["agent_id"], run.snapshot["agent_name"]) == (str(agent.pk), "Helper")
    assert run.snapshot["model_name"] == agent.endpoint.name


def test_a_dispatched_run_names_agent_and_model(schedule: Schedule, agent: Agent) -> None:
    due = schedule.next_run_at
    assert due is not None

    dispatch.dispatch_due(due)

    run = Run.objects.get()
    assert run.snapshot["agent_name"] == "Helper"
    assert run.snapshot["model_id"] == str(agent.endpoint_id)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"parameters": {"temperature": 1}}, "model's parameters changed"),
        ({"assertions": [{"type": "contains", "value": "yes"}]}, "agent's assertions changed"),
    ],
    ids=["parameters", "graders"],
)
def test_an_agent_asked_or_graded_otherwise_is_not_comparable(
    fields: dict[str, Any], named: str, actor: Actor, schedule: Schedule, agent: Agent
) -> None:
    first = make_completed(schedule)
    agents.change(actor, agent, **fields)

    run = make_completed(schedule, hours=1, wrong=range(1, 12))

    assert details_of(run)["metrics"]["quality"]["verdict"] == "not_comparable"
    assert named in details_of(run)["sentence"]
    assert not run.regression_detected
    hashes = {one.snapshot["agent"]["content_hash"] for one in (first, run)}
    assert len(hashes) == 2


def test_new_instructions_are_what_is_judged_and_the_verdict_says_that_they_are_new(
    actor: Actor, schedule: Schedule, agent: Agent
) -> None:
    make_completed(schedule)
    agents.change(actor, agent, primary_instructions="Answer in verse.")

    run = make_completed(schedule, hours=1, wrong=range(1, 12))

    assert run.regression_detected
    said = details_of(run)["sentence"]
    assert "The agent's instructions differ from the baseline's." in said
    assert details_of(run)["candidate"]["agent_name"] == "Helper"


def test_the_same_agent_twice_is_said_to_be_the_same(schedule: Schedule) -> None:
    make_completed(schedule)

    run = make_completed(schedule, hours=1)

    assert "differ" not in details_of(run)["sentence"]


def test_an_agents_next_model_answers_the_next_run(
    actor: Actor, schedule: Schedule, agent: Agent
) -> None:
    run = make_run(schedule)
    other = make_endpoint(actor, name="Other")
    agents.change(actor, agent, endpoint=other)

    admission.start_queued(NOW)

    run.refresh_from_db()
    assert batch_of(run).endpoint == other
    assert (run.snapshot["model_id"], run.snapshot["model_name"]) == (str(other.pk), "Other")


def test_an_agent_that_a_schedule_uses_is_not_deleted(
    actor: Actor, schedule: Schedule, agent: Agent
) -> None:
    with pytest.raises(Conflict, match=f"Helper is used by the schedule '{schedule.name}'"):
        agents.delete(actor, agent)
    with pytest.raises(IntegrityError, match="agent_id_in_project"):
        Agent.objects.filter(pk=agent.pk).delete()


def test_a_run_whose_agent_was_deleted_since_says_so(
    actor: Actor, schedule: Schedule, agent: Agent
) -> None:
    run = make_run(schedule)
    schedules.change(actor, schedule, now=NOW, endpoint=make_endpoint(actor))
    agents.delete(actor, agent)

    admission.start_queued(NOW)

    run.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert "The agent 'Helper' was deleted." in run.error_message
    assert not Batch.objects.exists()


def test_model_and_agent_take_each_others_place(
    actor: Actor, schedule: Schedule, agent: Agent
) -> None:
    endpoint = make_endpoint(actor)

    changed = schedules.change(actor, schedule, now=NOW, endpoint=endpoint)
    assert (changed.endpoint, changed.agent, changed.model_endpoint) == (endpoint, None, endpoint)

    changed = schedules.change(actor, schedule, now=NOW, agent=agent)
    assert (changed.endpoint, changed.agent) == (None, agent)
    assert changed.model_endpoint == agent.endpoint


@pytest.mark.parametrize("left", ["both", "none", "experiment"])
def test_a_schedule_has_one_that_answers(
    left: str, actor: Actor, schedule: Schedule, agent: Agent
) -> None:
    match left:
        case "both":
            fields: dict[str, Any] = {"endpoint": make_endpoint(actor), "agent": agent}
        case "none":
            fields = {"agent": None}
        case _:
            fields = {"agent": make_experiment(actor).ephemeral_agents.get()}

    with pytest.raises(Invalid) as refused:
        schedules.change(actor, schedule, now=NOW, **fields)

    assert set(refused.value.details) == {"model_id" if left == "none" else "agent_id"}


def test_the_csv_names_the_agent(schedule: Schedule) -> None:
    make_run(schedule)

    header, line = run_lines.lines(Run.objects.all())

    assert header.strip().endswith(",agent_name")
    assert line.strip().endswith(",Helper")

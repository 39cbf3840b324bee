"""Agents: an endpoint with a system prompt, parameters and assertions, under one name."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError, transaction

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict, Invalid
from batches import scoring
from batches.models import Agent, Batch
from batches.scoring.fields import content_hash
from batches.users import refuse_if_used


def create(actor: Actor, **fields: Any) -> Agent:
    """Make an agent in the actor's project.

    Raises:
        Invalid: a field breaks a rule, or the name is taken.
    """
    agent = Agent(project=actor.project, user=actor.user)
    _assign(agent, fields)
    with _explained():
        agent.save(force_insert=True)
    audit.record(actor, "agent.created", agent, {"fields": sorted(fields)})
    return agent


def draft_ephemeral(batch: Batch, **fields: Any) -> Agent:
    """Return the agent that `create_ephemeral` would make.

    Raises:
        Invalid: a field breaks a rule.
    """
    agent = Agent(project_id=batch.project_id, user_id=batch.user_id, ephemeral_batch=batch)
    _assign(agent, fields, path="ephemeral_agent.")
    return agent


def create_ephemeral(batch: Batch, **fields: Any) -> Agent:
    """Make an agent that belongs to an experiment and goes with it. Its name need not be free."""
    agent = draft_ephemeral(batch, **fields)
    with _explained():
        agent.save(force_insert=True)
    return agent


def change(actor: Actor, agent: Agent, **fields: Any) -> Agent:
    """Change the given fields. Batches that were made before keep what they were made with."""
    with _explained():
        agent = rows.locked(agent)
        _assign(agent, fields)
        agent.save(update_fields=[*fields, "updated_at"])
        audit.record(actor, "agent.changed", agent, {"fields": sorted(fields)})
    return agent


def delete(actor: Actor, agent: Agent) -> None:
    """Delete an agent. What its batches found stays.

    Raises:
        Conflict: a schedule uses it, or it belongs to an experiment.
    """
    if agent.ephemeral_batch_id:
        raise Conflict("This agent belongs to an experiment and goes with it.")
    refuse_if_used(agent)
    audit.record(actor, "agent.deleted", agent)
    agent.delete()


def find(
    project_id: uuid.UUID, agent_id: uuid.UUID, *, tracking_id: str = "", field: str = "agent_id"
) -> Agent:
    """Return the project's agent; an experiment's own only where the experiment is the same.

    Raises:
        Invalid: there is none of that id; `field` is the one to blame.
    """
    agents = Agent.objects.select_related("endpoint", "ephemeral_batch")
    agent = agents.filter(project_id=project_id, pk=agent_id).first()
    if agent is None:
        raise Invalid.field(field, "There is no such agent in this project. See /api/agents.")
    experiment = agent.ephemeral_batch
    if experiment is not None and experiment.tracking_id != tracking_id:
        raise Invalid.field(
            field, f"This agent belongs to the experiment '{experiment.tracking_id}'."
        )
    return agent


def as_json(agent: Agent) -> dict[str, Any]:
    """Return the agent as it is now, with a hash over what shapes an answer or its score."""
    meaning = {
        "primary_instructions": agent.primary_instructions,
        "parameters": agent.parameters,
        "assertions": agent.assertions,
    }
    about = {"id": str(agent.pk), "name": agent.name, "content_hash": content_hash(meaning)}
    return about | meaning


def _assign(agent: Agent, fields: dict[str, Any], *, path: str = "") -> None:
    if "assertions" in fields:
        parsed = scoring.parse(fields["assertions"], path=f"{path}assertions")
        fields = fields | {"assertions": [assertion.as_json() for assertion in parsed]}
    for name, value in fields.items():
        setattr(agent, name, value)


@contextmanager
def _explained() -> Iterator[None]:
    """Open a transaction; say in words which rule of the database was broken in it."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "one_agent_of_a_name" in str(error):
            complaint = "An agent of this project has this name already."
            raise Invalid.field("name", complaint) from None
        raise Conflict("The model endpoint was deleted at this very moment.") from None

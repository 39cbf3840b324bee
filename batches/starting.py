"""From a request that starts a batch to the one domain call that does, for every address."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from rest_framework.response import Response

from access import audit
from access.api.views import ApiView
from access.errors import Invalid
from batches import agents, batches, documents, endpoints, estimates, experiments, suites
from batches.batches import Config
from batches.documents import Draft
from batches.estimates import Estimate
from batches.experiments import Plan
from batches.models import Batch, Document, ModelEndpoint
from batches.serializers import StartedBatchSerializer

_OF_EXPERIMENTS = (
    "tracking_id",
    "is_ephemeral",
    "expires_in_days",
    "ephemeral_agent",
    "ephemeral_documents",
)


def started(view: ApiView, given: dict[str, Any], *, deadline_at: datetime | None = None) -> Batch:
    """Start the batch or experiment that a validated `StartBatchSerializer` describes."""
    asked, plan, about = _meant(view, given)
    about["deadline_at"] = deadline_at
    if plan is not None:
        return experiments.create(view.actor, plan, asked=asked, **about)
    about["description"] = given.get("description", "")
    batch = batches.create(user_id=view.actor.user.pk, documents=asked, **about)
    audit.record(view.actor, "batch.started", batch)
    return batch


def estimated(view: ApiView, given: dict[str, Any]) -> Estimate:
    """Say what starting it would take. Nothing is started."""
    asked, plan, about = _meant(view, given)
    return estimates.estimate(user_id=view.actor.user.pk, documents=asked, plan=plan, **about)


def _meant(
    view: ApiView, given: dict[str, Any]
) -> tuple[list[Document], Plan | None, dict[str, Any]]:
    """Return documents, the experiment if it is one, and what else a batch is made from."""
    project_id, tracking_id = view.actor.project.pk, given.get("tracking_id", "")
    agent = None
    if "agent_id" in given:
        agent = agents.find(project_id, given["agent_id"], tracking_id=tracking_id)
    endpoint = agent.endpoint if agent else _endpoint(view, given)
    suite = suites.find(project_id, given["test_suite_id"]) if "test_suite_id" in given else None
    options = {option.name for option in fields(Config)}
    config = Config(**{name: value for name, value in given.items() if name in options})
    asked = _asked(view, given, tracking_id) if suite is None else []
    plan = _plan(view, given) if any(given.get(name) for name in _OF_EXPERIMENTS) else None
    return (
        asked,
        plan,
        {
            "endpoint": endpoint,
            "agent": agent,
            "suite": suite,
            "config": config,
            "target_count": given.get("target_count"),
            "now": view.now,
        },
    )


def _endpoint(view: ApiView, given: dict[str, Any]) -> ModelEndpoint:
    """Return the batch's own endpoint or, where only the ephemeral agent names one, that."""
    project_id = view.actor.project.pk
    if "model_id" in given:
        return endpoints.find(project_id, given["model_id"])
    wanted = given["ephemeral_agent"]["model_id"]
    return endpoints.find(project_id, wanted, field="ephemeral_agent.model_id")


def answered(view: ApiView, batch: Batch, **more: Any) -> Response:
    """Answer a batch that was started, with what else there is to say of it."""
    shown = StartedBatchSerializer(batch, context=view.get_serializer_context())
    return Response(shown.data | more, status=202)


def _asked(view: ApiView, given: dict[str, Any], tracking_id: str) -> list[Document]:
    project_id = view.actor.project.pk
    if "document_ids" in given:
        return documents.find_all(project_id, given["document_ids"], tracking_id=tracking_id)
    if "ephemeral_documents" in given:
        return []
    found = documents.newest(project_id, given["target_count"])
    if not found:
        raise Invalid.field("target_count", "This project has no documents. See /api/documents.")
    return found


def _plan(view: ApiView, given: dict[str, Any]) -> Plan:
    agent = given.get("ephemeral_agent")
    if agent is not None:
        agent = dict(agent)
        if model_id := agent.pop("model_id", ""):
            agent["endpoint"] = endpoints.find(
                view.actor.project.pk, model_id, field="ephemeral_agent.model_id"
            )
    brought = given.get("ephemeral_documents", {})
    return Plan(
        tracking_id=given.get("tracking_id", ""),
        description=given.get("description", ""),
        is_ephemeral=given.get("is_ephemeral", False),
        expires_in_days=given.get("expires_in_days"),
        agent=agent,
        documents=[
            *(Draft(one.get("title", ""), one["content"]) for one in brought.get("inline", ())),
            *(
                Draft(url=url, field=f"ephemeral_documents.urls[{index}]")
                for index, url in enumerate(brought.get("urls", ()))
            ),
        ],
    )

"""What a run keeps of its schedule, whatever is edited later, and what it finds of that again."""

from typing import Any

from access.errors import Invalid
from batches import agents
from batches.models import Agent, Batch, ModelEndpoint, TestSuite
from evalsched.comparisons import ENDPOINT_PARAMETERS, rules_of
from evalsched.metrics import Metric, RegressionMethod
from evalsched.models import Run, Schedule, ScheduleKind
from evalsched.verdicts import Rules

_DELETED = "The {part} '{name}' was deleted. Choose another in the schedule, then run now."


def of(schedule: Schedule) -> dict[str, Any]:
    """Return the configuration that a run keeps, whatever is edited later.

    Of a model run it names the model; the parameters are nowhere but in the schedule.
    """
    kept = {
        "schedule_name": schedule.name,
        "model_id": str(schedule.model_endpoint.pk),
        "model_name": schedule.model_endpoint.name,
        "timezone": schedule.timezone,
        "alert_on_failure": schedule.alert_on_failure,
    }
    if schedule.kind == ScheduleKind.MODEL_RUN:
        return kept
    return kept | {
        "test_suite_id": str(schedule.suite_id),
        "test_suite_name": schedule.suite.name,
        "agent_id": None if schedule.agent is None else str(schedule.agent_id),
        "agent_name": "" if schedule.agent is None else schedule.agent.name,
        "batch_test_config": schedule.batch_test_config,
        "alert_on_regression": schedule.alert_on_regression,
        "regression_threshold_percent": schedule.regression_threshold_percent,
        "regression_method": schedule.regression_method,
        "gated_metrics": list(schedule.gated_metrics),
    }


def rules(schedule: Schedule, run: Run) -> Rules:
    """Return how the run is judged; one of an older release, by the schedule as it is now."""
    about = run.snapshot
    if "gated_metrics" not in about:
        return rules_of(schedule)
    return Rules(
        method=RegressionMethod(about["regression_method"]),
        threshold_percent=about["regression_threshold_percent"],
        gated=tuple(metric for metric in Metric if metric in about["gated_metrics"]),
    )


def used(batch: Batch) -> dict[str, Any]:
    """Return who answers a batch that starts: the agent and the endpoint as they are now."""
    agent = batch.agent
    return {
        "model_id": str(batch.endpoint_id),
        "model_name": batch.model_name,
        ENDPOINT_PARAMETERS: batch.endpoint.parameters,
        "agent_id": None if agent is None else str(agent.pk),
        "agent_name": batch.agent_name,
        "agent": None if agent is None else agents.as_json(agent),
    }


def parts(run: Run) -> tuple[TestSuite, ModelEndpoint, Agent | None]:
    """Return what the run was made to run. An agent is asked as it is now, whatever its model.

    Raises: Invalid, naming what was deleted since.
    """
    own, about = run.project_id, run.snapshot
    suite = TestSuite.objects.filter(project_id=own, pk=about["test_suite_id"]).first()
    if suite is None:
        raise Invalid(_DELETED.format(part="test suite", name=about["test_suite_name"]))
    if about.get("agent_id"):
        agents_of = Agent.objects.filter(project_id=own).select_related("endpoint")
        agent = agents_of.filter(pk=about["agent_id"]).first()
        if agent is None:
            raise Invalid(_DELETED.format(part="agent", name=about["agent_name"]))
        return suite, agent.endpoint, agent
    endpoint = ModelEndpoint.objects.filter(project_id=own, pk=about["model_id"]).first()
    if endpoint is None:
        raise Invalid(_DELETED.format(part="model endpoint", name=about["model_name"]))
    return suite, endpoint, None

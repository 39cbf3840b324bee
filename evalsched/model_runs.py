"""Scheduled model runs: schedules of one call. Their parameters are stored encrypted and whole.

When they are due, admitted, ended and switched off is the same as for evaluations.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from access import rows, strict_json
from access.actors import Actor
from access.errors import Invalid
from access.secrets import Secret, UnreadableSecret
from batches import endpoints, requests
from batches.batches import Config
from batches.models import Batch, BatchStatus, Job, ModelEndpoint
from batches.requests import Request
from evalsched import masks, schedules
from evalsched.models import ModelRun, Schedule, ScheduleKind, ScheduleType

MAX_BYTES = 256 * 1024
MAX_NAMED = 100
# A single answer may be a long one; a run leaves time to try a second time.
TIMEOUT_MS = 300_000
ELSEWHERE = (
    "The model's address is another one than when the sensitive values were given, so they are "
    "not sent there. Give the values again."
)


@dataclass(frozen=True)
class Stored:
    """What `Schedule.parameters` holds. `origin` is where its sensitive values may be sent."""

    parameters: dict[str, Any]
    origin: str


def create(
    actor: Actor,
    *,
    now: datetime,
    endpoint: ModelEndpoint,
    cron_expression: str,
    parameters: Mapping[str, Any],
    **fields: Any,
) -> ModelRun:
    """Make a scheduled model run; `fields` are `timezone` and `is_active`.

    Raises:
        Invalid: a field breaks a rule.
    """
    row = schedules.create(
        actor,
        now=now,
        kind=ScheduleKind.MODEL_RUN,
        name=_name(endpoint, cron_expression),
        schedule_type=ScheduleType.CUSTOM,
        cron_expression=cron_expression,
        endpoint=endpoint,
        parameters=_checked(parameters, Stored({}, ""), endpoint),
        **fields,
    )
    return ModelRun.objects.select_related("endpoint").get(pk=row.pk)


def change(actor: Actor, row: ModelRun, *, now: datetime, **fields: Any) -> ModelRun:
    """Change the given fields. `parameters` replace the old ones, whose masks keep their values.

    Raises:
        Invalid: a field breaks a rule, or stored sensitive values would go to another host.
    """
    with transaction.atomic():
        row = rows.locked(row, "endpoint")
        endpoint = fields.get("endpoint", row.endpoint)
        if "parameters" in fields or endpoint.pk != row.endpoint_id:
            given, stored = fields.get("parameters"), _stored_or_nothing(row)
            if given is None:
                given = masks.masked(stored.parameters)
            fields["parameters"] = _checked(given, stored, endpoint)
        name = _name(endpoint, fields.get("cron_expression", row.cron_expression))
        if name != row.name:
            fields["name"] = name
        schedules.change(actor, row, now=now, **fields)
    return ModelRun.objects.select_related("endpoint").get(pk=row.pk)


def delete(actor: Actor, row: ModelRun, *, now: datetime) -> None:
    """Delete it with its executions and their answers; what is under way is stopped first."""
    with transaction.atomic():
        made = list(row.runs.exclude(batch=None).values_list("batch_id", flat=True))
        schedules.delete(actor, row, now=now)
        Batch.objects.filter(pk__in=made).delete()


def shown(row: Schedule) -> dict[str, Any]:
    """Return the parameters with masks; empty where their key is gone."""
    return masks.masked(_stored_or_nothing(row).parameters)


def start(schedule: Schedule, *, now: datetime, deadline_at: datetime) -> Batch:
    """Make the batch of an execution, with the parameters and the model of this moment.

    Raises:
        Invalid: sensitive values were given for another host than the model's.
        UnreadableSecret: the key of the parameters is gone.
    """
    stored, endpoint = _stored(schedule), schedule.endpoint
    if masks.any_in(stored.parameters) and stored.origin != endpoints.origin(endpoint.base_url):
        raise Invalid(ELSEWHERE)
    timeout_ms = min(TIMEOUT_MS, settings.EVALSCHED_RUN_TIMEOUT_SECONDS * 1000)
    return requests.create(
        user_id=schedule.user_id,
        endpoint=endpoint,
        request=_request(stored.parameters),
        config=Config(name=schedule.name, concurrency=1, timeout_ms=timeout_ms),
        now=now,
        deadline_at=deadline_at,
    )


def failure(batch: Batch) -> tuple[str, str] | None:
    """Return the class and the sentence of what went wrong, None where there is an answer."""
    if batch.status != BatchStatus.COMPLETED:
        return batch.error_class, batch.error_message or f"The call ended {batch.status}."
    job = Job.objects.get(batch=batch)
    return (job.error_class, job.error_message) if job.error_class else None


def _checked(parameters: Mapping[str, Any], stored: Stored, endpoint: ModelEndpoint) -> Secret:
    """Return what is stored of the parameters, with their masks resolved.

    Raises:
        Invalid: they are too large, no request, or hold a mask that keeps nothing.
    """
    complaint = strict_json.flaw(parameters)
    if complaint:
        raise Invalid.field("parameters", complaint)
    _check_names(parameters.get(masks.NAMED))
    origin = endpoints.origin(endpoint.base_url)
    elsewhere = stored.origin != origin and masks.any_in(stored.parameters)
    if elsewhere and masks.kept_in(parameters):
        raise Invalid.field("parameters", ELSEWHERE)
    whole = masks.restored(parameters, stored.parameters, path="parameters")
    if len(json.dumps(whole, ensure_ascii=False).encode()) > MAX_BYTES:
        raise Invalid.field("parameters", f"They are larger than {MAX_BYTES:,} bytes as JSON.")
    _request(whole)
    return Secret.hide(json.dumps({"parameters": whole, "origin": origin}))


def _check_names(named: object) -> None:
    if named is None:
        return
    fits = isinstance(named, list) and len(named) <= MAX_NAMED
    if not fits or not all(isinstance(name, str) and name for name in named):  # type: ignore[attr-defined]
        sentence = f"Name the sensitive keys as a list of at most {MAX_NAMED} texts."
        raise Invalid.field("parameters.sensitive", sentence)


def _request(parameters: Mapping[str, Any]) -> Request:
    asked = {name: value for name, value in parameters.items() if name != masks.NAMED}
    return requests.parse(asked, path="parameters")


def _stored(row: Schedule) -> Stored:
    assert isinstance(row.parameters, Secret)
    return Stored(**json.loads(row.parameters.reveal()))


def _stored_or_nothing(row: Schedule) -> Stored:
    try:
        return _stored(row)
    except UnreadableSecret:
        # It has to be seen by whoever is to enter it again; a run says what is wrong.
        return Stored({}, "")


def _name(endpoint: ModelEndpoint, cron_expression: str) -> str:
    """Return what mails, logs and refusals call it."""
    return f"{endpoint.name[:100]} ({cron_expression[:90]})"

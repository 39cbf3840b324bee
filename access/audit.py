"""The trail: who did what to which object. Written in the transaction of the change."""

from collections.abc import Mapping
from typing import Any

import structlog
from django.db import models

from access.actors import Actor
from access.models import AuditEvent


def record(
    actor: Actor, action: str, target: models.Model, details: Mapping[str, Any] | None = None
) -> None:
    """Note that `actor` did `action` (say, "schedule.disabled") to `target`.

    `details` must hold no secrets: it is shown to every member of the project.
    """
    AuditEvent(
        project=actor.project,
        user=actor.user,
        via=actor.via,
        action=action,
        # A proxy is the same object under another name.
        object_type=(target._meta.concrete_model or type(target))._meta.model_name or "",
        object_id=str(target.pk),
        object_name=str(target)[:200],
        details=dict(details or {}),
        correlation_id=structlog.contextvars.get_contextvars().get("request_id", ""),
    ).save(force_insert=True)

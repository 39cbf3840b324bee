"""Runs written many at once: one statement, and what exists already is left alone."""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import NOT_PROVIDED

from access.ids import uuid7
from evalsched import snapshots
from evalsched.models import Run, RunStatus, RunTrigger, Schedule


class Draft(NamedTuple):
    """A run to be inserted; `completed_at` and `why` are set where it ends before it begins."""

    schedule: Schedule
    scheduled_for: datetime
    status: RunStatus = RunStatus.TRIGGERED
    why: str = ""
    completed_at: datetime | None = None


# The columns that differ from row to row, with their types; the others hold what is given for all
# rows, or the model's default.
_VARYING = {
    "id": "uuid",
    "project_id": "uuid",
    "user_id": "uuid",
    "schedule_id": "uuid",
    "scheduled_for": "timestamptz",
    "status": "text",
    "error_message": "text",
    "completed_at": "timestamptz",
}
_SNAPSHOT = "snapshot"


def insert(
    drafts: Sequence[Draft],
    *,
    trigger: RunTrigger,
    now: datetime,
    user_id: uuid.UUID | None = None,
    backfill_id: uuid.UUID | None = None,
) -> list[uuid.UUID]:
    """Insert the runs that do not exist yet; return the schedule of each that now waits.

    They belong to `user_id`, where that is None to their schedule's author.
    """
    if not drafts:
        return []
    kept: dict[uuid.UUID, dict[str, Any]] = {}
    for draft in drafts:
        if draft.schedule.pk not in kept:
            kept[draft.schedule.pk] = snapshots.of(draft.schedule)
    rows = [
        (
            uuid7(),
            draft.schedule.project_id,
            user_id or draft.schedule.user_id,
            draft.schedule.pk,
            draft.scheduled_for,
            draft.status.value,
            draft.why,
            draft.completed_at,
        )
        for draft in drafts
    ]
    same = {
        "trigger": trigger.value,
        "triggered_at": now,
        "created_at": now,
        "updated_at": now,
        "backfill_id": backfill_id,
    }
    # One document rather than an array of texts, each of which would have to be quoted.
    documents = json.dumps([kept[draft.schedule.pk] for draft in drafts])
    return _insert([list(column) for column in zip(*rows, strict=True)], documents, same)


def _insert(columns: list[list[object]], snapshots: str, same: dict[str, Any]) -> list[uuid.UUID]:
    constants = _defaults() | same
    names = ", ".join(f'"{name}"' for name in (*_VARYING, _SNAPSHOT, *constants))
    arrays = ", ".join(f"unnest(%s::{kind}[])" for kind in _VARYING.values())
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO evalsched_run ({names})"  # noqa: S608  names of columns only
            f" SELECT v.*, {', '.join(['%s'] * len(constants))}"
            f" FROM ROWS FROM ({arrays}, jsonb_array_elements(%s::jsonb)) AS v"
            " ON CONFLICT DO NOTHING RETURNING schedule_id, status",
            [*constants.values(), *columns, snapshots],
        )
        return [schedule_id for schedule_id, status in cursor if status == RunStatus.TRIGGERED]


def _defaults() -> dict[str, Any]:
    """Return the model's defaults of the columns that may not be null."""
    return {
        str(field.column): field.get_db_prep_save(field.get_default(), connection)
        for field in Run._meta.concrete_fields
        if field.column not in {*_VARYING, _SNAPSHOT}
        and not field.null
        and (field.default is not NOT_PROVIDED or field.empty_strings_allowed)
    }

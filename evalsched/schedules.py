"""Schedules: made, changed, switched on and off. When they are due is `dispatch`'s question."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from django.db import IntegrityError, transaction

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict, Invalid, Refusal
from access.models import AuditEvent
from batches import batches
from batches.models import Batch
from evalsched import announcements, occurrences
from evalsched import detection as detections
from evalsched.detection import Detection
from evalsched.models import RUN_OPEN, Schedule, ScheduleType
from evalsched.occurrences import Timing

logger = structlog.get_logger(__name__)

# Changing one of these changes when the schedule is due next.
TIME_FIELDS = frozenset(
    {"schedule_type", "cron_expression", "timezone", "dst_gap", "dst_overlap", "is_active"}
)

PAUSED_ALL = "Paused with all others by pause_all. Take it back with resume_all."


def timing(schedule: Schedule) -> Timing:
    return Timing(
        schedule_type=schedule.schedule_type,
        cron_expression=schedule.cron_expression,
        timezone=schedule.timezone,
        dst_gap=schedule.dst_gap or None,
        dst_overlap=schedule.dst_overlap or None,
    )


def detection(schedule: Schedule) -> Detection:
    """Return what the schedule's next run can see."""
    asked = schedule.batch_test_config.get("repeats")
    # Somebody may have stored what makes no batch; its run says so, the page has to open.
    repeats = asked if isinstance(asked, int) and asked > 0 else 1
    return detections.of_suite(
        schedule.suite.case_count, repeats=repeats, spread=schedule.paired_spread
    )


def create(actor: Actor, *, now: datetime, **fields: Any) -> Schedule:
    """Make a schedule in the actor's project. Its first occurrence lies after `now`.

    Raises:
        Invalid: a field breaks a rule, or the name is taken.
    """
    schedule = Schedule(project=actor.project, user=actor.user)
    _assign(schedule, fields, now)
    _save(schedule)
    audit.record(actor, "schedule.created", schedule)
    return schedule


def change(actor: Actor, schedule: Schedule, *, now: datetime, **fields: Any) -> Schedule:
    """Change the given fields; time fields recompute `next_run_at` from now.

    A run under way keeps the configuration it started with.
    """
    with transaction.atomic():
        # As it is now, not as the caller read it: a tick may have moved it on.
        schedule = rows.locked(schedule, "suite", "endpoint")
        _assign(schedule, fields, now)
        _save(schedule)
        audit.record(actor, "schedule.changed", schedule, {"fields": sorted(fields)})
    return schedule


def toggle(actor: Actor, schedule: Schedule, *, now: datetime) -> Schedule:
    """Switch the schedule on, or off if it is on."""
    with transaction.atomic():
        # Two at once are two: the second sees what the first has done.
        active = not rows.locked(schedule).is_active
        return change(actor, schedule, now=now, is_active=active)


def set_active(actor: Actor, schedule: Schedule, active: bool, *, now: datetime) -> Schedule:
    """Switch the schedule on or off. Switching it on never fires for the past."""
    if schedule.is_active == active:
        return schedule
    return change(actor, schedule, now=now, is_active=active)


def delete(actor: Actor, schedule: Schedule, *, now: datetime) -> None:
    """Delete a schedule with its runs; what is under way is stopped first."""
    with transaction.atomic():
        schedule = rows.locked(schedule)
        for batch in Batch.objects.filter(runs__schedule=schedule, runs__status__in=RUN_OPEN):
            batches.cancel(batch, now=now, reason="The schedule was deleted.")
        audit.record(actor, "schedule.deleted", schedule)
        schedule.delete()


def disable(schedule: Schedule, reason: str, *, now: datetime) -> bool:
    """Switch a schedule off for `reason`, once, and tell its author.

    The service does this itself; the caller holds the schedule's lock.
    """
    if not _switch_off(schedule, reason, now):
        return False
    announcements.schedule_disabled(schedule, reason, now=now)
    logger.warning("schedule disabled", schedule=schedule.name, why=reason)
    return True


def pause_all(*, now: datetime) -> int:
    """Switch every active schedule off until `resume_all`, and return how many they were."""
    with transaction.atomic():
        active = Schedule.objects.filter(is_active=True).select_for_update().order_by("pk")
        return sum(_switch_off(schedule, PAUSED_ALL, now) for schedule in active)


def resume_all(*, now: datetime) -> int:
    """Switch on what `pause_all` switched off; nothing fires for the past."""
    with transaction.atomic():
        paused = Schedule.objects.filter(is_active=False, pause_reason=PAUSED_ALL)
        resumed = list(paused.select_for_update().order_by("pk"))
        for schedule in resumed:
            _assign(schedule, {"is_active": True}, now)
            _save(schedule)
            _note(schedule, "schedule.resumed", {})
        return len(resumed)


def _switch_off(schedule: Schedule, reason: str, now: datetime) -> bool:
    switched = Schedule.objects.filter(pk=schedule.pk, is_active=True).update(
        is_active=False, next_run_at=None, pause_reason=reason, updated_at=now
    )
    if switched:
        _note(schedule, "schedule.disabled", {"reason": reason})
    return bool(switched)


def _note(schedule: Schedule, action: str, details: dict[str, Any]) -> None:
    """Leave a trail for what the service or the operator's command line did."""
    AuditEvent(
        project_id=schedule.project_id,
        user_id=schedule.user_id,
        via="service",
        action=action,
        object_type="schedule",
        object_id=str(schedule.pk),
        object_name=schedule.name,
        details=details,
    ).save(force_insert=True)


def _assign(schedule: Schedule, fields: Mapping[str, Any], now: datetime) -> None:
    # What is sent back unchanged, as editors of whole objects do, changes nothing.
    changed = {name for name, value in fields.items() if getattr(schedule, name, None) != value}
    for name, value in fields.items():
        setattr(schedule, name, value)
    if schedule.schedule_type != ScheduleType.CUSTOM:
        schedule.cron_expression = ""
    if {"suite", "endpoint"} & changed:
        # What the last comparison told of them does not hold for others.
        schedule.paired_spread = None
    fresh = schedule._state.adding
    if not fresh and not TIME_FIELDS & changed:
        return
    occurrences.validate(timing(schedule))
    if schedule.is_active:
        schedule.next_run_at = occurrences.next_after(timing(schedule), now)
        schedule.pause_reason = ""
        if "is_active" in changed:
            schedule.consecutive_failures = 0
    else:
        schedule.next_run_at = None


def _save(schedule: Schedule) -> None:
    try:
        with transaction.atomic():
            schedule.save(force_update=not schedule._state.adding)
    except IntegrityError as error:
        raise _explained(error) from None


def _explained(error: IntegrityError) -> Refusal:
    if "one_schedule_of_a_name" in str(error):
        return Invalid.field("name", "A schedule of this project has this name already.")
    return Conflict("The suite or the model endpoint was deleted at this very moment.")

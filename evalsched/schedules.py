"""Schedules: made, changed, switched on and off. When they are due is `dispatch`'s question."""

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict, Invalid, Refusal
from access.models import AuditEvent
from batches import batches
from batches.models import Batch
from evalsched import agenda, announcements, edits
from evalsched import detection as detections
from evalsched.detection import Detection
from evalsched.models import (
    ONE_BY_ONE,
    PARTS,
    RUN_OPEN,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
)

logger = structlog.get_logger(__name__)

# How the reason of a schedule begins that `pause_all` switched off; its own follows.
PAUSED_ALL = "Paused with all others by pause_all. Take it back with resume_all."
_REASON_BEFORE = " Its reason before: "
PAUSED_WITH_ALL = Q(is_active=False, paused_by_hand=False, pause_reason__startswith=PAUSED_ALL)
# How the reason of a schedule begins that came to its end as it was meant to.
ENDED = "It has ended: "


def due(now: datetime) -> QuerySet[Schedule]:
    unpaused = Q(paused_until__isnull=True) | Q(paused_until__lte=now)
    return Schedule.objects.filter(unpaused, is_active=True, next_run_at__lte=now)


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
    edits.assign(schedule, fields, now)
    _save(schedule)
    audit.record(actor, "schedule.created", schedule)
    return schedule


def change(actor: Actor, schedule: Schedule, *, now: datetime, **fields: Any) -> Schedule:
    """Change the given fields; time fields recompute `next_run_at` from now.

    A run under way keeps the configuration it started with.
    """
    with transaction.atomic():
        # As it is now, not as the caller read it: a tick may have moved it on.
        schedule = rows.locked(schedule, *PARTS)
        was_active = schedule.is_active
        edits.assign(schedule, fields, now)
        _save(schedule)
        if was_active and not schedule.is_active:
            _withdraw(_of_schedule(schedule), "The schedule was switched off.", now)
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
    """Switch a schedule off for `reason`, once, with what waits of it, and tell its author.

    The service does this itself; the caller holds the schedule's lock.
    """
    if not _switch_off(schedule, reason, now):
        return False
    _withdraw(_of_schedule(schedule), f"The schedule was disabled: {reason}", now)
    announcements.schedule_disabled(schedule, reason, now=now)
    logger.warning("schedule disabled", schedule=schedule.name, why=reason)
    return True


def end_if_over(schedule: Schedule, *, now: datetime) -> None:
    """Switch an active schedule off of which nothing is left. Nothing failed: nobody is told.

    The caller holds the schedule's lock.
    """
    made = schedule.runs_made
    if schedule.max_runs is not None and made >= schedule.max_runs:
        why = f"it has made its {made} run{'s' * (made != 1)} (max_runs)."
    elif schedule.next_run_at is None and schedule.ends_at is not None:
        why = f"no occurrence is left until {schedule.ends_at:%Y-%m-%d %H:%M} UTC (ends_at)."
    else:
        return
    if _switch_off(schedule, ENDED + why, now, action="schedule.ended"):
        logger.info("schedule ended", schedule=schedule.name, why=why)


def end_pause(schedule: Schedule, *, now: datetime) -> None:
    """Let a schedule go on whose `paused_until` has come; nothing fires for what lay before it.

    The caller holds the schedule's lock. Raises: Invalid, for a timing that means nothing.
    """
    over = schedule.paused_until
    assert over is not None
    if schedule.is_active:
        if schedule.next_run_at is None or schedule.next_run_at < over:
            schedule.next_run_at = agenda.next_run_at(schedule, over - timedelta(microseconds=1))
        schedule.pause_reason = ""
    schedule.paused_until = None
    schedule.save(update_fields=["next_run_at", "paused_until", "pause_reason", "updated_at"])
    if schedule.is_active:
        end_if_over(schedule, now=now)


def pause_all(*, now: datetime) -> int:
    """Switch every active schedule off until `resume_all`, and return how many they were.

    Scheduled and backfilled runs that wait are cancelled, of all schedules; what runs goes on.
    """
    with transaction.atomic():
        active = Schedule.objects.filter(is_active=True).select_for_update().order_by("pk")
        paused = sum(_switch_off(one, _paused_reason(one), now) for one in active)
        _withdraw(Run.objects.filter(trigger__in=ONE_BY_ONE), "Stopped by pause_all.", now)
    return paused


def resume_all(*, now: datetime) -> int:
    """Switch on what `pause_all` switched off, as it was; nothing fires for the past."""
    with transaction.atomic():
        paused = Schedule.objects.filter(PAUSED_WITH_ALL)
        return sum(_resume(one, now) for one in paused.select_for_update().order_by("pk"))


def _paused_reason(schedule: Schedule) -> str:
    own = schedule.pause_reason
    return f"{PAUSED_ALL}{_REASON_BEFORE}{own}" if own else PAUSED_ALL


def _resume(schedule: Schedule, now: datetime) -> bool:
    until, failures = schedule.paused_until, schedule.consecutive_failures
    rests = until is not None and until > now
    reason = schedule.pause_reason.removeprefix(PAUSED_ALL).removeprefix(_REASON_BEFORE)
    as_it_was = {
        "is_active": True,
        "paused_until": until if rests else None,
        "pause_reason": reason if rests else "",
    }
    try:
        edits.assign(schedule, as_it_was, now)
    except Refusal as refusal:
        # It ended during the pause, say: the others are resumed all the same.
        Schedule.objects.filter(pk=schedule.pk).update(pause_reason=refusal.message, updated_at=now)
        return False
    schedule.consecutive_failures = failures
    _save(schedule)
    _note(schedule, "schedule.resumed", {})
    return True


def _of_schedule(schedule: Schedule) -> QuerySet[Run]:
    return Run.objects.filter(schedule=schedule, trigger=RunTrigger.SCHEDULE)


def _withdraw(found: QuerySet[Run], reason: str, now: datetime) -> None:
    """Cancel those of the runs that wait. One that is being started at this moment goes on."""
    # Admission locks runs before schedules, so waiting for it could deadlock.
    waiting = found.filter(status=RunStatus.TRIGGERED).select_for_update(
        skip_locked=True, no_key=True
    )
    keys = list(waiting.values_list("pk", flat=True))
    Run.objects.filter(pk__in=keys).move(
        RunStatus.CANCELLED, completed_at=now, error_message=reason
    )


def _switch_off(
    schedule: Schedule, reason: str, now: datetime, action: str = "schedule.disabled"
) -> bool:
    switched = Schedule.objects.filter(pk=schedule.pk, is_active=True).update(
        is_active=False,
        next_run_at=None,
        pause_reason=reason,
        paused_by_hand=False,
        updated_at=now,
    )
    if switched:
        _note(schedule, action, {"reason": reason})
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


def _save(schedule: Schedule) -> None:
    try:
        with transaction.atomic():
            schedule.save(force_update=not schedule._state.adding)
    except IntegrityError as error:
        raise _explained(error) from None


def _explained(error: IntegrityError) -> Refusal:
    if "one_schedule_of_a_name" in str(error):
        return Invalid.field("name", "A schedule of this project has this name already.")
    return Conflict("The suite, the model endpoint or the agent was deleted at this very moment.")

"""Schedules: made, changed, switched on and off. When they are due is `dispatch`'s question."""

from collections.abc import Collection, Mapping
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
from evalsched import agenda, announcements, cron, occurrences
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
    ScheduleType,
)

logger = structlog.get_logger(__name__)

# Changing one of these changes when the schedule is due next.
TIME_FIELDS = frozenset(
    {
        *("schedule_type", "cron_expression", "timezone", "dst_gap", "dst_overlap", "is_active"),
        *("jitter_seconds", "starts_at", "ends_at", "max_runs", "paused_until"),
    }
)
# Of these, those that what is due next may outlast.
_LIMITS = frozenset({"starts_at", "ends_at", "max_runs"})
_INSTANTS = ("starts_at", "ends_at", "paused_until")

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
        schedule = rows.locked(schedule, *PARTS)
        was_active = schedule.is_active
        _assign(schedule, fields, now)
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
        _assign(schedule, as_it_was, now)
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


def _assign(schedule: Schedule, fields: Mapping[str, Any], now: datetime) -> None:
    fields = _with_one_who_answers(fields)
    # What is sent back unchanged, as editors of whole objects do, changes nothing.
    changed = {name for name, value in fields.items() if getattr(schedule, name, None) != value}
    for name, value in fields.items():
        setattr(schedule, name, value)
    if schedule.endpoint is None and schedule.agent is None:
        raise Invalid.field("model_id", "Say which model or agent answers.")
    if schedule.schedule_type != ScheduleType.CUSTOM and "cron_expression" not in changed:
        schedule.cron_expression = ""
    if {"suite", "endpoint", "agent"} & changed:
        # What the last comparison told of them does not hold for others.
        schedule.paired_spread = None
    fresh = schedule._state.adding
    if fresh or TIME_FIELDS & changed:
        occurrences.validate(agenda.timing(schedule))
        _check_limits(schedule, changed, now)
        _reckon(schedule, fields, changed, now)
    else:
        _refuse_if_run(schedule, changed)
    if schedule.is_active and schedule.paused_until is None:
        schedule.pause_reason = ""
    if "pause_reason" in changed:
        schedule.paused_by_hand = schedule.pause_reason != ""


def _with_one_who_answers(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields so that the model or the agent that is named takes the other's place.

    Raises:
        Invalid: these are two, or the agent goes with its experiment.
    """
    endpoint, agent = fields.get("endpoint"), fields.get("agent")
    if agent is None:
        return fields if endpoint is None else {**fields, "agent": None}
    if endpoint is not None and endpoint.pk != agent.endpoint_id:
        raise Invalid.field(
            "agent_id", "Give a model_id or an agent_id, not both: an agent has its own model."
        )
    if agent.ephemeral_batch_id is not None:
        raise Invalid.field("agent_id", "This agent belongs to an experiment and goes with it.")
    return {**fields, "endpoint": None}


def _reckon(
    schedule: Schedule, fields: Mapping[str, Any], changed: Collection[str], now: datetime
) -> None:
    """Compute when the schedule is due next: from now, unless only its limits were changed."""
    if not schedule.is_active:
        schedule.next_run_at = None
        return
    if "is_active" in changed:
        schedule.consecutive_failures = 0
        if "paused_until" not in fields:
            # Who switches it on wants it to run.
            schedule.paused_until = None
    if not _stays(schedule, changed, now):
        schedule.next_run_at = agenda.next_run_at(schedule, now)
    agenda.refuse_if_ended(schedule)


def _stays(schedule: Schedule, changed: Collection[str], now: datetime) -> bool:
    """Whether what is due next is so as before: its jitter may be running, or a tick be late."""
    if schedule.next_run_at is None or not TIME_FIELDS & set(changed) <= _LIMITS:
        return False
    instant, _ = agenda.nominal(schedule, schedule.next_run_at)
    if "starts_at" in changed and instant > now:
        # An earlier start may bring an earlier one.
        return False
    return agenda.within_limits(schedule, instant)


def _refuse_if_run(schedule: Schedule, changed: Collection[str]) -> None:
    """Refuse a `next_run_at` that somebody wrote, but whose occurrence has its run already."""
    if schedule.next_run_at is None or "next_run_at" not in changed:
        return
    instant, by_hand = agenda.nominal(schedule, schedule.next_run_at)
    if not by_hand and _of_schedule(schedule).filter(scheduled_for=instant).exists():
        raise Invalid.field(
            "next_run_at",
            f"There is a run for {instant:%Y-%m-%d %H:%M:%S} UTC already, and none is made twice. "
            "Name another time, or run it now by hand.",
        )


def _check_limits(schedule: Schedule, changed: Collection[str], now: datetime) -> None:
    details = {}
    for name in _INSTANTS:
        instant = getattr(schedule, name)
        if instant is not None and not cron.FIRST_YEAR < instant.year < cron.LAST_YEAR:
            details[name] = [f"Name a time between {cron.FIRST_YEAR + 1} and {cron.LAST_YEAR - 1}."]
    starts_at, ends_at, until = (getattr(schedule, name) for name in _INSTANTS)
    if starts_at is not None and ends_at is not None and ends_at <= starts_at:
        sentence = "It has to lie {} ({:%Y-%m-%d %H:%M} UTC)."
        if "ends_at" in changed:
            details["ends_at"] = [sentence.format("after starts_at", starts_at)]
        else:
            details["starts_at"] = [sentence.format("before ends_at", ends_at)]
    if until is not None and "paused_until" in changed and until <= now:
        details["paused_until"] = ["It lies in the past. Name a later time, or null for no pause."]
    if details:
        raise Invalid(" ".join(f"{name}: {text}" for name, (text,) in details.items()), details)


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

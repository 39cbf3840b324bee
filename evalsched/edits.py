"""What may be written into a schedule's row, and when it is due in consequence."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from access.errors import Invalid
from evalsched import agenda, cron, occurrences
from evalsched.models import Run, RunTrigger, Schedule, ScheduleType

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


def assign(schedule: Schedule, fields: Mapping[str, Any], now: datetime) -> None:
    """Write the fields into the row, which the caller saves; time fields say anew when it is due.

    Raises: Invalid, naming the field that breaks a rule.
    """
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
    if not by_hand and _has_run(schedule, instant):
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


def _has_run(schedule: Schedule, instant: datetime) -> bool:
    made = Run.objects.filter(schedule=schedule, trigger=RunTrigger.SCHEDULE)
    return made.filter(scheduled_for=instant).exists()

"""How a schedule or a run stands, as a label."""

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.admin import words
from access.errors import Refusal
from batches.admin.batches import results as batch_results
from evalsched import agenda, occurrences, schedules
from evalsched.models import Run, RunStatus, Schedule

TONES: dict[str, words.Tone] = {
    RunStatus.TRIGGERED: "info",
    RunStatus.RUNNING: "info",
    RunStatus.COMPLETED: "success",
    RunStatus.FAILED: "danger",
    RunStatus.CANCELLED: "",
    RunStatus.SKIPPED: "warning",
    RunStatus.MISSED: "warning",
}

# What people paused has no reason, one of theirs, or that of the big switch; what came to its end
# says so; the rest the service disabled.
_SWITCHED_OFF = Q(paused_by_hand=True) | Q(pause_reason="") | schedules.PAUSED_WITH_ALL
RESTING = Q(is_active=True, paused_until__gt=Now())
PAUSED = (Q(is_active=False) & _SWITCHED_OFF) | RESTING
ENDED = Q(is_active=False, paused_by_hand=False, pause_reason__startswith=schedules.ENDED)
DISABLED = Q(is_active=False) & ~_SWITCHED_OFF & ~ENDED


def who_answers(schedule: Schedule) -> str:
    """Return the model's name; with the agent's, where one answers."""
    model = schedule.model_endpoint.name
    return model if schedule.agent is None else f"{schedule.agent.name} ({model})"


def of_schedule(schedule: Schedule) -> SafeString:
    if not schedule.is_active:
        why = schedule.pause_reason
        by_people = schedule.paused_by_hand or not why or why.startswith(schedules.PAUSED_ALL)
        shown: tuple[str, words.Tone] = ("Paused", "") if by_people else ("Disabled", "danger")
        if not by_people and why.startswith(schedules.ENDED):
            shown = ("Ended", "")
        return words.label(*shown, title=why)
    if rests(schedule):
        return words.label("Paused", title=reason(schedule))
    if schedule.consecutive_failures:
        return words.label(f"Failing {schedule.consecutive_failures}", "warning")
    return words.label("Active", "success")


def with_reason(schedule: Schedule) -> SafeString:
    """Return the label, and beneath it why the schedule was switched off."""
    why = reason(schedule)
    if not why:
        return of_schedule(schedule)
    shown = words.clipped(why)
    return format_html('{}<br><small class="es-small">{}</small>', of_schedule(schedule), shown)


def rests(schedule: Schedule) -> bool:
    until = schedule.paused_until
    return schedule.is_active and until is not None and until > timezone.now()


def reason(schedule: Schedule) -> str:
    """Return why the schedule does not run, and until when; empty where it does."""
    if rests(schedule):
        return f"Until {words.utc(schedule.paused_until)}. {schedule.pause_reason}".strip()
    return schedule.pause_reason


def of_run(run: Run) -> SafeString:
    return words.label(run.status, TONES[run.status], title=run.error_message)


def of_run_with_reason(run: Run) -> SafeString:
    if not run.error_message:
        return of_run(run)
    reason = words.clipped(run.error_message)
    return format_html('{}<br><small class="es-small">{}</small>', of_run(run), reason)


def in_words(schedule: Schedule) -> str:
    """Return when the schedule fires, or why that cannot be said of what somebody stored."""
    try:
        return occurrences.describe(agenda.timing(schedule))
    except Refusal as refusal:
        return refusal.message


def next_run(schedule: Schedule) -> SafeString | str:
    if schedule.next_run_at is None:
        return words.NOTHING
    if schedule.next_run_at <= timezone.now():
        return format_html(
            '<span class="es-two"><b>due now</b><small>{}</small></span>',
            words.utc(schedule.next_run_at),
        )
    return words.when(schedule.next_run_at, timezone.now())


def results(run: Run) -> SafeString | str:
    """Return what came out: "17/20, quality 0.85", a bar while it runs, or nothing yet."""
    if run.batch is not None and run.status == RunStatus.RUNNING:
        return words.progress(run.batch.done, run.batch.total)
    if run.batch is not None:
        return batch_results(run.batch)
    if run.total_prompts:
        return f"{run.successful_prompts} of {run.total_prompts} answered"
    return words.NOTHING


def took(run: Run) -> str:
    end = timezone.now() if run.status == RunStatus.RUNNING else run.completed_at
    return words.duration(run.started_at, end)


def last_run(schedule: Schedule) -> SafeString | str:
    if schedule.last_run_at is None:
        return words.NOTHING
    tones: dict[str, words.Tone] = {"success": "success", "failed": "danger"}
    shown = words.label(schedule.last_run_status, tones.get(schedule.last_run_status, ""))
    ago = words.relative(schedule.last_run_at, timezone.now())
    return format_html('{} <span class="es-quiet">{}</span>', shown, ago)

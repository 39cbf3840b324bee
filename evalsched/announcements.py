"""What schedules and runs tell people, in words that say what to do."""

from datetime import datetime

from alerts import notifications
from alerts.models import AlertType
from alerts.notifications import Happening
from evalsched.models import Run, Schedule


def evaluation_failed(schedule: Schedule, run: Run, *, now: datetime) -> None:
    """Tell the schedule's author of a failed run. Once per run."""
    facts = [
        ("Schedule", schedule.name),
        ("Suite", run.snapshot["test_suite_name"]),
        ("Model", run.snapshot["model_name"]),
        ("Scheduled for", _utc(run.scheduled_for)),
        ("Failed at", _utc(run.completed_at or now)),
    ]
    if run.total_prompts:
        facts.append(("Answered", f"{run.successful_prompts} of {run.total_prompts}"))
    what = Happening(
        alert_type=AlertType.EVALUATION_FAILED,
        key=str(run.pk),
        subject=f"Evaluation failed: {schedule.name}",
        summary=f"{run.error_message} Correct this, then press Run now.",
        facts=facts,
        path=f"/admin/evalsched/run/{run.pk}/change/",
    )
    notifications.announce(schedule.project_id, schedule.user, what, now=now)


def schedule_disabled(schedule: Schedule, reason: str, *, now: datetime) -> None:
    """Tell the schedule's author that it was switched off. Once per switching off."""
    what = Happening(
        alert_type=AlertType.SCHEDULE_DISABLED,
        key=f"{schedule.pk} {now.isoformat()}",
        subject=f"Schedule disabled: {schedule.name}",
        summary=f"{reason} It stays off until you enable it again.",
        facts=[("Schedule", schedule.name), ("Disabled at", _utc(now))],
        path=f"/admin/evalsched/schedule/{schedule.pk}/change/",
    )
    notifications.announce(schedule.project_id, schedule.user, what, now=now)


def _utc(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"

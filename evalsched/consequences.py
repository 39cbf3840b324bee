"""What follows from a run's end: its schedule's counters and standing, and who is told."""

from datetime import datetime

import structlog
from django.conf import settings

from evalsched import announcements, schedules
from evalsched.models import LastRunStatus, Run, RunStatus, RunTrigger, Schedule, ScheduleKind

logger = structlog.get_logger(__name__)


def completed(schedule: Schedule, run: Run, now: datetime) -> None:
    if schedule.kind == ScheduleKind.MODEL_RUN:
        announcements.job_completed(schedule, run, now=now)
    wanted = run.snapshot.get("alert_on_regression", schedule.alert_on_regression)
    if run.regression_detected and wanted:
        announcements.evaluation_regression(schedule, run, now=now)
    if run.trigger == RunTrigger.SCHEDULE:
        Schedule.objects.filter(pk=schedule.pk).update(consecutive_failures=0)
    note_last_run(run, LastRunStatus.SUCCESS)


def failed(schedule: Schedule, run: Run, now: datetime) -> None:
    """Count the failure of a scheduled run and switch the schedule off at the limit."""
    note_last_run(run, LastRunStatus.FAILED)
    _tell_of_failure(schedule, run, now)
    if run.trigger != RunTrigger.SCHEDULE:
        return
    schedule.consecutive_failures += 1
    Schedule.objects.filter(pk=schedule.pk).update(
        consecutive_failures=schedule.consecutive_failures
    )
    if schedule.consecutive_failures >= settings.EVALSCHED_MAX_CONSECUTIVE_FAILURES:
        reason = (
            f"{schedule.consecutive_failures} scheduled runs failed in a row, the last one: "
            f"{run.error_message}"
        )
        schedules.disable(schedule, reason, now=now)


def note_last_run(run: Run, status: LastRunStatus) -> None:
    Schedule.objects.filter(pk=run.schedule_id).update(
        last_run_id=run.pk, last_run_status=status, last_run_at=run.started_at or run.triggered_at
    )


def log_end(schedule: Schedule, run: Run) -> None:
    about: dict[str, object] = {"schedule": schedule.name, "run": str(run.pk)}
    if run.status == RunStatus.COMPLETED:
        about |= {"quality": run.avg_quality_score, "regression": run.regression_detected}
    else:
        about |= {"why": run.error_message, "consecutive_failures": schedule.consecutive_failures}
    schedule.refresh_from_db(fields=["next_run_at"])
    next_run_at = schedule.next_run_at
    about["next_run_at"] = next_run_at.isoformat() if next_run_at else None
    logger.info("run ended", status=run.status, **about)


def _tell_of_failure(schedule: Schedule, run: Run, now: datetime) -> None:
    if not run.snapshot.get("alert_on_failure", schedule.alert_on_failure):
        return
    if schedule.kind == ScheduleKind.MODEL_RUN:
        announcements.job_failed(schedule, run, now=now)
    else:
        announcements.evaluation_failed(schedule, run, now=now)

"""What schedules and runs tell people, in words that say what to do."""

from datetime import datetime

from alerts import notifications
from alerts.models import AlertType
from alerts.notifications import Happening
from evalsched import reports
from evalsched.metrics import Metric
from evalsched.models import Run, Schedule, ScheduleKind

_PAGES = {ScheduleKind.EVALUATION: "schedule", ScheduleKind.MODEL_RUN: "modelrun"}


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


def evaluation_regression(schedule: Schedule, run: Run, *, now: datetime) -> None:
    """Tell the schedule's author of a run that got worse than its baseline. Once per run."""
    details = run.regression_details or {}
    found = details["metrics"]
    worse = {
        metric: found[metric]
        for metric in Metric
        if metric in found and found[metric]["regressed"] and found[metric]["gated"]
    }
    facts = [
        ("Schedule", schedule.name),
        ("Suite", run.snapshot["test_suite_name"]),
        ("Model", run.snapshot["model_name"]),
        *((reports.NAMES[metric], reports.short(metric, shown)) for metric, shown in worse.items()),
        ("Threshold", f"{details['threshold_percent']:g} % of the baseline"),
        ("Cases compared", str(details["pairs"])),
        ("Scheduled for", _utc(run.scheduled_for)),
    ]
    if run.baseline is not None:
        facts.append(("Baseline", f"the run for {_utc(run.baseline.scheduled_for)}"))
    names = " and ".join(reports.NAMES[metric].lower() for metric in worse)
    what = Happening(
        alert_type=AlertType.EVALUATION_REGRESSION,
        key=str(run.pk),
        subject=f"Regression: {schedule.name}, {names} got worse",
        summary=(
            f"{details['sentence']} Open the run and look at the cases that got worse. If the "
            "change is meant, press Use as baseline there."
        ),
        facts=facts,
        path=f"/admin/evalsched/run/{run.pk}/change/",
    )
    notifications.announce(schedule.project_id, schedule.user, what, now=now)


def job_started(schedule: Schedule, run: Run, *, now: datetime) -> None:
    """Tell that an execution of a model run is under way. Once per execution, as the next two."""
    _of_job(schedule, run, AlertType.JOB_STARTED, "It is under way.", now=now)


def job_completed(schedule: Schedule, run: Run, *, now: datetime) -> None:
    _of_job(schedule, run, AlertType.JOB_COMPLETED, "Its answer is there.", now=now)


def job_failed(schedule: Schedule, run: Run, *, now: datetime) -> None:
    what = f"{run.error_message} Correct this, then press Run now."
    _of_job(schedule, run, AlertType.JOB_FAILED, what, now=now)


def _of_job(
    schedule: Schedule, run: Run, alert_type: AlertType, summary: str, *, now: datetime
) -> None:
    verb = alert_type.removeprefix("job_")
    facts = [
        ("Model run", schedule.name),
        ("Model", run.snapshot["model_name"]),
        ("Scheduled for", _utc(run.scheduled_for)),
    ]
    if run.completed_at is not None:
        facts.append((f"{verb.capitalize()} at", _utc(run.completed_at)))
    if run.avg_latency_ms is not None:
        facts.append(("Latency", f"{run.avg_latency_ms:,.0f} ms"))
    if run.total_cost is not None:
        facts.append(("Cost", f"{run.total_cost.normalize():f} USD"))
    what = Happening(
        alert_type=alert_type,
        key=str(run.pk),
        subject=f"Model run {verb}: {schedule.name}",
        summary=summary,
        facts=facts,
        path=f"/admin/evalsched/execution/{run.pk}/change/",
        # An execution that is told of from its start to its end is one conversation.
        episode=str(run.pk),
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
        path=f"/admin/evalsched/{_PAGES[ScheduleKind(schedule.kind)]}/{schedule.pk}/change/",
    )
    notifications.announce(schedule.project_id, schedule.user, what, now=now)


def _utc(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"

"""The life of a run: triggered, admitted under the cap, executed as a batch, settled once.

A run waits as `triggered` until `start_queued` gives it a place and a batch. What the batch found
is carried over by `settle`, which moves run, failure counter and schedule in one transaction.
Lock order: schedule, run, batch, job.
"""

import uuid
from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, DataError, IntegrityError, connection, transaction
from django.db.models import Q

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict, Invalid, Refusal
from access.hints import hint
from batches import agents, batches
from batches.batches import Config
from batches.models import (
    BATCH_FINISHED,
    Agent,
    Batch,
    BatchStatus,
    Job,
    JobOutcome,
    ModelEndpoint,
    TestSuite,
)
from evalsched import announcements, baselines, model_runs, schedules
from evalsched.comparisons import ENDPOINT_PARAMETERS
from evalsched.models import (
    ONE_BY_ONE,
    LastRunStatus,
    OverlapPolicy,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
    ScheduleKind,
)

logger = structlog.get_logger(__name__)
TICK = "evalsched.tick"

# One admission at a time over the cluster: two that count at once would let a fourth run in.
_ADMISSION_LOCK = 7_301_001
_AT_ONCE = 100
NOT_STARTED = (
    "No batch can be made with the schedule's batch_test_config: {why}. Correct it and run again."
)

DELETED = "The {part} '{name}' was deleted. Choose another in the schedule, then run now."


def trigger(
    actor: Actor, schedule: Schedule, *, now: datetime, kind: RunTrigger = RunTrigger.MANUAL
) -> Run:
    """Queue a run outside the schedule's times; works when the schedule is not active."""
    run = Run(
        project_id=schedule.project_id,
        user_id=actor.user.pk,
        schedule=schedule,
        trigger=kind,
        scheduled_for=now,
        triggered_at=now,
        snapshot=snapshot(schedule),
    )
    run.save(force_insert=True)
    audit.record(actor, "run.triggered", run, {"schedule": schedule.name})
    hint(TICK)
    return run


def record(actor: Actor, schedule: Schedule, batch: Batch, *, now: datetime) -> Run:
    """Note that a program started `batch` for the schedule: a run that ends when the batch does.

    The batch needs its deadline. It takes no place under the cap: it is under way already.
    """
    run = Run(
        project_id=schedule.project_id,
        user_id=actor.user.pk,
        schedule=schedule,
        status=RunStatus.RUNNING,
        trigger=RunTrigger.API,
        scheduled_for=now,
        triggered_at=now,
        started_at=now,
        deadline_at=batch.deadline_at,
        batch=batch,
        snapshot=snapshot(schedule)
        | {"test_suite_id": str(batch.suite_id), "test_suite_name": batch.suite_name}
        | _used(batch),
    )
    run.save(force_insert=True)
    audit.record(actor, "run.recorded", run, {"schedule": schedule.name, "batch": str(batch.pk)})
    return run


def deadline(now: datetime) -> datetime:
    """Return when a run that starts now is out of time."""
    return now + timedelta(seconds=settings.EVALSCHED_RUN_TIMEOUT_SECONDS)


def snapshot(schedule: Schedule) -> dict[str, Any]:
    """Return the configuration that a run keeps, whatever is edited later.

    Of a model run it names the model; the parameters are nowhere but in the schedule.
    """
    kept = {
        "schedule_name": schedule.name,
        "model_id": str(schedule.model_endpoint.pk),
        "model_name": schedule.model_endpoint.name,
        "timezone": schedule.timezone,
        "alert_on_failure": schedule.alert_on_failure,
    }
    if schedule.kind == ScheduleKind.MODEL_RUN:
        return kept
    return kept | {
        "test_suite_id": str(schedule.suite_id),
        "test_suite_name": schedule.suite.name,
        "agent_id": None if schedule.agent is None else str(schedule.agent_id),
        "agent_name": "" if schedule.agent is None else schedule.agent.name,
        "batch_test_config": schedule.batch_test_config,
    }


def _used(batch: Batch) -> dict[str, Any]:
    """Return who answers a batch that starts: the agent and the endpoint as they are now."""
    agent = batch.agent
    return {
        "model_id": str(batch.endpoint_id),
        "model_name": batch.model_name,
        ENDPOINT_PARAMETERS: batch.endpoint.parameters,
        "agent_id": None if agent is None else str(agent.pk),
        "agent_name": batch.agent_name,
        "agent": None if agent is None else agents.as_json(agent),
    }


def start_queued(now: datetime) -> int:
    """Give waiting runs their batches, oldest nominal time first, up to the cluster's caps.

    Evaluations and model runs have a cap each. Backfills come after everything else. Of one
    schedule only one scheduled or backfilled run is running at a time, unless its overlap policy is
    `allow`: the next one waits here for its turn.
    """
    if not Run.objects.filter(status=RunStatus.TRIGGERED).exists():
        return 0
    caps = {
        ScheduleKind.EVALUATION: settings.EVALSCHED_MAX_CONCURRENT_RUNS,
        ScheduleKind.MODEL_RUN: settings.EVALSCHED_MAX_CONCURRENT_MODEL_RUNS,
    }
    with transaction.atomic():
        if not _admission_is_ours():
            return 0
        return sum(_admit(kind, cap, now) for kind, cap in caps.items())


def _admit(kind: ScheduleKind, cap: int, now: datetime) -> int:
    taken = Run.objects.taking_places().filter(schedule__kind=kind)
    running = list(taken.values_list("schedule_id", "trigger"))
    room = cap - len(running)
    busy = {schedule_id for schedule_id, trigger in running if trigger in ONE_BY_ONE}
    looked_at: list[uuid.UUID] = []
    started = 0
    # Failing to start takes no place, so more may be looked at than there is room for.
    while len(looked_at) < _AT_ONCE and (run := _next_waiting(kind, busy, looked_at)):
        if started >= room:
            logger.info("at capacity", kind=kind.value, running=len(running) + started, cap=cap)
            break
        looked_at.append(run.pk)
        if _start_safely(run, now):
            started += 1
            busy |= {run.schedule_id} if run.trigger in ONE_BY_ONE else set()
    return started


def _next_waiting(
    kind: ScheduleKind, busy: Collection[uuid.UUID], looked_at: Collection[uuid.UUID]
) -> Run | None:
    """Return the run whose turn it is; `busy` are the schedules that have one running."""
    queues = Q(trigger__in=ONE_BY_ONE, schedule__in=busy)
    waiting = (
        Run.objects.filter(status=RunStatus.TRIGGERED, schedule__kind=kind)
        .exclude(pk__in=looked_at)
        .exclude(queues & ~Q(schedule__overlap_policy=OverlapPolicy.ALLOW))
        .select_related("schedule")
        .order_by("scheduled_for", "pk")
    )
    first = waiting.exclude(trigger=RunTrigger.BACKFILL).first()
    return first or waiting.filter(trigger=RunTrigger.BACKFILL).first()


def cancel(run: Run, *, now: datetime, reason: str = "Cancelled.") -> bool:
    """Stop a run and its batch. Return False when it had ended already."""
    with transaction.atomic():
        # The schedule first, as settling does: in the other order the two could deadlock.
        Schedule.objects.select_for_update(no_key=True).filter(pk=run.schedule_id).first()
        run = rows.locked(run)
        moved = Run.objects.filter(pk=run.pk).move(
            RunStatus.CANCELLED, completed_at=now, error_message=reason
        )
        if not moved:
            return False
        if run.batch_id:
            batches.cancel(Batch.objects.get(pk=run.batch_id), now=now, reason=reason)
        _note_last_run(run, LastRunStatus.CANCELLED)
        hint(TICK)
        return True


def settle(batch_id: uuid.UUID, *, now: datetime) -> None:
    """Carry a finished batch over to its run, once: summary, failure counter, notifications."""
    with transaction.atomic():
        run = Run.objects.filter(batch_id=batch_id, status=RunStatus.RUNNING).first()
        if run is None:
            return
        schedule = Schedule.objects.select_for_update(no_key=True).get(pk=run.schedule_id)
        batch = Batch.objects.get(pk=batch_id)
        status, why, details = _judged(schedule, batch)
        changes = _summary(batch)
        if status == RunStatus.COMPLETED and schedule.kind == ScheduleKind.EVALUATION:
            changes |= _compared(schedule, run, batch)
        moved = Run.objects.filter(pk=run.pk).move(
            status, completed_at=now, error_message=why, error_details=details, **changes
        )
        if not moved:
            return
        run.refresh_from_db()
        if status == RunStatus.FAILED:
            _count_failure(schedule, run, now)
        elif status == RunStatus.COMPLETED:
            _count_success(schedule, run, now)
        else:
            _note_last_run(run, LastRunStatus.CANCELLED)
        _log_end(schedule, run)
        # Its place is free for the next one.
        hint(TICK)


def settle_lost(now: datetime) -> int:
    """Settle the runs whose batch finished while nobody listened."""
    running = Run.objects.filter(status=RunStatus.RUNNING).order_by("pk")
    batch_of = dict(running.values_list("pk", "batch_id"))
    if not batch_of:
        return 0
    orphans = [pk for pk, batch_id in batch_of.items() if batch_id is None]
    ended = Batch.objects.filter(status__in=BATCH_FINISHED, pk__in=batch_of.values())
    finished = list(ended.values_list("pk", flat=True))
    for settle_one, key in [
        *((settle, batch_id) for batch_id in finished),
        *((_fail_without_batch, run_id) for run_id in orphans),
    ]:
        try:
            settle_one(key, now=now)
        except (DatabaseError, ObjectDoesNotExist) as error:
            # Its schedule was deleted at this moment, say; the others have their turn.
            logger.warning("run not settled", key=str(key), error=repr(error))
    return len(finished) + len(orphans)


def _admission_is_ours() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_ADMISSION_LOCK])
        return bool(cursor.fetchone()[0])


def _start_safely(run: Run, now: datetime) -> bool:
    """Start a run; what goes wrong with it is logged and does not stop the others."""
    try:
        with transaction.atomic():
            return _start(run, now)
    except (DatabaseError, ObjectDoesNotExist) as error:
        logger.warning("run not started", run=str(run.pk), error=repr(error))
        return False


def _start(run: Run, now: datetime) -> bool:
    """Make the run's batch from its snapshot, or fail the run with what is wrong."""
    schedule = run.schedule
    deadline_at = deadline(now)
    try:
        with transaction.atomic():
            if schedule.kind == ScheduleKind.MODEL_RUN:
                batch = model_runs.start(schedule, now=now, deadline_at=deadline_at)
                used = {"model_id": str(batch.endpoint_id), "model_name": batch.model_name}
            else:
                batch = _batch_of_evaluation(run, now, deadline_at)
                used = _used(batch)
            moved = Run.objects.filter(pk=run.pk).move(
                RunStatus.RUNNING,
                started_at=now,
                deadline_at=deadline_at,
                batch=batch,
                snapshot=run.snapshot | used,
            )
            if not moved:
                raise Conflict("The run was cancelled.")
            if schedule.kind == ScheduleKind.MODEL_RUN:
                announcements.job_started(schedule, run, now=now)
    except Refusal as refusal:
        _fail(run, refusal.message, now)
        return False
    except (TypeError, ValueError, ArithmeticError, DataError, IntegrityError) as error:
        # A configuration stored by hand or by an older release: it must not stop the others.
        logger.warning("run not started", run=str(run.pk), error=repr(error))
        _fail(run, NOT_STARTED.format(why=str(error).partition("\n")[0]), now)
        return False
    logger.info("executing", schedule=schedule.name, run=str(run.pk), calls=batch.total)
    return True


def _batch_of_evaluation(run: Run, now: datetime, deadline_at: datetime) -> Batch:
    schedule = run.schedule
    suite, endpoint, agent = _parts(run)
    return batches.create(
        user_id=schedule.user_id,
        suite=suite,
        endpoint=endpoint,
        agent=agent,
        config=Config.stored(run.snapshot["batch_test_config"], name=schedule.name),
        now=now,
        deadline_at=deadline_at,
    )


def _parts(run: Run) -> tuple[TestSuite, ModelEndpoint, Agent | None]:
    """Return what the run was made to run. An agent is asked as it is now, whatever its model.

    Raises: Invalid, naming what was deleted since.
    """
    own, about = run.project_id, run.snapshot
    suite = TestSuite.objects.filter(project_id=own, pk=about["test_suite_id"]).first()
    if suite is None:
        raise Invalid(DELETED.format(part="test suite", name=about["test_suite_name"]))
    if about.get("agent_id"):
        agents_of = Agent.objects.filter(project_id=own).select_related("endpoint")
        agent = agents_of.filter(pk=about["agent_id"]).first()
        if agent is None:
            raise Invalid(DELETED.format(part="agent", name=about["agent_name"]))
        return suite, agent.endpoint, agent
    endpoint = ModelEndpoint.objects.filter(project_id=own, pk=about["model_id"]).first()
    if endpoint is None:
        raise Invalid(DELETED.format(part="model endpoint", name=about["model_name"]))
    return suite, endpoint, None


def _fail(run: Run, why: str, now: datetime) -> None:
    schedule = Schedule.objects.select_for_update(no_key=True).get(pk=run.schedule_id)
    if Run.objects.filter(pk=run.pk).move(
        RunStatus.FAILED, completed_at=now, error_message=why, error_details={}
    ):
        run.refresh_from_db()
        _count_failure(schedule, run, now)
        _log_end(schedule, run)


def _fail_without_batch(run_id: uuid.UUID, *, now: datetime) -> None:
    with transaction.atomic():
        run = Run.objects.get(pk=run_id)
        _fail(run, "Its batch was deleted while it ran. Run it again.", now)


def _judged(schedule: Schedule, batch: Batch) -> tuple[RunStatus, str, dict[str, Any]]:
    """Say whether the run completed, and why not. Wrong answers alone do not fail a run."""
    if batch.status == BatchStatus.CANCELLED:
        return RunStatus.CANCELLED, batch.error_message, {}
    if schedule.kind == ScheduleKind.MODEL_RUN:
        failure = model_runs.failure(batch)
        if failure is None:
            return RunStatus.COMPLETED, "", {}
        return RunStatus.FAILED, failure[1], {"error_class": failure[0]}
    if batch.status != BatchStatus.COMPLETED:
        details = {"error_class": batch.error_class, "batch_status": batch.status}
        return RunStatus.FAILED, batch.error_message or f"The batch ended {batch.status}.", details
    answered = batch.total - batch.errors
    least = settings.EVALSCHED_MIN_COVERAGE_PERCENT
    if answered * 100 >= least * batch.total:
        return RunStatus.COMPLETED, "", {}
    reasons = Counter(
        Job.objects.filter(batch=batch, outcome=JobOutcome.ERROR).values_list(
            "error_message", flat=True
        )
    )
    (worst, times), *_ = reasons.most_common(1)
    why = (
        f"Only {answered} of {batch.total} calls were answered, at least {least} % are needed. "
        f"{times} times: {worst}"
    )
    return (
        RunStatus.FAILED,
        why,
        {"error_class": "coverage", "errors": dict(reasons.most_common(5))},
    )


def _summary(batch: Batch) -> dict[str, Any]:
    figures = batches.figures(batch)
    return {
        "total_prompts": batch.total,
        # Answered, rightly or wrongly; quality is what tells them apart.
        "successful_prompts": batch.done - batch.errors,
        "failed_prompts": batch.errors,
        "avg_latency_ms": figures.avg_latency_ms,
        "p95_latency_ms": batch.p95_latency_ms,
        "avg_ttft_ms": figures.avg_ttft_ms,
        "avg_quality_score": figures.avg_score,
        "total_cost": batch.total_cost,
    }


def _compared(schedule: Schedule, run: Run, batch: Batch) -> dict[str, Any]:
    """Compare with the baseline; the schedule learns how far its runs lie apart."""
    found = baselines.judge(schedule, run, batch)
    if found.spread is not None:
        Schedule.objects.filter(pk=schedule.pk).update(paired_spread=found.spread)
    return {
        "regression_detected": found.detected,
        "regression_details": found.details,
        "baseline": found.baseline,
    }


def _count_success(schedule: Schedule, run: Run, now: datetime) -> None:
    if schedule.kind == ScheduleKind.MODEL_RUN:
        announcements.job_completed(schedule, run, now=now)
    if run.regression_detected and schedule.alert_on_regression:
        announcements.evaluation_regression(schedule, run, now=now)
    if run.trigger == RunTrigger.SCHEDULE:
        Schedule.objects.filter(pk=schedule.pk).update(consecutive_failures=0)
    _note_last_run(run, LastRunStatus.SUCCESS)


def _count_failure(schedule: Schedule, run: Run, now: datetime) -> None:
    """Count the failure of a scheduled run and switch the schedule off at the limit."""
    _note_last_run(run, LastRunStatus.FAILED)
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


def _tell_of_failure(schedule: Schedule, run: Run, now: datetime) -> None:
    if not schedule.alert_on_failure:
        return
    if schedule.kind == ScheduleKind.MODEL_RUN:
        announcements.job_failed(schedule, run, now=now)
    else:
        announcements.evaluation_failed(schedule, run, now=now)


def _note_last_run(run: Run, status: LastRunStatus) -> None:
    Schedule.objects.filter(pk=run.schedule_id).update(
        last_run_id=run.pk, last_run_status=status, last_run_at=run.started_at or run.triggered_at
    )


def _log_end(schedule: Schedule, run: Run) -> None:
    about: dict[str, object] = {"schedule": schedule.name, "run": str(run.pk)}
    if run.status == RunStatus.COMPLETED:
        about |= {"quality": run.avg_quality_score, "regression": run.regression_detected}
    else:
        about |= {"why": run.error_message, "consecutive_failures": schedule.consecutive_failures}
    schedule.refresh_from_db(fields=["next_run_at"])
    next_run_at = schedule.next_run_at
    about["next_run_at"] = next_run_at.isoformat() if next_run_at else None
    logger.info("run ended", status=run.status, **about)

"""The life of a run: triggered, started as a batch, settled once.

A run waits as `triggered` until `admission` gives it a place; `start` makes its batch, and what the
batch found is carried over by `settle`, which moves run, failure counter and schedule in one
transaction. `run_results` says what a batch means, `consequences` what follows.
Lock order: schedule, run, batch, job.
"""

import uuid
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, DataError, IntegrityError, transaction

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict, Refusal
from access.hints import hint
from batches import batches
from batches.batches import Config
from batches.models import BATCH_FINISHED, Batch
from evalsched import announcements, consequences, model_runs, run_results, snapshots
from evalsched.models import (
    LastRunStatus,
    Run,
    RunStatus,
    RunTrigger,
    Schedule,
    ScheduleKind,
)

logger = structlog.get_logger(__name__)
TICK = "evalsched.tick"
_NOT_STARTED = (
    "No batch can be made with the schedule's batch_test_config: {why}. Correct it and run again."
)


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
        snapshot=snapshots.of(schedule),
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
        snapshot=snapshots.of(schedule)
        | {"test_suite_id": str(batch.suite_id), "test_suite_name": batch.suite_name}
        | snapshots.used(batch),
    )
    run.save(force_insert=True)
    audit.record(actor, "run.recorded", run, {"schedule": schedule.name, "batch": str(batch.pk)})
    return run


def start(run: Run, *, now: datetime) -> bool:
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
                used = snapshots.used(batch)
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
        _fail(run, _NOT_STARTED.format(why=str(error).partition("\n")[0]), now)
        return False
    logger.info("executing", schedule=schedule.name, run=str(run.pk), calls=batch.total)
    return True


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
        consequences.note_last_run(run, LastRunStatus.CANCELLED)
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
        status, why, details = run_results.judged(schedule, batch)
        changes = run_results.summary(batch)
        if status == RunStatus.COMPLETED and schedule.kind == ScheduleKind.EVALUATION:
            changes |= run_results.compared(schedule, run, batch)
        moved = Run.objects.filter(pk=run.pk).move(
            status, completed_at=now, error_message=why, error_details=details, **changes
        )
        if not moved:
            return
        run.refresh_from_db()
        if status == RunStatus.FAILED:
            consequences.failed(schedule, run, now)
        elif status == RunStatus.COMPLETED:
            consequences.completed(schedule, run, now)
        else:
            consequences.note_last_run(run, LastRunStatus.CANCELLED)
        consequences.log_end(schedule, run)
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


def deadline(now: datetime) -> datetime:
    """Return when a run that starts now is out of time."""
    return now + timedelta(seconds=settings.EVALSCHED_RUN_TIMEOUT_SECONDS)


def _batch_of_evaluation(run: Run, now: datetime, deadline_at: datetime) -> Batch:
    schedule = run.schedule
    suite, endpoint, agent = snapshots.parts(run)
    return batches.create(
        user_id=schedule.user_id,
        suite=suite,
        endpoint=endpoint,
        agent=agent,
        config=Config.stored(run.snapshot["batch_test_config"], name=schedule.name),
        now=now,
        deadline_at=deadline_at,
    )


def _fail(run: Run, why: str, now: datetime) -> None:
    schedule = Schedule.objects.select_for_update(no_key=True).get(pk=run.schedule_id)
    if Run.objects.filter(pk=run.pk).move(
        RunStatus.FAILED, completed_at=now, error_message=why, error_details={}
    ):
        run.refresh_from_db()
        consequences.failed(schedule, run, now)
        consequences.log_end(schedule, run)


def _fail_without_batch(run_id: uuid.UUID, *, now: datetime) -> None:
    with transaction.atomic():
        run = Run.objects.get(pk=run_id)
        _fail(run, "Its batch was deleted while it ran. Run it again.", now)

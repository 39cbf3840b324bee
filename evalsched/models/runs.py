"""One occurrence of a schedule, and what came of it."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from access.isolation import owned_key
from access.models import Owned
from access.states import StatefulQuerySet
from batches.models import Job, JobStatus
from evalsched.models.schedules import ScheduleKind


class RunStatus(models.TextChoices):
    TRIGGERED = "triggered"  # waits for a place under the cluster's cap
    RUNNING = "running"  # has its batch
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  # another run of the schedule was in its way
    MISSED = "missed"  # nobody was there at its time


RUN_OPEN = frozenset({RunStatus.TRIGGERED, RunStatus.RUNNING})
RUN_FINISHED = frozenset(RunStatus) - RUN_OPEN


class RunTrigger(models.TextChoices):
    SCHEDULE = "schedule"
    MANUAL = "manual"
    API = "api"
    BACKFILL = "backfill"


# Of these one schedule has one running at a time, unless its overlap policy is `allow`.
ONE_BY_ONE = frozenset({RunTrigger.SCHEDULE, RunTrigger.BACKFILL})


class RunQuerySet(StatefulQuerySet["Run"]):
    SOURCES: ClassVar = {
        RunStatus.TRIGGERED: frozenset(),
        RunStatus.RUNNING: frozenset({RunStatus.TRIGGERED}),
        RunStatus.COMPLETED: frozenset({RunStatus.RUNNING}),
        RunStatus.FAILED: RUN_OPEN,
        RunStatus.CANCELLED: RUN_OPEN,
        RunStatus.SKIPPED: frozenset(),
        RunStatus.MISSED: frozenset(),
    }

    def evaluations(self) -> "RunQuerySet":
        return self.filter(schedule__kind=ScheduleKind.EVALUATION)

    def open(self) -> "RunQuerySet":
        return self.filter(status__in=RUN_OPEN)

    def taking_places(self) -> "RunQuerySet":
        """Those under the cluster's cap. What a program started itself takes no place."""
        return self.filter(status=RunStatus.RUNNING).exclude(trigger=RunTrigger.API)


class Run(Owned):
    """One occurrence of a schedule, or one press of its button, and what came of it."""

    schedule = owned_key("evalsched.Schedule", related_name="runs")
    status = models.CharField(max_length=10, choices=RunStatus, default=RunStatus.TRIGGERED)
    trigger = models.CharField(max_length=10, choices=RunTrigger)
    scheduled_for = models.DateTimeField()
    triggered_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    # The runs of one backfill share it.
    backfill_id = models.UUIDField(null=True, blank=True)
    batch = owned_key("batches.Batch", null=True, related_name="runs")
    total_prompts = models.PositiveIntegerField(null=True, blank=True)
    successful_prompts = models.PositiveIntegerField(null=True, blank=True)
    failed_prompts = models.PositiveIntegerField(null=True, blank=True)
    avg_latency_ms = models.FloatField(null=True, blank=True)
    p95_latency_ms = models.FloatField(null=True, blank=True)
    avg_ttft_ms = models.FloatField(null=True, blank=True)
    avg_quality_score = models.FloatField(null=True, blank=True)
    total_cost = models.DecimalField(max_digits=18, decimal_places=12, null=True, blank=True)
    error_message = models.TextField(blank=True)
    error_details = models.JSONField(default=dict, blank=True)
    regression_detected = models.BooleanField(default=False, db_default=False)
    # What the comparison with `baseline` brought; null: the run did not complete.
    regression_details = models.JSONField(null=True, blank=True)
    baseline = owned_key("evalsched.Run", null=True)
    # The schedule's configuration when the run was made; later edits do not reach it.
    snapshot = models.JSONField(default=dict)
    updated_at = models.DateTimeField(auto_now=True)

    schedule_id: uuid.UUID
    batch_id: uuid.UUID | None
    baseline_id: uuid.UUID | None

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-scheduled_for", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["schedule", "scheduled_for"],
                condition=Q(trigger="schedule"),
                name="one_run_per_occurrence",
            ),
            models.UniqueConstraint(
                fields=["backfill_id", "scheduled_for"],
                condition=Q(trigger="backfill"),
                name="one_run_per_backfilled_occurrence",
            ),
            models.CheckConstraint(
                condition=Q(trigger="backfill") ^ Q(backfill_id__isnull=True),
                name="backfill_iff_of_one",
            ),
            models.CheckConstraint(condition=Q(status__in=RunStatus.values), name="run_status"),
            models.CheckConstraint(
                condition=Q(status__in=RUN_FINISHED, completed_at__isnull=False)
                | Q(status__in=RUN_OPEN, completed_at__isnull=True),
                name="run_finished_iff_dated",
            ),
            models.CheckConstraint(
                condition=~Q(status=RunStatus.RUNNING)
                | Q(started_at__isnull=False, deadline_at__isnull=False),
                name="run_running_has_a_deadline",
            ),
            models.CheckConstraint(
                condition=~Q(status=RunStatus.FAILED) | ~Q(error_message=""),
                name="run_failed_says_why",
            ),
            models.CheckConstraint(
                condition=Q(regression_details__isnull=True) | Q(status=RunStatus.COMPLETED),
                name="run_compared_only_if_completed",
            ),
            models.CheckConstraint(
                condition=Q(regression_detected=False) | Q(regression_details__isnull=False),
                name="run_regressed_says_why",
            ),
        ]
        indexes = [
            models.Index(fields=["schedule", "-scheduled_for"], name="run_newest"),
            models.Index(fields=["batch"], name="run_of_batch"),
            # The baseline is the last good one.
            models.Index(
                fields=["schedule", "-completed_at"],
                condition=Q(status=RunStatus.COMPLETED, regression_detected=False),
                name="run_last_good",
            ),
            # Dispatch asks what is in the way, admission what of the same schedule is running.
            models.Index(
                fields=["schedule", "scheduled_for"],
                condition=Q(status__in=["triggered", "running"]),
                name="run_open_of_schedule",
            ),
            # Admission takes the oldest waiting run.
            models.Index(
                fields=["scheduled_for", "id"], condition=Q(status="triggered"), name="run_waiting"
            ),
            # The cap counts the running ones; the tick settles those whose batch has ended.
            models.Index(fields=["deadline_at"], condition=Q(status="running"), name="run_running"),
        ]

    def __str__(self) -> str:
        return f"{self.trigger} run for {self.scheduled_for:%Y-%m-%d %H:%M} UTC"


class ExecutionManager(models.Manager["Execution"]):
    def get_queryset(self) -> models.QuerySet["Execution"]:
        found = super().get_queryset().filter(schedule__kind=ScheduleKind.MODEL_RUN)
        return found.select_related("batch").prefetch_related("batch__jobs")


class Execution(Run):
    """A run of a model run. The same rows, alone, with the one call that each has made."""

    objects = ExecutionManager()  # type: ignore[assignment,misc]  # narrower than the rows' own

    class Meta:
        proxy = True
        ordering = ["-scheduled_for", "-id"]
        verbose_name = "execution"

    @property
    def answer(self) -> Job | None:
        """The call, once the model has answered."""
        made = () if self.batch is None else self.batch.jobs.all()
        return next(
            (job for job in made if job.status == JobStatus.DONE and not job.error_class), None
        )

"""One call of a batch, with what came of it."""

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from access.isolation import owned_key
from access.models import Project
from access.states import StatefulQuerySet


class JobStatus(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"  # claimed by a worker until its lease ends
    DONE = "done"
    NOT_RUN = "not_run"  # the batch stopped before its turn
    CANCELLED = "cancelled"


JOB_OPEN = frozenset({JobStatus.PENDING, JobStatus.RUNNING})


class JobOutcome(models.TextChoices):
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"  # the endpoint's fault, not the model's: excluded from the score
    UNSCORED = "unscored"


class JobQuerySet(StatefulQuerySet["Job"]):
    SOURCES: ClassVar = {
        # A lost worker's job, or a resumed one.
        JobStatus.PENDING: frozenset(JobStatus) - {JobStatus.PENDING},
        JobStatus.RUNNING: frozenset({JobStatus.PENDING}),
        # A job whose worker is lost time and again ends without one, and one whose document could
        # not be fetched without a call.
        JobStatus.DONE: JOB_OPEN,
        JobStatus.NOT_RUN: JOB_OPEN,
        JobStatus.CANCELLED: JOB_OPEN,
    }


class Job(models.Model):
    """One call: a case or a document, asked once.

    Only the claim numbered `claim_no` may write its result.
    """

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, models.PROTECT, related_name="+", db_index=False)
    batch = owned_key("batches.Batch", related_name="jobs")
    case = owned_key("batches.TestCase", null=True)
    document = owned_key("batches.Document", null=True, index=False)
    case_key = models.CharField(max_length=128)
    case_hash = models.CharField(max_length=64)
    ordinal = models.PositiveIntegerField()
    repeat = models.PositiveIntegerField(default=1)
    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    weight = models.FloatField(default=1)
    status = models.CharField(max_length=10, choices=JobStatus, default=JobStatus.PENDING)
    outcome = models.CharField(max_length=10, choices=JobOutcome, null=True)  # noqa: DJ001  no outcome yet
    claim_no = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    # How often a lease ended unrenewed, so that the job was taken from its worker.
    lost_workers = models.PositiveSmallIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    output = models.TextField(blank=True)
    score = models.FloatField(null=True)
    assertions = models.JSONField(default=list)
    latency_ms = models.FloatField(null=True)
    ttft_ms = models.FloatField(null=True)
    wall_ms = models.FloatField(null=True)
    input_tokens = models.PositiveIntegerField(null=True)
    cached_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)
    cost = models.DecimalField(max_digits=18, decimal_places=12, null=True)
    # The prices that `cost` was made with, so that later ones change nothing, or why it is null.
    prices = models.JSONField(null=True)
    cost_unknown_because = models.CharField(max_length=200, blank=True)
    judge_cost = models.DecimalField(max_digits=18, decimal_places=12, null=True)
    reserved_cost = models.DecimalField(max_digits=18, decimal_places=12, default=0)
    error_class = models.CharField(max_length=20, blank=True)
    error_message = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    project_id: uuid.UUID
    batch_id: uuid.UUID
    case_id: uuid.UUID | None
    document_id: uuid.UUID | None

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["ordinal", "repeat"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "ordinal", "repeat"], name="one_job_per_call"),
            models.CheckConstraint(condition=Q(status__in=JobStatus.values), name="job_status"),
            models.CheckConstraint(
                # IN alone would let NULL pass: a check refuses only what is false.
                condition=Q(
                    status=JobStatus.DONE,
                    outcome__isnull=False,
                    outcome__in=JobOutcome.values,
                )
                | (~Q(status=JobStatus.DONE) & Q(outcome__isnull=True)),
                name="job_done_iff_outcome",
            ),
            models.CheckConstraint(
                condition=Q(status=JobStatus.RUNNING, lease_expires_at__isnull=False)
                | (~Q(status=JobStatus.RUNNING) & Q(lease_expires_at__isnull=True)),
                name="job_running_iff_leased",
            ),
            models.CheckConstraint(
                condition=Q(status=JobStatus.DONE, finished_at__isnull=False)
                | (~Q(status=JobStatus.DONE) & Q(finished_at__isnull=True)),
                name="job_done_iff_dated",
            ),
            models.CheckConstraint(
                condition=Q(score__isnull=True) | Q(score__gte=0, score__lte=1), name="job_score"
            ),
        ]
        indexes = [
            # Claiming takes the oldest pending jobs of a batch.
            models.Index(
                fields=["batch", "ordinal", "repeat"],
                condition=Q(status="pending"),
                name="job_pending",
            ),
            # The tick frees expired leases.
            models.Index(
                fields=["lease_expires_at"], condition=Q(status="running"), name="job_leased"
            ),
            # Deleting a document looks for the jobs that asked about it.
            models.Index(
                fields=["document"],
                condition=Q(document__isnull=False),
                name="job_of_document",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.case_key} #{self.repeat}"

"""One execution of many calls, and what stays of an experiment."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from access.isolation import owned_key
from access.models import Owned
from access.secrets import SecretField
from access.states import StatefulQuerySet


class BatchStatus(models.TextChoices):
    PENDING = "pending"  # made; no worker has taken it up
    RUNNING = "running"
    COMPLETED = "completed"  # every job has an outcome
    FAILED = "failed"  # could not run at all, or ran out of time
    CANCELLED = "cancelled"
    STOPPED_BUDGET = "stopped_budget"  # the next call might have cost more than max_cost
    STOPPED_CIRCUIT = "stopped_circuit"  # five jobs in a row met a broken endpoint


BATCH_OPEN = frozenset({BatchStatus.PENDING, BatchStatus.RUNNING})
BATCH_FINISHED = frozenset(BatchStatus) - BATCH_OPEN


class BatchQuerySet(StatefulQuerySet["Batch"]):
    SOURCES: ClassVar = {
        # Resuming opens a finished batch again.
        BatchStatus.PENDING: BATCH_FINISHED,
        BatchStatus.RUNNING: frozenset({BatchStatus.PENDING}),
        BatchStatus.COMPLETED: BATCH_OPEN,
        BatchStatus.FAILED: BATCH_OPEN,
        BatchStatus.CANCELLED: BATCH_OPEN,
        BatchStatus.STOPPED_BUDGET: BATCH_OPEN,
        BatchStatus.STOPPED_CIRCUIT: BATCH_OPEN,
    }

    def open(self) -> "BatchQuerySet":
        return self.filter(status__in=BATCH_OPEN)

    def evaluations(self) -> "BatchQuerySet":
        """Those that ask a suite or documents, as opposed to one request of their own."""
        return self.filter(request="")


class Batch(Owned):
    """One execution of many calls.

    The counters are exact at every moment: they change in the transactions that change the jobs,
    under a lock of this row.
    """

    name = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=20, choices=BatchStatus, default=BatchStatus.PENDING)
    # Null where documents are asked about, or where the suite was deleted.
    suite = owned_key("batches.TestSuite", null=True)
    suite_version = models.PositiveIntegerField(default=0)
    suite_hash = models.CharField(max_length=64, blank=True)
    endpoint = owned_key("batches.ModelEndpoint", null=True)
    agent = owned_key("batches.Agent", null=True)
    # Instead of a suite or documents: one call's messages and options, see `requests.Request`.
    request = SecretField(db_default="")
    # The batch whose answers these are, scored anew.
    rescored_from = owned_key("batches.Batch", null=True)
    # What the batch was made from, in words that outlive suite, endpoint and agent.
    suite_name = models.CharField(max_length=200, blank=True)
    model_name = models.CharField(max_length=200)
    agent_name = models.CharField(max_length=200, blank=True)
    # The agent's when the batch was made; later edits do not reach it.
    instructions = models.TextField(blank=True)
    assertions = models.JSONField(default=list, blank=True)
    description = models.TextField(blank=True)
    # Groups the batches of an experiment.
    tracking_id = models.CharField(max_length=64, blank=True)
    is_ephemeral = models.BooleanField(default=False)
    # When an experiment is cleaned up.
    expires_at = models.DateTimeField(null=True, blank=True)
    # Addresses that are still to be fetched: no call is made before all have had their turn.
    waiting_documents = models.PositiveIntegerField(default=0)
    concurrency = models.PositiveIntegerField(default=10)
    repeats = models.PositiveIntegerField(default=1)
    timeout_ms = models.PositiveIntegerField(default=60_000)
    # The least time between the starts of two calls, over all workers.
    delay_ms = models.PositiveIntegerField(default=0)
    max_cost = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    # USD a call is expected to cost until the first ones have told; only where there is a budget.
    expected_call_cost = models.DecimalField(max_digits=18, decimal_places=12, default=0)
    # What the running jobs are expected to cost together; only where there is a budget.
    reserved_cost = models.DecimalField(max_digits=18, decimal_places=12, default=0)
    parameters = models.JSONField(default=dict, blank=True)
    # Who judges and who embeds, as `graders.Grader` writes them down when the batch is made.
    graders = models.JSONField(default=list, blank=True)
    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)

    total = models.PositiveIntegerField(default=0)
    running = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    # How many were done already at `started_at`: a resumed batch starts anew and keeps what it has.
    done_before = models.PositiveIntegerField(default=0, db_default=0)
    passed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)
    unscored = models.PositiveIntegerField(default=0)
    # Jobs in a row that ended as infra, in the order their results came in.
    consecutive_infra = models.PositiveIntegerField(default=0)
    # Answers in a row whose judge or embeddings did not come; those that need none do not count.
    consecutive_unjudged = models.PositiveIntegerField(default=0, db_default=0)
    # Sums of what the done jobs brought; averages are made from them when read.
    score_sum = models.FloatField(default=0)
    weight_sum = models.FloatField(default=0)
    latency_sum_ms = models.FloatField(default=0)
    latency_count = models.PositiveIntegerField(default=0)
    ttft_sum_ms = models.FloatField(default=0)
    ttft_count = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    # Of the model under test alone; what judges and embeddings cost stands beside it.
    total_cost = models.DecimalField(max_digits=18, decimal_places=12, null=True, blank=True)
    judge_cost = models.DecimalField(max_digits=18, decimal_places=12, null=True, blank=True)
    p95_latency_ms = models.FloatField(null=True, blank=True)

    # When a worker was last woken for it, or last claimed from it; null when one came and found
    # no place.
    hinted_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    error_class = models.CharField(max_length=20, blank=True)
    error_message = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = BatchQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "batches"
        constraints = [
            models.CheckConstraint(condition=Q(status__in=BatchStatus.values), name="batch_status"),
            models.CheckConstraint(
                condition=Q(status__in=BATCH_FINISHED, completed_at__isnull=False)
                | Q(status__in=BATCH_OPEN, completed_at__isnull=True),
                name="batch_finished_iff_dated",
            ),
            models.CheckConstraint(
                condition=Q(done=F("passed") + F("failed") + F("errors") + F("unscored")),
                name="batch_outcomes_add_up",
            ),
            models.CheckConstraint(
                condition=Q(total__gte=F("done") + F("running")), name="batch_within_its_total"
            ),
            models.CheckConstraint(
                condition=~Q(status=BatchStatus.COMPLETED) | Q(done=F("total"), running=0),
                name="batch_completed_means_all_done",
            ),
            models.CheckConstraint(
                condition=Q(is_ephemeral=False)
                | (Q(expires_at__isnull=False) & ~Q(tracking_id="")),
                name="batch_ephemeral_is_tracked_and_expires",
            ),
            models.CheckConstraint(
                condition=Q(is_ephemeral=True) | Q(expires_at__isnull=True),
                name="batch_only_ephemeral_expires",
            ),
            models.CheckConstraint(
                condition=Q(request="")
                | Q(
                    suite__isnull=True,
                    suite_name="",
                    agent__isnull=True,
                    tracking_id="",
                    parameters={},
                    total=1,
                ),
                name="batch_of_a_request_asks_nothing_else",
            ),
        ]
        indexes = [
            models.Index(
                fields=["project", "-created_at"], condition=Q(request=""), name="batch_newest"
            ),
            models.Index(
                fields=["project", "tracking_id", "created_at"],
                condition=~Q(tracking_id=""),
                name="batch_of_experiment",
            ),
            # Cleaning up takes those that expired first.
            models.Index(
                fields=["expires_at"], condition=Q(is_ephemeral=True), name="batch_expiring"
            ),
            # The tick looks for open batches that wait for a worker.
            models.Index(
                fields=["hinted_at"],
                condition=Q(status__in=["pending", "running"]),
                name="batch_open",
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.suite_name or 'Documents'} on {self.model_name}"


class Experiment(Batch):
    """The first batch of a tracking id, where it stands for the whole experiment on a list."""

    class Meta:
        proxy = True

    def __str__(self) -> str:
        return self.tracking_id


class Tombstone(Owned):
    """What remains of an experiment's batch after it was cleaned up."""

    batch_id = models.UUIDField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    tracking_id = models.CharField(max_length=64)
    suite_name = models.CharField(max_length=200, blank=True)
    suite_hash = models.CharField(max_length=64, blank=True)
    model_name = models.CharField(max_length=200)
    agent_name = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=20, choices=BatchStatus)
    total = models.PositiveIntegerField()
    passed = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    errors = models.PositiveIntegerField()
    unscored = models.PositiveIntegerField()
    documents = models.PositiveIntegerField()
    # SHA-256 over the content hashes of its jobs, in their order, hexadecimal.
    content_hash = models.CharField(max_length=64)
    avg_score = models.FloatField(null=True)
    total_cost = models.DecimalField(max_digits=18, decimal_places=12, null=True)
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    expired_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["project", "tracking_id"], name="tombstone_of_experiment"),
        ]

    def __str__(self) -> str:
        return self.name or self.tracking_id

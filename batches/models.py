"""What is run, and what came out."""

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from access.isolation import owned_key
from access.models import Owned, Project
from access.secrets import SecretField
from access.states import StatefulQuerySet


class Provider(models.TextChoices):
    OPENAI = "openai", "OpenAI-compatible"
    ANTHROPIC = "anthropic", "Anthropic"
    HTTP = "http", "Any JSON over HTTP"
    DEMO = "demo", "Demonstration"


class ModelEndpoint(Owned):
    """Where a model answers, with which credentials, how often, and for how much."""

    name = models.CharField(max_length=200)
    provider = models.CharField(max_length=20, choices=Provider)
    base_url = models.CharField(max_length=500, blank=True)
    model = models.CharField(max_length=200)
    api_key = SecretField()
    # Names and values as JSON: people put tokens into headers, so all of it is secret.
    headers = SecretField()
    parameters = models.JSONField(default=dict, blank=True)
    # The provider http's: the JSON object to send, and where the answer stands in what comes back.
    request_template = models.JSONField(null=True, blank=True)
    answer_path = models.CharField(max_length=200, blank=True)
    # What all workers together may ask of it; null is no limit.
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    # USD per million tokens; all null: as the maintained price list has it. Unknown is never free.
    price_input = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    price_cached_input = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    price_output = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_endpoint_of_a_name"),
            models.CheckConstraint(
                condition=Q(provider__in=Provider.values), name="known_provider"
            ),
            models.CheckConstraint(
                condition=(Q(price_input__isnull=True) | Q(price_input__gte=0))
                & (Q(price_cached_input__isnull=True) | Q(price_cached_input__gte=0))
                & (Q(price_output__isnull=True) | Q(price_output__gte=0)),
                name="prices_not_negative",
            ),
            models.CheckConstraint(
                condition=(Q(requests_per_minute__isnull=True) | Q(requests_per_minute__gte=1))
                & (Q(tokens_per_minute__isnull=True) | Q(tokens_per_minute__gte=1)),
                name="limits_at_least_one",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Agent(Owned):
    """An endpoint with a system prompt, parameters and assertions of its own.

    One with an `ephemeral_batch` belongs to that experiment and goes with it.
    """

    name = models.CharField(max_length=200)
    endpoint = owned_key("batches.ModelEndpoint", related_name="agents")
    primary_instructions = models.TextField(blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    assertions = models.JSONField(default=list, blank=True)
    ephemeral_batch = owned_key("batches.Batch", null=True, related_name="ephemeral_agents")
    updated_at = models.DateTimeField(auto_now=True)

    endpoint_id: uuid.UUID
    ephemeral_batch_id: uuid.UUID | None

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(ephemeral_batch__isnull=True),
                name="one_agent_of_a_name",
            ),
        ]
        indexes = [models.Index(fields=["project", "-created_at"], name="agent_newest")]

    def __str__(self) -> str:
        return self.name


class DocumentStatus(models.TextChoices):
    READY = "ready"
    WAITING = "waiting"  # for a worker to fetch its address
    FETCHING = "fetching"  # claimed by a worker until its lease ends
    FAILED = "failed"


DOCUMENT_OPEN = frozenset({DocumentStatus.WAITING, DocumentStatus.FETCHING})


class DocumentQuerySet(StatefulQuerySet["Document"]):
    SOURCES: ClassVar = {
        DocumentStatus.WAITING: frozenset({DocumentStatus.FETCHING, DocumentStatus.FAILED}),
        DocumentStatus.FETCHING: frozenset({DocumentStatus.WAITING}),
        DocumentStatus.READY: DOCUMENT_OPEN,
        DocumentStatus.FAILED: DOCUMENT_OPEN,
    }


class Document(Owned):
    """A text that is given to a model, typed in or fetched from `source_url`.

    `content_hash` is the SHA-256 of the content, hexadecimal, once there is one. One with an
    `ephemeral_batch` belongs to that experiment and goes with it.
    """

    title = models.CharField(max_length=300)
    content = models.TextField(blank=True)
    content_hash = models.CharField(max_length=64, blank=True)
    source_url = models.CharField(max_length=2000, blank=True)
    status = models.CharField(max_length=10, choices=DocumentStatus, default=DocumentStatus.READY)
    claim_no = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    # When a worker was last woken for it.
    hinted_at = models.DateTimeField(null=True)
    fetched_at = models.DateTimeField(null=True)
    error_message = models.TextField(blank=True)
    ephemeral_batch = owned_key("batches.Batch", null=True, related_name="ephemeral_documents")
    updated_at = models.DateTimeField(auto_now=True)

    ephemeral_batch_id: uuid.UUID | None

    objects = DocumentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=DocumentStatus.values), name="document_status"
            ),
            models.CheckConstraint(
                condition=~Q(status=DocumentStatus.READY) | ~Q(content_hash=""),
                name="document_ready_means_hashed",
            ),
            models.CheckConstraint(
                condition=Q(status=DocumentStatus.READY) | ~Q(source_url=""),
                name="document_without_address_is_ready",
            ),
            models.CheckConstraint(
                condition=Q(status=DocumentStatus.FETCHING, lease_expires_at__isnull=False)
                | (~Q(status=DocumentStatus.FETCHING) & Q(lease_expires_at__isnull=True)),
                name="document_fetching_iff_leased",
            ),
            models.CheckConstraint(
                condition=~Q(status=DocumentStatus.FAILED) | ~Q(error_message=""),
                name="document_failed_says_why",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "-created_at"], name="document_newest"),
            # The tick looks for addresses that nobody fetches.
            models.Index(
                fields=["hinted_at"],
                condition=Q(status__in=["waiting", "fetching"]),
                name="document_open",
            ),
        ]

    def __str__(self) -> str:
        return self.title


class TestSuite(Owned):
    """A versioned set of cases. `content_hash` is over the current cases, in their order."""

    __test__ = False  # not pytest's

    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    version = models.PositiveIntegerField(default=0)
    content_hash = models.CharField(max_length=64, blank=True)
    case_count = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_suite_of_a_name")
        ]

    def __str__(self) -> str:
        return self.name


class TestCaseQuerySet(models.QuerySet["TestCase"]):
    def current(self) -> "TestCaseQuerySet":
        return self.filter(removed_in__isnull=True)

    def of_version(self, version: int) -> "TestCaseQuerySet":
        """The cases of one version of a suite: made by then and not yet removed."""
        return self.filter(added_in__lte=version).filter(
            Q(removed_in__isnull=True) | Q(removed_in__gt=version)
        )


class TestCase(Owned):
    """One immutable case. An edit removes the row in the next version and adds another."""

    __test__ = False

    suite = owned_key("batches.TestSuite", related_name="cases")
    key = models.CharField(max_length=128)
    position = models.PositiveIntegerField()
    content_hash = models.CharField(max_length=64)
    added_in = models.PositiveIntegerField()
    removed_in = models.PositiveIntegerField(null=True)
    prompt = models.TextField(null=True, blank=True)  # noqa: DJ001  a case has messages instead
    messages = models.JSONField(null=True, blank=True)
    variables = models.JSONField(default=dict, blank=True)
    expected = models.JSONField(null=True, blank=True)
    assertions = models.JSONField(default=list, blank=True)
    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    weight = models.FloatField(default=1)
    threshold = models.FloatField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = TestCaseQuerySet.as_manager()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["suite", "key"],
                condition=Q(removed_in__isnull=True),
                name="one_current_case_of_a_key",
            ),
            models.CheckConstraint(
                condition=Q(removed_in__isnull=True) | Q(removed_in__gt=F("added_in")),
                name="case_removed_after_it_was_added",
            ),
            models.CheckConstraint(
                condition=Q(prompt__isnull=True) ^ Q(messages__isnull=True),
                name="prompt_or_messages",
            ),
            models.CheckConstraint(condition=Q(weight__gt=0), name="case_weight_positive"),
        ]
        indexes = [models.Index(fields=["suite", "position"], name="case_in_order")]

    def __str__(self) -> str:
        return self.key


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

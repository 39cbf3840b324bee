"""What programs and batches report of their model calls, and the minutes it is summed up in.

Their tables are partitioned by day where they grow with use, which Django does not know; the
migrations write them in SQL. Imported by `alerts.models`, where everybody takes them from.
"""

import uuid

from django.db import models
from django.db.models import Q

from access.models import Project, User


class TraceSource(models.TextChoices):
    INGEST = "ingest"  # sent by a program
    EVALUATION = "evaluation"  # a job of a batch


class TraceStatus(models.TextChoices):
    SUCCESS = "success"
    ERROR = "error"


class Trace(models.Model):
    """One span. Partitioned by day on `ended_at`; a text that is not known is empty.

    `latency_ms` and `ttft_ms` are milliseconds, `cost` USD. Token counts and cost stand on spans
    of model calls only, as agents' and workflows' spans repeat them. `input_tokens` include the
    cached ones.
    """

    id = models.BigAutoField(primary_key=True)
    # Without constraints of the database: making and dropping days would lock those tables.
    project = models.ForeignKey(
        Project, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    user = models.ForeignKey(
        User, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    created_at = models.DateTimeField()
    source = models.CharField(max_length=10, choices=TraceSource)
    trace_id = models.CharField(max_length=64)
    span_id = models.CharField(max_length=64)
    parent_span_id = models.CharField(max_length=64, blank=True)
    span_name = models.CharField(max_length=256)
    operation = models.CharField(max_length=128)
    model = models.CharField(max_length=200, blank=True)
    model_requested = models.CharField(max_length=200, blank=True)
    provider = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=7, choices=TraceStatus)
    error_type = models.CharField(max_length=200, blank=True)
    latency_ms = models.FloatField()
    ttft_ms = models.FloatField(null=True)
    input_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    total_tokens = models.BigIntegerField(null=True)
    cost = models.DecimalField(max_digits=18, decimal_places=12, null=True)
    cost_source = models.CharField(max_length=10, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    attributes = models.JSONField(default=dict)

    project_id: uuid.UUID
    user_id: uuid.UUID

    class Meta:
        ordering = ["-ended_at", "-id"]
        constraints = [
            # Whole in every partition: the day is part of it.
            models.UniqueConstraint(
                fields=["project", "trace_id", "span_id", "ended_at"], name="one_trace_per_span"
            ),
            models.CheckConstraint(condition=Q(source__in=TraceSource.values), name="trace_source"),
            models.CheckConstraint(condition=Q(status__in=TraceStatus.values), name="trace_status"),
            models.CheckConstraint(condition=Q(latency_ms__gte=0), name="trace_latency"),
        ]
        indexes = [
            # The newest of a project, and all of a minute.
            models.Index(fields=["project", "ended_at", "id"], name="trace_newest"),
            # What the list is narrowed by: of a name that is rare all spans would be read.
            models.Index(fields=["project", "model", "ended_at", "id"], name="trace_of_model"),
            models.Index(
                fields=["project", "operation", "ended_at", "id"], name="trace_of_operation"
            ),
            # Partial, so that spans that programs report, and that went well, pay nothing for it.
            models.Index(
                fields=["project", "ended_at", "id"],
                condition=Q(status=TraceStatus.ERROR),
                name="trace_errors",
            ),
            models.Index(
                fields=["project", "ended_at", "id"],
                condition=Q(source=TraceSource.EVALUATION),
                name="trace_evaluations",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.span_name} {self.span_id}"


class DirtyMinute(models.Model):
    """A minute that spans came into. Written in their transaction, taken by who rebuilds it.

    One row for each time, on purpose: a single one would have to be locked until the spans are
    committed, or be taken away before they can be seen.
    """

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(
        Project, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    minute = models.DateTimeField()

    project_id: uuid.UUID

    class Meta:
        indexes = [models.Index(fields=["project", "id"], name="dirty_minute_of_project")]

    def __str__(self) -> str:
        return f"{self.minute:%H:%M} of {self.project_id}"


class Rollup(models.Model):
    """All spans of a project that ended in one minute, grouped, with the exact values.

    `groups` is a JSON list of [source, model, operation, status]. Of each quantity there are how
    many values each group has (int32), its sum, least and greatest, and the values themselves, one
    group after the other; little-endian, float64 in ms, int64 tokens, int64 in 1e-12 USD. Sums of
    cost are two numbers, in 1e-3 USD and the rest. Rebuilt from the spans, never added to.
    """

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, models.PROTECT, related_name="+", db_index=False)
    minute = models.DateTimeField()
    packed_at = models.DateTimeField()
    # Read as it stands and recognised without being parsed.
    groups = models.TextField()
    latency_counts = models.BinaryField()
    latency_stats = models.BinaryField()
    latency = models.BinaryField()
    ttft_counts = models.BinaryField()
    ttft_stats = models.BinaryField()
    ttft = models.BinaryField()
    tokens_counts = models.BinaryField()
    tokens_stats = models.BinaryField()
    tokens = models.BinaryField()
    cost_counts = models.BinaryField()
    cost_stats = models.BinaryField()
    cost = models.BinaryField()
    # Whether it had more pairs of model and operation than are kept apart; the rest is `_other`.
    crowded = models.BooleanField(default=False)
    # In USD, of what programs reported: the calls of batches are counted with their batches.
    reported_cost = models.DecimalField(max_digits=30, decimal_places=12, default=0)

    project_id: uuid.UUID

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "minute"], name="one_rollup_a_minute")
        ]
        # The home page adds up days of all projects; the rows themselves are large.
        indexes = [
            models.Index(fields=["minute"], include=["reported_cost"], name="rollup_spending")
        ]

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} of {self.project_id}"


class LateArrival(models.Model):
    """How many spans of a group came after their minute had been judged."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, models.PROTECT, related_name="+", db_index=False)
    minute = models.DateTimeField()
    packed_at = models.DateTimeField()
    source = models.CharField(max_length=10)
    model = models.CharField(max_length=200, blank=True)
    operation = models.CharField(max_length=128)
    status = models.CharField(max_length=7)
    count = models.IntegerField()

    project_id: uuid.UUID

    class Meta:
        indexes = [models.Index(fields=["project", "minute"], name="late_arrival_minute")]

    def __str__(self) -> str:
        return f"{self.count} into {self.minute:%H:%M} of {self.project_id}"


class Anomaly(models.Model):
    """How unusual a minute of a model's metric was. Rules read it; nothing looks for any yet."""

    class Severity(models.IntegerChoices):
        LOW = 1
        MEDIUM = 2
        HIGH = 3
        CRITICAL = 4

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, models.PROTECT, related_name="+", db_index=False)
    minute = models.DateTimeField()
    metric_type = models.CharField(max_length=20)
    model = models.CharField(max_length=200, blank=True)
    severity = models.PositiveSmallIntegerField(choices=Severity)

    project_id: uuid.UUID

    class Meta:
        verbose_name_plural = "anomalies"
        constraints = [
            models.UniqueConstraint(
                fields=["project", "minute", "metric_type", "model"], name="one_anomaly_a_minute"
            ),
            models.CheckConstraint(
                condition=models.Q(severity__gte=1, severity__lte=4), name="anomaly_severity"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_severity_display()} at {self.minute:%H:%M} of {self.project_id}"

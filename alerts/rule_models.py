"""Alert rules: what they watch, where they stand, what they found, and their episodes.

Imported by `alerts.models`, where everybody takes them from.
"""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from access.isolation import owned_key
from access.models import Owned, Project, User
from access.states import StatefulQuerySet
from alerts.trace_models import TraceStatus


class Metric(models.TextChoices):
    LATENCY = "latency"  # ms
    ERROR_RATE = "error_rate"  # percent
    COST = "cost"  # USD
    THROUGHPUT = "throughput"  # spans a minute
    TTFT = "ttft"  # ms
    TOKEN_USAGE = "token_usage"  # noqa: S105  tokens, no password
    ANOMALY_SEVERITY = "anomaly_severity"  # of each minute, 0 to 4


class Aggregation(models.TextChoices):
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    AVG = "avg"
    MAX = "max"
    MIN = "min"
    COUNT = "count"
    SUM = "sum"


class Comparison(models.TextChoices):
    ABOVE = ">"
    BELOW = "<"
    AT_LEAST = ">="
    AT_MOST = "<="
    EQUAL = "=="
    UNEQUAL = "!="


class SourceFilter(models.TextChoices):
    INGEST = "ingest"
    EVALUATION = "evaluation"
    ANY = "any"


class GroupBy(models.TextChoices):
    MODEL = "model"
    OPERATION = "operation"


class NoDataMode(models.TextChoices):
    ZERO = "zero"
    NO_DATA = "no_data"
    ALERT = "alert"


class Severity(models.TextChoices):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class RuleStatus(models.TextChoices):
    """Where a rule, or one of its groups, stands."""

    INACTIVE = "inactive"
    PENDING = "pending"  # breached, but not for long enough yet
    FIRING = "firing"
    RECOVERING = "recovering"  # clear again, but not for long enough yet


class Health(models.TextChoices):
    """Whether the last minute could be judged. Never changes the state."""

    OK = "ok"
    NO_DATA = "no_data"
    INSUFFICIENT = "insufficient"  # fewer than `min_samples`
    ERROR = "error"


class AlertRule(Owned):
    """A condition over the spans of a window, looked at each minute."""

    rule_name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    metric_type = models.CharField(max_length=20, choices=Metric)
    threshold_value = models.DecimalField(max_digits=30, decimal_places=12)
    comparison_operator = models.CharField(max_length=2, choices=Comparison)
    time_window_minutes = models.PositiveIntegerField()
    aggregation_method = models.CharField(max_length=5, choices=Aggregation)
    model_filter = models.CharField(max_length=200, blank=True)
    operation_filter = models.CharField(max_length=128, blank=True)
    status_filter = models.CharField(max_length=7, choices=TraceStatus, blank=True)
    source_filter = models.CharField(
        max_length=10, choices=SourceFilter, default=SourceFilter.INGEST
    )
    group_by = models.CharField(max_length=10, choices=GroupBy, blank=True)
    notify_email = models.BooleanField(default=True)
    notify_webhooks = models.BooleanField(default=False)
    notify_integrations = models.BooleanField(default=False)
    cooldown_minutes = models.PositiveIntegerField(default=60)
    renotify = models.BooleanField(default=True)
    for_minutes = models.PositiveIntegerField(default=0)
    keep_firing_minutes = models.PositiveIntegerField(default=0)
    recovery_threshold = models.DecimalField(
        max_digits=30, decimal_places=12, null=True, blank=True
    )
    tolerance = models.DecimalField(max_digits=30, decimal_places=12, default=0)
    min_samples = models.PositiveIntegerField(default=1)
    no_data_mode = models.CharField(max_length=8, choices=NoDataMode, blank=True)
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.WARNING)
    enabled = models.BooleanField(default=True)
    # Why the service switched it off; empty where a person did.
    pause_reason = models.TextField(blank=True)
    # Since when it is looked at each minute: when it was made or last enabled.
    watched_from = models.DateTimeField()
    last_triggered_at = models.DateTimeField(null=True, blank=True)
    trigger_count = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["project", "rule_name"], name="one_rule_of_a_name"),
            models.CheckConstraint(
                condition=Q(time_window_minutes__gte=1, time_window_minutes__lte=1440),
                name="rule_window",
            ),
            models.CheckConstraint(
                condition=Q(trigger_count=0, last_triggered_at__isnull=True)
                | Q(trigger_count__gt=0, last_triggered_at__isnull=False),
                name="rule_triggered_iff_dated",
            ),
            models.CheckConstraint(
                condition=Q(enabled=False) | Q(pause_reason=""), name="rule_reason_only_if_disabled"
            ),
        ]
        # Each minute the enabled rules of a project are read.
        indexes = [models.Index(fields=["project"], condition=Q(enabled=True), name="rule_enabled")]

    def __str__(self) -> str:
        return self.rule_name


class RuleState(Owned):
    """Where a rule stands, for each of its groups; no row is `inactive`. Written when it changes.

    Only the evaluation of a minute and what ends an episode by hand write it. `since` dates the
    first breach of `pending` and the first clear minute of `recovering`. `user` is the rule's.
    """

    rule = owned_key("alerts.AlertRule", related_name="states")
    group = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=RuleStatus, default=RuleStatus.INACTIVE)
    health = models.CharField(max_length=12, choices=Health, default=Health.OK)
    since = models.DateTimeField(null=True)
    # The last notice that it fires, over all episodes: the cooldown counts from it.
    notified_at = models.DateTimeField(null=True)
    # Whether the episode under way was told of.
    told = models.BooleanField(default=False)
    errors_in_row = models.PositiveSmallIntegerField(default=0)
    # Counts the changes, so that one who has read an older one does not write over it.
    revision = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "group"], name="one_state_per_group"),
            models.CheckConstraint(condition=Q(state__in=RuleStatus.values), name="rule_state"),
            models.CheckConstraint(condition=Q(health__in=Health.values), name="rule_health"),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "recovering"], since__isnull=False)
                | Q(state__in=["inactive", "firing"], since__isnull=True),
                name="rule_state_since_iff_waiting",
            ),
            models.CheckConstraint(
                condition=Q(told=False) | Q(state__in=["firing", "recovering"]),
                name="rule_state_told_while_active",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.group}".strip()


class EvaluationPass(models.Model):
    """The evaluation of all rules of a project for one closed minute, or that it was left out."""

    class Status(models.TextChoices):
        EVALUATED = "evaluated"
        SKIPPED = "skipped"  # nobody was there to do it in time

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, models.PROTECT, related_name="+", db_index=False)
    minute = models.DateTimeField()
    status = models.CharField(max_length=10, choices=Status)
    evaluated_at = models.DateTimeField()

    project_id: uuid.UUID

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "minute"], name="one_pass_a_minute"),
            models.CheckConstraint(
                condition=Q(status__in=["evaluated", "skipped"]), name="pass_status"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.minute:%Y-%m-%d %H:%M}"


class RuleEvaluation(models.Model):
    """What a rule found in the minutes from `first_minute` to `last_minute`, all of them alike.

    A minute T is the end of the window [T - time_window_minutes, T). Partitioned by day on
    `first_minute`. `rule_id` is no foreign key: the day that is dropped would lock the rules.
    """

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(
        Project, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    user = models.ForeignKey(
        User, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    rule_id = models.UUIDField()
    group = models.CharField(max_length=200, blank=True)
    first_minute = models.DateTimeField()
    last_minute = models.DateTimeField()
    metric_value = models.FloatField(null=True)
    threshold_value = models.FloatField()
    window_minutes = models.PositiveIntegerField()
    sample_count = models.BigIntegerField()
    triggered = models.BooleanField()
    state = models.CharField(max_length=10, choices=RuleStatus)
    health = models.CharField(max_length=12, choices=Health)
    error_message = models.CharField(max_length=300, blank=True)
    evaluated_at = models.DateTimeField()

    project_id: uuid.UUID
    user_id: uuid.UUID

    class Meta:
        ordering = ["-last_minute", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["rule_id", "group", "first_minute"], name="one_evaluation_a_minute"
            ),
            models.CheckConstraint(
                condition=Q(last_minute__gte=models.F("first_minute")), name="evaluation_forward"
            ),
        ]
        # Each minute looks for what the one before it wrote.
        indexes = [models.Index(fields=["project", "last_minute"], name="evaluation_last")]

    def __str__(self) -> str:
        return f"{self.state} {self.last_minute:%Y-%m-%d %H:%M}"


class AlertStatus(models.TextChoices):
    FIRING = "firing"
    RESOLVED = "resolved"


class AlertQuerySet(StatefulQuerySet["Alert"]):
    SOURCES: ClassVar = {
        AlertStatus.FIRING: frozenset(),
        AlertStatus.RESOLVED: frozenset({AlertStatus.FIRING}),
    }


class Alert(Owned):
    """An episode: from the minute a rule began to fire to the one it ended. `user` is the rule's.

    `samples` adds up what the minutes of it counted; `peak_value` is the value furthest beyond the
    threshold. `notices` counts what was told while it fired.
    """

    rule = owned_key("alerts.AlertRule", related_name="alerts")
    group = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=10, choices=AlertStatus, default=AlertStatus.FIRING)
    severity = models.CharField(max_length=10, choices=Severity)
    started_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    # Why it ended: recovered, by_hand, group_silent, rule_changed, rule_disabled.
    resolution = models.CharField(max_length=20, blank=True)
    resolved_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    first_value = models.FloatField(null=True)
    last_value = models.FloatField(null=True)
    peak_value = models.FloatField(null=True)
    samples = models.BigIntegerField(default=0)
    notices = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "group"], condition=Q(status="firing"), name="one_open_alert"
            ),
            models.CheckConstraint(condition=Q(status__in=AlertStatus.values), name="alert_status"),
            models.CheckConstraint(
                condition=Q(status="resolved", resolved_at__isnull=False)
                | Q(status="firing", resolved_at__isnull=True),
                name="alert_resolved_iff_dated",
            ),
            models.CheckConstraint(
                condition=Q(acknowledged_at__isnull=True, acknowledged_by__isnull=True)
                | Q(acknowledged_at__isnull=False, acknowledged_by__isnull=False),
                name="alert_acknowledged_by_somebody",
            ),
        ]
        indexes = [models.Index(fields=["project", "-created_at"], name="alert_newest")]

    def __str__(self) -> str:
        return f"{self.rule} ({self.group})" if self.group else str(self.rule)

"""What happened, and who hears of it."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from access.isolation import owned_key
from access.models import Owned
from access.states import StatefulQuerySet
from alerts import rule_models, trace_models

AlertRule = rule_models.AlertRule
RuleState = rule_models.RuleState
EvaluationPass = rule_models.EvaluationPass
RuleEvaluation = rule_models.RuleEvaluation
Alert = rule_models.Alert
Trace = trace_models.Trace
DirtyMinute = trace_models.DirtyMinute
Rollup = trace_models.Rollup
LateArrival = trace_models.LateArrival


class AlertType(models.TextChoices):
    JOB_STARTED = "job_started"
    JOB_COMPLETED = "job_completed"
    JOB_FAILED = "job_failed"
    BATCH_COMPLETED = "batch_completed"
    BATCH_FAILED = "batch_failed"
    EVALUATION_FAILED = "evaluation_failed"
    EVALUATION_REGRESSION = "evaluation_regression"
    SCHEDULE_DISABLED = "schedule_disabled"
    TRACE_LATENCY_HIGH = "trace_latency_high"
    TRACE_ERROR_RATE_HIGH = "trace_error_rate_high"
    TRACE_COST_HIGH = "trace_cost_high"
    TRACE_THROUGHPUT_LOW = "trace_throughput_low"
    TRACE_TTFT_HIGH = "trace_ttft_high"
    TOKEN_USAGE_HIGH = "token_usage_high"  # noqa: S105  no password
    ANOMALY_CRITICAL = "anomaly_critical"
    ANOMALY_HIGH = "anomaly_high"
    RULE_ERROR = "rule_error"
    SCHEDULER_UNHEALTHY = "scheduler_unhealthy"
    DAILY_SUMMARY = "daily_summary"
    WEEKLY_DIGEST = "weekly_digest"


class Event(Owned):
    """Something a person may want to hear of. Written in the transaction that made it happen.

    `user` is whose schedule or batch it concerns. `key` names the happening (say, a run's id):
    told twice, it is stored once.
    """

    alert_type = models.CharField(max_length=40, choices=AlertType)
    key = models.CharField(max_length=100)
    subject = models.CharField(max_length=300)
    summary = models.TextField()
    # Rows of (label, value) for the body, in their order.
    facts = models.JSONField(default=list)
    path = models.CharField(max_length=300, blank=True)
    occurred_at = models.DateTimeField()

    class Meta:
        ordering = ["-occurred_at"]
        constraints = [
            models.UniqueConstraint(fields=["alert_type", "key"], name="one_event_per_happening"),
            models.CheckConstraint(
                condition=Q(alert_type__in=AlertType.values), name="known_alert_type"
            ),
        ]
        indexes = [models.Index(fields=["project", "-occurred_at"], name="event_newest")]

    def __str__(self) -> str:
        return self.subject


class ChannelKind(models.TextChoices):
    EMAIL = "email"


class NotificationStatus(models.TextChoices):
    PENDING = "pending"  # waits for `not_before`
    SENDING = "sending"  # claimed by a worker until its lease ends
    SENT = "sent"
    FAILED = "failed"  # given up


NOTIFICATION_OPEN = frozenset({NotificationStatus.PENDING, NotificationStatus.SENDING})


class NotificationQuerySet(StatefulQuerySet["Notification"]):
    SOURCES: ClassVar = {
        NotificationStatus.PENDING: frozenset({NotificationStatus.SENDING}),
        NotificationStatus.SENDING: frozenset({NotificationStatus.PENDING}),
        NotificationStatus.SENT: frozenset({NotificationStatus.SENDING}),
        NotificationStatus.FAILED: NOTIFICATION_OPEN,
    }


class Notification(Owned):
    """One event on its way to one address. The outbox: delivering it is a claim of its own."""

    event = owned_key("alerts.Event", related_name="notifications")
    channel = models.CharField(max_length=20, choices=ChannelKind)
    address = models.CharField(max_length=320)
    status = models.CharField(
        max_length=10, choices=NotificationStatus, default=NotificationStatus.PENDING
    )
    claim_no = models.PositiveIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField()
    # When a worker was last woken for it.
    hinted_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    error_message = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["event", "channel", "address"], name="one_notification_per_address"
            ),
            models.CheckConstraint(
                condition=Q(status__in=NotificationStatus.values), name="notification_status"
            ),
            models.CheckConstraint(
                condition=Q(status=NotificationStatus.SENDING, lease_expires_at__isnull=False)
                | (~Q(status=NotificationStatus.SENDING) & Q(lease_expires_at__isnull=True)),
                name="notification_sending_iff_leased",
            ),
            models.CheckConstraint(
                condition=Q(status=NotificationStatus.SENT, sent_at__isnull=False)
                | (~Q(status=NotificationStatus.SENT) & Q(sent_at__isnull=True)),
                name="notification_sent_iff_dated",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "-created_at"], name="notification_newest"),
            # The tick looks for those whose time has come.
            models.Index(
                fields=["not_before"],
                condition=Q(status__in=["pending", "sending"]),
                name="notification_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} to {self.address}"

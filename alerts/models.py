"""What happened, and who hears of it."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from access.isolation import owned_key
from access.models import Owned
from access.secrets import SecretField
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
Anomaly = trace_models.Anomaly


class AlertType(models.TextChoices):
    """What may happen. `job_*` are scheduled model runs, `batch_*` batches without a schedule."""

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
    TOKEN_USAGE_HIGH = "token_usage_high"  # noqa: S105  tokens of models
    ANOMALY_CRITICAL = "anomaly_critical"
    ANOMALY_HIGH = "anomaly_high"
    RULE_ERROR = "rule_error"
    SCHEDULER_UNHEALTHY = "scheduler_unhealthy"
    DAILY_SUMMARY = "daily_summary"
    WEEKLY_DIGEST = "weekly_digest"
    CHANNEL_DISABLED = "channel_disabled"
    CHANNEL_TEST = "channel_test"


# Named from the start, so that nobody has to change them later; nothing raises them yet.
NOT_RAISED = frozenset({AlertType.DAILY_SUMMARY, AlertType.WEEKLY_DIGEST})
OFFERED = [(kind.value, kind.label) for kind in AlertType if kind not in NOT_RAISED]
# What goes well is told to those only who ask for it.
OFF_BY_DEFAULT = frozenset(
    {AlertType.JOB_STARTED, AlertType.JOB_COMPLETED, AlertType.BATCH_COMPLETED}
)


class Event(Owned):
    """Something a person may want to hear of. Written in the transaction that made it happen.

    `user` is whose schedule or batch it concerns. `key` names the happening (say, a run's id):
    told twice, it is stored once. Events of one `episode` are one conversation in a mail program.
    """

    alert_type = models.CharField(max_length=40, choices=AlertType)
    key = models.CharField(max_length=100)
    episode = models.CharField(max_length=100, blank=True)
    # Of an episode: firing, again or resolved.
    notice = models.CharField(max_length=10, blank=True)
    subject = models.CharField(max_length=300)
    summary = models.TextField()
    # Rows of (label, value) for the body, in their order.
    facts = models.JSONField(default=list)
    path = models.CharField(max_length=300, blank=True)
    # Rows of (label, path): what else can be done about it, beside looking at `path`.
    links = models.JSONField(default=list)
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
    WEBHOOK = "webhook"
    SLACK = "slack"


# What a rule's `notify_integrations` means: chat and paging services.
INTEGRATIONS = frozenset({ChannelKind.SLACK})


class Channel(Owned):
    """A way out of the project: an address that its events are sent to.

    `configuration` is `{"address"}` of a mail, else `{"url"}`. A Slack address is itself the
    credential, so it lies in `secret` and `url` holds what may be seen of it. A webhook's `secret`
    signs; `previous_secret` signs besides, until `previous_secret_expires_at`.
    """

    kind = models.CharField(max_length=10, choices=ChannelKind)
    name = models.CharField(max_length=200)
    configuration = models.JSONField(default=dict)
    secret = SecretField()
    previous_secret = SecretField()
    previous_secret_expires_at = models.DateTimeField(null=True)
    enabled = models.BooleanField(default=True)
    # Why the service switched it off; empty where a person did.
    disabled_reason = models.TextField(blank=True)
    # A channel that takes one message at a time takes none before this.
    busy_until = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_channel_of_a_name"),
            models.CheckConstraint(
                condition=Q(kind__in=ChannelKind.values), name="known_channel_kind"
            ),
            models.CheckConstraint(
                condition=Q(enabled=False) | Q(disabled_reason=""),
                name="channel_reason_only_if_disabled",
            ),
            models.CheckConstraint(
                condition=Q(kind=ChannelKind.EMAIL) | ~Q(secret=""), name="channel_has_its_secret"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Preference(Owned):
    """Whether a person's own events of a type go out by a kind of channel. They only mute."""

    alert_type = models.CharField(max_length=40, choices=AlertType)
    channel = models.CharField(max_length=10, choices=ChannelKind)
    enabled = models.BooleanField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["alert_type", "channel"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "user", "alert_type", "channel"], name="one_preference"
            ),
            models.CheckConstraint(
                condition=Q(alert_type__in=AlertType.values), name="preference_alert_type"
            ),
            models.CheckConstraint(
                condition=Q(channel__in=ChannelKind.values), name="preference_channel"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alert_type} by {self.channel}"


class NotificationStatus(models.TextChoices):
    PENDING = "pending"  # waits for `not_before`
    SENDING = "sending"  # claimed by a worker until its lease ends
    SENT = "sent"
    FAILED = "failed"  # given up


NOTIFICATION_OPEN = frozenset({NotificationStatus.PENDING, NotificationStatus.SENDING})


class NotificationQuerySet(StatefulQuerySet["Notification"]):
    SOURCES: ClassVar = {
        # One that has ended is sent again when somebody asks for it.
        NotificationStatus.PENDING: frozenset(NotificationStatus) - {NotificationStatus.PENDING},
        NotificationStatus.SENDING: frozenset({NotificationStatus.PENDING}),
        NotificationStatus.SENT: frozenset({NotificationStatus.SENDING}),
        NotificationStatus.FAILED: NOTIFICATION_OPEN,
    }


class Notification(Owned):
    """One event on its way to one address. The outbox: delivering it is a claim of its own.

    `target` is the channel's id, or AUTHOR for the mail to whom the event concerns, or begins with
    ADMIN where that person has left. `address` is what may be shown of where it goes. `attempts`
    counts since it was made, or last sent again.
    """

    AUTHOR: ClassVar[str] = "author"
    ADMIN: ClassVar[str] = "admin:"

    event = owned_key("alerts.Event", related_name="notifications")
    channel = owned_key("alerts.Channel", null=True, related_name="notifications")
    target = models.CharField(max_length=40, default=AUTHOR)
    kind = models.CharField(max_length=20, choices=ChannelKind)
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
            models.UniqueConstraint(fields=["event", "target"], name="one_notification_per_target"),
            models.CheckConstraint(
                condition=Q(kind__in=ChannelKind.values), name="notification_kind"
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
        return f"{self.kind} to {self.address}"

    @property
    def to_admin(self) -> bool:
        return self.target.startswith(self.ADMIN)


class AttemptOutcome(models.TextChoices):
    SENT = "sent"
    REJECTED = "rejected"  # answered with what is neither success nor the receiver's trouble
    RATE_LIMITED = "rate_limited"
    GONE = "gone"  # the receiver wants no more of them
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    NETWORK = "network"
    BLOCKED = "blocked"  # the address may not be called; nothing was sent
    LOST = "lost"  # its worker died; it may have arrived
    ERROR = "error"


class Attempt(Owned):
    """One attempt at delivering a notification, and what came of it."""

    notification = owned_key("alerts.Notification", related_name="history")
    # The claim it was made under.
    number = models.PositiveIntegerField()
    outcome = models.CharField(max_length=20, choices=AttemptOutcome)
    status_code = models.PositiveSmallIntegerField(null=True)
    error_message = models.TextField(blank=True)
    started_at = models.DateTimeField()
    # How long it took; None where nobody knows.
    duration_ms = models.FloatField(null=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(
                fields=["notification", "number"], name="one_attempt_per_claim"
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=AttemptOutcome.values), name="attempt_outcome"
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.outcome}"

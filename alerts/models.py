"""What happened, and who hears of it."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from access.isolation import owned_key
from access.models import Owned
from access.states import StatefulQuerySet


class AlertType(models.TextChoices):
    EVALUATION_FAILED = "evaluation_failed"
    EVALUATION_REGRESSION = "evaluation_regression"
    SCHEDULE_DISABLED = "schedule_disabled"


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

"""What happened and who was told: read-only, but for sending again."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from access import clock
from access.admin import words
from access.admin.base import Button, ReadOnlyAdmin, Said, actor_in, instant, list_url
from access.admin.lists import LongList, MadeFilter
from alerts import deliveries
from alerts.models import (
    NOTIFICATION_OPEN,
    AttemptOutcome,
    Event,
    Notification,
    NotificationStatus,
)

_TONES: dict[str, words.Tone] = {
    NotificationStatus.PENDING: "info",
    NotificationStatus.SENDING: "info",
    NotificationStatus.SENT: "success",
    NotificationStatus.FAILED: "danger",
}
_OUTCOMES: dict[str, words.Tone] = {
    AttemptOutcome.SENT: "success",
    AttemptOutcome.LOST: "warning",
    AttemptOutcome.RATE_LIMITED: "warning",
}


@admin.register(Event)
class EventAdmin(LongList, ReadOnlyAdmin):
    empty_text = (
        "An event is something a person may want to hear of, such as a failed run. Nothing of "
        "that kind has happened so far."
    )
    list_display = ("subject", "alert_type", "project", "user", "occurred")
    list_select_related = ("project", "user")
    list_filter = (MadeFilter, "alert_type")
    fields = (
        "subject",
        "alert_type",
        "summary",
        "facts_table",
        "concerns",
        "project",
        "user",
        "occurred",
        "deliveries",
    )
    readonly_fields = ("facts_table", "concerns", "occurred", "deliveries")

    @admin.display(description="When")
    def occurred(self, event: Event) -> SafeString | str:
        return words.when(event.occurred_at, timezone.now())

    @admin.display(description="Facts")
    def facts_table(self, event: Event) -> SafeString | str:
        rows = ((label, value) for label, value in event.facts)
        return format_html_join("", "<div><b>{}</b>: {}</div>", rows) or words.NOTHING

    @admin.display(description="About")
    def concerns(self, event: Event) -> SafeString | str:
        own = event.path.startswith("/") and not event.path.startswith("//")
        return words.link(event.path, "Open what it is about") if own else words.NOTHING

    @admin.display(description="Notifications")
    def deliveries(self, event: Event) -> SafeString:
        return words.link(
            list_url(Notification, f"?event__id__exact={event.pk}"), "Who was told, and how"
        )


@admin.register(Notification)
class NotificationAdmin(LongList, ReadOnlyAdmin):
    empty_text = (
        "A notification is one message to one address. Failed runs and disabled schedules send "
        "them to the schedule's author and to the project's channels."
    )
    list_display = (
        "subject",
        "kind",
        "address",
        "state",
        "attempts",
        "error",
        "made_at",
        "row_buttons",
    )
    list_select_related = ("event", "channel")
    list_filter = (MadeFilter, "status", "kind")
    buttons = (
        Button(
            "replay", "Send again", "replay", when=lambda row: row.status not in NOTIFICATION_OPEN
        ),
    )
    fields = (
        "event",
        "kind",
        "channel",
        "address",
        "state",
        "history",
        "error_message",
        "due",
        "sent",
        "project",
        "user",
        "made_at",
    )
    readonly_fields = ("state", "made_at", "due", "sent", "history")
    due = instant("not_before", "Not before")
    sent = instant("sent_at", "Sent")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("event", "channel", "project", "user")

    def replay(self, request: HttpRequest, notification: Notification) -> Said:
        actor = actor_in(request, notification.project)
        deliveries.replay(actor, notification, now=clock.database_now())
        return Said(f"{notification.event} is sent again to {notification.address}.")

    @admin.display(description="Attempts")
    def history(self, notification: Notification) -> SafeString | str:
        rows = (
            (
                words.utc(attempt.started_at),
                words.label(attempt.outcome, _OUTCOMES.get(attempt.outcome, "danger")),
                attempt.error_message or words.milliseconds(attempt.duration_ms),
            )
            for attempt in notification.history.all()
        )
        return format_html_join("", "<div>{} {} {}</div>", rows) or words.NOTHING

    @admin.display(description="Event")
    def subject(self, notification: Notification) -> str:
        return str(notification.event)

    @admin.display(description="Status")
    def state(self, notification: Notification) -> SafeString:
        return words.label(notification.status, _TONES[notification.status])

    @admin.display(description="Error")
    def error(self, notification: Notification) -> str:
        return notification.error_message[:80]

    @admin.display(description="Made")
    def made_at(self, notification: Notification) -> SafeString | str:
        return words.when(notification.created_at, timezone.now())

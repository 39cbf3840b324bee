"""What happened and who was told: read-only pages."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from access.admin import words
from access.admin.base import ReadOnlyAdmin, instant, list_url
from access.admin.lists import LongList, MadeFilter
from alerts.models import Event, Notification, NotificationStatus

_TONES: dict[str, words.Tone] = {
    NotificationStatus.PENDING: "info",
    NotificationStatus.SENDING: "info",
    NotificationStatus.SENT: "success",
    NotificationStatus.FAILED: "danger",
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
        "them to the schedule's author, where the schedule's alerts are on."
    )
    list_display = ("subject", "channel", "address", "state", "attempts", "error", "made_at")
    list_select_related = ("event",)
    list_filter = (MadeFilter, "status", "channel")
    fields = (
        "event",
        "channel",
        "address",
        "state",
        "attempts",
        "error_message",
        "due",
        "sent",
        "project",
        "user",
        "made_at",
    )
    readonly_fields = ("state", "made_at", "due", "sent")
    due = instant("not_before", "Not before")
    sent = instant("sent_at", "Sent")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("event", "project", "user")

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

"""Alerts: the episodes of rules, acknowledged and ended by hand."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from access import clock
from access.admin import words
from access.admin.base import (
    Button,
    ReadOnlyAdmin,
    Said,
    actor_in,
    change_url,
    instant,
    list_url,
)
from access.admin.lists import LongList, MadeFilter
from alerts import announcements, episodes
from alerts.models import Alert, Event

_ENDINGS = {
    "recovered": "the value recovered",
    "by_hand": "somebody resolved it",
    "group_silent": "nothing was heard of its group for a day",
    "rule_changed": "its rule watches something else now",
    "rule_disabled": "its rule was disabled",
}


def _open(alert: Any) -> bool:
    return bool(alert.status == "firing")


@admin.register(Alert)
class AlertAdmin(LongList, ReadOnlyAdmin):
    empty_text = (
        "An alert is an episode: from the minute an alert rule began to fire to the one it ended. "
        "None has fired so far."
    )
    list_display = ("about", "state", "severity", "started", "lasted", "project", "row_buttons")
    list_select_related = ("rule", "project")
    list_filter = (MadeFilter, "status", "severity")
    fields = (
        *("about", "rule_link", "state", "severity", "value", "peak", "samples", "told"),
        *("started", "lasted", "acknowledged", "acknowledged_by", "ended", "resolved_by"),
        *("project", "user"),
    )
    readonly_fields = (
        *("about", "rule_link", "state", "value", "peak", "told", "started", "lasted"),
        *("acknowledged", "ended"),
    )
    only_with = {
        "acknowledged": "acknowledged_at",
        "acknowledged_by": "acknowledged_at",
        "ended": "resolved_at",
        "resolved_by": "resolved_by_id",
    }
    acknowledged = instant("acknowledged_at", "Acknowledged")
    buttons = (
        Button(
            "acknowledge",
            "Acknowledge",
            "visibility",
            when=lambda alert: _open(alert) and alert.acknowledged_at is None,
        ),
        Button("resolve", "Resolve", "check", when=_open),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("rule", "project", "user")

    def acknowledge(self, request: HttpRequest, alert: Alert) -> Said:
        actor = actor_in(request, alert.project)
        episodes.acknowledge(actor, alert, now=clock.database_now())
        return Said(f"{alert.rule} is acknowledged: it is not told of again until it ends.")

    def resolve(self, request: HttpRequest, alert: Alert) -> Said:
        episodes.resolve(actor_in(request, alert.project), alert, now=clock.database_now())
        return Said(f"{alert.rule} is resolved. What still holds begins a new alert.")

    @admin.display(description="Alert")
    def about(self, alert: Alert) -> str:
        return str(alert)

    @admin.display(description="Rule")
    def rule_link(self, alert: Alert) -> SafeString:
        return words.link(change_url(alert.rule), announcements.condition(alert.rule))

    @admin.display(description="Status")
    def state(self, alert: Alert) -> SafeString:
        if not _open(alert):
            return words.label(alert.status, "success", title=_ENDINGS.get(alert.resolution, ""))
        if alert.acknowledged_at:
            return words.label("acknowledged", "warning", title="Somebody looks after it")
        return words.label("firing", "danger")

    @admin.display(description="Last value")
    def value(self, alert: Alert) -> str:
        return announcements.amount(alert.rule, alert.last_value)

    @admin.display(description="Peak")
    def peak(self, alert: Alert) -> str:
        return announcements.amount(alert.rule, alert.peak_value)

    @admin.display(description="Notices")
    def told(self, alert: Alert) -> SafeString:
        shown = f"{alert.notices} while it fired" if alert.notices else "None while it fired"
        return words.link(list_url(Event, f"?episode__exact={alert.pk}"), shown)

    @admin.display(description="Ended")
    def ended(self, alert: Alert) -> str:
        why = _ENDINGS.get(alert.resolution, alert.resolution)
        return f"{words.utc(alert.resolved_at)}: {why}"

    @admin.display(description="Began")
    def started(self, alert: Alert) -> SafeString | str:
        return words.when(alert.started_at, timezone.now())

    @admin.display(description="Lasted")
    def lasted(self, alert: Alert) -> str:
        return words.duration(alert.started_at, alert.resolved_at or timezone.now())

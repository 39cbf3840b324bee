"""The audit trail: who did what to which object."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from access.admin.base import ReadOnlyAdmin
from access.admin.lists import LongList, MadeFilter
from access.models import AuditEvent


class ViaFilter(admin.SimpleListFilter):
    """The ways in are few and known; asking the table for them would read all of it."""

    title = "way in"
    parameter_name = "via"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        ways = ("session", "api_key", "service_role", "admin", "command", "service")
        return [(way, way.replace("_", " ")) for way in ways]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(via=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(LongList, ReadOnlyAdmin):
    empty_text = (
        "The audit trail names who did what. Whatever is made, changed, started or stopped, here "
        "or through the API, appears in this list."
    )
    list_display = ("action", "object_name", "user", "via", "project", "made_at")
    list_select_related = ("user", "project")
    list_filter = (MadeFilter, ViaFilter)
    search_fields: ClassVar = ["=object_id"]
    search_help_text = "The id of an object"
    fields = (
        "action",
        "object_type",
        "object_name",
        "object_id",
        "user",
        "via",
        "project",
        "made_at",
        "details",
        "correlation_id",
    )
    readonly_fields = ("made_at",)

    @admin.display(description="When")
    def made_at(self, event: AuditEvent) -> str:
        return f"{event.created_at:%Y-%m-%d %H:%M:%S} UTC"

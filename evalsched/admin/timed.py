"""What the pages of schedules and of model runs share: when they are due, and how they stand."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from access import clock, projects
from access.admin import words
from access.admin.base import Button, DomainAdmin, Said, actor_in, operator
from evalsched import schedules
from evalsched.admin import standing
from evalsched.models import Schedule

_STANDINGS = {
    "active": ("Active", Q(is_active=True) & ~standing.RESTING),
    "failing": ("Failing", Q(is_active=True, consecutive_failures__gt=0)),
    "paused": ("Paused", standing.PAUSED),
    "disabled": ("Disabled after failures", standing.DISABLED),
    "ended": ("Ended", standing.ENDED),
}


class StandingFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, shown) for key, (shown, _) in _STANDINGS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = _STANDINGS.get(self.value() or "")
        return queryset.filter(chosen[1]) if chosen else queryset


class TimedAdmin(DomainAdmin):
    """The base of both: a list by name, a live preview of the times, and three buttons."""

    list_filter = (StandingFilter, "project")
    search_fields = ("name",)
    ordering = ("name",)
    buttons: ClassVar[Sequence[Button]] = (
        Button("run_now", "Run now", "play_arrow"),
        Button("enable", "Enable", "toggle_on", when=lambda row: not row.is_active),
        Button("disable", "Disable", "pause", when=lambda row: row.is_active),
    )

    class Media:
        js: ClassVar = ("evalsched/preview.js",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("preview",)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk}

    def enable(self, request: HttpRequest, row: Any) -> Said:
        changed = self._set_active(request, row, True)
        return Said(f"{row.name} is enabled; it runs next at {words.utc(changed.next_run_at)}.")

    def disable(self, request: HttpRequest, row: Any) -> Said:
        self._set_active(request, row, False)
        return Said(f"{row.name} is paused until you enable it again.")

    def _set_active(self, request: HttpRequest, row: Any, active: bool) -> Schedule:
        actor = actor_in(request, row.project)
        return schedules.set_active(actor, row, active, now=clock.database_now())

    def head(self, row: Any) -> dict[str, Any]:
        """Return what stands above the form of a row."""
        return {
            "state": standing.of_schedule(row),
            "in_words": standing.in_words(row),
            "next_run": standing.next_run(row),
            "reason": standing.reason(row),
        }

    @admin.display(description="Schedule")
    def in_words(self, row: Any) -> str:
        return standing.in_words(row)

    @admin.display(description="Next run", ordering="next_run_at")
    def next_run(self, row: Any) -> SafeString | str:
        return standing.next_run(row)

    @admin.display(description="Status")
    def state(self, row: Any) -> SafeString:
        return standing.with_reason(row)

    @admin.display(description="Last run", ordering="last_run_at")
    def last_run(self, row: Any) -> SafeString | str:
        return standing.last_run(row)

    @admin.display(description="Preview")
    def preview(self, row: Any) -> SafeString:
        return words.sentence(
            '<div class="es-preview" data-preview="{}" aria-live="polite">…</div>',
            reverse("admin:evalsched_schedule_preview"),
        )

"""Scheduled model runs: the list, the form with its preview, and the answers so far."""

from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from access import clock, projects
from access.admin import words
from access.admin.base import (
    Button,
    DomainAdmin,
    Said,
    actor_in,
    change_url,
    list_url,
    only_changed,
    operator,
)
from evalsched import model_runs, runs
from evalsched.admin import standing
from evalsched.admin.schedules import StandingFilter
from evalsched.forms_model_runs import ASKED, PLAIN, ModelRunForm
from evalsched.models import Execution, ModelRun

_ROWS = 10


@dataclass(frozen=True)
class Line:
    """One execution in the table, ready to be shown."""

    url: str
    time: Any
    status: Any
    output: str
    latency: str
    cost: str
    duration: str


@admin.register(ModelRun)
class ModelRunAdmin(DomainAdmin):
    form = ModelRunForm
    empty_text = (
        "A model run asks a model one thing, again and again, and keeps the answers. It needs a "
        "model endpoint; add one first, then a model run."
    )
    list_display = ("name", "in_words", "next_run", "state", "last_run", "project", "row_buttons")
    list_select_related = ("project",)
    list_filter = (StandingFilter, "project")
    search_fields = ("name",)
    ordering = ("name",)
    buttons = (
        Button("run_now", "Run now", "play_arrow"),
        Button("enable", "Enable", "toggle_on", when=lambda row: not row.is_active),
        Button("disable", "Disable", "pause", when=lambda row: row.is_active),
    )
    change_form_outer_before_template = "admin/evalsched/model_run_head.html"

    class Media:
        js: ClassVar = ("evalsched/preview.js",)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        times = ("schedule_type", ("cron_expression", "timezone"), "preview")
        return (
            (None, {"fields": ("endpoint",) if obj else ("project", "endpoint", "is_active")}),
            ("When", {"fields": times}),
            ("What is asked", {"fields": ASKED}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("preview",)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk}

    def goes_with(self, row: Any) -> list[str]:
        return ["All of its executions with their answers. What is under way is stopped."]

    def create(self, request: HttpRequest, form: Any) -> ModelRun:
        values = form.cleaned_data
        return model_runs.create(
            actor_in(request, values["project"]),
            now=clock.database_now(),
            **{name: values[name] for name in (*PLAIN, "is_active")},
            parameters=form.parameters(),
        )

    def change(self, request: HttpRequest, row: Any, form: Any) -> ModelRun:
        fields = only_changed(form, PLAIN)
        if set(ASKED) & set(form.changed_data):
            fields["parameters"] = form.parameters()
        actor = actor_in(request, row.project)
        return model_runs.change(actor, row, now=clock.database_now(), **fields)

    def delete(self, request: HttpRequest, row: Any) -> None:
        model_runs.delete(actor_in(request, row.project), row, now=clock.database_now())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = kwargs.get("obj")
        # With errors to correct, the form comes first.
        if row is not None and request.method == "GET":
            context["head"] = {
                "state": standing.of_schedule(row),
                "in_words": standing.in_words(row),
                "next_run": standing.next_run(row),
                "reason": standing.reason(row),
            }
            newest = Execution.objects.filter(schedule=row)[:_ROWS]
            context["executions"] = [_line(execution) for execution in newest]
            context["all_url"] = list_url(Execution, f"?schedule__id__exact={row.pk}")
        return super().render_change_form(request, context, *args, **kwargs)

    def run_now(self, request: HttpRequest, row: ModelRun) -> Said:
        runs.trigger(actor_in(request, row.project), row, now=clock.database_now())
        return Said(f"{row.name} was started by hand; its answer is on its page in a moment.")

    def enable(self, request: HttpRequest, row: ModelRun) -> Said:
        changed = self._set_active(request, row, True)
        return Said(f"{row.name} is enabled; it runs next at {words.utc(changed.next_run_at)}.")

    def disable(self, request: HttpRequest, row: ModelRun) -> Said:
        self._set_active(request, row, False)
        return Said(f"{row.name} is paused until you enable it again.")

    def _set_active(self, request: HttpRequest, row: ModelRun, active: bool) -> ModelRun:
        actor = actor_in(request, row.project)
        return model_runs.change(actor, row, now=clock.database_now(), is_active=active)

    @admin.display(description="Schedule")
    def in_words(self, row: ModelRun) -> str:
        return standing.in_words(row)

    @admin.display(description="Next run", ordering="next_run_at")
    def next_run(self, row: ModelRun) -> SafeString | str:
        return standing.next_run(row)

    @admin.display(description="Status")
    def state(self, row: ModelRun) -> SafeString:
        return standing.with_reason(row)

    @admin.display(description="Last run", ordering="last_run_at")
    def last_run(self, row: ModelRun) -> SafeString | str:
        return standing.last_run(row)

    @admin.display(description="Preview")
    def preview(self, row: ModelRun) -> SafeString:
        return words.sentence(
            '<div class="es-preview" data-preview="{}" aria-live="polite">…</div>',
            reverse("admin:evalsched_schedule_preview"),
        )


def _line(execution: Execution) -> Line:
    answer = execution.answer
    return Line(
        url=change_url(execution),
        time=words.when(execution.scheduled_for, timezone.now()),
        status=standing.of_run(execution),
        output=execution.error_message if answer is None else answer.output,
        latency=words.NOTHING if answer is None else words.milliseconds(answer.latency_ms),
        cost=words.NOTHING if answer is None else words.money(answer.cost),
        duration=standing.took(execution),
    )

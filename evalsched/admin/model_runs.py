"""Scheduled model runs: the list, the form with its preview, and the answers so far."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from access import clock
from access.admin import words
from access.admin.base import (
    Said,
    actor_in,
    change_url,
    list_url,
    only_changed,
)
from evalsched import model_runs, runs
from evalsched.admin import standing
from evalsched.admin.timed import TimedAdmin
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
class ModelRunAdmin(TimedAdmin):
    form = ModelRunForm
    empty_text = (
        "A model run asks a model one thing, again and again, and keeps the answers. It needs a "
        "model endpoint; add one first, then a model run."
    )
    list_display = ("name", "in_words", "next_run", "state", "last_run", "project", "row_buttons")
    list_select_related = ("project",)
    change_form_outer_before_template = "admin/evalsched/model_run_head.html"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        times = ("schedule_type", ("cron_expression", "timezone"), "preview")
        return (
            (None, {"fields": ("endpoint",) if obj else ("project", "endpoint", "is_active")}),
            ("When", {"fields": times}),
            ("What is asked", {"fields": ASKED}),
        )

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
            context["head"] = self.head(row)
            newest = Execution.objects.filter(schedule=row)[:_ROWS]
            context["executions"] = [_line(execution) for execution in newest]
            context["all_url"] = list_url(Execution, f"?schedule__id__exact={row.pk}")
        return super().render_change_form(request, context, *args, **kwargs)

    def run_now(self, request: HttpRequest, row: ModelRun) -> Said:
        runs.trigger(actor_in(request, row.project), row, now=clock.database_now())
        return Said(f"{row.name} was started by hand; its answer is on its page in a moment.")


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

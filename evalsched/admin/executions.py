"""Executions of scheduled model runs, with what the model answered. Its texts are escaped."""

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from access import audit, clock
from access.admin import words
from access.admin.base import Button, ReadOnlyAdmin, Said, actor_in, instant
from access.admin.lists import LongList, MadeFilter
from evalsched import runs
from evalsched.admin import standing
from evalsched.models import RUN_OPEN, Execution


@admin.register(Execution)
class ExecutionAdmin(LongList, ReadOnlyAdmin):
    empty_text = "An execution is one call of a model run. Press Run now on one to see its answer."
    list_display = ("time", "stands", "model_run", "trigger", "short", "duration", "row_buttons")
    list_filter = (MadeFilter, "status", "trigger", "project")
    buttons = (Button("cancel", "Cancel", "cancel", when=lambda run: run.status in RUN_OPEN),)
    fieldsets: ClassVar = (
        (None, {"fields": ("state", "error", "model_run", "output")}),
        ("Figures", {"fields": (("latency", "first_token"), ("tokens", "cost"))}),
        (
            "Times",
            {"fields": ("trigger", ("scheduled", "triggered"), ("started", "completed"))},
        ),
        ("Made by", {"classes": ["collapse"], "fields": ("snapshot", "project", "user")}),
    )
    readonly_fields: ClassVar = (
        "state",
        "error",
        "model_run",
        "output",
        "latency",
        "first_token",
        "tokens",
        "cost",
        "scheduled",
        "triggered",
        "started",
        "completed",
    )
    only_with: ClassVar = {"error": "error_message"}
    scheduled = instant("scheduled_for", "Scheduled for")
    triggered = instant("triggered_at", "Triggered")
    started = instant("started_at", "Started")
    completed = instant("completed_at", "Completed")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        # The list's own option does nothing where rows come with others already.
        found: QuerySet[Execution] = super().get_queryset(request)
        return found.select_related("schedule", "batch")

    def cancel(self, request: HttpRequest, run: Execution) -> Said:
        stopped = runs.cancel(run, now=clock.database_now(), reason=f"Cancelled by {request.user}.")
        if not stopped:
            return Said("This execution had ended already.", ok=False)
        audit.record(actor_in(request, run.project), "run.cancelled", run)
        return Said("The execution is cancelled and its call is stopped.")

    @admin.display(description="Time")
    def time(self, run: Execution) -> SafeString | str:
        return words.when(run.scheduled_for, timezone.now())

    @admin.display(description="Status")
    def state(self, run: Execution) -> SafeString:
        return standing.of_run(run)

    @admin.display(description="Status")
    def stands(self, run: Execution) -> SafeString:
        return standing.of_run_with_reason(run)

    @admin.display(description="Error")
    def error(self, run: Execution) -> SafeString | str:
        return words.block(run.error_message)

    @admin.display(description="Model run")
    def model_run(self, run: Execution) -> SafeString:
        url = reverse("admin:evalsched_modelrun_change", args=[run.schedule_id])
        return words.link(url, run.schedule)

    @admin.display(description="Answer")
    def short(self, run: Execution) -> SafeString | str:
        return words.NOTHING if run.answer is None else words.clipped(run.answer.output)

    @admin.display(description="Answer")
    def output(self, run: Execution) -> SafeString | str:
        return words.block(None if run.answer is None else run.answer.output)

    @admin.display(description="Latency")
    def latency(self, run: Execution) -> str:
        return words.milliseconds(None if run.answer is None else run.answer.latency_ms)

    @admin.display(description="First token")
    def first_token(self, run: Execution) -> str:
        return words.milliseconds(None if run.answer is None else run.answer.ttft_ms)

    @admin.display(description="Tokens in / out")
    def tokens(self, run: Execution) -> str:
        if run.answer is None:
            return words.NOTHING
        counts = (run.answer.input_tokens, run.answer.output_tokens)
        return " / ".join(words.NOTHING if count is None else f"{count:,}" for count in counts)

    @admin.display(description="Cost")
    def cost(self, run: Execution) -> str:
        return words.NOTHING if run.answer is None else words.money(run.answer.cost)

    @admin.display(description="Duration")
    def duration(self, run: Execution) -> str:
        return standing.took(run)

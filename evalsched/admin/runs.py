"""Runs: one occurrence each, with what came of it."""

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from access import audit, clock
from access.admin import words
from access.admin.base import Button, ReadOnlyAdmin, Said, actor_in, change_url, instant
from access.admin.lists import LongList, MadeFilter
from evalsched import baselines, runs
from evalsched.admin import standing, verdicts
from evalsched.models import RUN_OPEN, Run, ScheduleKind


@admin.register(Run)
class RunAdmin(LongList, ReadOnlyAdmin):
    empty_text = (
        "A run is one execution of a schedule. Press Run now on a schedule, or wait for its time."
    )
    list_display = (
        "time",
        "stands",
        "of_schedule",
        "trigger",
        "results",
        "verdict",
        "duration",
        "row_buttons",
    )
    list_select_related = ("schedule", "batch")
    list_filter = (MadeFilter, "status", "trigger", "project")
    buttons = (
        Button("cancel", "Cancel", "cancel", when=lambda run: run.status in RUN_OPEN),
        Button("use_as_baseline", "Use as baseline", "flag", when=verdicts.may_be_baseline),
    )
    fieldsets: ClassVar = (
        (
            None,
            {
                "fields": (
                    "state",
                    "error",
                    "error_details",
                    "results",
                    "schedule_link",
                    "batch_link",
                )
            },
        ),
        (
            "Compared with the baseline",
            {"fields": ("comparison", "baseline_link", "verdicts")},
        ),
        (
            "Figures",
            {
                "fields": (
                    ("total_prompts", "successful_prompts", "failed_prompts"),
                    ("quality", "cost"),
                    ("latency", "p95", "ttft"),
                )
            },
        ),
        (
            "Times",
            {
                "fields": (
                    "trigger",
                    ("scheduled", "triggered"),
                    ("started", "completed"),
                    "duration",
                )
            },
        ),
        (
            "Configuration at that time",
            {"classes": ["collapse"], "fields": ("snapshot", "project", "user")},
        ),
    )
    readonly_fields: ClassVar = (
        "state",
        "error",
        "results",
        "schedule_link",
        "batch_link",
        "comparison",
        "baseline_link",
        "verdicts",
        "quality",
        "cost",
        "latency",
        "p95",
        "ttft",
        "duration",
        "scheduled",
        "triggered",
        "started",
        "completed",
    )
    only_with: ClassVar = {
        "error": "error_message",
        "error_details": "error_details",
        "baseline_link": "baseline_id",
    }
    scheduled = instant("scheduled_for", "Scheduled for")
    triggered = instant("triggered_at", "Triggered")
    started = instant("started_at", "Started")
    completed = instant("completed_at", "Completed")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        found: QuerySet[Run] = super().get_queryset(request)
        found = found.filter(schedule__kind=ScheduleKind.EVALUATION)
        match = request.resolver_match
        if match is not None and (match.url_name or "").endswith("_change"):
            return found.select_related("schedule", "batch", "baseline", "project", "user")
        return found

    def cancel(self, request: HttpRequest, run: Run) -> Said:
        stopped = runs.cancel(run, now=clock.database_now(), reason=f"Cancelled by {request.user}.")
        if not stopped:
            return Said("This run had ended already.", ok=False)
        audit.record(actor_in(request, run.project), "run.cancelled", run)
        return Said("The run is cancelled and its calls are stopped.")

    def use_as_baseline(self, request: HttpRequest, run: Run) -> Said:
        baselines.pin(actor_in(request, run.project), run.schedule, run)
        return Said(f"The runs of {run.schedule} are compared with this one from now on.")

    @admin.display(description="Time")
    def time(self, run: Run) -> SafeString | str:
        return words.when(run.scheduled_for, timezone.now())

    @admin.display(description="Status")
    def state(self, run: Run) -> SafeString:
        return standing.of_run(run)

    @admin.display(description="Status")
    def stands(self, run: Run) -> SafeString:
        return standing.of_run_with_reason(run)

    @admin.display(description="Schedule")
    def of_schedule(self, run: Run) -> str:
        return str(run.schedule)

    @admin.display(description="Results")
    def results(self, run: Run) -> SafeString | str:
        return standing.results(run)

    @admin.display(description="Verdict")
    def verdict(self, run: Run) -> SafeString:
        return verdicts.of_run(run)

    @admin.display(description="In short")
    def comparison(self, run: Run) -> SafeString | str:
        return verdicts.sentence(run)

    @admin.display(description="Baseline")
    def baseline_link(self, run: Run) -> SafeString | str:
        return verdicts.baseline(run)

    @admin.display(description="Verdicts")
    def verdicts(self, run: Run) -> SafeString | str:
        return verdicts.table(run)

    @admin.display(description="Duration")
    def duration(self, run: Run) -> str:
        return standing.took(run)

    @admin.display(description="Error")
    def error(self, run: Run) -> SafeString | str:
        return words.block(run.error_message)

    @admin.display(description="Schedule")
    def schedule_link(self, run: Run) -> SafeString:
        return words.link(change_url(run.schedule), run.schedule)

    @admin.display(description="Batch")
    def batch_link(self, run: Run) -> SafeString | str:
        if run.batch is None:
            return "It has not got to its calls."
        return words.link(change_url(run.batch), f"{run.batch}, {run.batch.total} calls")

    @admin.display(description="Quality (mean score)")
    def quality(self, run: Run) -> str:
        return words.score(run.avg_quality_score)

    @admin.display(description="Cost")
    def cost(self, run: Run) -> str:
        return words.money(run.total_cost) if run.total_prompts else words.NOTHING

    @admin.display(description="Latency, mean")
    def latency(self, run: Run) -> str:
        return words.milliseconds(run.avg_latency_ms)

    @admin.display(description="Latency, p95")
    def p95(self, run: Run) -> str:
        return words.milliseconds(run.p95_latency_ms)

    @admin.display(description="First token, mean")
    def ttft(self, run: Run) -> str:
        return words.milliseconds(run.avg_ttft_ms)

"""Schedules: the list, the form with its preview, and the history."""

import uuid
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path, reverse

from access import clock
from access.admin import words
from access.admin.base import (
    Button,
    Said,
    actor_in,
    change_url,
    list_url,
    only_changed,
)
from access.errors import Refusal
from evalsched import baselines, run_lines, runs, schedules
from evalsched.admin import history, preview, standing, verdicts
from evalsched.admin.timed import TimedAdmin
from evalsched.forms import CONFIG, PAUSE, PLAIN, ScheduleForm
from evalsched.models import PARTS, Run, Schedule, ScheduleKind


@admin.register(Schedule)
class ScheduleAdmin(TimedAdmin):
    form = ScheduleForm
    empty_text = (
        "A schedule runs a test suite against a model or an agent, again and again. It needs a "
        "model endpoint and a test suite with cases; add those first, then a schedule."
    )
    list_display = (
        "name",
        "in_words",
        "who_answers",
        "next_run",
        "state",
        "last_run",
        "row_buttons",
    )
    list_select_related = ("endpoint", "agent__endpoint")
    actions = ("run_selected", "enable_selected", "disable_selected")
    buttons = (
        *TimedAdmin.buttons,
        Button(
            "compare_with_last",
            "Compare with the last good run",
            "flag",
            when=lambda schedule: schedule.baseline_id is not None,
        ),
    )
    conditional_fields: ClassVar = {"cron_expression": "schedule_type == 'custom'"}
    change_form_outer_before_template = "admin/evalsched/schedule_head.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        found: QuerySet[Schedule] = super().get_queryset(request)
        return found.filter(kind=ScheduleKind.EVALUATION)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        what = ("name", "description", "suite", ("endpoint", "agent"))
        return (
            (None, {"fields": what if obj else ("project", *what, "is_active")}),
            (
                "When",
                {"fields": (("schedule_type", "timezone"), "cron_expression", "preview")},
            ),
            ("How it runs", {"fields": ("concurrency", "repeats", "timeout_s")}),
            (
                "Alerts",
                {"fields": (("alert_on_failure", "alert_on_regression"),)},
            ),
            (
                "Regressions",
                {
                    "fields": (
                        "gated_metrics",
                        ("regression_threshold_percent", "regression_method"),
                    )
                },
            ),
            *((("Pause", {"classes": ["collapse"], "fields": PAUSE}),) if obj else ()),
            (
                "Limits",
                {
                    "classes": ["collapse"],
                    "fields": ("starts_at", "ends_at", ("max_runs", "jitter_seconds")),
                },
            ),
            (
                "Overlap, outages and clock changes",
                {
                    "classes": ["collapse"],
                    "fields": (
                        ("overlap_policy", "catchup_policy", "catchup_window_minutes"),
                        ("dst_gap", "dst_overlap"),
                        *(("next_run_at",) if obj else ()),
                    ),
                },
            ),
        )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_changeform_initial_data(request) | {"schedule_type": "daily"}

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in _HELP:
            field.label, field.help_text = _HELP[db_field.name]
        return field

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(preview.answer)
        as_csv = self.admin_site.admin_view(self.as_csv)
        return [
            path("preview/", view, name="evalsched_schedule_preview"),
            path("<uuid:schedule_id>/runs.csv", as_csv, name="evalsched_schedule_csv"),
            *super().get_urls(),
        ]

    def as_csv(self, request: HttpRequest, schedule_id: uuid.UUID) -> StreamingHttpResponse:
        """Answer the schedule's runs, newest first, as a file."""
        return run_lines.response(
            Run.objects.evaluations().filter(schedule=schedule_id).iterator(500)
        )

    def goes_with(self, row: Any) -> list[str]:
        return ["All of its runs. What is under way is stopped; the batches stay."]

    def create(self, request: HttpRequest, form: Any) -> Schedule:
        values = form.cleaned_data
        return schedules.create(
            actor_in(request, values["project"]),
            now=clock.database_now(),
            **{name: values[name] for name in (*PLAIN, "is_active")},
            batch_test_config=form.config(),
        )

    def change(self, request: HttpRequest, row: Any, form: Any) -> Schedule:
        fields = only_changed(form, (*PLAIN, *PAUSE, "next_run_at"))
        if set(CONFIG) & set(form.changed_data):
            fields["batch_test_config"] = form.config()
        actor = actor_in(request, row.project)
        return schedules.change(actor, row, now=clock.database_now(), **fields)

    def delete(self, request: HttpRequest, row: Any) -> None:
        schedules.delete(actor_in(request, row.project), row, now=clock.database_now())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        schedule = kwargs.get("obj")
        # With errors to correct, the form comes first.
        if schedule is not None and request.method == "GET":
            context |= history.of_schedule(schedule)
            context["head"] = self.head(schedule) | {
                "disabled": Schedule.objects.filter(standing.DISABLED, pk=schedule.pk).exists(),
                "baseline": verdicts.pinned(schedule),
                "detects": schedules.detection(schedule).sentence,
            }
            context["csv_url"] = reverse("admin:evalsched_schedule_csv", args=[schedule.pk])
            context["all_runs_url"] = list_url(Run, f"?schedule__id__exact={schedule.pk}")
        return super().render_change_form(request, context, *args, **kwargs)

    def run_now(self, request: HttpRequest, schedule: Schedule) -> Said:
        run = runs.trigger(actor_in(request, schedule.project), schedule, now=clock.database_now())
        return Said(
            words.sentence(
                "{} was started by hand. {}",
                schedule.name,
                words.link(change_url(run), "Open the run"),
            )
        )

    def compare_with_last(self, request: HttpRequest, schedule: Schedule) -> Said:
        baselines.pin(actor_in(request, schedule.project), schedule, None)
        return Said(f"The runs of {schedule.name} are compared with the last good one again.")

    @admin.action(description="Run now")
    def run_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._each(request, queryset, self.run_now, "started")

    @admin.action(description="Enable")
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._each(request, queryset, self.enable, "enabled")

    @admin.action(description="Disable")
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._each(request, queryset, self.disable, "paused")

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Schedule], do: Any, participle: str
    ) -> None:
        """Do it to each; one that is refused does not keep the others from it."""
        done = 0
        for schedule in queryset.select_related("project", *PARTS):
            try:
                do(request, schedule)
                done += 1
            except Refusal as refusal:
                self.message_user(request, f"{schedule}: {refusal.message}", messages.ERROR)
        if done:
            plural = "" if done == 1 else "s"
            self.message_user(request, f"{done} schedule{plural} {participle}.", messages.SUCCESS)

    @admin.display(
        description="Model", ordering=Coalesce("agent__endpoint__name", "endpoint__name")
    )
    def who_answers(self, schedule: Schedule) -> str:
        return standing.who_answers(schedule)


_HELP = {
    "schedule_type": ("How often", ""),
    "cron_expression": (
        "Cron expression",
        "minute hour day-of-month month day-of-week, for example <code>30 6 * * MON-FRI</code>",
    ),
    "is_active": ("Active", "Starts with the first time after now."),
    "alert_on_failure": ("Mail when a run fails", "To the schedule's author."),
    "alert_on_regression": ("Mail when a run got worse", "To the schedule's author."),
    "regression_threshold_percent": (
        "A regression is a loss of (percent)",
        "Of the baseline's value; a smaller loss that is certain is shown as drifted down.",
    ),
    "regression_method": ("Decided", ""),
    "overlap_policy": ("When the last run is still under way", ""),
    "catchup_policy": ("After an outage, run of the missed", ""),
    "catchup_window_minutes": ("Missed at most (minutes ago)", "Empty: however long ago."),
    "jitter_seconds": (
        "Jitter (seconds)",
        "Starts at most so much later, always by the same, so that not all start on the minute.",
    ),
    "starts_at": ("Not before (UTC)", "Empty: at once."),
    "ends_at": ("Not after (UTC)", "Empty: without end. Then the schedule is switched off."),
    "max_runs": ("Runs at most", "Empty: without end. Missed and skipped ones do not count."),
    "paused_until": ("Paused until (UTC)", "It goes on by itself; nothing fires for the past."),
    "pause_reason": ("Reason", "Kept while it is paused or switched off."),
}

"""Batches: how far they are, what came out, and stopping or resuming them."""

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from access import audit, clock
from access.admin import words
from access.admin.base import Button, ReadOnlyAdmin, Said, actor_in, change_url, instant, list_url
from access.admin.lists import LongList, MadeFilter
from batches import batches, figures
from batches.models import BATCH_OPEN, Batch, BatchStatus, Job

TONES: dict[str, words.Tone] = {
    BatchStatus.PENDING: "info",
    BatchStatus.RUNNING: "info",
    BatchStatus.COMPLETED: "success",
    BatchStatus.FAILED: "danger",
    BatchStatus.CANCELLED: "",
    BatchStatus.STOPPED_BUDGET: "warning",
    BatchStatus.STOPPED_CIRCUIT: "warning",
}


def results(batch: Batch) -> str:
    """Return "17/20, quality 0.85": passed of those that ended, and the mean score."""
    if not batch.done:
        return words.NOTHING
    quality = figures.of(batch).avg_score
    passed = f"{batch.passed}/{batch.done}"
    return passed if quality is None else f"{passed}, quality {words.score(quality)}"


def results_url(batch: Batch) -> str:
    """Return the members' page of the batch's experiment."""
    page = reverse("experiment", args=[batch.tracking_id])
    return f"{page}?project={batch.project_id}"


def _resumable(batch: Batch) -> bool:
    unfinished = batch.done < batch.total or batch.errors
    return batch.status not in BATCH_OPEN and bool(
        unfinished and batch.suite_id and batch.endpoint_id
    )


@admin.register(Batch)
class BatchAdmin(LongList, ReadOnlyAdmin):
    empty_text = (
        "A batch is one execution of a suite against a model. Press Run now on a schedule, or "
        "start one through the API."
    )
    list_display = (
        "title",
        "state",
        "progress",
        "outcome",
        "cost",
        "took",
        "made_at",
        "project",
        "row_buttons",
    )
    list_select_related = ("project",)
    list_filter = (MadeFilter, "status", "project")
    buttons = (
        Button("cancel", "Cancel", "cancel", when=lambda batch: batch.status in BATCH_OPEN),
        Button("resume", "Resume", "resume", when=_resumable),
    )
    fieldsets: ClassVar = (
        (None, {"fields": ("state", "error_message", "progress", "jobs_link")}),
        (
            "Results",
            {
                "fields": (
                    "outcomes",
                    ("rate_scored", "rate_strict", "coverage"),
                    ("quality", "cost", "judged", "tokens"),
                    ("latency", "p95", "ttft"),
                )
            },
        ),
        (
            "Made from",
            {
                "fields": (
                    "experiment_link",
                    "suite_link",
                    "endpoint_link",
                    "judges",
                    ("concurrency", "repeats", "timeout_ms"),
                    "parameters",
                    "tags",
                    ("project", "user"),
                    ("made", "took"),
                )
            },
        ),
    )
    readonly_fields: ClassVar = (
        "state",
        "progress",
        "jobs_link",
        "outcomes",
        "rate_scored",
        "rate_strict",
        "coverage",
        "quality",
        "cost",
        "judged",
        "tokens",
        "latency",
        "p95",
        "ttft",
        "experiment_link",
        "suite_link",
        "endpoint_link",
        "judges",
        "made",
        "took",
    )
    only_with: ClassVar = {
        "experiment_link": "tracking_id",
        "suite_link": "suite_name",
        "error_message": "error_message",
        "parameters": "parameters",
        "judges": "graders",
        "tags": "tags",
    }
    made = instant("created_at", "Made")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        found: QuerySet[Batch] = super().get_queryset(request).filter(request="")
        match = request.resolver_match
        page = "" if match is None else match.url_name or ""
        if page.endswith("_change"):
            return found.select_related("project", "user", "suite", "endpoint")
        # Those of experiments have a list of their own.
        return found.filter(tracking_id="") if page.endswith("_changelist") else found

    def cancel(self, request: HttpRequest, batch: Batch) -> Said:
        stopped = batches.cancel(
            batch, now=clock.database_now(), reason=f"Cancelled by {request.user}."
        )
        if not stopped:
            return Said("This batch had ended already.", ok=False)
        audit.record(actor_in(request, batch.project), "batch.cancelled", batch)
        return Said(f"{batch} is cancelled. What it has found so far stays.")

    def resume(self, request: HttpRequest, batch: Batch) -> Said:
        batches.resume(batch, now=clock.database_now())
        audit.record(actor_in(request, batch.project), "batch.resumed", batch)
        return Said(f"{batch} is under way again, with the calls that are missing.")

    @admin.display(description="Batch")
    def title(self, batch: Batch) -> str:
        return str(batch)

    @admin.display(description="Status")
    def state(self, batch: Batch) -> SafeString:
        text = batch.status.replace("_", " ")
        return words.label(text, TONES[batch.status], title=batch.error_message)

    @admin.display(description="Progress")
    def progress(self, batch: Batch) -> SafeString:
        left = figures.eta_seconds(batch, timezone.now())
        return words.progress(batch.done, batch.total, left)

    @admin.display(description="Calls")
    def jobs_link(self, batch: Batch) -> SafeString:
        url = list_url(Job, f"?batch__id__exact={batch.pk}")
        return words.link(url, f"All {batch.total} calls with their answers")

    @admin.display(description="Results")
    def outcome(self, batch: Batch) -> str:
        return results(batch)

    @admin.display(description="Outcomes")
    def outcomes(self, batch: Batch) -> str:
        return (
            f"{batch.passed} passed, {batch.failed} failed, {batch.errors} errors, "
            f"{batch.unscored} unscored"
        )

    @admin.display(description="Passed of the scored")
    def rate_scored(self, batch: Batch) -> str:
        return words.share(figures.of(batch).rate_scored)

    @admin.display(description="Passed of all")
    def rate_strict(self, batch: Batch) -> str:
        return words.share(figures.of(batch).rate_strict)

    @admin.display(description="Coverage")
    def coverage(self, batch: Batch) -> str:
        return words.share(figures.of(batch).coverage)

    @admin.display(description="Quality (mean score)")
    def quality(self, batch: Batch) -> str:
        return words.score(figures.of(batch).avg_score)

    @admin.display(description="Cost")
    def cost(self, batch: Batch) -> str:
        return words.money(batch.total_cost) if batch.done else words.NOTHING

    @admin.display(description="Cost of judges")
    def judged(self, batch: Batch) -> str:
        return words.NOTHING if batch.judge_cost is None else words.money(batch.judge_cost)

    @admin.display(description="Judges")
    def judges(self, batch: Batch) -> str:
        return ", ".join(f"{entry['model_name']} for {entry['type']}" for entry in batch.graders)

    @admin.display(description="Tokens in / out")
    def tokens(self, batch: Batch) -> str:
        return f"{batch.input_tokens:,} / {batch.output_tokens:,}"

    @admin.display(description="Latency, mean")
    def latency(self, batch: Batch) -> str:
        return words.milliseconds(figures.of(batch).avg_latency_ms)

    @admin.display(description="Latency, p95")
    def p95(self, batch: Batch) -> str:
        return words.milliseconds(batch.p95_latency_ms)

    @admin.display(description="First token, mean")
    def ttft(self, batch: Batch) -> str:
        return words.milliseconds(figures.of(batch).avg_ttft_ms)

    @admin.display(description="Experiment")
    def experiment_link(self, batch: Batch) -> SafeString:
        return words.link(results_url(batch), batch.tracking_id)

    @admin.display(description="Suite")
    def suite_link(self, batch: Batch) -> SafeString | str:
        name = f"{batch.suite_name}, version {batch.suite_version}"
        return words.link(change_url(batch.suite), name) if batch.suite else f"{name} (deleted)"

    @admin.display(description="Model")
    def endpoint_link(self, batch: Batch) -> SafeString | str:
        if batch.endpoint is None:
            return f"{batch.model_name} (deleted)"
        return words.link(change_url(batch.endpoint), batch.model_name)

    @admin.display(description="Started")
    def made_at(self, batch: Batch) -> SafeString | str:
        return words.when(batch.created_at, timezone.now())

    @admin.display(description="Took")
    def took(self, batch: Batch) -> str:
        return words.duration(batch.started_at, batch.completed_at)

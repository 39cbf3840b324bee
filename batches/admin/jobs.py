"""Jobs: one call each, with its answer and why it passed or failed. Models' texts are escaped."""

from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from access.admin import words
from access.admin.base import ReadOnlyAdmin, change_url, instant
from access.admin.lists import LongList
from batches import documents
from batches.forms.cases import as_turns
from batches.models import Batch, Job, JobOutcome, JobStatus

# Without a batch the list looks at these many of the newest jobs, so that a filter for something
# rare does not read all that there are.
_NEWEST = 100_000
_OF_BATCH = "batch__id__exact"

_TONES: dict[str, words.Tone] = {
    JobOutcome.PASSED: "success",
    JobOutcome.FAILED: "danger",
    JobOutcome.ERROR: "warning",
    JobOutcome.UNSCORED: "",
}


@admin.register(Job)
class JobAdmin(LongList, ReadOnlyAdmin):
    empty_text = "A job is one call of a batch: a case, asked once. Start a batch to see some."
    list_display = ("title", "result", "shown_score", "answer", "latency", "cost_usd", "of_batch")
    list_select_related = ("batch",)
    list_filter = ("outcome", "status")
    search_fields = ("=case_key",)
    search_help_text = "The key of a case"
    list_before_template = "admin/evalsched/jobs_of.html"
    fieldsets: ClassVar = (
        (None, {"fields": ("case_link", "result", "shown_score", "error", "of_batch")}),
        ("What was asked and answered", {"fields": ("prompt", "expected", "answer_text")}),
        ("Assertions", {"fields": ("scores",)}),
        (
            "Call",
            {
                "fields": (
                    ("latency", "first_token", "waiting"),
                    ("tokens", "cost_usd", "judged_usd", "attempts"),
                    ("started", "finished"),
                    "tags",
                )
            },
        ),
    )
    readonly_fields: ClassVar = (
        "case_link",
        "result",
        "shown_score",
        "error",
        "of_batch",
        "prompt",
        "expected",
        "answer_text",
        "scores",
        "latency",
        "first_token",
        "waiting",
        "tokens",
        "cost_usd",
        "judged_usd",
        "started",
        "finished",
    )
    only_with: ClassVar = {"error": "error_class", "tags": "tags"}
    started = instant("started_at", "Started")
    finished = instant("finished_at", "Finished")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        found: QuerySet[Job] = super().get_queryset(request).filter(batch__request="")
        match = request.resolver_match
        if match is None or not (match.url_name or "").endswith("_changelist"):
            return found.select_related("case__suite", "document", "batch")
        found = found.defer("assertions")
        if _OF_BATCH in request.GET:
            return found
        newest = Job.objects.order_by("-id").values_list("id", flat=True).first() or 0
        return found.filter(id__gt=newest - _NEWEST)

    def get_ordering(self, request: HttpRequest) -> Any:
        # Within a batch in the order of its suite, which an index holds.
        return ("ordinal", "repeat") if _OF_BATCH in request.GET else ("-id",)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        wanted = request.GET.get(_OF_BATCH, "")
        try:
            batch = Batch.objects.filter(pk=wanted).first() if wanted else None
        except (ValueError, ValidationError):
            batch = None
        context = {
            "batch": batch,
            "batch_url": change_url(batch) if batch else "",
            "newest": _NEWEST,
        }
        return super().changelist_view(request, context | (extra_context or {}))

    @admin.display(description="Case")
    def title(self, job: Job) -> str:
        return str(job)

    @admin.display(description="Case or document")
    def case_link(self, job: Job) -> SafeString | str:
        asked = job.case or job.document
        if asked is None:
            return f"{job} (deleted{' with its suite' if job.batch.suite_name else ''})"
        return words.link(change_url(asked), job)

    @admin.display(description="Result")
    def result(self, job: Job) -> SafeString:
        text = job.outcome or job.status.replace("_", " ")
        tone: words.Tone = "info" if job.outcome is None else _TONES[job.outcome]
        return words.label(text, tone)

    @admin.display(description="Score")
    def shown_score(self, job: Job) -> str:
        return words.score(job.score)

    @admin.display(description="Answer")
    def answer(self, job: Job) -> SafeString:
        return words.clipped(job.error_message or job.output[:200])

    @admin.display(description="Batch")
    def of_batch(self, job: Job) -> SafeString:
        return words.link(change_url(job.batch), job.batch)

    @admin.display(description="Error")
    def error(self, job: Job) -> str:
        return f"{job.error_class}: {job.error_message}" if job.error_class else words.NOTHING

    @admin.display(description="Prompt")
    def prompt(self, job: Job) -> SafeString | str:
        if job.case is not None:
            return words.block(job.case.prompt or as_turns(job.case.messages or []))
        if job.document is not None:
            if not documents.is_as_asked(job.document, job):
                return "The document was changed since."
            return words.block(job.document.content)
        if job.batch.suite_name:
            return "The case was deleted with its suite."
        return "The document was deleted."

    @admin.display(description="Expected")
    def expected(self, job: Job) -> SafeString | str:
        stored = None if job.case is None else job.case.expected
        return words.block(None if stored is None else str(stored))

    @admin.display(description="Answer")
    def answer_text(self, job: Job) -> SafeString | str:
        return words.block(job.output)

    @admin.display(description="Scores")
    def scores(self, job: Job) -> SafeString:
        context = {"scores": job.assertions}
        return mark_safe(render_to_string("admin/evalsched/scores.html", context))  # noqa: S308

    @admin.display(description="Latency")
    def latency(self, job: Job) -> str:
        return words.milliseconds(job.latency_ms)

    @admin.display(description="First token")
    def first_token(self, job: Job) -> str:
        return words.milliseconds(job.ttft_ms)

    @admin.display(description="With waiting")
    def waiting(self, job: Job) -> str:
        return words.milliseconds(job.wall_ms)

    @admin.display(description="Tokens in / cached / out")
    def tokens(self, job: Job) -> str:
        counts = (job.input_tokens, job.cached_tokens, job.output_tokens)
        return " / ".join(words.NOTHING if count is None else f"{count:,}" for count in counts)

    @admin.display(description="Cost")
    def cost_usd(self, job: Job) -> str:
        if job.status != JobStatus.DONE:
            return words.NOTHING
        why = f" {job.cost_unknown_because}" if job.cost_unknown_because else ""
        return f"{words.money(job.cost)}{why}"

    @admin.display(description="Judges")
    def judged_usd(self, job: Job) -> str:
        return words.NOTHING if job.judge_cost is None else words.money(job.judge_cost)

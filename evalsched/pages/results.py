"""An experiment's results: its batches, the verdicts between them, and every case side by side."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from django.utils.text import get_valid_filename

from access.errors import Invalid, NotFound
from access.models import User
from access.pages import Page
from batches import case_comparisons, documents, experiments, figures, suites
from batches.case_comparisons import Row, Side
from batches.exports import formats
from batches.models import Batch, Job
from evalsched import comparisons, reports, text_differences
from evalsched.pages import words
from evalsched.pages.asked import Asked
from evalsched.verdicts import Verdict

_A_PAGE = 50
# Of an answer in the table; the page of the case has all of it.
_BEGINNING = 240
_LONGEST_QUESTION = 20_000


class _OfExperiment(Page):
    def found(self, tracking_id: str) -> list[Batch]:
        """Return the experiment's batches, oldest first."""
        rows = Batch.objects.filter(project=self.actor.project, tracking_id=tracking_id)
        found = list(rows.order_by("created_at", "pk")) if tracking_id else []
        if not found:
            missing = experiments.missing(self.actor.project.pk, tracking_id)
            raise NotFound(
                f"{missing.message} One of another of your projects is shown when you choose that "
                "project above."
            )
        return found


class Results(_OfExperiment):
    def get(self, request: HttpRequest, tracking_id: str) -> HttpResponse:
        found = self.found(tracking_id)
        asked = Asked.of(request, found)
        first = found[0]
        rows = Batch.objects.filter(project=self.actor.project, tracking_id=tracking_id)
        summary = experiments.summed(rows).get()
        makers = User.objects.filter(pk__in=summary["users"]).only("username")
        context = {
            "tracking_id": tracking_id,
            "summary": summary,
            "label": words.Label(summary["status"], words.STATUS_TONES[summary["status"]]),
            "description": summary["description"],
            "makers": ", ".join(sorted(user.username for user in makers)),
            "made": words.utc(first.created_at),
            "expiry": words.expiry(summary["expires_at"], self.now),
            "expires_at": words.utc(summary["expires_at"]),
            "cost": words.money(summary["total_cost"]) if summary["done"] else "",
            "under_way": summary["status"] == "running",
            "columns": [_column(batch, asked) for batch in found],
            "asked": asked,
            "titles": [(asked.letter(batch), batch) for batch in asked.batches],
            "compared": _verdicts(asked),
            "formats": _FORMATS,
            "self_url": reverse("experiment", args=[tracking_id]),
            "max_days": experiments.MAX_DAYS,
        }
        return self.shown("experiments/one.html", context | _table(tracking_id, asked, request))


class OneCase(_OfExperiment):
    def get(self, request: HttpRequest, tracking_id: str, job_id: int) -> HttpResponse:
        found = self.found(tracking_id)
        asked = Asked.of(request, found)
        job = Job.objects.filter(batch__in=found, pk=job_id).first()
        if job is None:
            raise NotFound("There is no such case in this experiment.")
        jobs = Job.objects.filter(
            batch__in=asked.batches, case_key=job.case_key, case_hash=job.case_hash
        )
        context = {
            "tracking_id": tracking_id,
            "back_url": f"{reverse('experiment', args=[tracking_id])}?{asked.query}",
            "key": job.case_key,
            **_question(job),
            "answers": _answers(asked, list(jobs.order_by("repeat", "pk"))),
        }
        return self.shown("experiments/case.html", context)


class ResultsAsFile(_OfExperiment):
    """Every call of the chosen batches, in one of the formats of the API."""

    streams = True

    def get(self, request: HttpRequest, tracking_id: str) -> StreamingHttpResponse:
        with self.acting():
            asked = Asked.of(request, self.found(tracking_id))
        name = get_valid_filename(f"experiment-{tracking_id}")
        wanted = request.GET.get("format", "csv")
        made = formats.export(name, wanted, asked.batches, self.acting)
        answer = StreamingHttpResponse(made.pieces, content_type=made.media_type)
        answer["Content-Disposition"] = f'attachment; filename="{made.name}"'
        return answer


_FORMATS = {
    "csv": "CSV, for spreadsheets",
    "html": "HTML, to read or to print",
    "jsonl": "JSON lines, a call each",
    "json": "JSON, one document",
    "junit": "JUnit, for CI",
}


def _column(batch: Batch, asked: Asked) -> dict[str, Any]:
    measured = figures.of(batch)
    return {
        "batch": batch,
        "letter": asked.letter(batch),
        "chosen": batch in asked.batches,
        "is_baseline": batch == asked.batches[0],
        "label": words.of_batch(batch.status),
        "rate": "" if measured.rate_scored is None else f"{measured.rate_scored * 100:.1f}\xa0%",
        "rest": words.rest(batch.failed, batch.errors, batch.unscored),
        "quality": words.score(measured.avg_score),
        "latency": words.milliseconds(measured.avg_latency_ms),
        "cost": words.money(batch.total_cost) if batch.done else "",
        "made": words.utc(batch.created_at),
    }


def _verdicts(asked: Asked) -> list[dict[str, Any]]:
    """Return what the statistics say of each batch and the baseline, as the API does."""
    compared = comparisons.of_experiment(asked.batches)
    found = [] if compared is None else compared["candidates"]
    return [
        _verdict(asked, batch, one) for batch, one in zip(asked.batches[1:], found, strict=True)
    ]


def _verdict(asked: Asked, batch: Batch, found: dict[str, Any]) -> dict[str, Any]:
    about = {"batch": batch, "letters": (asked.letter(batch), asked.letter(asked.batches[0]))}
    return about | {
        "sentence": found["sentence"],
        "tone": _tone(found),
        "metrics": [
            {
                "name": reports.NAMES[metric],
                "label": words.of_verdict(found["metrics"][metric.value]["verdict"]),
                "sentence": found["metrics"][metric.value]["sentence"],
            }
            for metric in reports.NAMES
            if metric.value in found["metrics"]
        ],
    }


def _tone(found: dict[str, Any]) -> str:
    """Return bad for a regression, good where quality and pass rate are known not to be worse."""
    if found["regression_detected"]:
        return "bad"
    gated = [one["verdict"] for one in found["metrics"].values() if one["gated"]]
    return "good" if gated and set(gated) <= _FINE else ""


_FINE = {Verdict.UNCHANGED, Verdict.DRIFTED_UP, Verdict.IMPROVED}


def _table(tracking_id: str, asked: Asked, request: HttpRequest) -> dict[str, Any]:
    try:
        rows = case_comparisons.compare(asked.batches, asked.show, asked.order)
    except Invalid as refusal:
        return {"too_many": refusal.message}
    page = Paginator(rows, _A_PAGE).get_page(request.GET.get("page"))
    texts = {
        key: job.error_message or job.output[:_BEGINNING]
        for key, job in case_comparisons.answers(page).items()
    }
    return {"page": page, "lines": [_line(tracking_id, row, texts, asked) for row in page]}


def _line(tracking_id: str, row: Row, texts: dict[int, str], asked: Asked) -> dict[str, Any]:
    some = next(side for side in row.sides if side)
    return {
        "key": row.key or "(not fetched yet)",
        "url": f"{reverse('experiment_case', args=[tracking_id, some.job_id])}?{asked.query}",
        "differs": row.differs and len(row.sides) > 1,
        "loss": f"{row.loss:.2f}" if row.loss and row.loss > 0 else "",
        "cells": [
            _shown(side, texts) | {"letter": asked.letter(batch), "name": str(batch)}
            for side, batch in zip(row.sides, asked.batches, strict=True)
        ],
    }


def _shown(side: Side | None, texts: dict[int, str]) -> dict[str, Any]:
    if side is None:
        return {"missing": True}
    return {
        "label": words.of_outcome(side.outcome),
        "ended": side.outcome is not None,
        "figures": ", ".join(_figures(side)),
        "text": texts.get(side.job_id, ""),
    }


def _figures(side: Side) -> Iterator[str]:
    if side.score is not None:
        yield words.score(side.score)
    if side.calls > 1:
        yield f"{side.passed} of {side.calls}"
    if side.latency_ms is not None:
        yield words.milliseconds(side.latency_ms)


def _question(job: Job) -> dict[str, Any]:
    """Return what was asked, as far as it is still there."""
    if job.case_id is not None and job.case is not None:
        case = suites.draft_of(job.case)
        turns = [f"{turn['role']}: {turn['content']}" for turn in case.messages or []]
        question, expected = case.prompt or "\n\n".join(turns), case.expected
        variables = [f"{name}: {value}" for name, value in case.variables.items()]
        return {"question": question, "variables": "\n".join(variables), "expected": expected}
    document = job.document if job.document_id else None
    if document is None:
        return {"question": "", "gone": "The case or document was deleted."}
    if not documents.is_as_asked(document, job):
        return {"question": "", "gone": "The document was changed since."}
    text = document.content
    return {
        "question": text[:_LONGEST_QUESTION],
        "cut": len(text) > _LONGEST_QUESTION,
        "source_url": document.source_url,
    }


def _answers(asked: Asked, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Return each batch's answers; those of the first batch are what the others' differ from."""
    chosen = asked.batches
    first = {job.repeat: job for job in jobs if job.batch_id == chosen[0].pk}
    return [
        {
            "batch": batch,
            "letter": asked.letter(batch),
            "is_baseline": batch == chosen[0],
            "calls": [
                _answer(job, None if batch == chosen[0] else first.get(job.repeat))
                for job in jobs
                if job.batch_id == batch.pk
            ],
        }
        for batch in chosen
    ]


def _answer(job: Job, other: Job | None) -> dict[str, Any]:
    same = other is not None and other.output == job.output
    compared = other is not None and not same and other.output and job.output
    return {
        "job": job,
        "label": words.of_outcome(job.outcome),
        "score": words.score(job.score),
        "latency": words.milliseconds(job.latency_ms),
        "cost": "" if job.cost is None else words.money(job.cost),
        "same": same and bool(job.output),
        "pieces": text_differences.pieces(other.output, job.output) if other and compared else [],
    }

"""Importing a file into a suite in the admin: a preview of what will happen, then the import."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.utils.text import slugify

from access.actors import Actor
from access.admin.base import actor_in, change_url
from access.errors import Refusal
from batches import suites
from batches.forms.cases import as_turns
from batches.imports import files, formats, jsonl
from batches.imports.files import Options, Parsed
from batches.models import TestSuite
from batches.suites import Preview

_SHOWN_ERRORS = 10
_SHOWN_CASES = 10
LABELS = {
    "": "Tell by the file",
    "jsonl": "JSONL, one case a line",
    "csv": "CSV",
    "promptfoo": "promptfoo (YAML or CSV)",
    "openai-evals": "OpenAI evals",
    "inspect": "Inspect",
}


class ImportForm(forms.Form):
    file = forms.FileField(error_messages={"required": "Choose a file first."})
    format = forms.ChoiceField(choices=list(LABELS.items()), required=False)
    prompt = forms.CharField(required=False, strip=False)
    scorer = forms.ChoiceField(
        choices=[("", ""), *((name, name) for name in formats.SCORERS)], required=False
    )
    replace = forms.BooleanField(required=False)


class Imports:
    """The pages below a suite that take files and give one. A part of the suites' admin."""

    admin_site: Any
    get_object: Any
    message_user: Any

    def import_urls(self) -> list[URLPattern]:
        take = self.admin_site.admin_view(self.take_file)
        give = self.admin_site.admin_view(self.give_file)
        return [
            path("<uuid:suite_id>/import/", take, name="batches_testsuite_import"),
            path("<uuid:suite_id>/export/", give, name="batches_testsuite_export"),
        ]

    def take_file(self, request: HttpRequest, suite_id: Any) -> HttpResponse:
        """Bring an uploaded file's cases into the suite, all of them or none, or show a preview."""
        suite = self._suite(request, suite_id)
        if request.method != "POST":
            # After a login that came between, or a reload of the preview.
            self.message_user(
                request, "Nothing was imported. Choose the file again.", messages.WARNING
            )
            return redirect(change_url(suite))
        form = ImportForm(request.POST, request.FILES)
        if "preview" in request.POST:
            return self._preview(request, suite, form)
        try:
            parsed, replace = _parsed(form)
            found = suites.put(_actor(request, suite), suite, parsed.drafts, replace=replace)
        except Refusal as refusal:
            for sentence in ["Nothing was imported.", *_sentences(refusal)]:
                self.message_user(request, sentence, messages.ERROR)
        else:
            sentence = (
                f"Imported as version {found.version}: {found.added} added, {found.changed} "
                f"changed, {found.removed} removed, {found.unchanged} unchanged."
            )
            self.message_user(request, sentence, messages.SUCCESS)
            for note in parsed.notes:
                self.message_user(request, note, messages.WARNING)
        return redirect(change_url(suite))

    def give_file(self, request: HttpRequest, suite_id: Any) -> StreamingHttpResponse:
        suite = self._suite(request, suite_id)
        answer = StreamingHttpResponse(
            jsonl.dump(suites.exported(suite)), content_type="application/x-ndjson"
        )
        name = slugify(suite.name) or "suite"
        answer["Content-Disposition"] = f'attachment; filename="{name}-v{suite.version}.jsonl"'
        return answer

    def _preview(self, request: HttpRequest, suite: TestSuite, form: ImportForm) -> HttpResponse:
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": f"Import into {suite.name}",
            "suite": suite,
            "back_url": change_url(suite),
        }
        try:
            parsed, replace = _parsed(form)
            found = suites.preview(suite, parsed.drafts, replace=replace, shown=_SHOWN_CASES)
        except Refusal as refusal:
            context["refused"] = _sentences(refusal)
        else:
            context |= {"outcome": found.outcome, "notes": parsed.notes, "rows": _rows(found)}
        return render(request, "admin/evalsched/import_preview.html", context)

    def _suite(self, request: HttpRequest, suite_id: Any) -> TestSuite:
        suite: TestSuite | None = self.get_object(request, str(suite_id))
        if suite is None:
            raise Http404
        return suite


def _actor(request: HttpRequest, suite: TestSuite) -> Actor:
    return actor_in(request, suite.project)


def _parsed(form: ImportForm) -> tuple[Parsed, bool]:
    """Return the cases of the file that was sent, and whether they replace the others.

    Raises:
        Refusal: something about the file or the form is wrong.
    """
    if not form.is_valid():
        raise Refusal(next(str(sentence) for error in form.errors.values() for sentence in error))
    sent = form.cleaned_data
    # One byte more than may be parsed of a longer one.
    content: bytes = sent["file"].read(files.MAX_BYTES + 1)
    options = Options(prompt=sent["prompt"], scorer=sent["scorer"])
    parsed = formats.parse(content, format_=sent["format"], name=sent["file"].name, options=options)
    return parsed, bool(sent["replace"])


def _sentences(refusal: Refusal) -> list[str]:
    found = [
        f"{place[:1].upper()}{place[1:]}: {sentence}"
        for place, sentences in refusal.details.items()
        for sentence in sentences
    ]
    shown = found[:_SHOWN_ERRORS]
    if len(found) > len(shown):
        shown.append(f"And {len(found) - len(shown)} more.")
    return shown or [refusal.message]


def _rows(found: Preview) -> list[dict[str, str]]:
    return [
        {
            "change": change,
            "key": draft.key,
            "prompt": draft.prompt or as_turns(draft.messages or []),
            "expects": expectation(
                [assertion.as_json() for assertion in draft.assertions], draft.expected
            ),
        }
        for change, draft in found.first
    ]


def expectation(assertions: list[dict[str, Any]], expected: str | None) -> str:
    """Return what is right about an answer, in a line."""
    if assertions:
        return "; ".join(f"{item['type']} {_limit(item)}" for item in assertions)
    return "" if expected is None else f"equals {expected}"


def _limit(item: dict[str, Any]) -> str:
    value = item.get("value", item.get("threshold", ""))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

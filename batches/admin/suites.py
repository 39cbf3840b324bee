"""Test suites: their name, their cases in pages, and importing JSONL."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse

from access import projects
from access.admin.base import DomainAdmin, actor_in, change_url, instant, only_changed, operator
from access.admin.forms import DomainForm
from access.errors import Refusal
from batches import suites
from batches.forms.cases import as_turns
from batches.imports import jsonl
from batches.models import TestCase, TestSuite

_FIELDS = ("name", "description")
_CASES_A_PAGE = 50
_SHOWN_ERRORS = 10


class SuiteForm(DomainForm):
    class Meta:
        model = TestSuite
        fields = ("project", *_FIELDS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["description"].widget.attrs["rows"] = 2


class ImportForm(forms.Form):
    file = forms.FileField()
    replace = forms.BooleanField(required=False)


@admin.register(TestSuite)
class TestSuiteAdmin(DomainAdmin):
    form = SuiteForm
    empty_text = (
        "A test suite is a set of cases: a prompt, and what is right about the answer. "
        "Add one, then add cases by hand or import a JSONL file."
    )
    list_display = ("name", "case_count", "version", "project", "changed")
    changed = instant("updated_at", "Changed")
    list_select_related = ("project",)
    list_filter = ("project",)
    search_fields = ("name",)
    ordering = ("name",)
    change_form_outer_after_template = "admin/evalsched/suite_cases.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return _FIELDS if obj else ("project", *_FIELDS)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk}

    def get_urls(self) -> list[URLPattern]:
        take = self.admin_site.admin_view(self.take_file)
        route = path("<uuid:suite_id>/import/", take, name="batches_testsuite_import")
        return [route, *super().get_urls()]

    def goes_with(self, row: Any) -> list[str]:
        return [f"Its {row.case_count} cases. What batches found with them stays."]

    def create(self, request: HttpRequest, form: Any) -> TestSuite:
        values = form.cleaned_data
        actor = actor_in(request, values["project"])
        return suites.create(actor, **{name: values[name] for name in _FIELDS})

    def change(self, request: HttpRequest, row: Any, form: Any) -> TestSuite:
        return suites.change(actor_in(request, row.project), row, **only_changed(form, _FIELDS))

    def delete(self, request: HttpRequest, row: Any) -> None:
        suites.delete(actor_in(request, row.project), row)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        suite = kwargs.get("obj")
        if suite is not None:
            context |= _cases(suite, request.GET.get("cases"))
        return super().render_change_form(request, context, *args, **kwargs)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        # The page of the suite is where its cases are added; the list is not.
        if "_save" in request.POST:
            self.message_user(request, f"{obj} is there. Now give it cases.", messages.SUCCESS)
            return redirect(change_url(obj))
        return super().response_add(request, obj, post_url_continue)

    def take_file(self, request: HttpRequest, suite_id: Any) -> HttpResponse:
        """Bring an uploaded file's cases into the suite: all of them or none."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        suite = self.get_object(request, str(suite_id))
        if suite is None:
            raise Http404
        sent = ImportForm(request.POST, request.FILES)
        if not sent.is_valid():
            self.message_user(request, "Choose a JSONL file first.", messages.ERROR)
            return redirect(change_url(suite))
        try:
            found = suites.put(
                actor_in(request, suite.project),
                suite,
                jsonl.parse(_content(sent.cleaned_data["file"])),
                replace=sent.cleaned_data["replace"],
            )
        except Refusal as refusal:
            for sentence in _sentences(refusal):
                self.message_user(request, sentence, messages.ERROR)
        else:
            sentence = (
                f"Imported as version {found.version}: {found.added} added, {found.changed} "
                f"changed, {found.removed} removed, {found.unchanged} unchanged."
            )
            self.message_user(request, sentence, messages.SUCCESS)
        return redirect(change_url(suite))


def _content(file: Any) -> bytes:
    """Return the file, or one byte more than may be parsed of a longer one."""
    content: bytes = file.read(jsonl.MAX_BYTES + 1)
    return content


def _sentences(refusal: Refusal) -> list[str]:
    found = [
        f"{place[:1].upper()}{place[1:]}: {sentence}"
        for place, sentences in refusal.details.items()
        for sentence in sentences
    ]
    shown = found[:_SHOWN_ERRORS]
    if len(found) > len(shown):
        shown.append(f"And {len(found) - len(shown)} more.")
    return ["Nothing was imported.", *(shown or [refusal.message])]


def _cases(suite: TestSuite, page: str | None) -> dict[str, Any]:
    """Return one page of the current cases. Their number is the suite's own, so nothing counts."""
    paginator = Paginator(TestCase.objects.filter(suite=suite).current(), _CASES_A_PAGE)
    paginator.count = suite.case_count
    shown = paginator.get_page(page)
    return {
        "cases": shown,
        "case_rows": [
            {
                "url": change_url(case),
                "key": case.key,
                "prompt": case.prompt or as_turns(case.messages or []),
                "expects": expectation(case),
                "tags": ", ".join(case.tags),
            }
            for case in shown
        ],
        "add_case_url": reverse("admin:batches_testcase_add") + f"?suite={suite.pk}",
        "import_url": reverse("admin:batches_testsuite_import", args=[suite.pk]),
    }


def expectation(case: TestCase) -> str:
    """Return what is right about an answer, in a line."""
    if case.assertions:
        return "; ".join(f"{item['type']} {_limit(item)}" for item in case.assertions)
    return "" if case.expected is None else f"equals {case.expected}"


def _limit(item: Mapping[str, Any]) -> str:
    value = item.get("value", item.get("threshold", ""))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

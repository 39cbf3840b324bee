"""Test suites: their name, and their cases in pages."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse

from access import projects
from access.admin.base import DomainAdmin, actor_in, change_url, instant, only_changed, operator
from access.admin.forms import DomainForm
from batches import suites
from batches.admin.imports import LABELS, Imports, expectation
from batches.forms.cases import as_turns
from batches.imports import formats
from batches.models import TestCase, TestSuite

_FIELDS = ("name", "description")
_CASES_A_PAGE = 50


class SuiteForm(DomainForm):
    class Meta:
        model = TestSuite
        fields = ("project", *_FIELDS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["description"].widget.attrs["rows"] = 2


@admin.register(TestSuite)
class TestSuiteAdmin(Imports, DomainAdmin):
    class Media:
        js: ClassVar = ("evalsched/imports.js",)

    form = SuiteForm
    empty_text = (
        "A test suite is a set of cases: a prompt, and what is right about the answer. "
        "Add one, then add cases by hand or import a file."
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
        return [*self.import_urls(), *super().get_urls()]

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
                "expects": expectation(case.assertions, case.expected),
                "tags": ", ".join(case.tags),
            }
            for case in shown
        ],
        "add_case_url": reverse("admin:batches_testcase_add") + f"?suite={suite.pk}",
        "import_url": reverse("admin:batches_testsuite_import", args=[suite.pk]),
        "export_url": reverse("admin:batches_testsuite_export", args=[suite.pk]),
        "formats": LABELS.items(),
        "scorers": formats.SCORERS,
    }

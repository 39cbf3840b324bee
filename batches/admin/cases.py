"""Single cases. A case is never edited: saving its form puts a new one into its place."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from access.admin.base import DomainAdmin, actor_in, change_url, list_url
from access.admin.lists import LongList
from access.errors import Invalid
from batches import cases, suites
from batches.forms.cases import CaseForm, as_turns
from batches.models import TestCase, TestSuite


@admin.register(TestCase)
class TestCaseAdmin(LongList, DomainAdmin):
    class Media:
        js: ClassVar = ("evalsched/assertions.js",)

    form = CaseForm
    empty_text = (
        "A case is a prompt and what is right about the answer. "
        "Cases are added on the page of their suite."
    )
    list_display = ("key", "suite", "short_prompt", "is_current")
    list_select_related = ("suite",)
    search_fields = ("=key",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        match = request.resolver_match
        listed = match is not None and (match.url_name or "").endswith("_changelist")
        return super().has_add_permission(request) and not listed

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (
            obj is None or obj.removed_in is None
        )

    has_delete_permission = has_change_permission

    def get_queryset(self, request: HttpRequest) -> QuerySet[TestCase]:
        return super().get_queryset(request).select_related("suite__project")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return (
                (
                    None,
                    {
                        "fields": (
                            "suite",
                            "key",
                            "prompt",
                            "messages",
                            "variables",
                            "expected",
                            "assertions",
                            "tags",
                            "weight",
                            "threshold",
                        )
                    },
                ),
            )
        return (
            (None, {"fields": (*(("suite",) if obj else ()), "key", "prompt")}),
            ("What is right", {"fields": ("expected", "assertions", "threshold")}),
            (
                "Conversation, variables, tags",
                {
                    "classes": ["collapse"],
                    "fields": ("messages", "variables", "tags", "weight", "cluster"),
                },
            ),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("suite",) if obj else ()

    def create(self, request: HttpRequest, form: Any) -> TestCase:
        suite = TestSuite.objects.select_related("project").get(pk=request.GET["suite"])
        return _put(request, suite, form)

    def change(self, request: HttpRequest, row: Any, form: Any) -> TestCase:
        return _put(request, row.suite, form)

    def delete(self, request: HttpRequest, row: Any) -> None:
        suites.remove(actor_in(request, row.suite.project), row.suite, row)

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the form of a new case for the suite that the address names."""
        wanted = request.GET.get("suite", "")
        try:
            found = TestSuite.objects.filter(pk=wanted).exists()
        except (ValueError, forms.ValidationError):
            found = False
        if not found:
            self.message_user(request, "Choose the suite of the new case first.", messages.WARNING)
            return redirect(list_url(TestSuite))
        return super().add_view(request, *args, **kwargs)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        if "_addanother" in request.POST:
            self.message_user(request, f"{obj.key} was added.", messages.SUCCESS)
            return redirect(request.get_full_path())
        return self._to_suite(request, obj, f"{obj.key} was added.")

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        sentence = f"{obj.key} was saved; {obj.suite} is at version {obj.suite.version}."
        if "_continue" in request.POST:
            # The edit made a new row, so the page of the old one would be a dead end.
            self.message_user(request, sentence, messages.SUCCESS)
            return redirect(change_url(obj))
        return self._to_suite(request, obj, sentence)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        case = TestCase.objects.select_related("suite").get(pk=obj_id)
        return self._to_suite(request, case, f"{case.key} was taken out of the suite.")

    def _to_suite(self, request: HttpRequest, case: TestCase, sentence: str) -> HttpResponse:
        self.message_user(request, sentence, messages.SUCCESS)
        return redirect(change_url(case.suite))

    @admin.display(description="Prompt")
    def short_prompt(self, case: TestCase) -> str:
        return (case.prompt or as_turns(case.messages or []))[:80]

    @admin.display(description="Current", boolean=True)
    def is_current(self, case: TestCase) -> bool:
        return case.removed_in is None


def _put(request: HttpRequest, suite: TestSuite, form: CaseForm) -> TestCase:
    draft = cases.draft(form.raw())
    taken = TestCase.objects.filter(suite=suite, key=draft.key).current().exists()
    if form.instance._state.adding and taken:
        raise Invalid.field("key", "A case of this suite has this key already. Edit that one.")
    suites.put(actor_in(request, suite.project), suite, [draft])
    return TestCase.objects.current().get(suite=suite, key=draft.key)

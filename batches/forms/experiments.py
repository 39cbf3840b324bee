"""The operator's forms of experiments, agents and documents: lines and inputs instead of JSON."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from access.admin.forms import DomainForm
from access.models import Project
from batches import tracking_ids
from batches.documents import MAX_URL_CHARACTERS, Draft
from batches.experiments import MAX_DAYS
from batches.forms.assertions import AssertionsField
from batches.models import Agent, Document, Experiment, ModelEndpoint, TestSuite

_BETWEEN = re.compile(r"^-{3,}[ \t]*$", re.MULTILINE)
_ROW = re.compile(r"assertions\[(\d+)\](?:\.(\w+))?")


def _area(rows: int) -> UnfoldAdminTextareaWidget:
    return UnfoldAdminTextareaWidget(attrs={"rows": rows})


class _OfProject(DomainForm):
    """A form whose `parts` are rows of the project that is chosen beside them."""

    parts: ClassVar[Sequence[str]] = ("endpoint",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row = self.instance
        many = row._state.adding and Project.objects.count() > 1
        for name in self.parts:
            if (field := self.fields.get(name)) is None:
                continue
            chosen: Any = field
            chosen.queryset = chosen.queryset.select_related("project").order_by("name")
            if not row._state.adding:
                chosen.queryset = chosen.queryset.filter(project_id=row.project_id)
            if many:
                chosen.label_from_instance = lambda part: f"{part} ({part.project})"

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        project = values.get("project") or getattr(self.instance, "project", None)
        for name in self.parts:
            part = values.get(name)
            if part is not None and project is not None and part.project_id != project.pk:
                self.add_error(name, f"This belongs to another project than {project}.")
        return values


class ExperimentForm(_OfProject):
    """An experiment with an agent and documents of its own, which end with it."""

    parts: ClassVar = ("endpoint", "suite")
    names: ClassVar[Mapping[str, str]] = {
        "model_id": "endpoint",
        "test_suite_id": "suite",
        "document_ids": "pasted",
        "ephemeral_documents": "urls",
        "expires_in_days": "days",
        "name": "agent_name",
    }

    tracking_id = forms.RegexField(
        tracking_ids.PATTERN,
        required=False,
        label="Tracking id",
        widget=UnfoldAdminTextInputWidget(),
        help_text="Batches with the same one are compared. Empty: one is made up.",
        error_messages={"invalid": tracking_ids.COMPLAINT},
    )
    description = forms.CharField(required=False, max_length=2000, widget=_area(2))
    days = forms.IntegerField(
        min_value=1,
        max_value=MAX_DAYS,
        label="Expires in days",
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Then it is deleted with everything it owns.",
    )
    endpoint = forms.ModelChoiceField(
        ModelEndpoint.objects.all(), label="Model", widget=UnfoldAdminSelectWidget()
    )
    agent_name = forms.CharField(
        required=False,
        max_length=200,
        label="Agent",
        widget=UnfoldAdminTextInputWidget(),
        help_text="Its name. Empty, with empty instructions: the model answers without an agent.",
    )
    instructions = forms.CharField(
        required=False,
        widget=_area(4),
        help_text="What the agent is told before every document or case: the system prompt.",
    )
    suite = forms.ModelChoiceField(
        TestSuite.objects.all(),
        required=False,
        label="Test suite",
        widget=UnfoldAdminSelectWidget(),
        help_text="Either a suite, or documents below.",
    )
    pasted = forms.CharField(
        required=False,
        widget=_area(8),
        label="Documents, pasted",
        help_text="Between two documents a line of three dashes, <code>---</code>.",
    )
    urls = forms.CharField(
        required=False,
        widget=_area(3),
        label="Documents, by address",
        help_text="One address a line. A worker fetches them and keeps the articles' text.",
    )

    class Meta:
        model = Experiment
        fields = ("project",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("days", settings.EVALSCHED_EXPERIMENT_DEFAULT_DAYS)

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        if not self.errors and bool(values["suite"]) == bool(self.drafts()):
            self.add_error("suite", "Choose a suite, or give documents, and not both.")
        return values

    def worded(self, place: str, sentence: str) -> str:
        return f"Document {_number(place)}: {sentence}"

    def drafts(self) -> list[Draft]:
        """Return the documents, the pasted ones first."""
        texts = _BETWEEN.split(self.cleaned_data["pasted"].replace("\r\n", "\n"))
        pasted = [Draft(content=text.strip("\n")) for text in texts if text.strip()]
        urls = [line.strip() for line in self.cleaned_data["urls"].splitlines()]
        return pasted + [Draft(url=url) for url in urls if url]

    def agent(self) -> dict[str, Any] | None:
        name, instructions = self.cleaned_data["agent_name"], self.cleaned_data["instructions"]
        if not name and not instructions:
            return None
        return {"name": name or "Agent", "primary_instructions": instructions}


def _number(place: str) -> int:
    """Return the number, from 1, of the document that a complaint is about."""
    found = re.search(r"\[(\d+)\]", place)
    return int(found[1]) + 1 if found else 1


class AgentForm(_OfProject):
    names: ClassVar[Mapping[str, str]] = {"model_id": "endpoint", "endpoint_id": "endpoint"}

    primary_instructions = forms.CharField(
        required=False,
        strip=False,
        label="Instructions",
        widget=_area(6),
        help_text="What it is told before every document or case: the system prompt.",
    )
    temperature = forms.FloatField(
        required=False,
        min_value=0,
        max_value=2,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="Empty: the endpoint's.",
    )
    max_tokens = forms.IntegerField(
        required=False,
        min_value=1,
        label="Longest answer (tokens)",
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Empty: the endpoint's.",
    )
    assertions = AssertionsField(
        required=False, help_text="They hold for each of its answers, beside a case's own."
    )

    class Meta:
        model = Agent
        fields = ("project", "name", "endpoint")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: Agent = self.instance
        if "endpoint" in self.fields:
            self.fields["endpoint"].label = "Model"
        for name in ("temperature", "max_tokens"):
            self.initial[name] = row.parameters.get(name)
        self.initial.setdefault("primary_instructions", row.primary_instructions)
        self.initial.setdefault("assertions", row.assertions)

    def worded(self, place: str, sentence: str) -> str:
        found = _ROW.fullmatch(place)
        if found is None:
            return f"{place}: {sentence}"
        part = f", {found[2]}" if found[2] else ""
        return f"Row {int(found[1]) + 1}{part}: {sentence}"

    def parameters(self) -> dict[str, Any]:
        """Return the parameters with the two of this form; the others are kept as they are."""
        kept = dict(self.instance.parameters)
        for name in ("temperature", "max_tokens"):
            kept.pop(name, None)
            if self.cleaned_data[name] is not None:
                kept[name] = self.cleaned_data[name]
        return kept


class DocumentForm(DomainForm):
    title = forms.CharField(
        required=False,
        max_length=300,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Empty: its first line, or the title of the page.",
    )
    content = forms.CharField(required=False, strip=False, widget=_area(12))
    source_url = forms.CharField(
        required=False,
        max_length=MAX_URL_CHARACTERS,
        label="Or its address",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "https://example.com/article"}),
        help_text="A worker fetches it and keeps the article's text.",
    )

    class Meta:
        model = Document
        fields = ("project",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: Document = self.instance
        if not row._state.adding:
            self.initial = dict(self.initial) | {"title": row.title, "content": row.content}

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        content, url = values.get("content", "").strip(), values.get("source_url", "")
        if self.instance._state.adding and not self.errors and bool(content) == bool(url):
            self.add_error("content", "Give the text, or the address to fetch it from.")
        return values

"""Agents: the project's own, and those that belong to an experiment and go with it."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from access import projects
from access.admin import words
from access.admin.base import DomainAdmin, actor_in, change_url, only_changed, operator
from access.admin.lists import LongList
from batches import agents
from batches.admin.batches import results_url
from batches.forms.experiments import AgentForm
from batches.models import Agent, Document

_PLAIN = ("name", "endpoint", "primary_instructions", "assertions")


class OriginFilter(admin.SimpleListFilter):
    """Whether it is the project's own or belongs to an experiment."""

    title = "origin"
    parameter_name = "origin"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("project", "The project's own"), ("experiment", "Of an experiment")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        return queryset.filter(ephemeral_batch__isnull=self.value() == "project")


@admin.display(description="Belongs to")
def origin(_: Any, row: Agent | Document) -> SafeString | str:
    """Return the experiment it goes with, or that it is the project's own."""
    batch = row.ephemeral_batch
    return "the project" if batch is None else words.link(results_url(batch), batch.tracking_id)


@admin.display(description="Expires")
def expires(_: Any, row: Agent | Document) -> SafeString | str:
    batch = row.ephemeral_batch
    return words.when(None if batch is None else batch.expires_at, timezone.now())


@admin.register(Agent)
class AgentAdmin(LongList, DomainAdmin):
    class Media:
        js: ClassVar = ("evalsched/assertions.js",)

    form = AgentForm
    empty_text = (
        "An agent is a model endpoint with instructions, parameters and assertions of its own. "
        "Add one, or create an experiment, which brings its own along."
    )
    list_display = ("name", "model_link", "origin", "expires", "project")
    list_select_related = ("project", "endpoint", "ephemeral_batch")
    list_filter = (OriginFilter, "project")
    search_fields = ("name", "=ephemeral_batch__tracking_id")
    search_help_text = "A name, or an experiment's tracking id"
    readonly_fields: ClassVar = ("origin", "expires")
    origin, expires = origin, expires

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = ("name", "endpoint", "primary_instructions")
        where = () if obj is not None and obj.ephemeral_batch_id is None else ("project",)
        parameters = ("Parameters", {"fields": (("temperature", "max_tokens"),)})
        judged = ("Assertions", {"fields": ("assertions",)})
        if obj is not None and obj.ephemeral_batch_id:
            return ((None, {"fields": (*first, "origin", "expires", *where)}),)
        return ((None, {"fields": (*where, *first)}), parameters, judged)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and not _ephemeral(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not _ephemeral(obj)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk}

    def create(self, request: HttpRequest, form: Any) -> Agent:
        values = form.cleaned_data
        fields = {name: values[name] for name in _PLAIN}
        actor = actor_in(request, values["project"])
        return agents.create(actor, **fields, parameters=form.parameters())

    def change(self, request: HttpRequest, row: Any, form: Any) -> Agent:
        fields = only_changed(form, _PLAIN)
        if {"temperature", "max_tokens"} & set(form.changed_data):
            fields["parameters"] = form.parameters()
        return agents.change(actor_in(request, row.project), row, **fields)

    def delete(self, request: HttpRequest, row: Any) -> None:
        agents.delete(actor_in(request, row.project), row)

    @admin.display(description="Model")
    def model_link(self, row: Agent) -> SafeString:
        return words.link(change_url(row.endpoint), row.endpoint)


def _ephemeral(row: Any) -> bool:
    return row is not None and row.ephemeral_batch_id is not None

"""Experiments: a line for each, active ones first, however many batches it has."""

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import BooleanField, Case, Exists, Q, QuerySet, Value, When
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from access import clock, projects
from access.admin import words
from access.admin.base import Button, DomainAdmin, Said, actor_in, change_url, list_url, operator
from access.admin.lists import LongChangeList, LongList
from batches import experiments
from batches.admin.batches import TONES, results, results_url
from batches.batches import Config
from batches.experiments import Plan
from batches.forms.experiments import ExperimentForm
from batches.models import BATCH_OPEN, Agent, Batch, BatchStatus, Document, Experiment

_TONES: dict[str, words.Tone] = {
    "running": "info",
    "completed": "success",
    "cancelled": "",
    "failed": "danger",
}
_SOON = timedelta(days=1)
_SHORT, _LONG = 7, 30
_TWO_LINES = '<span class="es-two">{}<small>{}</small></span>'


def _under_way() -> Exists:
    return experiments.has_batch(status__in=BATCH_OPEN)


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name.capitalize()) for name in experiments.STATUSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow as `experiments.summed` tells the states apart."""
        completed = ~experiments.has_batch(~Q(status=BatchStatus.COMPLETED))
        cancelled = ~experiments.has_batch(~Q(status=BatchStatus.CANCELLED))
        match self.value():
            case "running":
                return queryset.filter(_under_way())
            case "completed":
                return queryset.filter(completed)
            case "cancelled":
                return queryset.filter(cancelled)
            case "failed":
                return queryset.filter(~_under_way(), ~completed, ~cancelled)
            case _:
                return queryset


class ExpiryFilter(admin.SimpleListFilter):
    title = "expiry"
    parameter_name = "expiry"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("active", "Not expired"),
            ("soon", "Expires within a day"),
            ("expired", "Expired, waits to be deleted"),
            ("stays", "Does not expire"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        match self.value():
            case "active":
                return queryset.exclude(expires_at__lte=now)
            case "soon":
                return queryset.filter(expires_at__gt=now, expires_at__lte=now + _SOON)
            case "expired":
                return queryset.filter(expires_at__lte=now)
            case "stays":
                return queryset.filter(expires_at=None)
            case _:
                return queryset


class UserFilter(admin.RelatedFieldListFilter):
    """Offers whoever has made one; which batch was the first of its experiment does not matter."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        made = Batch.objects.exclude(tracking_id="").order_by().values("user_id")
        return field.get_choices(
            include_blank=False,
            ordering=self.field_admin_ordering(field, request, model_admin),
            limit_choices_to={"pk__in": made},
        )


class ExperimentList(LongChangeList):
    """Gives each row of the page what its batches come to together, in a query a project."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        shown = list(self.result_list)
        for project_id in {row.project_id for row in shown}:
            mine = [row for row in shown if row.project_id == project_id]
            of_page = Batch.objects.filter(
                project=project_id, tracking_id__in=[row.tracking_id for row in mine]
            )
            sums = {sum_["tracking_id"]: sum_ for sum_ in experiments.summed(of_page)}
            for row in mine:
                row.summed = sums[row.tracking_id]
        self.result_list = shown


@admin.register(Experiment)
class ExperimentAdmin(LongList, DomainAdmin):
    form = ExperimentForm
    empty_text = (
        "An experiment is a batch with a tracking id. It brings an agent and documents of its own "
        "along, and is deleted with them when it expires. Add one, or start one through the API."
    )
    list_display = ("title", "state", "size", "cost", "expires", "made_by", "row_buttons")
    list_select_related = ("project", "user")
    list_filter = (
        ExpiryFilter,
        StatusFilter,
        ("user", UserFilter),
        "project",
    )
    search_fields = ("tracking_id", "description")
    buttons = (
        Button("keep_short", f"Keep {_SHORT} days", "update", when=lambda row: row.is_ephemeral),
        Button("keep_long", f"Keep {_LONG} days", "update", when=lambda row: row.is_ephemeral),
        Button("cancel", "Cancel", "cancel", when=lambda row: _sums(row)["status"] == "running"),
    )
    readonly_fields: ClassVar = (
        *("results_link", "state", "size", "cost", "expires", "made", "runs", "owned"),
        *("description",),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        firsts: QuerySet[Experiment] = experiments.firsts(super().get_queryset(request))
        return firsts

    def get_ordering(self, request: HttpRequest) -> Any:
        expired = When(expires_at__lte=timezone.now(), then=Value(True))
        return (Case(expired, default=False, output_field=BooleanField()).asc(), "-id")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return ExperimentList

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None:
            shown = ("results_link", "state", "size", "cost", "expires", "made", "owned")
            described = ("description",) if obj.description else ()
            return (
                (None, {"fields": (*described, *shown, ("project", "user"))}),
                ("Batches", {"fields": ("runs",)}),
            )
        return (
            (None, {"fields": ("project", "tracking_id", "description", "days")}),
            ("Who answers", {"fields": ("endpoint", "agent_name", "instructions")}),
            ("What is asked", {"fields": ("suite", "pasted", "urls")}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.readonly_fields

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk}

    def goes_with(self, row: Any) -> list[str]:
        sums = _sums(row)
        return [f"Its {sums['batches']} batches with {sums['total']} calls, its agents, documents."]

    def create(self, request: HttpRequest, form: Any) -> Batch:
        values = form.cleaned_data
        plan = Plan(
            tracking_id=values["tracking_id"],
            description=values["description"],
            is_ephemeral=True,
            expires_in_days=values["days"],
            agent=form.agent(),
            documents=form.drafts(),
        )
        return experiments.create(
            actor_in(request, values["project"]),
            plan,
            endpoint=values["endpoint"],
            config=Config(),
            suite=values["suite"],
            now=clock.database_now(),
        )

    def delete(self, request: HttpRequest, row: Any) -> None:
        actor = actor_in(request, row.project)
        experiments.delete(actor, row.tracking_id, cancel=False, now=clock.database_now())

    def keep_short(self, request: HttpRequest, row: Experiment) -> Said:
        return self._extend(request, row, _SHORT)

    def keep_long(self, request: HttpRequest, row: Experiment) -> Said:
        return self._extend(request, row, _LONG)

    def cancel(self, request: HttpRequest, row: Experiment) -> Said:
        stopped = experiments.cancel(
            actor_in(request, row.project),
            row.tracking_id,
            now=clock.database_now(),
            reason=f"Cancelled by {request.user}.",
        )
        if not stopped:
            return Said("This experiment had ended already.", ok=False)
        return Said(f"{row} is cancelled. What it has found so far stays until it expires.")

    def _extend(self, request: HttpRequest, row: Experiment, days: int) -> Said:
        actor = actor_in(request, row.project)
        experiments.extend(actor, row.tracking_id, days=days, now=clock.database_now())
        return Said(f"{row} expires {days} days from now.")

    @admin.display(description="Experiment")
    def title(self, row: Experiment) -> SafeString:
        parts = (row.tracking_id, row.description[:60])
        return words.sentence(_TWO_LINES, *parts)

    @admin.display(description="Results")
    def results_link(self, row: Experiment) -> SafeString:
        return words.link(results_url(row), "Every case, and how the batches compare")

    @admin.display(description="Status")
    def state(self, row: Experiment) -> SafeString:
        status = _sums(row)["status"]
        return words.label(status, _TONES[status])

    @admin.display(description="Size")
    def size(self, row: Experiment) -> SafeString:
        sums = _sums(row)
        batches = f"{sums['batches']} batch{'' if sums['batches'] == 1 else 'es'}"
        return words.sentence(_TWO_LINES, f"{sums['done']} of {sums['total']} calls", batches)

    @admin.display(description="Cost")
    def cost(self, row: Experiment) -> str:
        sums = _sums(row)
        return words.money(sums["total_cost"]) if sums["done"] else words.NOTHING

    @admin.display(description="Expires")
    def expires(self, row: Experiment) -> SafeString | str:
        return words.when(_sums(row)["expires_at"], timezone.now())

    @admin.display(description="Made")
    def made(self, row: Experiment) -> SafeString | str:
        return words.when(row.created_at, timezone.now())

    @admin.display(description="Made")
    def made_by(self, row: Experiment) -> SafeString:
        when = words.relative(row.created_at, timezone.now())
        return words.sentence(_TWO_LINES, when, f"by {row.user}")

    @admin.display(description="Its own")
    def owned(self, row: Experiment) -> SafeString:
        query = f"?origin=experiment&q={row.tracking_id}"
        return words.sentence(
            "{} · {}",
            words.link(list_url(Agent, query), "Agents"),
            words.link(list_url(Document, query), "Documents"),
        )

    @admin.display(description="Batches")
    def runs(self, row: Experiment) -> SafeString:
        found = Batch.objects.filter(project=row.project_id, tracking_id=row.tracking_id)
        lines = [
            {
                "url": change_url(batch),
                "name": batch,
                "status": words.label(batch.status.replace("_", " "), TONES[batch.status]),
                "results": results(batch),
                "made": words.when(batch.created_at, timezone.now()),
            }
            for batch in found.order_by("created_at")
        ]
        shown = render_to_string("admin/evalsched/batches_of.html", {"lines": lines})
        return mark_safe(shown)  # noqa: S308  the template escapes

    @admin.display(description="Actions")
    def row_buttons(self, row: Any) -> SafeString:
        delete = reverse("admin:batches_experiment_delete", args=[row.pk])
        links = [("Results", results_url(row)), ("Delete", delete)]
        context = {"buttons": self.buttons_of(row), "links": links}
        return mark_safe(render_to_string("admin/evalsched/buttons.html", context))  # noqa: S308


def _sums(row: Any) -> dict[str, Any]:
    """Return what the experiment's batches come to together; a list has read it already."""
    if not hasattr(row, "summed"):
        rows = Batch.objects.filter(project=row.project_id, tracking_id=row.tracking_id)
        row.summed = experiments.summed(rows).get()
    found: dict[str, Any] = row.summed
    return found

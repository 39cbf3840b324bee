"""What every admin page shares: buttons, saving through the domain, lists over millions.

An admin class translates and calls one domain function; whatever that refuses becomes a form error
or a message with its sentence. Nothing here saves a row by itself.
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db import models
from django.forms import MediaDefiningClass
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe

from access import projects
from access.actors import ALL_SCOPES, Actor
from access.admin import words
from access.admin.forms import DomainForm
from access.errors import Refusal
from access.models import Project, Role, User

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    from unfold.admin import ModelAdmin as _ModelAdmin

_REFUSAL = "evalsched_refusal"


def operator(request: HttpRequest) -> User:
    return cast(User, request.user)


def actor_in(request: HttpRequest, project: Project) -> Actor:
    """Return the operator acting in `project`; a superuser may do everything in each."""
    return Actor(
        user=operator(request), project=project, role=Role.ADMIN, scopes=ALL_SCOPES, via="admin"
    )


def personal_actor(request: HttpRequest) -> Actor:
    """Return the operator acting in their own project, for what belongs to no other."""
    return actor_in(request, projects.personal_of(operator(request)))


def change_url(row: models.Model) -> str:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return reverse(name, args=[quote(row.pk)])


def list_url(model: type[models.Model], query: str = "") -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") + query


class Said(NamedTuple):
    """What pressing a button brought, in a sentence."""

    sentence: str
    ok: bool = True


@dataclass(frozen=True)
class Button:
    """Something to do to a row: the admin's method called `name`, shown where `when` holds.

    It is sent as a POST with the CSRF token, from the list and from the row's page.
    """

    name: str
    label: str
    icon: str
    when: Callable[[Any], bool] = lambda _: True


class OperatorAdmin(_ModelAdmin):
    """The base of all pages: buttons, no deleting in bulk, empty lists that say what to do."""

    buttons: ClassVar[Sequence[Button]] = ()
    # What an empty list says; the first sentence says what the rows are.
    empty_text: ClassVar[str] = ""
    list_per_page = 50
    list_max_show_all = 50
    list_before_template = "admin/evalsched/row_form.html"
    change_form_outer_before_template = "admin/evalsched/row_form.html"
    change_form_template = "admin/evalsched/change_form.html"
    empty_value_display = words.NOTHING
    warn_unsaved_form = True

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the list; a filter that no row can match is taken off, as Django does elsewhere."""
        if "%00" in request.META["QUERY_STRING"]:
            return redirect(f"{request.path}?{ERROR_FLAG}=1")
        page: HttpResponse = super().changelist_view(request, *args, **kwargs)
        return page

    def get_urls(self) -> list[URLPattern]:
        info = (self.opts.app_label, self.opts.model_name)
        press = self.admin_site.admin_view(self.press)
        route = path("<path:object_id>/do/<slug:name>/", press, name="{}_{}_do".format(*info))
        return [route, *super().get_urls()] if self.buttons else list(super().get_urls())

    def press(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Do what the button `name` says to one row, and return to where it was pressed."""
        row = self.get_object(request, object_id)
        if row is None or name not in {button.name for button in self.buttons}:
            raise Http404
        if request.method != "POST":
            # A login leads here where the session ended before the button was pressed.
            sentence = "Nothing was done: your session had ended. Press the button again."
            self.message_user(request, sentence, messages.WARNING)
            return redirect(change_url(row))
        try:
            said: Said = getattr(self, name)(request, row)
        except Refusal as refusal:
            said = Said(refusal.message, ok=False)
        self.message_user(request, said.sentence, messages.SUCCESS if said.ok else messages.ERROR)
        return redirect(self._back(request, row))

    def buttons_of(self, row: models.Model) -> list[dict[str, str]]:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_do"
        return [
            {
                "label": button.label,
                "icon": button.icon,
                "url": reverse(name, args=[quote(row.pk), button.name]),
            }
            for button in self.buttons
            if button.when(row)
        ]

    @admin.display(description="Actions")
    def row_buttons(self, row: models.Model) -> SafeString:
        context = {"buttons": self.buttons_of(row)}
        return mark_safe(render_to_string("admin/evalsched/buttons.html", context))  # noqa: S308

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = kwargs.get("obj")
        if row is not None:
            context["page_buttons"] = self.buttons_of(row)
            trail = reverse("admin:access_auditevent_changelist")
            context["audit_url"] = f"{trail}?q={row.pk}"
        return super().render_change_form(request, context, *args, **kwargs)

    def _back(self, request: HttpRequest, row: models.Model) -> str:
        """Return the page the button was on; Django names it, so that no form has to carry it."""
        source = request.headers.get("Referer", "")
        own = url_has_allowed_host_and_scheme(source, {request.get_host()}, request.is_secure())
        return source if own else change_url(row)


class _Abstract(ABCMeta, MediaDefiningClass):
    """Lets an admin have abstract methods: Django makes its classes by a metaclass of its own."""


class DomainAdmin(OperatorAdmin, metaclass=_Abstract):
    """Rows that are made, changed and deleted by the functions that the API calls as well."""

    form = DomainForm

    @abstractmethod
    def create(self, request: HttpRequest, form: Any) -> models.Model:
        """Make what the form describes."""

    def change(self, request: HttpRequest, row: Any, form: Any) -> models.Model:
        """Change the row as the form says; where nothing overrides this, nobody may."""
        raise PermissionDenied

    def delete(self, request: HttpRequest, row: Any) -> None:
        """Delete the row; where nothing overrides this, nobody may."""
        raise PermissionDenied

    def goes_with(self, row: Any) -> list[str]:
        """Return what deleting the row takes with it, in words."""
        return []

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        # A class of its own for each request, so the refusal stays with it.
        form = super().get_form(request, *args, **kwargs)
        form.refusal = getattr(request, _REFUSAL, None)  # type: ignore[attr-defined]
        return form

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show the form again, with the sentences, where the domain refuses what was sent.

        The refusal has undone the transaction on its way here, so nothing was half saved.
        """
        try:
            return super().changeform_view(request, *args, **kwargs)
        except Refusal as refusal:
            setattr(request, _REFUSAL, refusal)
            return super().changeform_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        saved = self.change(request, obj, form) if change else self.create(request, form)
        obj.pk = saved.pk
        obj._state.adding = False
        obj.refresh_from_db()

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        try:
            return super().delete_view(request, object_id, extra_context)
        except Refusal as refusal:
            self.message_user(request, refusal.message, messages.ERROR)
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return redirect(reverse(name, args=[object_id]))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Say what goes, in words: Django would load every row that hangs on it, one by one."""
        rows = list(objs)
        shown = [str(row) for row in rows]
        taken = [sentence for row in rows for sentence in self.goes_with(row)]
        return [*shown, *taken], {self.opts.verbose_name_plural: len(rows)}, set(), []


class ReadOnlyAdmin(OperatorAdmin):
    """Rows that only the service writes."""

    warn_unsaved_form = False
    # Shown fields, and the row's attribute without which they have nothing to say.
    only_with: ClassVar[Mapping[str, str]] = {}

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        silent = {name for name, needed in self.only_with.items() if not getattr(obj, needed, None)}
        return [
            (
                title,
                {**options, "fields": [f for f in options["fields"] if str(f) not in silent]},
            )
            for title, options in super().get_fieldsets(request, obj)
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def instant(name: str, description: str) -> Callable[[Any, Any], str]:
    """Return a read-only field that shows the row's instant `name` in UTC."""

    @admin.display(description=description, ordering=name)
    def shown(_: Any, row: Any) -> str:
        return words.utc(getattr(row, name))

    return shown


def only_changed(form: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return what the operator changed of `names`: what they saw and left alone may be old."""
    values: Mapping[str, Any] = form.cleaned_data
    return {name: values[name] for name in names if name in form.changed_data and name in values}

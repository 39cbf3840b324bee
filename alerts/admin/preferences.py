"""Preferences: who has muted what, and what somebody wants to hear of besides."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget

from access import projects
from access.admin.base import DomainAdmin, actor_in, operator
from access.admin.forms import DomainForm
from alerts import preferences
from alerts.models import OFF_BY_DEFAULT, Preference


class PreferenceForm(DomainForm):
    alert_type = forms.ChoiceField(
        choices=[(kind.value, kind.label) for kind in preferences.CHOOSABLE],
        widget=UnfoldAdminSelectWidget(),
        help_text="Off by default: "
        + ", ".join(sorted(kind.label for kind in OFF_BY_DEFAULT))
        + ". Everything else is on.",
    )

    class Meta:
        model = Preference
        fields = ("project", "user", "alert_type", "channel", "enabled")


@admin.register(Preference)
class PreferenceAdmin(DomainAdmin):
    form = PreferenceForm
    empty_text = (
        "A preference says whether a person's own events of a type go out by a kind of channel. "
        "Nobody has said anything, so the defaults hold."
    )
    list_display = ("user", "project", "alert_type", "channel", "enabled")
    list_select_related = ("user", "project")
    list_filter = ("channel", "enabled", "alert_type")
    search_fields = ("user__username",)
    ordering = ("user", "alert_type", "channel")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("project", "user", "alert_type", "channel", "enabled")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("project", "user", "channel") if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, *args, **kwargs)
        form.base_fields["alert_type"].disabled = obj is not None
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        person = operator(request)
        return {"project": projects.personal_of(person).pk, "user": person.pk}

    def create(self, request: HttpRequest, form: Any) -> Preference:
        values = form.cleaned_data
        return preferences.put(
            actor_in(request, values["project"]),
            alert_type=values["alert_type"],
            channel=values["channel"],
            enabled=values["enabled"],
            person=values["user"],
        )

    def change(self, request: HttpRequest, row: Any, form: Any) -> Preference:
        return preferences.put(
            actor_in(request, row.project),
            alert_type=row.alert_type,
            channel=row.channel,
            enabled=form.cleaned_data["enabled"],
            person=row.user,
        )

    def delete(self, request: HttpRequest, row: Any) -> None:
        preferences.forget(actor_in(request, row.project), row)

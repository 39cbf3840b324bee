"""API keys: made once and shown once, then only revoked."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from access import clock, keys, projects
from access.admin import words
from access.admin.base import Button, DomainAdmin, Said, actor_in, instant, operator
from access.admin.forms import DomainForm
from access.models import ApiKey, Project, Scope


class ApiKeyForm(DomainForm):
    scopes = forms.MultipleChoiceField(
        choices=[
            (Scope.READ, "read: see everything of the project"),
            (Scope.WRITE, "write: change and start things"),
            (Scope.INGEST, "ingest: send traces, nothing else"),
        ],
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
        help_text="Give a program no more than it needs.",
    )

    class Meta:
        model = ApiKey
        fields = ("name", "project", "scopes", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(DomainAdmin):
    form = ApiKeyForm
    empty_text = "API keys let programs in. Add one; its text is shown once."
    list_display = (
        "name",
        "prefix",
        "project",
        "user",
        "scope_words",
        "state",
        "used",
        "row_buttons",
    )
    list_select_related = ("project", "user")
    search_fields = ("name", "prefix")
    ordering = ("-id",)
    buttons = (Button("revoke", "Revoke", "key_off", when=lambda key: key.revoked_at is None),)

    expires = instant("expires_at", "Expires")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("name", "project", "scopes", "expires_at")
        return ("name", "prefix", "project", "user", "scope_words", "state", "expires", "used")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("scope_words", "state", "expires", "used")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # The key is the operator's own, and opens only where they are a member.
        if db_field.name == "project":
            kwargs["queryset"] = Project.objects.filter(
                memberships__user=operator(request)
            ).order_by("name")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "expires_at" and field is not None:
            field.help_text = "In UTC. Empty: it does not expire."
        return field

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "project": projects.personal_of(operator(request)).pk,
            "scopes": [Scope.READ, Scope.WRITE],
        }

    def create(self, request: HttpRequest, form: Any) -> ApiKey:
        values = form.cleaned_data
        key, text = keys.create(
            actor_in(request, values["project"]),
            name=values["name"],
            scopes=values["scopes"],
            expires_at=values["expires_at"],
            now=clock.database_now(),
        )
        sentence = format_html(
            "Copy the key now, it is not shown again: <code class='es-key'>{}</code>", text
        )
        self.message_user(request, sentence, messages.WARNING)
        return key

    def revoke(self, request: HttpRequest, key: ApiKey) -> Said:
        keys.revoke(actor_in(request, key.project), key, now=clock.database_now())
        return Said(f"{key.name} is revoked. Programs that use it are turned away from now on.")

    @admin.display(description="Scopes")
    def scope_words(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        if key.revoked_at is not None:
            return words.label("Revoked", "danger", title=words.utc(key.revoked_at))
        if key.expires_at is not None and key.expires_at <= timezone.now():
            return words.label("Expired", "warning", title=words.utc(key.expires_at))
        return words.label("Valid", "success")

    @admin.display(description="Last used", ordering="last_used_at")
    def used(self, key: ApiKey) -> SafeString | str:
        return words.when(key.last_used_at, timezone.now())

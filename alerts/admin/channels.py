"""Channels: addresses go in, credentials never come out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from access import clock, projects
from access.admin import words
from access.admin.base import Button, DomainAdmin, Said, actor_in, only_changed, operator
from access.admin.forms import DomainForm
from alerts import directory, trials
from alerts.models import Channel, ChannelKind


class ChannelForm(DomainForm):
    names: ClassVar[Mapping[str, str]] = {"configuration": "place"}

    place = forms.CharField(
        max_length=2048,
        label="Address",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text=(
            "A mail address; the webhook's address, like <code>https://example.org/hook</code>; "
            "or the address of Slack's incoming webhook, which is stored encrypted and never "
            "shown again."
        ),
    )

    class Meta:
        model = Channel
        fields = ("project", "kind", "name", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["place"] = next(iter(self.instance.configuration.values()), "")

    def worded(self, place: str, sentence: str) -> str:
        return sentence

    def configuration(self, kind: str) -> dict[str, str]:
        name = "address" if kind == ChannelKind.EMAIL else "url"
        return {name: self.cleaned_data["place"]}


@admin.register(Channel)
class ChannelAdmin(DomainAdmin):
    form = ChannelForm
    empty_text = (
        "A channel is a way out of a project: a mail address, a webhook or Slack. Add one, then "
        "press Test to see whether it works."
    )
    list_display = ("name", "kind", "address", "state", "project", "row_buttons")
    list_select_related = ("project",)
    list_filter = ("kind", "enabled", "project")
    search_fields = ("name",)
    ordering = ("name",)
    buttons = (
        Button("try_now", "Test", "send"),
        Button("enable", "Enable", "toggle_on", when=lambda channel: not channel.enabled),
        Button("disable", "Disable", "pause", when=lambda channel: channel.enabled),
        Button(
            "rotate",
            "New secret",
            "key",
            when=lambda channel: channel.kind == ChannelKind.WEBHOOK,
        ),
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("project", "kind", "name", "place", "enabled")
        return ("name", "kind_word", "place", "enabled", "reason")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("kind_word", "reason")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk}

    def goes_with(self, row: Any) -> list[str]:
        return ["What waits to be sent through it. What was sent stays on record."]

    def create(self, request: HttpRequest, form: Any) -> Channel:
        values = form.cleaned_data
        channel, secret = directory.create(
            actor_in(request, values["project"]),
            kind=values["kind"],
            name=values["name"],
            configuration=form.configuration(values["kind"]),
            enabled=values["enabled"],
        )
        if secret:
            self.message_user(request, _shown_once(secret), messages.WARNING)
        return channel

    def change(self, request: HttpRequest, row: Any, form: Any) -> Channel:
        fields = only_changed(form, ("name", "enabled"))
        if "place" in form.changed_data:
            fields["configuration"] = form.configuration(row.kind)
        return directory.change(actor_in(request, row.project), row, **fields)

    def delete(self, request: HttpRequest, row: Any) -> None:
        directory.delete(actor_in(request, row.project), row)

    def try_now(self, request: HttpRequest, channel: Channel) -> Said:
        """Send a test. No transaction is open while it is under way."""
        now = clock.database_now()
        notification = trials.make(actor_in(request, channel.project), channel, now=now)
        found = trials.send(notification, now=now)
        return Said(f"{channel.name}: {found.sentence}", ok=found.ok)

    def enable(self, request: HttpRequest, channel: Channel) -> Said:
        directory.change(actor_in(request, channel.project), channel, enabled=True)
        return Said(f"{channel.name} is enabled.")

    def disable(self, request: HttpRequest, channel: Channel) -> Said:
        directory.change(actor_in(request, channel.project), channel, enabled=False)
        return Said(f"{channel.name} is disabled. Nothing is sent through it.")

    def rotate(self, request: HttpRequest, channel: Channel) -> Said:
        actor = actor_in(request, channel.project)
        _, secret = directory.rotate(actor, channel, now=clock.database_now())
        return Said(_shown_once(secret))

    @admin.display(description="Kind")
    def kind_word(self, channel: Channel) -> str:
        return channel.get_kind_display()

    @admin.display(description="Address")
    def address(self, channel: Channel) -> str:
        return next(iter(channel.configuration.values()), words.NOTHING)

    @admin.display(description="Status")
    def state(self, channel: Channel) -> SafeString:
        if channel.enabled:
            return words.label("enabled", "success")
        tone: words.Tone = "danger" if channel.disabled_reason else ""
        return words.label("disabled", tone, title=channel.disabled_reason)

    @admin.display(description="Switched off because")
    def reason(self, channel: Channel) -> str:
        return channel.disabled_reason or words.NOTHING


def _shown_once(secret: str) -> SafeString:
    return words.sentence(
        "Copy the secret now, it is not shown again: <code class='es-key'>{}</code>. The one "
        "before, if any, is valid for a day.",
        secret,
    )

"""Model endpoints: credentials go in and never come out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDecimalFieldWidget as NumberWidget
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget, UnfoldBooleanWidget

from access import projects
from access.admin import words
from access.admin.base import Button, DomainAdmin, Said, actor_in, only_changed, operator
from access.admin.forms import DomainForm
from batches import calls, endpoints
from batches.models import ModelEndpoint

_PLAIN = (
    "name",
    "provider",
    "base_url",
    "model",
    "request_template",
    "answer_path",
    "price_input",
    "price_cached_input",
    "price_output",
)
_LABELS = {
    "base_url": "Base URL",
    "price_input": "Input",
    "price_cached_input": "Cached input",
    "price_output": "Output",
}
_CONFIGURED = "configured; leave empty to keep"


class JsonInput(forms.JSONField):
    """JSON as text; nothing is an empty input instead of `null`."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class EndpointForm(DomainForm):
    """Credentials have inputs of their own name: the model's fields are for nobody to see."""

    names: ClassVar[Mapping[str, str]] = {"api_key": "new_api_key", "headers": "new_headers"}

    new_api_key = forms.CharField(
        required=False,
        max_length=4000,
        label="API key",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted and never shown again.",
    )
    clear_api_key = forms.BooleanField(
        required=False, label="Remove the stored API key", widget=UnfoldBooleanWidget()
    )
    new_headers = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autocomplete": "off"}),
        label="Headers",
        help_text="One a line, <code>Name: value</code>. Stored encrypted and never shown again.",
    )
    clear_headers = forms.BooleanField(
        required=False, label="Remove the stored headers", widget=UnfoldBooleanWidget()
    )
    temperature = forms.FloatField(
        required=False,
        min_value=0,
        max_value=2,
        widget=NumberWidget(attrs={"step": "any"}),
        help_text="Empty: the provider's own. Use 0 for answers that change little between runs.",
    )
    max_tokens = forms.IntegerField(
        required=False,
        min_value=1,
        label="Longest answer (tokens)",
        widget=NumberWidget(),
        help_text="Empty: the provider's own limit.",
    )

    request_template = JsonInput(
        required=False,
        label="Request template",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="The JSON body to send, like "
        "<code>{&quot;question&quot;: &quot;{{ prompt }}&quot;}</code>. It may name prompt, "
        "messages, system, model and the parameters.",
    )

    class Meta:
        model = ModelEndpoint
        fields = ("project", *_PLAIN)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: ModelEndpoint = self.instance
        for name in ("api_key", "headers"):
            stored = bool(getattr(row, name))
            if stored:
                self.fields[f"new_{name}"].widget.attrs["placeholder"] = _CONFIGURED
            else:
                self.fields.pop(f"clear_{name}", None)
        for name in ("temperature", "max_tokens"):
            self.initial[name] = row.parameters.get(name)
        self.fields["base_url"].widget.attrs["placeholder"] = "https://api.example/v1"
        self.fields["answer_path"].widget.attrs["placeholder"] = "choices[0].message.content"
        for name, label in _LABELS.items():
            self.fields[name].label = label

    def clean_new_headers(self) -> dict[str, str]:
        """Return the headers by name; what a header may hold is the domain's to say."""
        headers: dict[str, str] = {}
        for line in self.cleaned_data["new_headers"].splitlines():
            if not line.strip():
                continue
            name, colon, value = line.partition(":")
            if not colon:
                raise forms.ValidationError("Write each header as Name: value, one a line.")
            headers[name.strip()] = value.strip()
        return headers

    def secrets(self) -> dict[str, Any]:
        """Return what is to become of the credentials; an empty input keeps what is stored."""
        found: dict[str, Any] = {}
        for name in ("api_key", "headers"):
            entered = self.cleaned_data[f"new_{name}"]
            if entered:
                found[name] = entered
            elif self.cleaned_data.get(f"clear_{name}"):
                found[name] = ""
        return found

    def parameters(self) -> dict[str, Any]:
        """Return the parameters with the two of this form; the others are kept as they are."""
        kept = dict(self.instance.parameters)
        for name in ("temperature", "max_tokens"):
            kept.pop(name, None)
            if self.cleaned_data[name] is not None:
                kept[name] = self.cleaned_data[name]
        return kept


@admin.register(ModelEndpoint)
class ModelEndpointAdmin(DomainAdmin):
    form = EndpointForm
    empty_text = (
        "A model endpoint is where a model answers: its address, its name and the key for it. "
        "Add one, then press Check to see whether it works."
    )
    list_display = ("name", "provider", "model", "base_url", "price", "project", "row_buttons")
    list_select_related = ("project",)
    list_filter = ("provider", "project")
    search_fields = ("name", "model")
    ordering = ("name",)
    buttons = (Button("check_now", "Check", "network_check"),)
    conditional_fields: ClassVar = {
        **dict.fromkeys(("base_url", "new_api_key", "new_headers"), "provider != 'demo'"),
        **dict.fromkeys(("request_template", "answer_path"), "provider == 'http'"),
    }

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        secret = [
            name
            for name, stored in (
                ("new_api_key", True),
                ("clear_api_key", obj is not None and obj.api_key),
                ("new_headers", True),
                ("clear_headers", obj is not None and obj.headers),
            )
            if stored
        ]
        where = ("name", "provider", "base_url", "model", "request_template", "answer_path")
        return (
            (None, {"fields": where if obj else ("project", *where)}),
            ("Credentials", {"fields": secret}),
            ("Parameters", {"fields": (("temperature", "max_tokens"),)}),
            (
                "Prices in USD for a million tokens",
                {
                    "fields": (("price_input", "price_cached_input", "price_output"),),
                    "description": "All empty: as the maintained price list has it, where it knows "
                    "the server and the model. An unknown cost is shown as unknown, never as 0.",
                },
            ),
        )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"project": projects.personal_of(operator(request)).pk, "provider": "openai"}

    def create(self, request: HttpRequest, form: Any) -> ModelEndpoint:
        values = form.cleaned_data
        return endpoints.create(
            actor_in(request, values["project"]),
            **{name: values[name] for name in _PLAIN},
            **form.secrets(),
            parameters=form.parameters(),
        )

    def change(self, request: HttpRequest, row: Any, form: Any) -> ModelEndpoint:
        fields = only_changed(form, _PLAIN) | form.secrets()
        if {"temperature", "max_tokens"} & set(form.changed_data):
            fields["parameters"] = form.parameters()
        had = bool(row.api_key or row.headers)
        changed = endpoints.change(actor_in(request, row.project), row, **fields)
        moved = endpoints.origin(changed.base_url) != endpoints.origin(form.initial["base_url"])
        if had and moved and not (changed.api_key or changed.headers):
            self.message_user(
                request,
                "The address is another server's, so the stored credentials were removed. "
                "Enter those of the new server.",
                "WARNING",
            )
        return changed

    def delete(self, request: HttpRequest, row: Any) -> None:
        endpoints.delete(actor_in(request, row.project), row)

    def check_now(self, request: HttpRequest, row: ModelEndpoint) -> Said:
        """Make one tiny call. No transaction is open here: it may take a quarter of a minute."""
        found = calls.check_now(endpoints.connection(row), endpoints.private_hosts())
        return Said(f"{row.name}: {found.sentence.rstrip('.')}.", ok=found.ok)

    @admin.display(description="USD a million in / out")
    def price(self, row: ModelEndpoint) -> SafeString | str:
        held = endpoints.prices(row, at=timezone.now())
        if held.input is None and held.output is None:
            return "unknown"
        listed = " (list)" if held.source == "list" else ""
        return f"{words.money(held.input)} / {words.money(held.output)}{listed}"

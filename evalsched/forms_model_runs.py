"""The operator's form of a scheduled model run: a prompt or turns, and options as lines."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from access.admin.forms import DomainForm, TimezoneInput
from access.errors import Invalid, Refusal
from access.models import Project
from access.secrets import Secret
from batches.forms.cases import as_turns, turns_of
from evalsched import masks, model_runs
from evalsched.models import ModelRun
from evalsched.zones import LONGEST_ZONE_NAME

PLAIN = ("endpoint", "cron_expression", "timezone")
ASKED = ("prompt", "messages", "options", "sensitive")
_PARAMETERS = "parameters"


def _area(rows: int) -> UnfoldAdminTextareaWidget:
    return UnfoldAdminTextareaWidget(attrs={"rows": rows})


class ModelRunForm(DomainForm):
    # The preview of the times asks for it.
    schedule_type = forms.CharField(initial="custom", widget=forms.HiddenInput())
    cron_expression = forms.CharField(
        max_length=200,
        label="Cron expression",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "30 7 * * MON-FRI"}),
        help_text="minute hour day-of-month month day-of-week",
    )
    timezone = forms.CharField(max_length=LONGEST_ZONE_NAME, initial="UTC", widget=TimezoneInput())
    prompt = forms.CharField(
        required=False, strip=False, widget=_area(5), help_text="Sent word for word."
    )
    messages = forms.CharField(
        required=False,
        strip=False,
        widget=_area(4),
        label="Or messages",
        help_text="A conversation instead of a prompt: a line <code>--- system</code>, "
        "<code>--- user</code> or <code>--- assistant</code>, and its text beneath.",
    )
    options = forms.CharField(
        required=False,
        widget=_area(3),
        help_text="Sent along, one a line: <code>temperature: 0</code>. api_key, token, password, "
        "secret and authorization are stored encrypted and shown as a mask; leave the mask to "
        "keep the value.",
    )
    sensitive = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        label="Sensitive options",
        help_text="Further options to mask, separated by commas.",
    )

    class Meta:
        model = ModelRun
        fields = ("project", *PLAIN, "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: ModelRun = self.instance
        self._offer_models(row)
        if isinstance(row.parameters, Secret):
            self.initial = dict(self.initial) | _initial(model_runs.shown(row))

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        project = values.get("project") or getattr(self.instance, "project", None)
        endpoint = values.get("endpoint")
        if endpoint is not None and project is not None and endpoint.project_id != project.pk:
            self.add_error("endpoint", f"This belongs to another project than {project}.")
        return values

    def clean_messages(self) -> list[dict[str, str]] | None:
        return turns_of(self.cleaned_data["messages"])

    def clean_options(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for line in self.cleaned_data["options"].splitlines():
            if line.strip():
                name, colon, value = line.partition(":")
                if not colon:
                    raise forms.ValidationError("Write each option as name: value, one a line.")
                found[name.strip()] = _meant(value.strip())
        return found

    def parameters(self) -> dict[str, Any]:
        """Return them as the API takes them."""
        values = self.cleaned_data
        found = dict(values["options"])
        if values["prompt"].strip():
            found["prompt"] = values["prompt"].replace("\r\n", "\n")
        if values["messages"]:
            found["messages"] = values["messages"]
        names = [name.strip() for name in values["sensitive"].split(",") if name.strip()]
        return found | ({masks.NAMED: names} if names else {})

    def blame(self, refusal: Refusal) -> None:
        """Put complaints about the parameters at the input that they were made of."""
        details: dict[str, list[str]] = {}
        for place, sentences in refusal.details.items():
            root, _, rest = place.partition(".")
            name = rest.partition("[")[0].partition(".")[0]
            if root == _PARAMETERS:
                place = name if name in ASKED else "options" if name else "prompt"  # noqa: PLW2901
            details.setdefault(place, []).extend(sentences)
        super().blame(Invalid(refusal.message, details))

    def _offer_models(self, row: ModelRun) -> None:
        field: Any = self.fields["endpoint"]
        field.label, field.required = "Model", True
        if not row._state.adding:
            field.queryset = field.queryset.filter(project_id=row.project_id)
        field.queryset = field.queryset.select_related("project").order_by("project_id", "name")
        if row._state.adding and Project.objects.count() > 1:
            field.label_from_instance = lambda part: f"{part} ({part.project})"


def _initial(shown: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in shown.items() if name not in ASKED}
    return {
        "prompt": shown.get("prompt", ""),
        "messages": as_turns(shown.get("messages") or []),
        "options": "\n".join(f"{name}: {_spelt(value)}" for name, value in options.items()),
        "sensitive": ", ".join(shown.get(masks.NAMED) or []),
    }


def _spelt(value: Any) -> str:
    """Return an option as its line has it: a text that reads as something else is quoted."""
    plain = isinstance(value, str) and "\n" not in value and value.strip() == value
    return value if plain and _meant(value) == value else json.dumps(value, ensure_ascii=False)


def _meant(text: str) -> Any:
    """Return the number, the truth value, the list or the object that `text` is, else `text`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

"""The operator's form of a test case: lines and inputs instead of JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from access.admin.forms import DomainForm
from batches.forms.assertions import AssertionsField
from batches.models import TestCase

_TURN = "--- "
_ROW = re.compile(r"assertions\[(\d+)\](?:\.(\w+))?")


def _area(rows: int) -> UnfoldAdminTextareaWidget:
    return UnfoldAdminTextareaWidget(attrs={"rows": rows})


class CaseForm(DomainForm):
    """The fields of a case as people write them; lines instead of JSON."""

    names = {"metadata": "cluster"}

    key = forms.CharField(
        required=False,
        max_length=128,
        widget=UnfoldAdminTextInputWidget(),
        help_text="The case's name, by which results of different runs are compared. "
        "Empty: it is called after its content.",
    )
    prompt = forms.CharField(
        required=False, strip=False, widget=_area(5), help_text="{{ name }} stands for a variable."
    )
    messages = forms.CharField(
        required=False,
        strip=False,
        widget=_area(4),
        label="Or messages",
        help_text="A conversation instead of a prompt: a line <code>--- system</code>, "
        "<code>--- user</code> or <code>--- assistant</code>, and its text beneath.",
    )
    variables = forms.CharField(
        required=False, widget=_area(2), help_text="One a line: <code>name: value</code>."
    )
    expected = forms.CharField(
        required=False,
        strip=False,
        widget=_area(2),
        help_text="The right answer. Without assertions the answer has to equal it.",
    )
    assertions = AssertionsField(
        required=False,
        help_text="contains-any, contains-all and their like take one text a line. latency takes "
        "its limit in ms and cost in USD as the threshold. is-json and contains-json take a JSON "
        "Schema or nothing. llm-rubric and similar ask the provider: an endpoint of the project by "
        "its name.",
    )
    tags = forms.CharField(
        required=False, widget=UnfoldAdminTextInputWidget(), help_text="Separated by commas."
    )
    weight = forms.FloatField(
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="How much it counts beside the others.",
    )
    threshold = forms.FloatField(
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="The score, 0 to 1, from which it passes. Empty: every assertion has to pass.",
    )
    cluster = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Groups related cases for the statistics.",
    )

    class Meta:
        model = TestCase
        fields = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: TestCase = self.instance
        if row._state.adding:
            self.initial.setdefault("weight", 1)
            return
        self.initial = dict(self.initial) | {
            "key": row.key,
            "prompt": row.prompt or "",
            "messages": as_turns(row.messages or []),
            "variables": "\n".join(
                f"{name}: {_spelt(value)}" for name, value in row.variables.items()
            ),
            "expected": row.expected if row.expected is not None else "",
            "assertions": row.assertions,
            "tags": ", ".join(row.tags),
            "weight": row.weight,
            "threshold": row.threshold,
            "cluster": row.metadata.get("cluster", ""),
        }
        if "key" in self.fields:
            self.fields["key"].disabled = True
            self.fields["key"].help_text = "It stays, so that results can be compared over edits."

    def worded(self, place: str, sentence: str) -> str:
        found = _ROW.fullmatch(place)
        if found is None:
            return f"{place}: {sentence}"
        part = f", {found[2]}" if found[2] else ""
        return f"Row {int(found[1]) + 1}{part}: {sentence}"

    def clean_messages(self) -> list[dict[str, str]] | None:
        return turns_of(self.cleaned_data["messages"])

    def clean_variables(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for line in self.cleaned_data["variables"].splitlines():
            if line.strip():
                name, colon, value = line.partition(":")
                if not colon:
                    raise forms.ValidationError("Write each variable as name: value, one a line.")
                found[name.strip()] = _meant(value.strip())
        return found

    def raw(self) -> dict[str, Any]:
        """Return the case as `cases.draft` reads it. Metadata that is not shown is kept."""
        values = self.cleaned_data
        metadata = {} if self.instance._state.adding else dict(self.instance.metadata)
        metadata.pop("cluster", None)
        if values["cluster"]:
            metadata["cluster"] = values["cluster"]
        return {
            "key": values["key"] or None,
            "prompt": values["prompt"].replace("\r\n", "\n") or None,
            "messages": values["messages"],
            "variables": values["variables"],
            "expected": values["expected"].replace("\r\n", "\n") or None,
            "assertions": values["assertions"],
            "tags": [tag.strip() for tag in values["tags"].split(",") if tag.strip()],
            "weight": values["weight"],
            "threshold": values["threshold"],
            "metadata": metadata,
        }


def turns_of(text: str) -> list[dict[str, str]] | None:
    """Return the conversation that `text` spells; what its roles may be is the domain's to say."""
    turns: list[dict[str, str]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith(_TURN):
            turns.append({"role": line.removeprefix(_TURN).strip().lower(), "content": ""})
        elif turns:
            turns[-1]["content"] += f"{line}\n"
        elif line.strip():
            raise forms.ValidationError("Begin with a line such as --- user.")
    for turn in turns:
        turn["content"] = turn["content"].rstrip("\n")
    return turns or None


def as_turns(messages_: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{_TURN}{turn['role']}\n{turn['content']}" for turn in messages_)


def _spelt(value: Any) -> str:
    """Return a variable as the form's line has it: a text that reads as a number is quoted."""
    return value if isinstance(value, str) and _meant(value) == value else json.dumps(value)


def _meant(text: str) -> Any:
    """Return the number, the truth value or the quoted text that `text` is, else `text`."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | bool) else text

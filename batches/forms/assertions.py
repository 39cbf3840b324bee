"""Assertions as rows of inputs: a form's way to write what a case stores as JSON."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from access.admin.words import NOTHING
from batches.scoring.assertions import NEGATION
from batches.scoring.registry import KINDS

_PARTS = ("type", "value", "threshold", "tolerance", "n", "provider", "weight", "metric")
# Their values are lists that are kept as JSON: a text of several lines is one reference.
_REFERENCES = frozenset({"rouge-n", "rouge-l", "bleu", "similar"})
_SCHEMAS = frozenset({"is-json", "contains-json"})
_SPARE = 2
_MOST = 60


def _types() -> list[tuple[str, str]]:
    names = sorted(KINDS)
    return [("", NOTHING), *((name, name) for name in [*names, *(NEGATION + n for n in names)])]


class AssertionsWidget(forms.Widget):
    """A table with one row for each assertion and some spare ones; `+` adds another."""

    template_name = "admin/evalsched/assertions.html"

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        written = [_written(item) for item in value or []]
        rows = [*written, *({} for _ in range(_SPARE if written else 1 + _SPARE))]
        context["rows"] = [self._row(name, str(i), row) for i, row in enumerate(rows)]
        context["spare"] = self._row(name, "__row__", {})
        context["next"] = len(rows)
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[dict[str, str]]:
        """Return the rows that say anything, as they were typed."""
        rows = []
        for index in range(_MOST):
            row = {part: data.get(f"{name}-{index}-{part}", "").strip("\r\n") for part in _PARTS}
            if any(text.strip() for text in row.values()):
                rows.append(row)
        return rows

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return False

    def id_for_label(self, id_: str) -> str:
        return ""

    def _row(self, name: str, index: str, row: Mapping[str, str]) -> dict[str, str]:
        select = UnfoldAdminSelectWidget(choices=_types())
        shown = {}
        for part in _PARTS:
            widget: Any = UnfoldAdminTextInputWidget()
            if part == "type":
                widget = select
            elif part == "value":
                widget = UnfoldAdminTextareaWidget(attrs={"rows": 1})
            attrs = {"aria-label": part}
            shown[part] = widget.render(f"{name}-{index}-{part}", row.get(part, ""), attrs)
        return shown


class AssertionsField(forms.Field):
    """Assertions as the domain reads them. What each may hold is the domain's to say."""

    widget = AssertionsWidget

    def clean(self, value: Any) -> list[dict[str, Any]]:
        return [_read(row) for row in value or []]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return [_read(row) for row in data or []] != (initial or [])


def _written(item: Mapping[str, Any]) -> dict[str, str]:
    """Return a stored assertion, or one as it was typed, as texts for the inputs."""
    shown = {}
    lines = str(item.get("type", "")).removeprefix(NEGATION) not in _REFERENCES
    for part in _PARTS:
        value = item.get(part, "")
        if lines and isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            shown[part] = "\n".join(value)
        elif isinstance(value, list | dict):
            shown[part] = json.dumps(value, ensure_ascii=False)
        else:
            shown[part] = "" if value is None else str(value)
    return shown


def _read(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the row as JSON says it: what was left empty is left out, numbers are numbers."""
    item: dict[str, Any] = {"type": row["type"].strip()}
    if row["value"] != "" or item["type"].removeprefix(NEGATION) in ("equals", "levenshtein"):
        item["value"] = _value(item["type"].removeprefix(NEGATION), row["value"])
    for part in ("threshold", "tolerance", "n", "weight"):
        if row[part].strip():
            item[part] = _number(row[part].strip())
    for part in ("provider", "metric"):
        if row[part].strip():
            item[part] = row[part].strip()
    return item


def _value(base: str, text: str) -> Any:
    """Return a value as its type takes it: a list from lines, JSON where it is an object."""
    if base.endswith(("contains-any", "contains-all")):
        lines = [line for line in text.splitlines() if line.strip()]
        return lines if len(lines) > 1 else text
    if base == "numeric":
        return _number(text.strip())
    written = {"equals": ("{", "["), **dict.fromkeys(_SCHEMAS, ("{",))}
    written |= dict.fromkeys(_REFERENCES, ("[",))
    if text.lstrip()[:1] in written.get(base, ()):
        with suppress(ValueError):
            return json.loads(text)
    return text.replace("\r\n", "\n")


def _number(text: str) -> Any:
    """Return the number that `text` spells, else `text`: the domain complains in its words."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() and "." not in text else number

"""Admin pages as a browser sees them: the inputs of a form, filled in and sent."""

from html.parser import HTMLParser
from typing import Any

from django.db import models
from django.test import Client
from django.urls import reverse


class Inputs(HTMLParser):
    """Collects what the browser would send of the form with an id."""

    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.values: dict[str, list[str]] = {}
        self._form_id = form_id
        self._inside = self._in_template = False
        self._select = self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = at.get("id") == self._form_id
        if tag == "template":
            self._in_template = True
        name = at.get("name", "")
        if not self._inside or self._in_template:
            return
        if tag == "input" and name and "disabled" not in at:
            self._take_input(name, at)
        elif tag == "select":
            self._select = "" if "disabled" in at else name
        elif tag == "option" and self._select and "selected" in at:
            self.values.setdefault(self._select, []).append(at.get("value", ""))
        elif tag == "textarea" and name:
            self._area = name
            self.values[name] = [""]

    def _take_input(self, name: str, at: dict[str, str]) -> None:
        kind = at.get("type", "text")
        boxed = kind in {"checkbox", "radio"}
        if kind not in {"submit", "file"} and (not boxed or "checked" in at):
            value = at.get("value", "on" if boxed else "")
            self.values.setdefault(name, []).append(value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
        elif tag == "template":
            self._in_template = False
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            # HTML drops the line end right after the tag.
            self.values[self._area] = [self.values[self._area][0] + data.removeprefix("\n")]


def url_of(row: models.Model, page: str = "change") -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[row.pk])


def list_of(model: type[models.Model], page: str = "changelist") -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}")


def inputs(client: Client, url: str, form_id: str) -> dict[str, list[str]]:
    found = Inputs(form_id)
    found.feed(client.get(url).content.decode())
    return found.values


def send(client: Client, url: str, form_id: str, **changes: Any) -> Any:
    """Open the form, change some inputs (None leaves one out) and press Save."""
    data: dict[str, Any] = inputs(client, url, form_id) | changes
    return client.post(url, {name: value for name, value in data.items() if value is not None})


def press(client: Client, row: models.Model, name: str) -> Any:
    """Press one of the row's buttons, and follow to where that leads."""
    route = f"admin:{row._meta.app_label}_{row._meta.model_name}_do"
    return client.post(reverse(route, args=[row.pk, name]), follow=True)


def errors(response: Any) -> dict[str, list[str]]:
    """Return what the form that was sent is told, by field."""
    found: dict[str, list[str]] = response.context["adminform"].form.errors
    return dict(found)


def told(response: Any) -> str:
    """Return the messages above the page."""
    return " ".join(str(message) for message in response.context["messages"])

"""Every list of the API, found in its addresses."""

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from access.api.views import ApiView


def list_views() -> dict[str, type[ApiView]]:
    """Return the views whose GET answers a page of rows, by their routes ("api/batches")."""
    return {
        route: view
        for route, callback in _routes(get_resolver(), "")
        if (view := getattr(callback, "cls", None)) and issubclass(view, ApiView) and view.lists
    }


def _routes(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in resolver.url_patterns:
        here = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry, here)
        elif isinstance(entry, URLPattern):
            yield here, entry.callback

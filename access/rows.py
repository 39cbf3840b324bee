"""Rows that are about to be changed: locked, and as they are now."""

from typing import Any, TypeVar

from django.db import models

from access.errors import NotFound

M = TypeVar("M", bound=models.Model)


def locked(row: M, *related: str) -> M:
    """Return the row as it is in the database now, locked until the transaction ends.

    What the caller read may be old: somebody may have changed or deleted it since.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    rows: Any = type(row)._default_manager.select_for_update(no_key=True, of=("self",))
    if related:
        rows = rows.select_related(*related)
    found: M | None = rows.filter(pk=row.pk).first()
    if found is None:
        raise NotFound(f"This {row._meta.verbose_name} was deleted meanwhile.")
    return found

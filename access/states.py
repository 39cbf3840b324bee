"""How a row's status changes: one conditional UPDATE whose row count is the answer."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django.db import models
from django.db.models.functions import Now

M = TypeVar("M", bound=models.Model)


class StatefulQuerySet(models.QuerySet[M]):
    """Rows with a `status`; `SOURCES` says from which statuses each one may come."""

    SOURCES: ClassVar[Mapping[Any, frozenset[Any]]]

    def move(self, to: str, **changes: object) -> int:
        """Move the selected rows to `to`, with further `changes`, and return how many moved.

        A row whose status may not lead to `to` is left alone, whoever else is writing.
        """
        if any(field.name == "updated_at" for field in self.model._meta.fields):
            changes.setdefault("updated_at", Now())
        return self.filter(status__in=self.SOURCES[to]).update(status=to, **changes)

"""Who uses a row, so that a refusal to delete it can name them."""

from django.db import models

from access.errors import Conflict

_SHOWN = 5


def refuse_if_used(row: models.Model) -> None:
    """Refuse to delete what a schedule runs.

    Schedules live above this app, so they are found by the relation's name; the database's own
    RESTRICT holds the same line against one that is made at this moment.

    Raises:
        Conflict: naming them.
    """
    schedules = row.schedules.order_by("name").values_list("name", flat=True)  # type: ignore[attr-defined]
    names = [f"'{name}'" for name in schedules[: _SHOWN + 1]]
    if names:
        shown = ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")
        raise Conflict(
            f"{row} is used by the schedule{'s' if len(names) > 1 else ''} {shown}. "
            "Change or delete those first."
        )

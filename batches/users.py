"""Who uses a row, so that a refusal to delete it can name them."""

from django.db import models

from access.errors import Conflict

_SHOWN = 5


def refuse_if_used(row: models.Model) -> None:
    """Refuse to delete what a schedule or an agent uses.

    Schedules live above this app, so they are found by the relation's name; the database's own
    RESTRICT holds the same line against one that is made at this moment.

    Raises:
        Conflict: naming them.
    """
    for relation in ("schedules", "agents"):
        if not hasattr(row, relation):
            continue
        users = getattr(row, relation).order_by("name").values_list("name", flat=True)
        names = [f"'{name}'" for name in users[: _SHOWN + 1]]
        if names:
            shown = ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")
            kind = relation if len(names) > 1 else relation.removesuffix("s")
            raise Conflict(f"{row} is used by the {kind} {shown}. Change or delete those first.")

"""Several batches side by side, case by case; the first one is what the others are held against."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from access.errors import Invalid, NotFound
from batches import case_results
from batches.models import Batch, Job

MOST = 10


def find(project_id: uuid.UUID, ids: str) -> list[Batch]:
    """Return the batches of a list of ids with commas, in its order.

    Raises:
        Invalid: these are not 2 to 10 different ids.
        NotFound: the project has no such batch.
    """
    try:
        wanted = list(dict.fromkeys(uuid.UUID(text.strip()) for text in ids.split(",")))
    except ValueError:
        raise Invalid.field("ids", "Give the ids of batches, with commas between them.") from None
    if not 2 <= len(wanted) <= MOST:  # noqa: PLR2004
        raise Invalid.field("ids", f"Give the ids of 2 to {MOST} different batches.")
    found = Batch.objects.filter(project_id=project_id).in_bulk(wanted)
    if len(found) < len(wanted):
        raise NotFound("There is no such batch in this project.")
    return [found[key] for key in wanted]


def compare(
    batches: Sequence[Batch], *, only_different: bool, worst_first: bool
) -> list[dict[str, Any]]:
    """Return a row for each case of any of the batches, in the first one's order.

    Cases are the same where key and content are; an edited case is two rows. `loss` is how much
    lower the worst of the others scored, by its pass rate where nothing has a score; None where
    the first one or all others lack it. `outputs` have to be added to the page that is shown.
    """
    sides = [{(row["case_key"], row["case_hash"]): row for row in _rows(one)} for one in batches]
    rows = [
        _row(identity, [side.get(identity) for side in sides])
        for identity in dict.fromkeys(identity for side in sides for identity in side)
    ]
    if only_different:
        rows = [row for row in rows if row["different"]]
    if worst_first:
        rows.sort(key=lambda row: -2.0 if row["loss"] is None else row["loss"], reverse=True)
    return rows


def add_outputs(batches: Sequence[Batch], page: Iterable[dict[str, Any]]) -> None:
    """Put the first answer of each case and batch into the rows of a page."""
    page = list(page)
    for index, batch in enumerate(batches):
        shown = [row["sides"][index] for row in page if row["sides"][index] is not None]
        ordinals = [side["ordinal"] for side in shown]
        first = Job.objects.filter(batch=batch, repeat=1, ordinal__in=ordinals)
        outputs = {ordinal: rest for ordinal, *rest in first.values_list(*_FIRST)}
        for side in shown:
            side["output"], side["error_message"] = outputs[side["ordinal"]]


_FIRST = ("ordinal", "output", "error_message")


def _rows(batch: Batch) -> Iterable[dict[str, Any]]:
    for row in case_results.of(batch):
        yield case_results.with_repeats(row) | {"batch_id": batch.pk}


def _row(identity: tuple[str, str], sides: list[dict[str, Any] | None]) -> dict[str, Any]:
    first, *others = [None if side is None else _quality(side) for side in sides]
    losses = [first - other for other in others if first is not None and other is not None]
    found = {None if side is None else (side["score"], side["pass_rate"]) for side in sides}
    return {
        "case_key": identity[0],
        "case_hash": identity[1],
        "tags": next(side["tags"] for side in sides if side is not None),
        "different": len(found) > 1,
        "loss": max(losses) if losses else None,
        "sides": sides,
    }


def _quality(side: dict[str, Any]) -> float | None:
    quality: float | None = side["pass_rate"] if side["score"] is None else side["score"]
    return quality

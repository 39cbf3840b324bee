"""The cases of several batches, each beside what the other batches made of it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import Avg, Count, Min, Q, Value
from django.db.models.functions import MD5

from access.errors import Invalid
from batches.models import Batch, Job, JobOutcome, JobStatus

MOST_BATCHES = 6
# A row of the answer for each case of each batch is held in memory.
MOST_CALLS = 100_000


class Show(StrEnum):
    """Which cases are wanted."""

    ALL = "all"
    RESULTS = "results"  # their outcome or score is not the same in all batches
    ANSWERS = "answers"  # an answer is another text


class Order(StrEnum):
    SUITE = "suite"  # as the first batch asked them
    WORST = "worst"  # the greatest loss against the first batch on top


@dataclass(frozen=True)
class Cell:
    """What one batch has of a case, averaged over its repeats. `outcome` is None before it ends.

    Where the repeats differ the outcome is `mixed`. `job_id` is one of its calls.
    """

    job_id: int
    ordinal: int
    calls: int
    outcome: str | None
    passed: int
    score: float | None
    latency_ms: float | None
    answers: str

    @property
    def result(self) -> tuple[str | None, float | None]:
        return self.outcome, self.score


@dataclass(frozen=True)
class Row:
    """A case; `cells` are in the order of the batches, None where one does not have it."""

    key: str
    content_hash: str
    cells: Sequence[Cell | None]

    @property
    def differs(self) -> bool:
        """Whether the results are not the same in all batches."""
        return len({cell and cell.result for cell in self.cells}) > 1

    @property
    def answers_differ(self) -> bool:
        return len({cell and cell.answers for cell in self.cells}) > 1

    @property
    def loss(self) -> float:
        """How much of its score the first batch's case lost in the worst of the others; 0..1."""
        first, *others = [None if cell is None else _worth(cell) for cell in self.cells]
        known = [worth for worth in others if worth is not None]
        return 0.0 if first is None or not known else first - min(known)


def rows(batches: Sequence[Batch], show: Show, order: Order) -> list[Row]:
    """Return the cases of the batches, the first of which is the one to compare with.

    One query, whatever their number. A case is the same where key and content are.

    Raises:
        Invalid: they are too many to be set beside each other.
    """
    if sum(batch.total for batch in batches) > MOST_CALLS:
        raise Invalid(
            f"These batches have more than {MOST_CALLS:,} calls together. Choose fewer of them, "
            "or download their results."
        )
    columns = {batch.pk: number for number, batch in enumerate(batches)}
    found: dict[tuple[str, str], list[Cell | None]] = {}
    for row in _grouped(list(columns)):
        cells = found.setdefault((row["case_key"], row["case_hash"]), [None] * len(batches))
        cells[columns[row["batch_id"]]] = _cell(row)
    made = [Row(key, content_hash, cells) for (key, content_hash), cells in found.items()]
    made = [row for row in made if _wanted(row, show)]
    made.sort(key=_place)
    if order == Order.WORST:
        made.sort(key=lambda row: -row.loss)
    return made


def _grouped(batch_ids: Sequence[uuid.UUID]) -> list[dict[str, Any]]:
    ended = Q(status=JobStatus.DONE)
    found: Any = (
        Job.objects.filter(batch__in=batch_ids)
        .order_by()
        .values("batch_id", "case_key", "case_hash")
        .annotate(
            job_id=Min("pk"),
            at=Min("ordinal"),
            calls=Count("pk"),
            ended=Count("pk", filter=ended),
            outcomes=StringAgg("outcome", Value(" "), distinct=True, filter=ended),
            passes=Count("pk", filter=Q(outcome=JobOutcome.PASSED)),
            mean_score=Avg("score"),
            mean_latency=Avg("latency_ms"),
            answers=StringAgg(MD5("output"), Value(" "), order_by="repeat", filter=ended),
        )
    )
    return list(found)


def _cell(row: dict[str, Any]) -> Cell:
    outcomes = (row["outcomes"] or "").split()
    outcome = None
    if row["ended"] == row["calls"]:
        outcome = outcomes[0] if len(outcomes) == 1 else "mixed"
    return Cell(
        job_id=row["job_id"],
        ordinal=row["at"],
        calls=row["calls"],
        outcome=outcome,
        passed=row["passes"],
        score=row["mean_score"],
        latency_ms=row["mean_latency"],
        answers=row["answers"] or "",
    )


def _wanted(row: Row, show: Show) -> bool:
    match show:
        case Show.RESULTS:
            return row.differs
        case Show.ANSWERS:
            return row.answers_differ
        case Show.ALL:
            return True


def _place(row: Row) -> tuple[int, int]:
    """Sort by the first batch that has the case, in its order."""
    return next((number, cell.ordinal) for number, cell in enumerate(row.cells) if cell is not None)


def _worth(cell: Cell) -> float | None:
    if cell.score is not None:
        return cell.score
    scored = cell.outcome in {JobOutcome.PASSED, JobOutcome.FAILED}
    return cell.passed / cell.calls if scored else None
